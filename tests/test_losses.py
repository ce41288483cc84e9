"""Losses of meshes and images, beside plain loops; gradients; open, degenerate and tangled meshes."""

import math
import sys

import pytest
import torch
from reference import losses as reference

from glraster import losses, mesh

F64 = torch.float64
MESH_LOSSES = [
    losses.laplacian_loss,
    losses.normal_consistency_loss,
    losses.flatten_loss,
    losses.edge_length_loss,
    lambda pos, tri: losses.edge_length_loss(pos, tri, target=None),
]


def shape(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A mesh whose vertices are moved at random: closed, open, or with three triangles at one edge."""
    made = {"closed": mesh.cube, "open": lambda: mesh.grid(2, 3), "fan": lambda: mesh.grid(1, 1)}[name]()
    pos, tri = made.pos.double(), made.tri
    if name == "fan":
        pos, tri = torch.cat([pos, pos[:1] + 1]), torch.cat([tri, torch.tensor([[0, 3, 4]], dtype=torch.int32)])
    return pos + 0.2 * torch.randn(pos.shape, generator=torch.Generator().manual_seed(3), dtype=F64), tri


def test_by_hand():
    roof = torch.tensor([[0.0, 0, 0], [2, 0, 0], [1, 1, 0], [1, 0, 1]], dtype=F64)  # a right angle along the X axis
    tri = torch.tensor([[0, 1, 2], [1, 0, 3]], dtype=torch.int32)
    assert losses.normal_consistency_loss(roof, tri).item() == pytest.approx(1)
    assert losses.flatten_loss(roof, tri).item() == pytest.approx(1)
    assert losses.edge_length_loss(roof, tri).item() == pytest.approx((4 + 4 * 2) / 5)
    assert losses.edge_length_loss(roof, tri, target=2).item() == pytest.approx(4 * (2 - math.sqrt(2)) ** 2 / 5)
    # All four are on the border: each less the mean of its two neighbours along it.
    assert losses.laplacian_loss(roof, tri).item() == pytest.approx((2 * 1.5 + 2 * 1) / 4)
    other = torch.tensor([[0, 1, 2], [0, 1, 3]], dtype=torch.int32)  # the second one inside out
    assert losses.normal_consistency_loss(roof, other).item() == pytest.approx(1)


@pytest.mark.parametrize("name", ["closed", "open"])
def test_equal_to_plain_loops(name):
    pos, tri = shape(name)
    torch.testing.assert_close(losses.laplacian_loss(pos, tri), reference.laplacian(pos, tri))
    torch.testing.assert_close(losses.edge_length_loss(pos, tri, 0.7), reference.edge_length(pos, tri, 0.7))
    cosines = torch.stack(reference.dihedral_cosines(pos, tri))
    torch.testing.assert_close(losses.flatten_loss(pos, tri), (cosines + 1).square().sum())
    torch.testing.assert_close(losses.normal_consistency_loss(pos, tri), (cosines + 1).mean())


@pytest.mark.parametrize("name", ["closed", "open", "fan"])
@pytest.mark.parametrize("loss", MESH_LOSSES[:4])
def test_gradients(name, loss):
    pos, tri = shape(name)
    assert torch.autograd.gradcheck(lambda p: loss(p, tri), pos.requires_grad_())


@pytest.mark.parametrize("loss", MESH_LOSSES)
def test_minibatches_and_topology(loss):
    pos, tri = shape("open")
    topology = mesh.Topology(tri, len(pos))
    both = torch.stack([pos, 2 * pos.flip(1)])
    torch.testing.assert_close(loss(both, topology), (loss(pos, tri) + loss(2 * pos.flip(1), tri)) / 2)
    assert loss(pos.float(), topology).dtype == torch.float32


def test_a_flat_sheet_costs_nothing_but_its_corners():
    sheet = mesh.grid(6, 5)
    bent = mesh.laplacian(sheet.tri, kind="mean") @ sheet.pos.double()
    assert (bent.norm(dim=1) > 1e-6).sum() == 4
    assert losses.normal_consistency_loss(sheet.pos, sheet.tri).item() < 1e-6
    assert losses.flatten_loss(sheet.pos, sheet.tri).item() < 1e-6


@pytest.mark.parametrize("loss", MESH_LOSSES)
@pytest.mark.parametrize("case", ["no area", "one triangle", "nothing", "a loose vertex"])
def test_degenerate_meshes_stay_finite(loss, case):
    pos, tri = shape("open")
    if case == "no area":
        pos = pos * 0
    elif case == "one triangle":
        tri = tri[:1]
    elif case == "nothing":
        pos, tri = pos[:0], tri[:0]
    else:
        pos = torch.cat([pos, pos[:1] + 5])
    pos.requires_grad_()
    value = loss(pos, tri)
    value.backward()
    assert value.isfinite() and pos.grad.isfinite().all()
    if case == "a loose vertex":
        assert not pos.grad[-1].any()


def test_chamfer():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 3, generator=generator, dtype=F64, requires_grad=True) for n in (7, 5))
    for squared in (True, False):
        found = losses.chamfer_distance(a, b, squared=squared)
        torch.testing.assert_close(found, reference.chamfer(a, b, 2 if squared else 1))
        assert torch.autograd.gradcheck(lambda x, y, s=squared: losses.chamfer_distance(x, y, squared=s), (a, b))
    assert losses.chamfer_distance(a, a.flip(0)).item() == 0
    far = torch.tensor([[1e4, 1e4, 1e4]]) + torch.tensor([[0.0, 0, 0], [0.01, 0, 0]])
    assert losses.nearest_points(far, far).tolist() == [0, 1]


def test_both_ways_to_nearest_points(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(40, 3, generator=generator), torch.randn(9, 3, generator=generator)
    whole = losses.nearest_points(a, b)
    monkeypatch.setattr(losses.mesh, "_MOST_DISTANCES", 30)
    assert torch.equal(losses.mesh._nearest_of_all(a, b), whole)
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    assert torch.equal(losses.nearest_points(a, b), whole)


def test_silhouette_iou():
    a = torch.zeros(3, 4, 4)
    b = torch.zeros(3, 4, 4)
    a[0, :, :2], b[0, :2] = 1, 1  # 4 of 12 pixels
    a[1], b[1] = 0.5, 1  # 8 of 16
    torch.testing.assert_close(losses.silhouette_iou(a, b), torch.tensor([1 / 3, 1 / 2, 1]))
    assert losses.silhouette_iou_loss(a, b).item() == pytest.approx(1 - 11 / 18)
    inputs = [torch.rand(2, 3, 3, 1, dtype=F64, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    assert torch.autograd.gradcheck(losses.silhouette_iou_loss, [x.requires_grad_() for x in inputs])
    empty = torch.zeros(1, 4, requires_grad=True)
    losses.silhouette_iou_loss(empty, torch.zeros(1, 4)).backward()
    assert empty.grad.isfinite().all()


def test_total_variation():
    image = torch.randn(2, 4, 3, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(losses.total_variation(image), reference.total_variation(image))
    assert torch.autograd.gradcheck(losses.total_variation, image.requires_grad_())
    assert losses.total_variation(torch.ones(1, 1, 1, 3)).item() == 0
    assert losses.total_variation(torch.tensor([0.0, 1, 3]).view(1, 1, 3, 1)).item() == 1.5


def test_psnr():
    image = torch.zeros(2, 4, 4, 3)
    assert losses.psnr(image, image + 0.1).tolist() == pytest.approx([20, 20])
    assert losses.psnr(image, image + 25.5, peak=255).tolist() == pytest.approx([20, 20])
    assert losses.psnr(image, image).isinf().all()
    inputs = [torch.rand(2, 3, 3, 1, dtype=F64, generator=torch.Generator().manual_seed(k)) for k in (0, 1)]
    assert torch.autograd.gradcheck(losses.psnr, [x.requires_grad_() for x in inputs])


def test_ssim():
    a, b = (torch.rand(2, 13, 14, 3, dtype=F64, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    found = losses.ssim(a, b, peak=2.0)
    each = [reference.ssim(a[n, ..., c], b[n, ..., c], 2.0) for n in range(2) for c in range(3)]
    torch.testing.assert_close(found, torch.stack(each).view(2, 3).mean(1))
    torch.testing.assert_close(losses.ssim(a, a), torch.ones(2, dtype=F64))
    small = [x[:1, :12, :11, :1].clone().requires_grad_() for x in (a, b)]
    assert torch.autograd.gradcheck(losses.ssim, small)
    flat = torch.full((1, 11, 11, 1), 0.5, requires_grad=True)
    losses.ssim(flat, torch.zeros(1, 11, 11, 1)).sum().backward()
    assert flat.grad.isfinite().all()


def test_errors():
    pos, tri = shape("closed")
    image = torch.zeros(1, 12, 12, 3)
    for call in (
        lambda: losses.laplacian_loss(pos[:5], tri),
        lambda: losses.laplacian_loss(pos[:, :2], tri),
        lambda: losses.flatten_loss(pos, mesh.Topology(tri, 9)),
        lambda: losses.edge_length_loss(pos, tri.float()),
        lambda: losses.chamfer_distance(pos[:0], pos),
        lambda: losses.silhouette_iou(image, image[:, :3]),
        lambda: losses.psnr(image, image[0]),
        lambda: losses.ssim(image[:, :10], image[:, :10]),
        lambda: losses.total_variation(image[0]),
    ):
        with pytest.raises(ValueError, match=r"\(\): "):
            call()
    with pytest.raises(TypeError, match="pos must be a tensor of floats"):
        losses.laplacian_loss(tri, tri)
