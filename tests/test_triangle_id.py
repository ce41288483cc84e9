"""mask and triangle_id: what channel 3 of rast says, exactly, for any number of triangles."""

import pytest
import torch
from scenes import soup

import glraster

LARGEST = 0x7F800000 - 0x4A800000 - 2  # the largest id whose float is finite


def rast_with(*values: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """[1, 1, len(values), 4] with the values in channel 3."""
    rast = torch.rand(1, 1, len(values), 4, dtype=dtype)
    rast[..., 3] = torch.tensor(values, dtype=dtype)
    return rast


def test_small_ids_and_none(device):
    rast = rast_with(0, 1, 2, 7, 2**24 - 1, 2**24, -1, float("nan")).to(device)
    ids = glraster.triangle_id(rast)
    assert ids.dtype == torch.int32 and ids.shape == (1, 1, 8) and ids.device == rast.device
    assert ids.flatten().tolist() == [-1, 0, 1, 6, 2**24 - 2, 2**24 - 1, -1, -1]
    covered = glraster.mask(rast)
    assert covered.dtype == torch.float32 and covered.shape == (1, 1, 8, 1)
    assert covered.flatten().tolist() == [0, 1, 1, 1, 1, 1, 0, 0]


def test_ids_that_float32_cannot_count():
    ids = torch.tensor([2**24 - 1, 2**24, 2**24 + 1, 2**25 + 12345, 10**8 + 7, LARGEST], dtype=torch.int32)
    rast = rast_with(*[0.0] * len(ids))
    rast[..., 3] = torch.where(ids < 2**24, (ids + 1).float(), (ids + 1 + 0x4A800000).view(torch.float32))
    assert torch.equal(glraster.triangle_id(rast).flatten(), ids)
    assert (rast[..., 3].int() - 1).flatten().tolist() != ids.tolist()  # what programs write
    exact = rast_with(*(ids + 1).tolist(), dtype=torch.float64)
    assert torch.equal(glraster.triangle_id(exact).flatten(), ids)
    assert glraster.mask(rast).all() and glraster.mask(exact).dtype == torch.float64


@pytest.mark.slow
def test_the_last_of_seventeen_million_triangles(glctx, device):
    pos, tri = soup(0, 1, 1)
    large = torch.zeros(2**24 + 3, 3, dtype=torch.int32, device=device)
    large[-1] = tri.to(device)
    rast, _ = glraster.rasterize(glctx, pos.to(device), large, (8, 8))
    ids, few = glraster.triangle_id(rast), glraster.rasterize(glctx, pos.to(device), tri.to(device), (8, 8))[0]
    assert torch.equal(ids >= 0, glraster.mask(few)[..., 0] > 0) and (ids >= 0).any()
    assert (ids[ids >= 0] == 2**24 + 2).all()


def test_no_gradients_and_views():
    rast = rast_with(0, 5, 3).requires_grad_()
    assert not glraster.triangle_id(rast).requires_grad and not glraster.mask(rast).requires_grad
    assert glraster.triangle_id(rast.flip(2)).flatten().tolist() == [2, 4, -1]
    assert glraster.triangle_id(torch.zeros(0, 4, 4, 4)).shape == (0, 4, 4)


@pytest.mark.parametrize("op", [glraster.mask, glraster.triangle_id])
def test_errors(op):
    must = rf"^{op.__name__}\(\): rast must be"
    with pytest.raises(TypeError, match=must + r" a tensor, float32 or float64 \[N, H, W, 4\]"):
        op(None)
    with pytest.raises(TypeError, match=must + " float32 or float64 .*, got int32"):
        op(torch.zeros(1, 2, 2, 4, dtype=torch.int32))
    with pytest.raises(ValueError, match=must + r" .*, got float32 \[2, 2, 4\]"):
        op(torch.zeros(2, 2, 4))
