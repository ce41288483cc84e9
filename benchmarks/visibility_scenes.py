"""Scenes of the benchmark of visibility gradients: bodies of coarse and fine triangles, and how they move."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh

__all__ = ["CAMERAS", "MOTIONS", "Scene", "facet_scenes", "load_obj", "make_scenes", "to_clip"]

CAMERAS = ("perspective", "orthographic")
# Velocities of vertices [V, 3] float64. The last two move the scene's second body alone.
MOTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "scale": lambda v: v,
    "shift": lambda v: torch.tensor([0.8, 0.6, 0.0]).to(v).expand_as(v),
    "turn": lambda v: torch.linalg.cross(torch.tensor([0.3, 0.9, 0.3]).to(v).expand_as(v), v),
    "body x": lambda v: torch.tensor([1.0, 0.0, 0.0]).to(v).expand_as(v),
    "body z": lambda v: torch.tensor([0.0, 0.0, 1.0]).to(v).expand_as(v),
}


@dataclass(frozen=True)
class Scene:
    """One or two bodies.

    Attributes:
        name: with the number of triangles.
        vertices: [V, 3] float64.
        tri: [T, 3] int32.
        second: [V] bool, which vertices belong to the second body.
        facets: whether each triangle has one colour, by its direction.
    """

    name: str
    vertices: torch.Tensor
    tri: torch.Tensor
    second: torch.Tensor
    facets: bool = False

    def motions(self) -> dict[str, torch.Tensor]:
        """Velocities [V, 3]; those of the second body where there is one."""
        names = list(MOTIONS) if self.second.any() else list(MOTIONS)[:3]
        alone = {"body x", "body z"}
        return {n: MOTIONS[n](self.vertices) * (self.second[:, None] if n in alone else 1.0) for n in names}

    def colors(self) -> dict[str, torch.Tensor]:
        """Colours of the triangles' corners [3 T]: all the same, smooth, and one for each body; or of facets."""
        a, b, c = self.vertices[self.tri.long()].unbind(1)
        if self.facets:
            normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
            return {"facets": (0.6 + 0.4 * normal @ torch.tensor([0.5, 0.6, 0.3]).double()).repeat_interleave(3)}
        corners = self.tri.long().flatten()
        x, y, z = self.vertices[corners].unbind(1)
        smooth = 0.5 + 0.3 * torch.sin(3 * x + 1) + 0.2 * torch.cos(4 * y - 2 * z)
        bodies = torch.where(self.second[corners], 0.3, 0.9).double()
        return {"unit": torch.ones_like(x), "smooth": smooth} | ({"bodies": bodies} if self.second.any() else {})


def to_clip(vertices: torch.Tensor, camera: str) -> torch.Tensor:
    """Clip-space positions [V, 4] of vertices [V, 3]: a camera on +Z that looks at the origin."""
    x, y, z = vertices.unbind(1)
    if camera == "orthographic":
        return torch.stack([0.8 * x, 0.8 * y, -0.25 * z, torch.ones_like(x)], 1)
    near, far, w = 0.5, 10.0, 3.2 - z
    return torch.stack([2.4 * x, 2.4 * y, (w * (far + near) - 2 * far * near) / (far - near), w], 1)


def load_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices within the unit sphere and faces of a mesh, welded whatever its texture coordinates."""
    mesh = trimesh.load_mesh(path)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    vertices = mesh.vertices - mesh.bounds.mean(0)
    return vertices / np.linalg.norm(vertices, axis=1).max(), mesh.faces


def _icosphere(subdivisions: int, radius: float = 0.85) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return np.array(mesh.vertices), np.array(mesh.faces)


def _box(splits: int, size: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.box((size, size, size))
    return _split(mesh, splits)


def _split(mesh: trimesh.Trimesh, splits: int) -> tuple[np.ndarray, np.ndarray]:
    vertices, faces = np.array(mesh.vertices), np.array(mesh.faces)
    for _ in range(splits):
        vertices, faces = trimesh.remesh.subdivide(vertices, faces)
    return vertices, faces


def _sheet(cells: int, height: Callable = lambda x, y: 0 * x, size: float = 0.75) -> tuple[np.ndarray, np.ndarray]:
    """A square of 2 cells^2 triangles over [-size, size]^2, raised by `height`."""
    ticks = np.linspace(-size, size, cells + 1)
    y, x = np.meshgrid(ticks, ticks, indexing="ij")
    vertices = np.stack([x, y, height(x, y)], -1).reshape(-1, 3)
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1, 1)
    lower, upper = corner + [[0, 1, cells + 2]], corner + [[0, cells + 2, cells + 1]]
    return vertices, np.concatenate([lower, upper])


def _turned(
    body: tuple, angles: tuple[float, float, float], offset=(0.0, 0.0, 0.0), width: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A body, `width` times as wide along x, turned and moved."""
    matrix = trimesh.transformations.euler_matrix(*angles)[:3, :3]
    return body[0] * [width, 1, 1] @ matrix.T + np.array(offset), body[1]


