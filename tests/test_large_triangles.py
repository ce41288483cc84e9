"""The two kernels for large triangles, tiles (made for GPUs) and bands (made for CPUs), are equal."""

import pytest
import torch

import glraster
from glraster.rasterize import make_scene


@pytest.mark.parametrize("range_mode", [False, True])
@pytest.mark.parametrize("peel", [False, True])
def test_tiles_and_bands_give_the_same_keys(device, range_mode, peel):
    generator = torch.Generator().manual_seed(3)
    pos = torch.randn(2, 60, 4, generator=generator)
    pos[..., 3] = pos[..., 3] * 0.5 + 1  # some corners behind the eye
    tri = torch.randint(0, 60, (40, 3), generator=generator, dtype=torch.int32)
    ranges = torch.tensor([[0, 25], [0, 0], [10, 30]], dtype=torch.int32) if range_mode else None
    context = glraster.RasterizeCudaContext(device)
    pos = (pos[0] if range_mode else pos).to(device)
    _, scene = make_scene("test", context, pos, tri.to(device), (150, 201), ranges, "none")
    first = context.find_visible(scene) if peel else None
    bands = context.find_visible(scene, first, by_bands=True).ids
    tiles = context.find_visible(scene, first, by_bands=False).ids
    assert (bands == tiles).all()
    assert (bands.int() >= 0).float().mean() > 0.3
