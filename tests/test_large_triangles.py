"""The two ways to find what is visible, tiles (made for GPUs) and cells (made for CPUs), are equal."""

import pytest
import torch

import glraster
from glraster.rasterize import make_scene


@pytest.mark.parametrize("range_mode", [False, True])
@pytest.mark.parametrize("peel", [False, True])
def test_tiles_and_cells_give_the_same_keys(range_mode, peel):
    generator = torch.Generator().manual_seed(3)
    pos = torch.randn(2, 60, 4, generator=generator)
    pos[..., 3] = pos[..., 3] * 0.5 + 1  # some corners behind the eye
    tri = torch.randint(0, 60, (40, 3), generator=generator, dtype=torch.int32)
    ranges = torch.tensor([[0, 25], [0, 0], [10, 30]], dtype=torch.int32) if range_mode else None
    context = glraster.RasterizeCudaContext("cpu")
    pos = pos[0] if range_mode else pos
    _, scene = make_scene("test", context, pos, tri, (150, 201), ranges, "none")
    first = context.find_visible(scene, peeling=True) if peel else None
    cells = context.find_visible(scene, first, peeling=True, by_cells=True).ids
    tiles = context.find_visible(scene, first, peeling=True, by_cells=False).ids
    assert (cells == tiles).all()
    assert (cells.int() >= 0).float().mean() > 0.3