def _scene(name: str, *bodies: tuple[np.ndarray, np.ndarray], facets: bool = False) -> Scene:
    first = np.cumsum([0] + [len(body[0]) for body in bodies])
    vertices = torch.from_numpy(np.concatenate([body[0] for body in bodies])).double()
    tri = torch.from_numpy(np.concatenate([body[1] + k for body, k in zip(bodies, first, strict=False)])).int()
    return Scene(f"{name}, {len(tri):,}", vertices, tri, torch.arange(len(vertices)) >= first[1], facets)


def _unwelded(body: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Every triangle with vertices of its own."""
    return body[0][body[1]].reshape(-1, 3), np.arange(3 * len(body[1])).reshape(-1, 3)


def facet_scenes() -> list[Scene]:
    """Bodies of facets from large to small: a sphere shaded by direction, and a box, within whose sides none differ."""
    bodies = [*(("icosphere", _icosphere(k)) for k in (2, 3, 4, 5, 6)), *(("box", _box(k)) for k in (0, 2, 4, 5, 6))]
    return [_scene(name, _turned(body, (0.5, 0.6, 0.2)), facets=True) for name, body in bodies]


def make_scenes(mesh: Path | None = None) -> list[Scene]:
    """All scenes; those of `mesh`, a file, where one is given."""
    tilt = (0.5, 0.6, 0.2)
    wave = _sheet(64, lambda x, y: 0.25 * np.sin(7 * x + 2 * y))
    cylinder = trimesh.creation.cylinder(0.4, 1.3, sections=400)
    scenes = [
        *(_scene("icosphere", _turned(_icosphere(k), tilt)) for k in (1, 2, 3, 5, 6)),
        *(_scene("box", _turned(_box(k), tilt)) for k in (0, 6)),
        _scene("sheet", _turned(_sheet(64), tilt)),
        _scene("cylinder", _turned(_split(cylinder, 0), (1.1, 0.4, 0.3))),
        _scene("wave that hides itself", _turned(wave, (-1.0, 0.5, 0.2))),
        _scene(
            "two sheets, small gap",
            _turned(_sheet(2), (0.1, 0.2, 0.3), (-0.1, 0, 0)),
            _turned(_sheet(2, size=0.45), (0.1, 0.2, 0.3), (0.1, 0.1, 0.03)),
        ),
        _scene("ball before a sheet", _turned(_sheet(64), (0.2, 0.3, 0.1), (0, 0, -0.5)), _icosphere(5, 0.45)),
        _scene("box through ball, coarse", _icosphere(2, 0.6), _turned(_box(0, 0.75), tilt, (0.3, 0.1, 0.3))),
        _scene("box through ball, fine", _icosphere(5, 0.6), _turned(_box(6, 0.75), tilt, (0.3, 0.1, 0.3))),
        _scene("crossing sheets", _turned(_sheet(16), (0.1, 0.6, 0.1)), _turned(_sheet(16), (0.5, -0.5, 0.3))),
        # A plank from far away to behind the perspective camera.
        *(
            _scene("plank through the eye", _turned(_sheet(cells, size=3.4), (-1.4, 0, 0), (0.05, -0.6, 0.5), 0.15))
            for cells in (1, 8, 64)
        ),
        *(
            _scene(f"facets of {name}", _turned(body, tilt), facets=True)
            for name, body in (
                ("a box", _box(0)),
                ("a box", _box(6)),
                ("an icosphere", _icosphere(1)),
                ("an icosphere", _icosphere(3)),
            )
        ),
        _scene("unwelded icosphere", _unwelded(_turned(_icosphere(5), tilt))),
    ]
    if mesh is not None:
        vertices, faces = _turned(load_obj(mesh), (0.2, 2.4, 0.1))
        finer = _split(trimesh.Trimesh(vertices, faces, process=False), 2)
        scenes[9:9] = [_scene(mesh.stem, (vertices, faces)), _scene(f"{mesh.stem}, refined", finer)]
    return scenes
