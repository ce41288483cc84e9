"""A mesh as tensors."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .geometry import face_normals, vertex_normals
from .topology import Topology

__all__ = ["Mesh", "merge", "scaled_to_unit_sphere"]


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, with what it looks like.

    Attributes:
        pos: [V, 3] floats, positions.
        tri: [T, 3] int32, counter-clockwise seen from outside. Triangles are neighbours where they share indices.
        uv: [U, 2] floats, texture coordinates, t upwards; None: there are none.
        uv_tri: [T, 3] int32, the triangles' corners in `uv`: a texture may have seams where the surface has none.
        textures: [h, w, 3] floats from 0 to 1 each, row 0 at t = 0, as they stand in the file (sRGB); of any sizes. A
            material of one colour is a texture of one texel.
        material: [T] int32, the texture of each triangle; None: all have the first.
        color: [K, 3] floats from 0 to 1, colours of vertices; None: there are none.
        color_tri: [T, 3] int32, the triangles' corners in `color`.
    """

    pos: torch.Tensor
    tri: torch.Tensor
    uv: torch.Tensor | None = None
    uv_tri: torch.Tensor | None = None
    textures: tuple[torch.Tensor, ...] = ()
    material: torch.Tensor | None = None
    color: torch.Tensor | None = None
    color_tri: torch.Tensor | None = None

    def __post_init__(self):
        floats = {"pos": 3, "uv": 2, "color": 3}
        for name, channels in floats.items():
            value = getattr(self, name)
            if value is not None and (value.ndim != 2 or value.shape[1] != channels or not value.is_floating_point()):
                raise ValueError(f"Mesh(): {name} must be floats [.., {channels}], got {value.dtype} {[*value.shape]}")
        for name in ("tri", "uv_tri", "material", "color_tri"):
            value, shape = getattr(self, name), (len(self.tri),) if name == "material" else (len(self.tri), 3)
            if value is not None and (value.dtype != torch.int32 or value.shape != shape):
                raise ValueError(f"Mesh(): {name} must be int32 {[*shape]}, got {value.dtype} {[*value.shape]}")
        for values, of in (("uv", "uv_tri"), ("color", "color_tri")):
            if (getattr(self, values) is None) != (getattr(self, of) is None):
                raise ValueError(f"Mesh(): {values} and {of} go together, got one of them")

    def replace(self, **tensors: Any) -> "Mesh":
        """Returns the mesh with other tensors in place of some: `mesh.replace(pos=moved)`."""
        return dataclasses.replace(self, **tensors)

    def to(self, device: torch.device | str) -> "Mesh":
        """Returns the mesh on another device."""
        return self._of_each(lambda tensor: tensor.to(device))

    def detach(self) -> "Mesh":
        """Returns the mesh without gradients, for example to save it."""
        return self._of_each(torch.Tensor.detach)

    def _of_each(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Mesh":
        tensors = {name: function(value) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return self.replace(**tensors, textures=tuple(map(function, self.textures)))

    @property
    def topology(self) -> Topology:
        """The edges; keep it where the triangles stay the same."""
        return Topology(self.tri, len(self.pos))

    def vertex_normals(self) -> torch.Tensor:
        """[V, 3], see `glraster.mesh.vertex_normals`."""
        return vertex_normals(self.pos, self.tri)

    def face_normals(self) -> torch.Tensor:
        """[T, 3], see `glraster.mesh.face_normals`."""
        return face_normals(self.pos, self.tri)


def merge(meshes: Sequence[Mesh]) -> tuple[Mesh, torch.Tensor]:
    """Puts meshes into one, for a minibatch of different meshes in `rasterize`'s range mode.

    What one mesh lacks and another has becomes zeros (texture coordinates), white (colours) or a white texture.

    Args:
        meshes: at least one, on one device.

    Returns:
        mesh: vertices, triangles and textures one after another.
        ranges: [N, 2] int32 on the CPU, the first triangle and the number of triangles of each: the argument of
            `rasterize`. Of [N, V_n, 4] positions of one mesh each, cat them to [sum V_n, 4].

    Raises:
        ValueError: no meshes.
    """
    if not meshes:
        raise ValueError("merge(): meshes must be at least one, got none")
    counts = torch.tensor([len(mesh.tri) for mesh in meshes], dtype=torch.int32)
    ranges = torch.stack([counts.cumsum(0, dtype=torch.int32) - counts, counts], dim=1)
    pos, tri = _merged([(mesh.pos, mesh.tri) for mesh in meshes])
    uv, uv_tri = _merged([_or_constant(mesh.uv, mesh.uv_tri, mesh, (0.0, 0.0)) for mesh in meshes])
    color, color_tri = _merged([_or_constant(mesh.color, mesh.color_tri, mesh, (1.0, 1.0, 1.0)) for mesh in meshes])
    textures: list[torch.Tensor] = []
    materials = []
    for mesh in meshes:
        zeros = torch.zeros_like(mesh.tri[:, 0])
        materials.append((zeros if mesh.material is None else mesh.material) + len(textures))
        textures += mesh.textures or [mesh.pos.new_ones(1, 1, 3)]
    merged = Mesh(pos, tri, textures=tuple(textures), material=torch.cat(materials))
    if all(not mesh.textures for mesh in meshes):
        merged = merged.replace(textures=(), material=None)
    if any(mesh.uv is not None for mesh in meshes):
        merged = merged.replace(uv=uv, uv_tri=uv_tri)
    if any(mesh.color is not None for mesh in meshes):
        merged = merged.replace(color=color, color_tri=color_tri)
    return merged, ranges


def _or_constant(values, corners, mesh, constant) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and their triangles; one value for all where there are none."""
    if values is not None:
        return values, corners
    return mesh.pos.new_tensor([constant]), torch.zeros_like(mesh.tri)


def _merged(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Values one after another, and triangles that count on."""
    first, moved = 0, []
    for values, tri in parts:
        moved.append(tri + first)
        first += len(values)
    return torch.cat([values for values, _ in parts]), torch.cat(moved)


def scaled_to_unit_sphere(pos: torch.Tensor) -> torch.Tensor:
    """Returns positions [V, 3] moved and scaled to touch the unit sphere from inside, their bounding box centred.

    Computed in float64 whatever the dtype: far from the origin, float32 loses the shape in the subtraction's operands
    already, so convert to it afterwards.
    """
    exact = pos.double()
    low, high = exact.aminmax(dim=0)
    centred = exact - (low + high) / 2
    return (centred / centred.norm(dim=1).max()).to(pos.dtype)
