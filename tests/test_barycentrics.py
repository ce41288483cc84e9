"""The barycentrics step of rasterize by itself, for given triangle ids: also where a pixel's centre is outside."""

import pytest
import torch
from reference import rasterize as reference
from scenes import soup, triangles

from glraster.rasterize import barycentrics
from glraster.scene import Scene, Visibility

ONE = triangles([0, 1, 2])


def apply(pos, tri, ids, output_db=True, grad_db=True):
    """rast and rast_db for ids [N, H, W]; positions without minibatch are shared by all images."""
    ranges = None if pos.ndim == 3 else torch.zeros(len(ids), 2, dtype=torch.int32)
    scene = Scene(pos.detach(), tri.to(pos.device), *ids.shape[1:], ranges, "none")
    return barycentrics(pos, scene, Visibility(ids.int().to(pos.device).contiguous()), output_db, grad_db)


def test_clamping_by_hand(device):
    # x = -3/4 .. 3/4 and y likewise; unclamped u = -(x + y)/2 and v = (x + 1)/2 of the lower left half's triangle.
    pos = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [-1, 1, 0, 1]]], device=device)
    pos[..., :2] = pos[..., :2] * 0.5 - 0.25  # its right angle is at (-3/4, -3/4), the other corners at 1/4
    rast, _ = apply(pos, ONE, torch.zeros(1, 4, 4))
    line = torch.tensor([-0.75, -0.25, 0.25, 0.75])
    y, x = torch.meshgrid(line, line, indexing="ij")
    v, w = x + 0.75, y + 0.75
    u = (1 - v - w).clamp(0, 1)
    v = v.clamp(0, 1)
    total = (u + v).clamp(min=1)
    torch.testing.assert_close(rast[0, ..., 0].cpu(), u / total)
    torch.testing.assert_close(rast[0, ..., 1].cpu(), v / total)
    assert (rast[..., 3] == 1).all()


def test_sum_of_weights_is_clamped_by_hand(device):
    # Beyond the side opposite vertex 2: u = v = 3/4 there, whose sum 3/2 divides both.
    pos = torch.tensor([[[-1.0, 0, 0, 1], [1, 0, 0, 1], [0, 1.0, 0, 1]]], device=device)
    rast, _ = apply(pos, ONE, torch.zeros(1, 2, 1))  # centres at (0, -1/2) and (0, 1/2)
    torch.testing.assert_close(rast[0, :, 0, :2].cpu(), torch.tensor([[0.5, 0.5], [0.25, 0.25]]))


def test_depth_is_clamped(device):
    pos = torch.tensor([[[-1.0, -1, -9, 1], [1, -1, 9, 1], [-1, 1, 9, 1]]], device=device)
    rast, _ = apply(pos, ONE, torch.zeros(1, 4, 4))
    assert rast[..., 2].min() == -1 and rast[..., 2].max() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shared", [False, True], ids=["instanced", "range"])
def test_equals_reference_inside_and_outside(device, dtype, shared):
    pos, tri = soup(0, 3, 6)
    pos = pos[0] if shared else pos
    ids = torch.randint(-1, 6, (3, 9, 13), generator=torch.Generator().manual_seed(0))
    rast, rast_db = apply(pos.to(device, dtype), tri, ids)
    expected, expected_db = reference.barycentrics(pos, tri, ids, (9, 13))
    assert (expected[..., 0] + expected[..., 1] == 1).float().mean() > 0.1  # clamped
    tolerance = {"rtol": 2e-4, "atol": 2e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(rast.cpu().double(), expected, **tolerance)
    torch.testing.assert_close(rast_db.cpu().double(), expected_db, **tolerance)


@pytest.mark.parametrize("shared", [False, True], ids=["instanced", "range"])
def test_gradcheck(device, shared):
    # 1e-6 is added to S in the backward pass alone; it vanishes beside S of positions as large as these.
    pos = torch.tensor([[-3.0, -2, 0.1, 1.2], [3, -2.5, 0.4, 0.8], [-0.3, 1.5, -0.2, 1.5], [2, 3, 0.3, 0.6]])
    other = pos + torch.tensor([0.1, -0.05, 0, 0.03])
    pos = 100 * (pos if shared else torch.stack([pos, other])).to(device, torch.float64)
    tri = triangles([0, 1, 2], [1, 3, 2])
    ids = torch.tensor([[[0, 0, 0], [-1, 0, 1]], [[-1, 0, 0], [-1, -1, 1]]])
    expected, _ = reference.barycentrics(pos.cpu(), tri, ids, (2, 3))
    u, v = expected[ids >= 0][:, :2].unbind(-1)
    assert (u > 0).all() and (v > 0).all() and (u + v < 1).all()  # no clamp is active

    def differentiable_outputs(pos):
        rast, rast_db = apply(pos, tri, ids)
        return rast[..., :2], rast_db

    assert torch.autograd.gradcheck(differentiable_outputs, pos.requires_grad_(), eps=1e-4, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-1, 1e-3, 3e-4, 1e-5])
