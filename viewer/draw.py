"""Meshes seen by the viewer's camera, drawn by glraster's own operations: what the optimizer sees."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

import glraster

from .camera import Camera
from .controls import Choice
from .grid import Legend
from .images import colored
from .mesh_arguments import MODES, check_mesh

__all__ = ["SIZE", "MeshView", "Part"]

BACKGROUND = 0.16
LAYERS = 4
MOST_ARROWS = 2000
SIZE = (512, 512)  # where nobody asks for another


@dataclass(frozen=True)
class Part:
    """Triangles of one material: `faces[first : first + count]`."""

    first: int
    count: int
    color: tuple[float, float, float] = (0.75, 0.75, 0.75)
    texture: torch.Tensor | None = None  # [H, W, 3] floats from 0 to 1, row 0 at t = 0


class MeshView:
    """A mesh as one of the viewer's pictures.

    Args:
        name: what errors call it.
        vertices: [V, 3] floats, in world space.
        faces: [T, 3] integers.
        colors: [V, 3] floats from 0 to 1.
        normals: [V, 3]; None takes the area-weighted mean of the triangles around a vertex.
        uv: [V, 2] texture coordinates.
        texture: [H, W, 3] floats from 0 to 1, row 0 at t = 0; needs uv.
        vectors: [V, 3], for the mode 'gradients': drawn as arrows, their lengths as colours.
        parts: materials, in place of `texture`.
        mode: one of `MODES`.

    Raises:
        TypeError, ValueError: another type or shape; the message names the argument.
    """

    def __init__(
        self,
        name: str,
        vertices: torch.Tensor,
        faces: torch.Tensor,
        *,
        colors: torch.Tensor | None = None,
        normals: torch.Tensor | None = None,
        uv: torch.Tensor | None = None,
        texture: torch.Tensor | None = None,
        vectors: torch.Tensor | None = None,
        parts: Sequence[Part] = (),
        mode: str = "shaded",
    ):
        look = {"colors": colors, "normals": normals, "uv": uv, "vectors": vectors}
        check_mesh(name, vertices, faces, texture=texture, mode=mode, **look)

        def copied(tensor: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
            return tensor.detach().to(vertices.device, dtype, copy=True).contiguous()

        self.name = name
        self.vertices, self.faces = copied(vertices), copied(faces, torch.int32)
        self.colors, self.given_normals, self.uv, self.vectors = (
            None if tensor is None else copied(tensor) for tensor in look.values()
        )
        if texture is not None:
            parts = [Part(0, len(faces), texture=copied(texture))]
        self.parts = tuple(parts) or (Part(0, len(faces)),)
        self._mode, self._choice = mode, None  # type: str, Choice | None

    @property
    def mode(self) -> str:
        """What is drawn."""
        if self._choice is None:
            return self._mode
        return self._choice.value if self._choice.value in self.modes() else "shaded"

    def follow(self, choice: Choice) -> None:
        """Draws the mode that is chosen at the outputs; 'shaded' where this mesh has not what it needs."""
        self._choice = choice

    def modes(self) -> tuple[str, ...]:
        """The modes that this mesh has what is needed for."""
        has = {"checker": self.uv is not None, "gradients": self.vectors is not None}
        has["texture"] = self.uv is not None and any(part.texture is not None for part in self.parts)
        return tuple(mode for mode in MODES if has.get(mode, True))

    def bounds(self) -> tuple[list[float], float]:
        """Centre and radius of a sphere around the mesh."""
        finite = self.vertices[self.vertices.isfinite().all(1)]
        if not len(finite):
            return [0.0, 0.0, 0.0], 1.0
        low, high = finite.aminmax(dim=0)
        centre = (low + high) / 2
        return centre.tolist(), (finite - centre).norm(dim=1).max().item()

    @functools.cached_property
    def normals(self) -> torch.Tensor:
        """[V, 3] unit normals."""
        if self.given_normals is not None:
            return self.given_normals
        indices = self.faces.long()
        valid = ((indices >= 0) & (indices < len(self.vertices))).all(1)
        corners = self.vertices[indices.where(valid[:, None], 0)]
        areas = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).nan_to_num()
        areas = areas * valid[:, None]
        normals = torch.zeros_like(self.vertices)
        for corner in indices.where(valid[:, None], 0).unbind(1):
            normals.index_add_(0, corner, areas)
        return torch.nn.functional.normalize(normals, dim=1)

    @functools.cached_property
    def _topology(self):
        return glraster.antialias_construct_topology_hash(self.faces)

    @functools.cached_property
    def _arrows(self) -> tuple["MeshView", Legend | None]:
        """The mesh with the lengths of its vectors as colours, and some of them as spikes."""
        vectors = cast(torch.Tensor, self.vectors)  # the mode needs them
        lengths = vectors.norm(dim=1)
        colors, legend = colored(lengths[None, None, :, None])
        colors = colors[0, 0].float() / 255
        longest = lengths.nan_to_num(0, 0, 0).max().clamp(min=1e-30)
        chosen = torch.linspace(0, len(lengths) - 1, min(MOST_ARROWS, len(lengths))).long().unique()
        chosen = chosen[(lengths[chosen] > 0.02 * longest) & lengths[chosen].isfinite()]
        step = vectors[chosen] / longest * (0.3 * self.bounds()[1])
        side = torch.linalg.cross(step, step.roll(1, 1) + 0.1 * step.norm(dim=1, keepdim=True))
        side = torch.nn.functional.normalize(side, dim=1) * step.norm(dim=1, keepdim=True) * 0.07
        other = torch.nn.functional.normalize(torch.linalg.cross(step, side), dim=1) * side.norm(dim=1, keepdim=True)
        ring = [side * c + other * s for c, s in ((1.0, 0.0), (-0.5, 0.866), (-0.5, -0.866))]
        points = torch.stack([self.vertices[chosen] + step, *(self.vertices[chosen] + r for r in ring)], dim=1)
        first = len(self.vertices) + 4 * torch.arange(len(chosen), device=points.device)[:, None, None]
        spikes = (first + torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1]], device=points.device)).view(-1, 3)
        directions = torch.stack([step, *ring], dim=1)
        whole = MeshView(
            self.name,
            torch.cat([self.vertices, points.view(-1, 3)]),
            torch.cat([self.faces, spikes]),
            colors=torch.cat([colors, torch.ones(4 * len(chosen), 3, device=colors.device)]),
            normals=torch.cat([self.normals, torch.nn.functional.normalize(directions.view(-1, 3), dim=1)]),
        )
        return whole, legend

    @torch.no_grad()
    def draw(self, camera: Camera, size: tuple[int, int] = SIZE) -> tuple[torch.Tensor, Legend | None]:
        """Draws the mesh: images [N, H, W, C] as `Viewer.show` takes them, and a legend if they are colours."""
        mode = self.mode
        if mode == "gradients":
            whole, legend = self._arrows
            return whole.draw(camera, size)[0], legend
        pos = torch.nn.functional.pad(self.vertices, (0, 1), value=1.0)
        pos = (pos @ camera.matrix(size[1] / size[0]).to(pos).T)[None]
        glctx = glraster.RasterizeCudaContext(pos.device)
        if mode == "layers":
            with glraster.DepthPeeler(glctx, pos, self.faces, size) as peeler:
                layers = [peeler.rasterize_next_layer() for _ in range(LAYERS)]
            return torch.cat([self._shade(*layer, pos, camera, "shaded") for layer in layers]), None
        rast, rast_db = glraster.rasterize(glctx, pos, self.faces, size)
        ids = _ids(rast)
        if mode == "ids":
            return ids[..., None], None
        if mode == "depth":
            depth, _ = glraster.interpolate(pos[0, :, 3:].contiguous(), rast, self.faces)
            return depth.where((ids >= 0)[..., None], -torch.inf), None
        return self._shade(rast, rast_db, pos, camera, mode), None

    def _shade(self, rast, rast_db, pos, camera: Camera, mode: str) -> torch.Tensor:
        """Colours [1, H, W, 3] of the surface that `rast` holds."""
        normals, _ = glraster.interpolate(self.normals, rast, self.faces)
        normals = torch.nn.functional.normalize(normals, dim=-1)
        if mode == "normals":
            color = normals * 0.5 + 0.5
        else:
            color = self._base_color(rast, rast_db, mode) * _light(normals, camera)
        if mode == "wireframe":
            color = torch.lerp(color * 0.5, torch.ones_like(color), _lines(rast, rast_db))
        ids = _ids(rast)
        color = color.where((ids >= 0)[..., None], BACKGROUND)
        return glraster.antialias(color.contiguous(), rast, pos, self.faces, self._topology)

    def _base_color(self, rast, rast_db, mode: str) -> torch.Tensor:
        if mode in ("checker", "texture") and self.uv is not None:
            uv, uv_da = glraster.interpolate(self.uv, rast, self.faces, rast_db, diff_attrs="all")
            if mode == "checker":
                cells = (uv * 16).floor().sum(-1, keepdim=True) % 2
                hue = torch.cat([uv.frac().abs(), torch.full_like(cells, 0.5)], dim=-1)
                return 0.35 + 0.25 * cells + 0.4 * hue
        if self.colors is not None:
            color, _ = glraster.interpolate(self.colors, rast, self.faces)
        else:
            color = rast.new_tensor([part.color for part in self.parts])[self._part_of(_ids(rast))]
        if mode == "texture" and self.uv is not None:
            ids = _ids(rast)
            for part in self.parts:
                inside = (ids >= part.first) & (ids < part.first + part.count)
                if part.texture is not None and inside.any():
                    how: dict[str, Any] = {"filter_mode": "anisotropic", "mip_filter": "area"}
                    found = glraster.texture(part.texture[None].to(uv), uv, uv_da, **how)
                    color = found.where(inside[..., None], color)
        return color

    def _part_of(self, ids: torch.Tensor) -> torch.Tensor:
        starts = torch.tensor([part.first for part in self.parts], device=ids.device)
        return (torch.searchsorted(starts, ids.long(), right=True) - 1).clamp(min=0)


def _ids(rast: torch.Tensor) -> torch.Tensor:
    """[N, H, W] int32 triangle ids, -1 for none; see `glraster.rasterize` for how `rast` holds them."""
    codes = rast[..., 3].contiguous()
    return torch.where(codes > 2**24, codes.view(torch.int32) - 0x4A800000, codes.int()) - 1


def _light(normals: torch.Tensor, camera: Camera) -> torch.Tensor:
    """[N, H, W, 1]: a light beside the camera, from both sides of a surface, and some from everywhere."""
    direction = torch.nn.functional.normalize(torch.tensor([0.3, 0.5, 1.0]), dim=0) @ camera.view[:3, :3]
    return 0.25 + 0.75 * (normals @ direction.to(normals))[..., None].abs()


def _lines(rast: torch.Tensor, rast_db: torch.Tensor) -> torch.Tensor:
    """[N, H, W, 1]: 1 on the edges of triangles, 0 from about a pixel away."""
    u, v = rast[..., 0], rast[..., 1]
    du, dv = rast_db[..., :2], rast_db[..., 2:]
    weights = torch.stack([u, v, 1 - u - v], dim=-1)
    slopes = torch.stack([du.norm(dim=-1), dv.norm(dim=-1), (du + dv).norm(dim=-1)], dim=-1)
    pixels = (weights / slopes.clamp(min=1e-20)).amin(-1, keepdim=True)  # to the nearest edge
    return (1.3 - pixels).clamp(0, 1)
