"""Meshes of the samples: positions [V, 3] float32 and triangles [T, 3] int32, counter-clockwise seen from outside."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import trimesh


class Mesh(NamedTuple):
    """A triangle mesh."""

    positions: torch.Tensor  # [V, 3] float32
    triangles: torch.Tensor  # [T, 3] int32

    def to(self, device: torch.device) -> "Mesh":
        return Mesh(self.positions.to(device), self.triangles.to(device))


def cube() -> Mesh:
    """Returns the cube [-1, 1]^3: 8 vertices, 12 triangles; triangles 2 i and 2 i + 1 form face i."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [triangle for a, b, c, d in faces for triangle in ((a, b, c), (a, c, d))]
    return Mesh(corners, torch.tensor(triangles, dtype=torch.int32))


def sphere(subdivisions: int = 4) -> Mesh:
    """Returns the unit sphere: an icosahedron subdivided, 20 * 4^subdivisions triangles."""
    return _from_trimesh(trimesh.creation.icosphere(subdivisions, radius=1.0))


def bear(cells: int = 80) -> Mesh:
    """Returns a sitting bear that faces +Z and waves with its left paw (+X), so that one sees what is up and left."""
    return normalised(isosurface(_bear_field, cells))


def _bear_field(points: torch.Tensor) -> torch.Tensor:
    """Distance to a union of balls, softened where they meet."""
    distances = torch.cdist(points, _BEAR[:, :3]) - _BEAR[:, 3]
    softness = 0.035
    return -softness * torch.logsumexp(-distances / softness, dim=-1)


# x, y, z, radius of the bear's balls.
_BEAR = torch.tensor(
    [
        [0.00, -0.22, 0.00, 0.44],  # belly
        [0.00, 0.05, 0.00, 0.34],  # chest
        [0.00, 0.52, 0.04, 0.34],  # head
        [-0.27, 0.80, 0.02, 0.13],  # ears
        [0.27, 0.80, 0.02, 0.13],
        [0.00, 0.44, 0.32, 0.15],  # muzzle
        [0.00, 0.50, 0.47, 0.05],  # nose
        [-0.13, 0.60, 0.345, 0.045],  # eyes
        [0.13, 0.60, 0.345, 0.045],
        [-0.36, 0.12, 0.10, 0.13],  # right arm, hanging
        [-0.43, 0.02, 0.17, 0.13],
        [-0.47, -0.08, 0.25, 0.13],
        [-0.49, -0.18, 0.33, 0.14],
        [0.36, 0.14, 0.06, 0.13],  # left arm, waving
        [0.46, 0.21, 0.08, 0.13],
        [0.56, 0.29, 0.10, 0.13],
        [0.64, 0.38, 0.12, 0.14],
        [-0.24, -0.50, 0.24, 0.19],  # legs
        [0.24, -0.50, 0.24, 0.19],
        [-0.28, -0.51, 0.36, 0.18],
        [0.28, -0.51, 0.36, 0.18],
        [-0.32, -0.49, 0.49, 0.19],
        [0.32, -0.49, 0.49, 0.19],
        [0.00, -0.42, -0.43, 0.12],  # tail
    ]
)