@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("grad_db", [True, False])
def test_gradient_of_small_triangles(device, size, turn, grad_db):
    # S is about size^2: far above, near and far below the 1e-6 that keeps it from zero, with either sign.
    corners = torch.tensor([[-1.0, -0.7, 0, 0], [1.1, -0.8, 0, 0], [0.1, 1.2, 0, 0]], dtype=torch.float64)
    if turn < 0:
        corners = corners[[1, 0, 2]]
    base = torch.tensor([0.0, 0, 0.2, 1], dtype=torch.float64)
    pos = (base + size * corners)[None] * torch.tensor([[0.7], [1.0], [1.6]], dtype=torch.float64)
    ids = torch.zeros(1, 1, 1, dtype=torch.long)
    mine, theirs = pos.to(device, copy=True).requires_grad_(), pos.clone().requires_grad_()
    outputs, expected = apply(mine, ONE, ids, grad_db=grad_db), reference.barycentrics(theirs, ONE, ids, (1, 1))
    g, g_db = torch.tensor([0.3, -0.7, 5, 5]).double(), torch.tensor([0.2, 0.5, -0.4, 0.9]).double() * grad_db
    torch.autograd.backward(outputs, [g.expand(1, 1, 1, 4).to(device), g_db.expand(1, 1, 1, 4).to(device)])
    torch.autograd.backward(expected, [g.expand(1, 1, 1, 4), g_db.expand(1, 1, 1, 4)])
    scale = float(theirs.grad.abs().max())
    torch.testing.assert_close(mine.grad.cpu(), theirs.grad, rtol=1e-7, atol=1e-9 * scale)
    assert scale > 0


def test_ids_that_do_not_exist(device):
    pos, tri = soup(1, 1, 2)
    pos = pos.to(device).requires_grad_()
    ids = torch.tensor([[[-1, -(2**31), 2, 2**31 - 1]]])
    rast, rast_db = apply(pos, tri, ids)
    assert not rast.any() and not rast_db.any()
    (rast.sum() + rast_db.sum()).backward()
    assert not pos.grad.any()


def test_triangles_without_area_give_finite_values(device):
    # A context does not show them; if ids name one all the same, nothing becomes NaN.
    pos = torch.tensor([[[0.0, 0, 0, 1], [0.5, 0.5, 0, 1], [1, 1, 0, 1]]], device=device, requires_grad=True)
    for corners in ([0, 1, 2], [0, 0, 0], [0, 1, 1]):
        rast, rast_db = apply(pos, triangles(corners), torch.zeros(1, 4, 4))
        assert rast.isfinite().all() and rast_db.isfinite().all()
        (rast.sum() + rast_db.sum()).backward()
        assert pos.grad.isfinite().all()


def test_outputs_that_are_not_asked_for(device):
    pos, tri = soup(2, 1, 2)
    pos = pos.to(device).requires_grad_()
    ids = torch.zeros(1, 3, 3)
    rast, rast_db = apply(pos, tri, ids, output_db=False)
    assert rast_db.shape == (1, 3, 3, 0) and torch.equal(rast, apply(pos, tri, ids)[0])
    _, rast_db = apply(pos, tri, ids, grad_db=False)
    rast_db.sum().backward()
    assert pos.grad is None or not pos.grad.any()
