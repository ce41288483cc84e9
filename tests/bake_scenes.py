"""Meshes for tests of baking, whose texels can be told by hand."""

import math

import torch

from glraster import mesh

SIDE = 16  # texels


def folded(pos: torch.Tensor, degrees: float = 60.0) -> torch.Tensor:
    """The sheet [..., 2] folded up and down along lines at every half, [..., 3]: lengths on it stay as they are."""
    x, y = pos.double().unbind(-1)
    turns = (x * 2).floor()
    along = torch.where(turns % 2 == 0, 2 * x - turns, turns + 1 - 2 * x) / 2
    return torch.stack([x * math.cos(math.radians(degrees)), y, along * math.sin(math.radians(degrees))], dim=-1)


def two_islands(gap: int = 4) -> mesh.Mesh:
    """A square of 8 x 8 texels in two halves that are `gap` texels apart in the layout, folded by 90 degrees between.

    The left half lies at z = 0 from x = -1 to 0, the right one at x = 0 from z = 0 to 1; y is from 0 to 2. In texels,
    the halves begin at columns 2 and 6 + gap, both at row 4.
    """
    pos = torch.tensor([[-1.0, 0, 0], [0, 0, 0], [0, 0, 1], [-1, 2, 0], [0, 2, 0], [0, 2, 1]])
    tri = torch.tensor([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]], dtype=torch.int32)
    columns = torch.tensor([2, 6, 6 + gap, 10 + gap])
    uv = torch.stack([columns.repeat(2), torch.tensor([4] * 4 + [12] * 4)], dim=1) / SIDE
    uv_tri = torch.tensor([[0, 1, 5], [0, 5, 4], [2, 3, 7], [2, 7, 6]], dtype=torch.int32)
    return mesh.Mesh(pos, tri, uv=uv.float(), uv_tri=uv_tri)
