"""rasterize: values, gradients, modes and errors. Coverage has tests of its own in test_coverage.py."""

import numpy as np
import pytest
import torch
from reference import rasterize as reference
from scenes import EMPTY_TRI, assert_same_visibility, drawn_by_a_card, shown_nearby, soup, sphere, triangles

import glraster
from glraster import rasterize

CORNERS = [[-1.0, -1, 0.2, 1], [1, -1, -0.4, 1], [-1, 1, 0.6, 1]]


def ids_of(rast: torch.Tensor) -> torch.Tensor:
    return reference.decode_id(rast[..., 3])


def test_one_triangle_by_hand(glctx, device):
    # Pixel centres are at -1/2 and 1/2; two of them lie on the long edge, a right edge, which covers nothing.
    pos = torch.tensor([CORNERS], device=device)
    rast, rast_db = rasterize(glctx, pos, triangles([0, 1, 2]).to(device), (2, 2))
    assert rast.shape == rast_db.shape == (1, 2, 2, 4) and rast.dtype == rast_db.dtype == torch.float32
    torch.testing.assert_close(rast[0, 0, 0], torch.tensor([0.5, 0.25, 0.15, 1.0], device=device))
    torch.testing.assert_close(rast_db[0, 0, 0], torch.tensor([-0.5, -0.5, 0.5, 0.0], device=device))
    rast[0, 0, 0] = rast_db[0, 0, 0] = 0
    assert not rast.any() and not rast_db.any()


def test_perspective_by_hand(glctx, device):
    # Screen-space weights l = (1/2, 1/4, 1/4) at the centre; u = (l_0 / w_0) / sum(l_i / w_i) with w = (1, 2, 1).
    corners = [CORNERS[0], [2.0, -2, -0.4, 2], CORNERS[2]]
    pos = torch.tensor([corners], device=device)
    rast, rast_db = rasterize(glctx, pos, triangles([0, 1, 2]).to(device), (2, 2))
    D = 0.875
    expected = torch.tensor([4 / 7, 1 / 7, 0.5 * 0.2 + 0.25 * -0.2 + 0.25 * 0.6, 1], device=device)
    expected_db = [(-0.5 * D + 0.5 / 4) / D**2, -0.5 / D, (0.25 * D + 0.125 / 4) / D**2, 0]
    torch.testing.assert_close(rast[0, 0, 0], expected)
    torch.testing.assert_close(rast_db[0, 0, 0], torch.tensor(expected_db, device=device))


def test_rows_go_up_and_columns_go_right(glctx, device):
    # A triangle over the upper right quarter of a 4 (high) x 6 (wide) image.
    pos = torch.tensor([[[0.0, 0, 0, 1], [3, 0, 0, 1], [0, 3, 0, 1]]], device=device)
    rast, _ = rasterize(glctx, pos, triangles([0, 1, 2]).to(device), (4, 6))
    expected = torch.zeros(4, 6, device=device)
    expected[2:, 3:] = 1
    assert torch.equal(rast[0, ..., 3], expected)


def test_gradient_by_hand(glctx, device):
    # Moving vertex i by d changes u as moving the sample by -b_i d does, b = (u, v, 1 - u - v); u falls by 1/2 per unit
    # of x and of y. A change of w acts through q = (x - fx w, y - fy w), with fx = fy = -1/2 at the covered centre.
    pos = torch.tensor([CORNERS], dtype=torch.float64, device=device, requires_grad=True)
    rast, _ = rasterize(glctx, pos, triangles([0, 1, 2]).to(device), (2, 2))
    rast[0, 0, 0, 0].backward()
    weights = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64, device=device)
    expected = torch.stack([weights / 2, weights / 2, 0 * weights, (weights / 2 + weights / 2) / 2], -1)
    torch.testing.assert_close(pos.grad[0], expected, rtol=1e-6, atol=0)  # S = 4, or 4 + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("resolution", [(33, 47), (64, 16)])
