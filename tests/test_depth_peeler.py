"""DepthPeeler: layers in order of (depth, id), gradients through each, and the reserved context."""

import pytest
import torch
from reference import rasterize as reference
from scenes import assert_same_layers, flat_soup, soup, sphere, triangles

import glraster
from glraster import DepthPeeler, rasterize

QUAD = triangles([0, 1, 2], [0, 2, 3])


def quad(z: float) -> torch.Tensor:
    return torch.tensor([[-1.0, -1, z, 1], [1, -1, z, 1], [1, 1, z, 1], [-1, 1, z, 1]])


def peel_ids(glctx, pos, tri, resolution, num_layers, ranges=None, **options) -> torch.Tensor:
    """[num_layers, N, H, W] triangle ids."""
    pos, tri = pos.to(glctx.device), tri.to(glctx.device)
    with DepthPeeler(glctx, pos, tri, resolution, ranges, **options) as peeler:
        layers = [peeler.rasterize_next_layer()[0] for _ in range(num_layers)]
    return torch.stack([reference.decode_id(rast[..., 3].cpu()) for rast in layers])


def grid_soup(seed: int, num_images: int, num_triangles: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles with corners on the grid of 1/256 pixel of size x size images, which no rasterizer clips or moves."""
    generator = torch.Generator().manual_seed(seed)
    shape = num_images, 3 * num_triangles
    xy = torch.randint(-128 * size, 128 * size + 1, (*shape, 2), generator=generator) / (128 * size)
    z = torch.rand((*shape, 1), generator=generator) * 1.9 - 0.95
    w = 2.0 ** torch.randint(-1, 2, (*shape, 1), generator=generator)
    tri = torch.arange(3 * num_triangles, dtype=torch.int32).reshape(-1, 3)
    return torch.cat([torch.cat([xy, z], -1) * w, w], -1), tri


def test_layers_by_hand(glctx):
    # Three quads, the nearest given last and the farthest only over the right half.
    pos = torch.cat([quad(0.0), quad(0.5), quad(-0.5)])
    pos[4:8, 0] = torch.tensor([0.0, 1, 1, 0])
    tri = torch.cat([QUAD, QUAD + 4, QUAD + 8])
    quads = peel_ids(glctx, pos[None], tri, (4, 4), 4)[:, 0].div(2, rounding_mode="floor")
    assert (quads[0] == 2).all() and (quads[1] == 0).all()
    assert (quads[2, :, :2] == -1).all() and (quads[2, :, 2:] == 1).all()
    assert (quads[3] == -1).all()


def test_coincident_surfaces_are_layers_in_order_of_id(glctx):
    pos = quad(0.3)
    pos[:, 2] += torch.tensor([0.0, 0.2, 0.1, -0.3])
    layers = peel_ids(glctx, pos[None], torch.cat([QUAD] * 3), (9, 9), 4)
    assert torch.equal(layers[1:3], layers[:2] + 2)
    assert set(layers[0].unique().tolist()) == {0, 1} and (layers[3] == -1).all()


ORDERS = {"turned": [1, 2, 0], "turned back": [2, 0, 1], "seen from behind": [0, 2, 1], "reversed": [2, 1, 0]}


@pytest.mark.parametrize("vertices", ["shared", "copied", "shuffled"])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("behind_eye", [0.0, 0.3])
def test_the_order_of_vertices_does_not_break_ties(glctx, order, vertices, behind_eye):
    """Every triangle comes twice, with its vertices in another order: its two layers are always in order of id."""
    pos, tri = soup(1, 2, 60, behind_eye)
    V, T = pos.shape[1], len(tri)
    second = tri[:, order]
    if vertices == "copied":
        pos, second = torch.cat([pos, pos], 1), second + V
    elif vertices == "shuffled":
        places = torch.randperm(V, generator=torch.Generator().manual_seed(2))
        pos, second = torch.cat([pos, pos[:, places]], 1), places.argsort()[second.long()].int() + V
    layers = peel_ids(glctx, pos, torch.cat([tri, second]), (64, 64), 8)
    assert ((layers[::2] >= 0) & (layers[::2] < T)).sum() > 10_000
    assert torch.equal(layers[1::2], layers[::2].where(layers[::2] < 0, layers[::2] + T))


def test_the_order_of_vertices_does_not_break_ties_of_what_culling_leaves(glctx):
    pos, tri = soup(2, 2, 60)
    orders = [0, 1, 2], [1, 2, 0], [0, 2, 1], [1, 0, 2]  # the last two face the other way
    layers = peel_ids(glctx, pos, torch.cat([tri[:, order] for order in orders]), (64, 64), 4, cull="back")
    first, second = layers[::2], layers[1::2]
    assert all(((first // 60 == k).sum() > 1000) == (k in (0, 2)) for k in range(4))
    assert torch.equal(second, first.where(first < 0, first + 60))


@pytest.mark.parametrize("seed", range(50))
def test_equals_sorting_in_double_precision(glctx, seed):
    pos, tri = grid_soup(seed, 2, 40, size=32)
    layers = peel_ids(glctx, pos, tri, (32, 32), 8)
    assert torch.equal(layers, reference.peel(pos, tri, (32, 32), 8))
    assert (layers[7] >= 0).any()


@pytest.mark.parametrize("seed", range(5))
def test_triangles_through_the_eye_equal_sorting(glctx, seed):
    pos, tri = flat_soup(seed, 2, 40)
    layers, expected = peel_ids(glctx, pos, tri, (33, 40), 8), reference.peel(pos, tri, (33, 40), 8)
    assert_same_layers(layers, expected, pos, tri)


def test_first_layer_equals_rasterize_and_empty_layers_are_zero(glctx, device):
    pos, tri = (tensor.to(device) for tensor in sphere(2, num_views=2))
    rast, rast_db = rasterize(glctx, pos, tri, (24, 30))
    with DepthPeeler(glctx, pos, tri, (24, 30)) as peeler:
        layers = [peeler.rasterize_next_layer() for _ in range(4)]
    assert torch.equal(layers[0][0], rast) and torch.equal(layers[0][1], rast_db)
    assert (layers[1][0][..., 2] > rast[..., 2])[rast[..., 3] > 0].all()
    assert not layers[3][0].any() and not layers[3][1].any()  # the far side may show twice along an edge, not more


def test_ranges(glctx):
    pos, tri = grid_soup(3, 1, 30, size=32)
    ranges = torch.tensor([[0, 30], [10, 12], [5, 0], [29, 1]], dtype=torch.int32)
    layers = peel_ids(glctx, pos[0], tri, (32, 32), 4, ranges)
    assert torch.equal(layers, reference.peel(pos[0], tri, (32, 32), 4, ranges))


@pytest.mark.parametrize("cull", ["back", "front"])
def test_culling(glctx, cull):
    pos, tri = grid_soup(4, 2, 40, size=32)
    layers = peel_ids(glctx, pos, tri, (32, 32), 4, cull=cull)
    assert torch.equal(layers, reference.peel(pos, tri, (32, 32), 4, cull=cull))


def test_gradients_through_each_layer(glctx, device):
    pos, tri = grid_soup(5, 2, 12, size=16)
    pos, tri = pos.to(device).requires_grad_(), tri.to(device)
    with DepthPeeler(glctx, pos, tri, (16, 16)) as peeler:
        for _ in range(3):
            rast, rast_db = peeler.rasterize_next_layer()
            weights = torch.rand_like(rast[..., :2]), torch.rand_like(rast_db)
            grad = torch.autograd.grad([rast[..., :2], rast_db], pos, weights)[0].cpu()
            ids = reference.decode_id(rast[..., 3].cpu())
            assert (ids >= 0).sum() > 20
            exact = pos.detach().cpu().double().requires_grad_()
            out, out_db = reference.barycentrics(exact, tri.cpu(), ids, (16, 16))
            weights = [weight.cpu().double() for weight in weights]
            expected = torch.autograd.grad([out[..., :2], out_db], exact, weights)[0]
            torch.testing.assert_close(grad.double(), expected, rtol=0, atol=1e-3 * expected.abs().max().item())


def test_the_context_is_reserved(glctx, device):
    pos, tri = quad(0.0)[None].to(device), QUAD.to(device)
    peeler = DepthPeeler(glctx, pos, tri, (4, 4))
    with pytest.raises(RuntimeError, match="only inside the block"):
        peeler.rasterize_next_layer()
    with peeler:
        with pytest.raises(RuntimeError, match="reserved"):
            rasterize(glctx, pos, tri, (4, 4))
        with pytest.raises(RuntimeError, match="reserved"), DepthPeeler(glctx, pos, tri, (4, 4)):
            pass
        assert peeler.rasterize_next_layer()[0].any()  # failed attempts change nothing
    with pytest.raises(RuntimeError, match="only inside the block"):
        peeler.rasterize_next_layer()
    with pytest.raises(ZeroDivisionError), peeler:
        _ = 1 / 0
    with peeler:  # starts from the front again
        assert peeler.rasterize_next_layer()[0].any()
    assert rasterize(glctx, pos, tri, (4, 4))[0].any()


def test_arguments_are_checked_before_the_block():
    with glraster.RasterizeCudaContext("cpu") as glctx:
        with pytest.raises(ValueError, match=r"^DepthPeeler\(\): pos of shape \[V, 4\] needs ranges"):
            DepthPeeler(glctx, quad(0.0), QUAD, (4, 4))
        with pytest.raises(TypeError, match=r"^DepthPeeler\(\): tri must be int32"):
            DepthPeeler(glctx, quad(0.0)[None], QUAD.long(), (4, 4))
        with pytest.raises(ValueError, match=r"^DepthPeeler\(\): cull must be"):
            DepthPeeler(glctx, quad(0.0)[None], QUAD, (4, 4), cull="both")
