"""rasterize(..., grad_depth=True): gradients of z/w."""

import pytest
import torch
from reference import rasterize as reference
from scenes import soup, sphere, triangles

import glraster
from glraster import rasterize


def depth_gradient(pos, tri, size, weights, ranges=None) -> torch.Tensor:
    glctx = glraster.SoftwareRasterizer(pos.device)
    leaf = pos.clone().requires_grad_()
    rast, _ = rasterize(glctx, leaf, tri, size, ranges, grad_depth=True)
    assert torch.equal(rast, rasterize(glctx, pos, tri, size, ranges)[0])
    return torch.autograd.grad((rast[..., 2] * weights).sum(), leaf)[0]


def test_by_hand(device):
    # z = 1/4 + x / 2 over the only pixel, at (0, 0): its depth is the mean of the corners', by their barycentrics.
    pos = torch.tensor([[[-3.0, -3, -1.25, 1], [3, -3, 1.75, 1], [0, 3, 0.25, 1]]], device=device)
    found = depth_gradient(pos, triangles([0, 1, 2]).to(device), (1, 1), 1.0)[0]
    share = torch.tensor([0.25, 0.25, 0.5], device=device)
    expected = torch.stack([-0.5 * share, 0 * share, share, -0.25 * share], 1)
    torch.testing.assert_close(found, expected)


def plane_depth(pos, tri, ids) -> torch.Tensor:
    """z/w of every pixel [N, H, W], from the solution of sum lambda_k (x, y, w) = (f_x, f_y, 1); differentiable."""
    N, H, W = ids.shape
    image, row, column = (ids >= 0).nonzero(as_tuple=True)
    corners = pos.expand(N, *pos.shape[-2:])[image[:, None], tri.long()[ids[image, row, column]]].double()
    f = torch.stack([(2 * column + 1) / W - 1, (2 * row + 1) / H - 1, torch.ones_like(row)], 1).double()
    weights = torch.linalg.solve(corners[..., [0, 1, 3]].mT, f)
    return torch.zeros(N, H, W, dtype=torch.float64).index_put((image, row, column), (weights * corners[..., 2]).sum(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["sphere", "soup", "ranges", "column"])
def test_equals_reference(device, kind, dtype):
    pos, tri = soup(0, 2, 20, behind_eye=0.1) if kind == "soup" else sphere(2, 2)
    pos, size, ranges = pos.to(dtype), (20, 31), None
    if kind == "ranges":
        pos, ranges = pos[0], torch.tensor([[0, 320], [100, 50]], dtype=torch.int32)
    size = (40, 1) if kind == "column" else size
    weights = torch.rand((2, *size), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rast, _ = rasterize(glraster.SoftwareRasterizer("cpu"), pos, tri, size, ranges)
    leaf = pos.clone().requires_grad_()
    depth = plane_depth(leaf, tri, reference.decode_id(rast[..., 3]))
    torch.testing.assert_close(depth, rast[..., 2].double(), rtol=0, atol=1e-5)
    (expected,) = torch.autograd.grad((depth * weights).sum(), leaf)
    found = depth_gradient(pos.to(device), tri.to(device), size, weights.to(device, dtype), ranges).cpu()
    assert found[..., 2].any()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_finite_differences(device):
    pos, tri = (t.to(device) for t in sphere(1))
    pos = pos.double()
    generator = torch.Generator().manual_seed(0)
    velocity = torch.randn(pos.shape, generator=generator, dtype=torch.float64).to(device)
    glctx, size, step = glraster.SoftwareRasterizer(device), (24, 24), 1e-5
    ends = [rasterize(glctx, pos + s * step * velocity, tri, size)[0] for s in (1, -1)]
    same = (ends[0][..., 3] == ends[1][..., 3]).double()
    assert same.mean() > 0.98
    change = ((ends[0] - ends[1])[..., 2] * same).sum() / (2 * step)
    assert abs((depth_gradient(pos, tri, size, same) * velocity).sum() - change) < 1e-6 * change.abs()


def test_without_it_depth_has_no_gradient(device):
    pos, tri = (t.to(device) for t in sphere(1))
    leaf = pos.clone().requires_grad_()
    rast, _ = rasterize(glraster.SoftwareRasterizer(device), leaf, tri, (16, 16))
    assert not torch.autograd.grad(rast[..., 2].sum(), leaf)[0].any()


def test_other_gradients_stay(device):
    pos, tri = (t.to(device) for t in sphere(1))
    glctx, grads = glraster.SoftwareRasterizer(device), []
    for grad_depth in (False, True):
        leaf = pos.clone().requires_grad_()
        rast, rast_db = rasterize(glctx, leaf, tri, (16, 16), grad_depth=grad_depth)
        grads += torch.autograd.grad(rast[..., :2].square().sum() + rast_db.square().sum(), leaf)
    assert grads[0].any() and torch.equal(*grads)


def test_pixels_without_triangle_and_edge_on_faces(device):
    pos = torch.tensor([[-0.5, 0, 0, 1], [0.5, 0, 0.1, 1], [0, 0, 0.2, 1], [0, 0.5, 0.2, 1]], device=device)[None]
    tri = triangles([0, 1, 2], [9, 1, 2]).to(device)
    assert not depth_gradient(pos, tri, (8, 8), 1.0).any()
    assert depth_gradient(pos, torch.cat([tri, triangles([0, 1, 3]).to(device)]), (8, 8), 1.0).isfinite().all()
    assert depth_gradient(pos[:0], tri, (8, 8), 1.0).shape == (0, 4, 4)