def test_equals_reference(glctx, device, dtype, resolution):
    pos, tri = soup(1, 3, 40)
    rast, rast_db = rasterize(glctx, pos.to(device, dtype), tri.to(device), resolution)
    rast, rast_db, ids = rast.cpu(), rast_db.cpu(), ids_of(rast.cpu())
    expected = reference.rasterize(pos, tri, resolution)
    assert_same_visibility(ids, expected, pos, tri, clips_first=drawn_by_a_card(glctx))
    expected, expected_db = reference.barycentrics(pos, tri, ids, resolution)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(rast.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(rast_db.double(), expected_db, rtol=100 * tolerance, atol=tolerance)


def test_what_cards_may_show_is_shown_nearby():
    # All that moving the picture by a step of the grid changes, and next to nothing of what 1/8 pixel changes.
    pos, tri = soup(1, 1, 40)
    H, W = 33, 47
    expected = reference.rasterize(pos, tri, (H, W))
    for step, least, most in ((1 / 256, 1.0, 1.0), (1 / 8, 0.0, 0.1)):
        moved = pos.double() + step * pos[..., 3:] * torch.tensor([2 / W, -2 / H, 0, 0])
        ids = reference.rasterize(moved, tri, (H, W))
        differ = ids != expected
        assert differ.sum() > 2 and least <= shown_nearby(differ, ids, pos, tri).double().mean() <= most


def test_mesh_equals_reference(glctx, device):
    pos, tri = sphere(2, num_views=2)
    rast, _ = rasterize(glctx, pos.to(device), tri.to(device), (50, 40))
    ids = ids_of(rast.cpu())
    assert_same_visibility(ids, reference.rasterize(pos, tri, (50, 40)), pos, tri)
    assert (ids >= 0).float().mean() > 0.2


@pytest.mark.parametrize("grad_db", [True, False])
def test_gradient_equals_reference(glctx, device, grad_db):
    pos, tri = soup(2, 2, 30)
    mine, theirs = pos.to(device, torch.float64).requires_grad_(), pos.double().requires_grad_()
    rast, rast_db = rasterize(glctx, mine, tri.to(device), (31, 29), grad_db=grad_db)
    expected, expected_db = reference.barycentrics(theirs, tri, ids_of(rast.cpu()), (31, 29))
    generator = torch.Generator().manual_seed(0)
    g, g_db = (torch.randn(expected.shape, generator=generator, dtype=torch.float64) for _ in range(2))
    # Where snapping covers a centre just outside the triangle, the clamps leave two values of u to choose from.
    u, v = expected.detach()[..., 0], expected.detach()[..., 1]
    inside = ((u > 0) & (v > 0) & (u + v < 1))[..., None]
    g, g_db = g * inside, g_db * inside
    torch.autograd.backward([rast, rast_db], [g.to(device), g_db.to(device)])
    torch.autograd.backward([expected, expected_db] if grad_db else [expected], [g, g_db] if grad_db else [g])
    assert not mine.grad[..., 2].any()
    torch.testing.assert_close(mine.grad.cpu(), theirs.grad, rtol=1e-9, atol=1e-9 * float(theirs.grad.abs().max()))


@pytest.mark.parametrize("shared", [False, True], ids=["instanced", "range"])
def test_gradcheck(glctx, device, shared):
    # S + 1e-6 in the backward pass vanishes beside S at this scale, which changes neither coverage nor barycentrics.
    pos, tri = soup(3, 2, 4, behind_eye=0.0)
    pos = (100 * (pos[0] if shared else pos)).to(device, torch.float64).requires_grad_()
    ranges = torch.tensor([[0, 3], [1, 3]], dtype=torch.int32) if shared else None

    def differentiable_outputs(pos):
        rast, rast_db = rasterize(glctx, pos, tri.to(device), (5, 6), ranges)
        assert rast[..., 3].any()
        return rast[..., :2], rast_db

    assert torch.autograd.gradcheck(differentiable_outputs, pos, eps=1e-4, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("name", ["instanced", "range", "soup"])
def test_golden(glctx, device, golden, name):
    case = golden(f"rasterize_{name}_0")
    pos = case["pos"].to(device).requires_grad_()
    rast, rast_db = rasterize(glctx, pos, case["tri"].to(device), case["resolution"], case.get("ranges"))
    ids, expected_ids = ids_of(rast.detach().cpu()), ids_of(case["rast"])
    assert_same_visibility(ids, expected_ids, case["pos"], case["tri"])
    agree = ids == expected_ids
    torch.testing.assert_close(rast.detach().cpu()[agree], case["rast"][agree], rtol=0, atol=1e-5)
    scale = case["rast_db"][agree].abs().clamp(min=1)
    assert ((rast_db.detach().cpu()[agree] - case["rast_db"][agree]).abs() / scale).max() < 1e-5
    # Gradients are only comparable if the same pixels contribute.
    incoming = [(case[key] * agree[..., None]).to(device) for key in ("grad_rast", "grad_rast_db")]
    assert bool(agree.all())
    for expected, gradients in ((case["grad_pos_no_db"], incoming[:1]), (case["grad_pos"], incoming)):
        pos.grad = None
        torch.autograd.backward([rast, rast_db][: len(gradients)], gradients, retain_graph=True)
        assert (pos.grad.cpu() - expected).abs().max() < 1e-3 * expected.abs().max()


def test_golden_without_gradients_of_rast_db(glctx, device, golden):
    case = golden("rasterize_instanced_0")
    pos = case["pos"].to(device).requires_grad_()
    outputs = rasterize(glctx, pos, case["tri"].to(device), case["resolution"], grad_db=False)
    torch.autograd.backward(outputs, [case["grad_rast"].to(device), case["grad_rast_db"].to(device)])
    expected = case["grad_pos_no_db"]
    assert (pos.grad.cpu() - expected).abs().max() < 1e-3 * expected.abs().max()


def test_ranges(glctx, device):
    pos, tri = soup(4, 1, 9, behind_eye=0.0)
    rows = [[0, 9], [3, 4], [2, 0], [5, 4], [8, 1], [9, 0]]
    ranges = torch.tensor(rows, dtype=torch.int32)
    rast, rast_db = rasterize(glctx, pos[0].to(device), tri.to(device), (20, 30), ranges)
    assert rast.shape == rast_db.shape == (6, 20, 30, 4)
    for image, (first, count) in enumerate(rows):
        alone, alone_db = rasterize(glctx, pos.to(device), tri[first : first + count].to(device), (20, 30))
        alone[..., 3] += first * (alone[..., 3] > 0)  # ids count from the start of tri
        assert torch.equal(rast[image], alone[0]) and torch.equal(rast_db[image], alone_db[0])
    assert rast[0].any() and not rast[2].any() and not rast[5].any()


def test_ranges_are_ignored_with_instanced_positions(glctx, device):
    pos, tri = soup(5, 2, 5)
    args = (pos.to(device), tri.to(device), (9, 9))
    with_ranges = rasterize(glctx, *args, ranges=torch.tensor([[1, 2]], dtype=torch.int32))
    assert torch.equal(with_ranges[0], rasterize(glctx, *args)[0])


@pytest.mark.slow
def test_ids_above_two_to_the_24(glctx, device):
    first = 2**24 - 2
    tri = torch.zeros((2**24 + 3, 3), dtype=torch.int32)
    # Five strips from left to right; the values of channel 3 are 2^24 - 1 .. 2^24 + 3.
    x = torch.linspace(-1, 1, 6)
    pos = torch.stack([x, -torch.ones(6), torch.zeros(6), torch.ones(6)], -1)
    pos = torch.cat([pos, pos * torch.tensor([1, -9, 1, 1])])
    tri[first:] = triangles(*[[i, i + 1, i + 6] for i in range(5)])
    ranges = torch.tensor([[first, 5]], dtype=torch.int32)
    for dtype in (torch.float32, torch.float64):
        rast, _ = rasterize(glctx, pos.to(device, dtype), tri.to(device), (1, 5), ranges)
        channel = rast[0, 0, :, 3].cpu()
        if dtype == torch.float32:
            assert channel[:2].tolist() == [2**24 - 1, 2**24]
            assert channel[2:].view(torch.int32).tolist() == [0x4A800000 + 2**24 + i for i in (1, 2, 3)]
        attr = torch.arange(12.0, device=device, dtype=dtype)[:, None]
        out, _ = glraster.interpolate(attr, rast, tri.to(device))
        corners = torch.tensor([[i, i + 1.0, i + 6] for i in range(5)], dtype=dtype)
        u, v = rast[0, 0, :, 0].cpu(), rast[0, 0, :, 1].cpu()
        weights = torch.stack([u, v, 1 - u - v], -1)
        torch.testing.assert_close(out[0, 0, :, 0].cpu(), (weights * corners).sum(-1))


def test_more_than_two_to_the_24_triangles_at_once(device):
    tri = torch.zeros((2**24 + 3, 3), dtype=torch.int32)
    tri[-1] = torch.tensor([0, 1, 2])
    with glraster.RasterizeCudaContext(device) as glctx:
        rast, _ = rasterize(glctx, torch.tensor([CORNERS], device=device), tri.to(device), (2, 2))
    assert int(rast[0, 0, 0, 3].view(torch.int32)) == 0x4A800000 + 2**24 + 3


@pytest.mark.parametrize(
    "num_images, num_vertices, num_triangles", [(0, 3, 1), (2, 0, 0), (2, 0, 1), (2, 3, 0), (0, 0, 0)]
)
def test_empty_inputs(glctx, device, num_images, num_vertices, num_triangles):
    pos = torch.zeros((num_images, num_vertices, 4), device=device, requires_grad=True)
    tri = torch.zeros((num_triangles, 3), dtype=torch.int32, device=device)
    rast, rast_db = rasterize(glctx, pos, tri, (3, 5))
    assert rast.shape == rast_db.shape == (num_images, 3, 5, 4)
    assert not rast.any() and not rast_db.any()
    (rast.sum() + rast_db.sum()).backward()
    assert pos.grad.shape == pos.shape and not pos.grad.any()


def test_empty_ranges(glctx, device):
    pos = torch.tensor(CORNERS, device=device)
    rast, rast_db = rasterize(glctx, pos, EMPTY_TRI.to(device), (3, 5), torch.zeros((0, 2), dtype=torch.int32))
    assert rast.shape == rast_db.shape == (0, 3, 5, 4)
    rast, _ = rasterize(glctx, pos, EMPTY_TRI.to(device), (3, 5), torch.zeros((2, 2), dtype=torch.int32))
    assert rast.shape == (2, 3, 5, 4) and not rast.any()


@pytest.mark.parametrize("bad", ["index", "negative index", "nan", "inf", "no area", "one vertex twice"])
def test_bad_triangles_are_skipped_and_named_on_request(glctx, device, bad):
    pos = torch.tensor([CORNERS, CORNERS])
    tri = triangles([0, 1, 2], [0, 1, 2])
    pos = torch.cat([pos, pos], 1)
    tri[1] += 3  # the second triangle is the bad one, in the second image where only that one can be
    if bad.endswith("index"):
        tri[1, 2] = -1 if bad.startswith("negative") else 6
        message = f"tri must index pos's 6 vertices, got {int(tri[1, 2])} in triangle 1"
    elif bad in ("nan", "inf"):
        pos[1, 4, 2] = float(bad)
        message = r"pos must be finite, .* at vertex \[1, 4\]"
    elif bad == "no area":
        pos[1, 3:, 0] = pos[1, 3:, 1] = torch.tensor([0.1, 0.2, 0.7])
        message = "triangles must have an area, got none in triangle 1 of image 1"
    else:
        tri[1, 2] = 3
        message = "triangles must have an area, got none in triangle 1"
    pos, tri = pos.to(device).requires_grad_(), tri.to(device)
    rast, rast_db = rasterize(glctx, pos, tri, (2, 2))
    good, good_db = rasterize(glctx, pos, tri[:1], (2, 2))
    assert torch.equal(rast, good) and torch.equal(rast_db, good_db)
    (rast.sum() + rast_db.sum()).backward()
    assert pos.grad.isfinite().all() and not pos.grad[:, 3:].any()
    with pytest.raises(ValueError, match=rf"rasterize\(\): {message}"):
        rasterize(glctx, pos, tri, (2, 2), validate=True)
    # What is not drawn is not skipped either.
    rasterize(glctx, pos, tri[:1], (2, 2), validate=True)
    rasterize(glctx, pos[1], tri, (2, 2), torch.tensor([[0, 1]], dtype=torch.int32), validate=True)


def test_validation_by_environment_variable(glctx, device, monkeypatch):
    args = (torch.tensor([CORNERS], device=device), triangles([0, 1, 3]).to(device), (2, 2))
    monkeypatch.setenv("GLRASTER_VALIDATE", "1")
    with pytest.raises(ValueError, match="tri must index"):
        rasterize(glctx, *args)
    rasterize(glctx, *args, validate=False)
    monkeypatch.setenv("GLRASTER_VALIDATE", "0")
    rasterize(glctx, *args)


POS, TRI = torch.tensor([CORNERS]), triangles([0, 1, 2])
RANGES = torch.tensor([[0, 1]], dtype=torch.int32)
ERRORS = {
    "pos type": (TypeError, "pos must be a tensor", {"pos": np.zeros((1, 3, 4), np.float32)}),
    "pos dtype": (TypeError, "pos must be float32 or float64 .* got int32 ", {"pos": POS.int()}),
    "pos array": (TypeError, r"got ndarray: use torch.from_numpy\(\)$", {"pos": POS.numpy()}),
    "tri convertible": (TypeError, r"got int64 .* on cpu: use tri.to\(torch.int32\)$", {"tri": TRI.long()}),
    "pos half": (TypeError, "pos must be float32 or float64 .* got float16 ", {"pos": POS.half()}),
    "pos layout": (TypeError, "pos must be float32 or float64 .*sparse", {"pos": POS.to_sparse()}),
    "pos device": (ValueError, "pos must be .* on meta", {"pos": POS.to("meta")}),
    "pos rank": (ValueError, r"pos must be .* got float32 \[1, 1, 3, 4\]", {"pos": POS[None]}),
    "pos size": (ValueError, r"pos must be .* got float32 \[1, 3, 3\]", {"pos": POS[..., :3]}),
    "tri type": (TypeError, "tri must be a tensor, int32", {"tri": [[0, 1, 2]]}),
    "tri None": (TypeError, "tri must be a tensor, int32", {"tri": None}),
    "tri dtype": (
        TypeError,
        r"rasterize\(\): tri must be int32 \[T, 3\] on cpu, got int64 \[12, 3\] on cpu",
        {"tri": TRI.long().repeat(12, 1)},
    ),
    "tri device": (ValueError, "tri must be .* on meta", {"tri": TRI.to("meta")}),
    "tri size": (ValueError, r"tri must be .* got int32 \[1, 4\]", {"tri": TRI.repeat(1, 4)[:, :4]}),
    "tri rank": (ValueError, r"tri must be .* got int32 \[3\]", {"tri": TRI[0]}),
    "no ranges": (ValueError, r"\[V, 4\] needs ranges", {"pos": POS[0]}),
    "ranges type": (TypeError, "ranges must be a tensor", {"pos": POS[0], "ranges": [[0, 1]]}),
    "ranges dtype": (TypeError, "ranges must be int32", {"pos": POS[0], "ranges": RANGES.long()}),
    "ranges device": (ValueError, "ranges must be .* on cpu", {"pos": POS[0], "ranges": RANGES.to("meta")}),
    "ranges shape": (ValueError, r"ranges must be .* got int32 \[2\]", {"pos": POS[0], "ranges": RANGES[0]}),
    "range end": (ValueError, "ranges must lie .* count 2 in row 0", {"pos": POS[0], "ranges": RANGES + RANGES}),
    "range start": (ValueError, "ranges must lie .* first -1", {"pos": POS[0], "ranges": RANGES - 1}),
    "range count": (ValueError, "ranges must lie .* count -1", {"pos": POS[0], "ranges": -RANGES}),
    "range overflow": (ValueError, "ranges must lie", {"pos": POS[0], "ranges": RANGES + (2**31 - 2)}),
    "resolution type": (TypeError, "resolution must be two integers", {"resolution": 8}),
    "resolution floats": (TypeError, "resolution must be two integers", {"resolution": (8.0, 8)}),
    "resolution length": (TypeError, "resolution must be two integers", {"resolution": (8, 8, 8)}),
    "resolution zero": (ValueError, "resolution must be .* from 1", {"resolution": (8, 0)}),
    "resolution negative": (ValueError, "resolution must be .* from 1", {"resolution": (-8, 8)}),
    "resolution huge": (ValueError, "resolution must be .* from 1", {"resolution": (1, 2**31)}),
    "cull": (ValueError, "cull must be 'none', 'back' or 'front'", {"cull": "both"}),
    "context": (TypeError, "glctx must be a .*Context", {"glctx": "cpu"}),
}


@pytest.mark.parametrize("error, message, change", ERRORS.values(), ids=ERRORS.keys())
def test_errors(error, message, change):
    arguments = {"pos": POS, "tri": TRI, "resolution": (8, 8)}
    with glraster.RasterizeCudaContext("cpu") as glctx:
        arguments = {"glctx": glctx} | arguments
        with pytest.raises(error, match=message) as caught:
            rasterize(**(arguments | change))
        assert str(caught.value).startswith("rasterize(): ")
        rasterize(**arguments)  # a failure leaves the context usable


def test_reserved_context(glctx, device):
    args = (POS.to(device), TRI.to(device), (2, 2))
    peeler = glraster.DepthPeeler(glctx, *args)
    glctx.reserve(peeler)
    with pytest.raises(RuntimeError, match="reserved by a DepthPeeler"):
        rasterize(glctx, *args)
    glctx.unreserve(peeler)
    rasterize(glctx, *args)
