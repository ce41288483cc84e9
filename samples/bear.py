"""A mesh for the samples that need no file: a bear, the surface of a union of balls."""

from collections.abc import Callable

import torch

from glraster import mesh as meshes


def bear(cells: int = 80) -> meshes.Mesh:
    """Returns a sitting bear that faces +Z and waves with its left paw (+X), so that one sees what is up and left."""
    found = isosurface(_bear_field, cells)
    return found.replace(pos=meshes.scaled_to_unit_sphere(found.pos))


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


def isosurface(field: Callable[[torch.Tensor], torch.Tensor], cells: int = 80, bound: float = 1.1) -> meshes.Mesh:
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
        positions = meshes.neighbour_mean(positions, triangles).requires_grad_()
        values = field(positions)
        (slope,) = torch.autograd.grad(values.sum(), positions)
        positions = (positions - values[:, None] * slope / slope.square().sum(dim=1, keepdim=True)).detach()
    return meshes.Mesh(positions, triangles)
