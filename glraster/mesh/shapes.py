"""Simple meshes."""

import torch

from .geometry import normalized
from .surface import Mesh
from .topology import Topology

__all__ = ["cube", "grid", "icosphere"]


def icosphere(subdivisions: int = 4) -> Mesh:
    """Returns the unit sphere: an icosahedron subdivided, 20 * 4^subdivisions triangles."""
    g = (1 + 5**0.5) / 2
    corners: list[tuple[float, float, float]]
    corners = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0), (0, -1, g), (0, 1, g), (0, -1, -g), (0, 1, -g)]
    corners += [(g, 0, -1), (g, 0, 1), (-g, 0, -1), (-g, 0, 1)]
    fan = [(0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11), (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6)]
    fan += [(7, 1, 8), (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9), (4, 9, 5), (2, 4, 11), (6, 2, 10)]
    fan += [(8, 6, 7), (9, 8, 1)]
    pos, tri = normalized(torch.tensor(corners, dtype=torch.float64)), torch.tensor(fan)
    for _ in range(subdivisions):
        topology = Topology(tri)
        middles = topology.edge_of + len(pos)
        pos = normalized(torch.cat([pos, pos[topology.edges].mean(1)]))
        tri = split_in_four(tri, middles)
    return Mesh(pos.float(), tri.int())


def split_in_four(tri: torch.Tensor, middles: torch.Tensor) -> torch.Tensor:
    """Returns [4 T, 3]: each triangle cut at the middles [T, 3] of its edges, those at its corners first."""
    a, b, c = tri.unbind(1)
    ab, bc, ca = middles.to(tri.dtype).unbind(1)
    parts = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return torch.stack([torch.stack(part, dim=1) for part in parts], dim=1).reshape(-1, 3)


def cube() -> Mesh:
    """Returns the cube [-1, 1]^3: 8 vertices, 12 triangles; triangles 2 i and 2 i + 1 form face i."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    tri = [corner for a, b, c, d in faces for corner in ((a, b, c), (a, c, d))]
    return Mesh(corners, torch.tensor(tri, dtype=torch.int32))


def grid(rows: int, columns: int) -> Mesh:
    """Returns the square [-1, 1]^2 at z = 0, facing +Z, cut into rows x columns quads; texture coordinates 0 to 1."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows + 1), torch.linspace(-1, 1, columns + 1), indexing="ij")
    pos = torch.stack([x, y, torch.zeros_like(x)], dim=-1).reshape(-1, 3)
    corner = (torch.arange(rows)[:, None] * (columns + 1) + torch.arange(columns)).flatten().int()
    a, b, c, d = corner, corner + 1, corner + columns + 2, corner + columns + 1
    tri = torch.stack([torch.stack([a, b, c], dim=1), torch.stack([a, c, d], dim=1)], dim=1).reshape(-1, 3)
    return Mesh(pos, tri, uv=(pos[:, :2] + 1) / 2, uv_tri=tri)