def isosurface(field: Callable[[torch.Tensor], torch.Tensor], cells: int = 80, bound: float = 1.1) -> Mesh:
    """Returns the surface where a field is zero, by surface nets (Gibson 1998) on a grid over [-bound, bound]^3.

    Args:
        field: maps points [..., 3] to values [...]: negative inside, and close to a distance near the surface.
        cells: grid cells along each axis; each cell that the surface passes through gives a vertex.
        bound: half the side of the grid, which must contain the surface.
    """
    ticks = torch.linspace(-bound, bound, cells + 1)
    inside = field(torch.cartesian_prod(ticks, ticks, ticks)).reshape([cells + 1] * 3) < 0
    corners = inside.unfold(0, 2, 1).unfold(1, 2, 1).unfold(2, 2, 1).flatten(3)
    mixed = corners.any(dim=-1) & ~corners.all(dim=-1)
    vertex = torch.zeros(mixed.shape, dtype=torch.int32)
    vertex[mixed] = torch.arange(int(mixed.sum()), dtype=torch.int32)
    quads = []
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        # Grid edges along the first axis; where the surface crosses one, the four cells around it form a quad.
        cell = vertex.permute(axes)
        quad = torch.stack([cell[:, :-1, :-1], cell[:, 1:, :-1], cell[:, 1:, 1:], cell[:, :-1, 1:]], dim=-1)
        start, end = inside.permute(axes)[:-1, 1:-1, 1:-1], inside.permute(axes)[1:, 1:-1, 1:-1]
        quads += [quad[start & ~end], quad[end & ~start].flip(1)]
    quads = torch.cat(quads)
    triangles = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    positions = (mixed.nonzero() + 0.5) * (2 * bound / cells) - bound
    for _ in range(6):  # spread out, then onto the surface: Newton's method along the gradient
        positions = neighbour_mean(positions, triangles).requires_grad_()
        values = field(positions)
        (slope,) = torch.autograd.grad(values.sum(), positions)
        positions = (positions - values[:, None] * slope / slope.square().sum(dim=1, keepdim=True)).detach()
    return Mesh(positions, triangles)


def load(path: str | Path) -> Mesh:
    """Reads any mesh file that trimesh reads (OBJ, PLY, GLB, STL, ...), normalised to the unit sphere.

    Vertices that differ in normal or texture coordinate alone become one, so that no seam looks like a silhouette.

    Raises:
        ValueError: the file holds no triangles.
    """
    loaded = trimesh.load_mesh(path)
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    if len(loaded.faces) == 0:
        raise ValueError(f"{path} holds no triangles")
    return normalised(_from_trimesh(loaded))


def save(path: str | Path, mesh: Mesh) -> None:
    """Writes a mesh in the format of the file name's ending."""
    positions, triangles = (tensor.detach().cpu().numpy() for tensor in mesh)
    trimesh.Trimesh(positions, triangles, process=False).export(path)


def normalised(mesh: Mesh) -> Mesh:
    """Returns the mesh moved and scaled so that it touches the unit sphere from inside, its bounding box centred."""
    low, high = mesh.positions.aminmax(dim=0)
    centred = mesh.positions - (low + high) / 2
    return Mesh(centred / centred.norm(dim=1).max(), mesh.triangles)


def vertex_normals(mesh: Mesh) -> torch.Tensor:
    """Returns [V, 3] unit normals, the area-weighted mean of the triangles around; differentiable in the positions."""
    a, b, c = mesh.positions[mesh.triangles.long()].unbind(1)
    per_triangle = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(mesh.positions)
    for corner in mesh.triangles.long().unbind(1):
        normals = normals.index_add(0, corner, per_triangle)
    return torch.nn.functional.normalize(normals, dim=1)


def edges(triangles: torch.Tensor) -> torch.Tensor:
    """Returns the undirected edges [E, 2] int64, each once, of triangles [T, 3]."""
    ends = triangles.long()[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    low, high = ends.aminmax(dim=1)
    count = int(high.max()) + 1 if len(high) else 1
    edge = (low * count + high).unique()  # one number an edge: many times faster than pairs
    return torch.stack([edge // count, edge % count], dim=1)


def neighbour_mean(positions: torch.Tensor, triangles: torch.Tensor) -> torch.Tensor:
    """Returns [V, 3]: for every vertex the mean of the vertices that it shares an edge with."""
    found = edges(triangles)
    start, end = torch.cat([found, found.flip(1)]).unbind(1)
    count = torch.bincount(start, minlength=len(positions)).clamp(min=1)
    return torch.zeros_like(positions).index_add(0, start, positions[end]) / count[:, None]


def _from_trimesh(mesh: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces, dtype=torch.int32))
