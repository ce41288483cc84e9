"""antialias: blends, gradients and errors. Which edges are silhouettes has tests of its own in test_silhouettes.py."""

import numpy as np
import pytest
import torch
from reference import antialias as reference
from scenes import EMPTY_TRI, soup, sphere, triangles

import glraster
from glraster import TopologyHash, antialias, antialias_construct_topology_hash, rasterize

ONE = triangles([0, 1, 2])


def pair(distance: float, side: int, vertical: bool, end: float = 9.0):
    """Two pixels, of which one shows a triangle with an edge at right angles to the line between the centres.

    Args:
        distance: of the edge from the centre of the triangle's pixel towards the other, in pixels.
        side: +1 if the triangle is seen by the first pixel, -1 if by the second.
        vertical: the second pixel is above the first instead of right of it.
        end: how far the edge reaches to both sides, in normalised device coordinates.

    Returns:
        color [1, 1, 2, 1] (or [1, 2, 1, 1]), rast and pos [1, 3, 4]; float64.
    """
    # The centres are at -1/2 and 1/2, and a pixel is one unit along the pair.
    edge = side * (distance - 0.5)
    points = torch.tensor([[edge, -end], [edge, end], [-50.0 * side, end / 3]], dtype=torch.float64)
    if vertical:
        points = points.flip(1)
    w = torch.tensor([[1.0], [2], [4]], dtype=torch.float64)
    pos = torch.cat([points * w, 0 * w, w], 1)[None]
    rast = torch.zeros(1, 2, 4, dtype=torch.float64)
    rast[0, 0 if side > 0 else 1, 3] = 1
    color = torch.tensor([[[3.0], [10]]], dtype=torch.float64)
    shape = (1, 2, 1) if vertical else (1, 1, 2)
    return color.reshape(*shape, 1), rast.reshape(*shape, 4), pos


# -1/16 and 17/16 are -0.0625 and 1.0625.
DISTANCES = [(-0.063, None), (-0.062, 0), (0, 0), (0.125, 0.125), (0.5, 0.5), (0.75, 0.75), (1.062, 1), (1.063, None)]


@pytest.mark.parametrize("distance, used", DISTANCES)
@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_by_hand(device, distance, used, vertical, side, dtype):
    color, rast, pos = (t.to(device, dtype) for t in pair(distance, side, vertical))
    out = antialias(color, rast, pos, ONE.to(device))
    alpha = 0 if used is None else side * (0.5 - used)
    expected = [3 + max(alpha, 0) * 7, 10 + min(alpha, 0) * 7]
    assert out.shape == color.shape and out.dtype == dtype
    assert out.flatten().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("distance", [0.125, 0.75])
@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("end", [9.0, 0.02, 4e-4])
def test_gradients_by_hand(device, distance, vertical, side, end):
    color, rast, pos = (t.to(device).requires_grad_() for t in pair(distance, side, vertical, end))
    out = antialias(color, rast, pos, ONE.to(device))
    grad_out = torch.tensor([2.0, 5], dtype=torch.float64, device=device)
    out.backward(grad_out.reshape(out.shape))
    alpha = side * (0.5 - distance)
    g = 2.0 if alpha > 0 else 5.0
    assert color.grad.flatten().tolist() == pytest.approx([2 - alpha * g, 5 + alpha * g])
    # alpha = s/2 - x with x = (x_a y_b - x_b y_a) / dy, in pixels from the centre of the triangle's pixel. The ends are
    # at x = side * distance and y = -dy/2, dy/2, and both divisions are by 1e-3 at least.
    x, dy = side * distance, end
    guarded = max(dy, 1e-3)
    along = -g * 7 * (dy / 2) / guarded
    across = -g * 7 * (x * dy / guarded - x) / guarded * torch.tensor([1.0, -1])
    # One pixel is 1 along the pair and 2 across it, in normalised device coordinates; then the quotient rule of x/w.
    w, ndc_across = torch.tensor([1.0, 2]), torch.tensor([-end, end])
    ndc_along = side * (distance - 0.5)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    expected[:2, 1 if vertical else 0] = along / w
    expected[:2, 0 if vertical else 1] = across / 2 / w
    expected[:2, 3] = -(along * ndc_along + across / 2 * ndc_across) / w
    torch.testing.assert_close(pos.grad[0].cpu(), expected, rtol=1e-5, atol=1e-9)
    assert rast.grad is None


def test_no_position_gradient_at_the_limits(device):
    for distance in (-0.05, 0.0, 1.0, 1.05):
        color, rast, pos = (t.to(device).requires_grad_() for t in pair(distance, 1, False))
        out = antialias(color, rast.detach(), pos, ONE.to(device))
        out.backward(torch.ones_like(out) + torch.arange(2, device=device).reshape(out.shape))
        assert not pos.grad.any()
        alpha, g = 0.5 - min(max(distance, 0), 1), 1 + (distance >= 0.5)
        assert color.grad.flatten().tolist() == pytest.approx([1 - alpha * g, 2 + alpha * g])


def test_boost_multiplies_the_position_gradient_only(device):
    color, rast, pos = (t.to(device) for t in pair(0.3, 1, False))
    results = []
    for boost in (1.0, 7):
        leaves = color.clone().requires_grad_(), pos.clone().requires_grad_()
        out = antialias(leaves[0], rast, leaves[1], ONE.to(device), pos_gradient_boost=boost)
        out.square().sum().backward()
        results.append((out.detach(), leaves[0].grad, leaves[1].grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    torch.testing.assert_close(results[1][2], results[0][2] * 7)


def random_scene(seed: int, shared: bool, channels: int, ids: str):
    """Random colours over a rendered soup (ids: 'seen') or over random ids; float64."""
    generator = torch.Generator().manual_seed(seed)
    pos, tri = soup(seed, 1 if shared else 2, 25)
    pos = pos.double()
    if shared:
        pos = pos[0]
    size = (2, 17, 23)
    if ids == "seen":
        with glraster.RasterizeCudaContext("cpu") as glctx:
            rast, _ = rasterize(glctx, pos.expand(2, *pos.shape[-2:]).contiguous(), tri, size[1:])
    else:
        rast = torch.rand((*size, 4), generator=generator, dtype=torch.float64)
        rast[..., 3] = torch.randint(-2, 30, size, generator=generator)
    tri = (tri % 40).contiguous()  # some vertices are shared
    color = torch.rand((*size, channels), generator=generator, dtype=torch.float64)
    return color, rast, pos, tri


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("shared", [False, True], ids=["instanced", "shared"])
@pytest.mark.parametrize("ids", ["seen", "random"])
def test_equals_reference(device, channels, shared, ids):
    color, rast, pos, tri = random_scene(channels, shared, channels, ids)
    mine = [t.to(device, copy=True).requires_grad_() for t in (color, pos)]
    theirs = [t.clone().requires_grad_() for t in (color, pos)]
    out = antialias(mine[0], rast.to(device), mine[1], tri.to(device), pos_gradient_boost=1.5)
    expected = reference.antialias(theirs[0], rast, theirs[1], tri, 1.5)
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=1e-12)
    assert (out.cpu() != color).float().mean() > 0.01
    g = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out.backward(g.to(device))
    expected.backward(g)
    torch.testing.assert_close(mine[0].grad.cpu(), theirs[0].grad, rtol=0, atol=1e-12)
    scale = float(theirs[1].grad.abs().max())
    torch.testing.assert_close(mine[1].grad.cpu(), theirs[1].grad, rtol=1e-9, atol=1e-9 * scale)


def test_mesh_equals_reference(glctx, device):
    pos, tri = sphere(1, num_views=2)
    rast, _ = rasterize(glctx, pos.to(device), tri.to(device), (48, 40))
    color = torch.rand(2, 48, 40, 3, generator=torch.Generator().manual_seed(0)).to(device)
    out = antialias(color, rast, pos.to(device), tri.to(device))
    expected = reference.antialias(color.cpu(), rast.cpu(), pos, tri)
    torch.testing.assert_close(out.cpu().double(), expected, rtol=0, atol=1e-5)
    changed = (out != color).any(-1).float().mean()
    assert 0.02 < changed < 0.2  # the outline, not the inner edges


@pytest.mark.parametrize("shared", [False, True], ids=["instanced", "shared"])
def test_gradcheck(device, shared):
    # Long edges, beside whose dy the guard of 1e-3 pixels vanishes; no edge lies at a switch.
    generator = torch.Generator().manual_seed(3)
    points = [[-2.1, -900.0], [0.17, 900.0], [-0.07, -900.0], [900.0, 0.13], [-900.0, -0.07], [900.0, -2.0]]
    points = torch.tensor(points)
    w = 0.5 + torch.rand(6, 1, generator=generator)
    pos = torch.cat([points * w, 0 * w, w], 1).double()
    moved = pos + torch.tensor([0.03, 0.02, 0, 0.01])
    pos = (pos if shared else torch.stack([pos, moved])).to(device).requires_grad_()
    tri = triangles([0, 2, 1], [3, 4, 5]).to(device)
    rast = torch.zeros(2, 6, 6, 4, dtype=torch.float64)
    rast[:, :, :3, 3], rast[:, :3, 3:, 3] = 1, 2
    rast[:, :, 3:, 2] = 0.5
    color = torch.rand(2, 6, 6, 2, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    rast = rast.to(device)
    assert (antialias(color, rast, pos, tri) != color).sum() > 20
    assert torch.autograd.gradcheck(
        lambda c, p: antialias(c, rast, p, tri), (color, pos), eps=1e-5, atol=1e-7, rtol=1e-5
    )


@pytest.mark.parametrize("name", ["instanced", "range"])
def test_golden(device, golden, name):
    case = golden(f"antialias_{name}_0")
    color, pos = case["color"].to(device).requires_grad_(), case["pos"].to(device).requires_grad_()
    out = antialias(color, case["rast"].to(device), pos, case["tri"].to(device))
    assert (out.cpu() - case["out"]).abs().max() < 1e-5
    out.backward(case["grad_out"].to(device))
    for leaf, expected in ((color, case["grad_color"]), (pos, case["grad_pos"])):
        assert (leaf.grad.cpu() - expected).abs().max() < 1e-3 * expected.abs().max()


def draw_square(glctx, shift, size=(14, 18)):
    """A white square on black, 4.4 pixels to each side of `shift` (in pixels, from the image's middle)."""
    corners = torch.tensor([[-4.4, -4.4], [4.4, -4.4], [4.4, 4.4], [-4.4, 4.4]], dtype=torch.float64)
    pixels = (corners.to(shift.device) + shift) * (2 / torch.tensor(size[::-1], device=shift.device).double())
    pos = torch.cat([pixels, torch.zeros_like(pixels[:, :1]), torch.ones_like(pixels[:, :1])], 1)[None]
    tri = triangles([0, 1, 2], [0, 2, 3]).to(shift.device)
    rast, _ = rasterize(glctx, pos, tri, size)
    return antialias((rast[..., 3:] > 0).double(), rast, pos, tri)


def test_coverage_is_the_area(glctx, device):
    for x, y in [(0, 0), (0.3, -0.2), (0.5, 0.49), (0.61, 0.99), (-1.2, 2.05)]:
        shift = torch.tensor([x, y], dtype=torch.float64, device=device)
        image = draw_square(glctx, shift)[0, ..., 0]
        # Corners aside, where horizontal and vertical blends meet, every row and column adds up to the side's length.
        inner_rows = (image[:, 9] == 1).nonzero().flatten()[1:-1]
        assert len(inner_rows) >= 5
        assert (image[inner_rows].sum(1) - 8.8).abs().max() < 1e-9


def test_gradients_of_coverage_through_a_smooth_loss(glctx, device):
    # Along a path over several pixels the gradient adds up to the change of the loss, across all jumps of coverage.
    y, x = torch.meshgrid(torch.arange(14.0), torch.arange(18.0), indexing="ij")
    weight = (torch.cos(x / 5) + torch.sin(y / 4)).double().to(device)[None, ..., None]
    direction, length, steps = torch.tensor([1.0, -0.7], dtype=torch.float64, device=device), 2.5, 200
    losses, slopes = [], []
    for t in np.linspace(0, length, steps + 1):
        shift = (t * direction).requires_grad_()
        loss = (draw_square(glctx, shift) * weight).sum()
        loss.backward()
        losses.append(loss.item())
        slopes.append(float(shift.grad @ direction))
    integral = np.cumsum((np.array(slopes[1:]) + slopes[:-1]) / 2) * length / steps
    change = np.array(losses[1:]) - losses[0]
    assert np.ptp(change) > 10
    assert np.abs(integral - change).max() < 0.02 * np.ptp(change)


def test_descent_on_an_image_moves_a_silhouette(glctx, device):
    target = draw_square(glctx, torch.tensor([1.7, -1.2], dtype=torch.float64, device=device))
    shift = torch.zeros(2, dtype=torch.float64, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (draw_square(glctx, shift) - target).square().mean().backward()
        optimizer.step()
    assert (shift.detach().cpu() - torch.tensor([1.7, -1.2])).abs().max() < 0.05


EMPTY = [{"N": 0}, {"H": 0}, {"W": 0}, {"C": 0}, {"V": 0}, {"T": 0}, {"V": 0, "T": 0}, {"H": 1, "W": 1}]


@pytest.mark.parametrize("empty", EMPTY, ids=str)
def test_empty_and_one_pixel_inputs(device, empty):
    s = {"N": 2, "H": 3, "W": 4, "C": 2, "V": 3, "T": 1} | empty
    color = torch.rand(s["N"], s["H"], s["W"], s["C"], device=device, requires_grad=True)
    rast = torch.zeros(s["N"], s["H"], s["W"], 4, device=device)
    rast[:, ::2, ::2, 3] = 1
    pos = torch.full((s["N"], s["V"], 4), 1.0, device=device, requires_grad=True)
    out = antialias(color, rast, pos, ONE[: s["T"]].to(device))
    assert torch.equal(out, color)
    out.sum().backward()
    assert torch.equal(color.grad, torch.ones_like(color)) and not pos.grad.any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, 1e38, 1e-38, -1.0])
@pytest.mark.parametrize("column", range(4))
def test_bad_positions_stay_without_effect_elsewhere(device, value, column):
    color, rast, pos = (t.to(device) for t in random_scene(5, False, 3, "seen")[:3])
    tri = torch.arange(75, dtype=torch.int32, device=device).reshape(-1, 3)
    color, rast, pos = color.float(), rast.float(), pos.float()
    changed = pos.clone()
    changed[0, 0, column] = value
    changed.requires_grad_()
    out = antialias(color, rast, changed, tri)
    far = (rast[..., 3] != 1).clone()  # neither the changed triangle's pixels nor their neighbours
    near = torch.nn.functional.max_pool2d((~far).float()[:, None], 3, 1, 1)[:, 0] > 0
    assert torch.equal(out[~near], antialias(color, rast, pos, tri)[~near])
    assert out.isfinite().all()
    out.square().sum().backward()
    assert changed.grad[0, 3:].isfinite().all() and changed.grad[1].isfinite().all()


@pytest.mark.parametrize("value", [-1.0, 2.0, 3e9, 1e30, float("inf"), -float("inf"), float("nan")])
def test_ids_that_do_not_exist_are_no_triangle(device, value):
    color, rast, pos = (t.to(device).float() for t in pair(0.25, 1, False))
    expected = antialias(color, rast, pos, ONE.to(device))
    assert not torch.equal(expected, color)
    for depth in (0.0, -1.0, 1.0):
        rast[0, 0, 1] = torch.tensor([0, 0, depth, value])
        assert torch.equal(antialias(color, rast, pos, ONE.to(device)), expected)
    rast[..., 3] = value
    assert torch.equal(antialias(color, rast, pos, ONE.to(device)), color)


@pytest.mark.parametrize("index", [-1, 3, 2**31 - 1, -(2**31)])
def test_vertices_that_do_not_exist(device, index):
    color, rast, pos = (t.to(device) for t in pair(0.25, 1, False))
    for corner in range(3):
        tri = ONE.clone()
        tri[0, corner] = index
        assert torch.equal(antialias(color, rast, pos.requires_grad_(), tri.to(device)), color)


def test_neighbours_that_do_not_exist(device):
    """A triangle with a vertex that does not exist is none, also beside an edge."""
    color, rast, pos = (t.to(device) for t in pair(0.25, 1, False))
    expected = antialias(color, rast, pos, ONE.to(device))
    for corner in range(3):
        beside = ONE.clone()
        beside[0, corner] = 2**30
        assert torch.equal(antialias(color, rast, pos, torch.cat([ONE, beside]).to(device)), expected)


def test_large_ids(device):
    first = 2**24 + 1  # one more than float32 counts to
    tri = torch.zeros((first + 1, 3), dtype=torch.int32)
    tri[first] = ONE[0]
    tri = tri.to(device)
    table = TopologyHash(torch.full_like(tri, -1))  # as all triangles but one are of a single vertex
    color, rast, pos = (t.to(device) for t in pair(0.25, 1, False))
    expected = antialias(color, rast, pos, ONE.to(device))
    rast[0, 0, 0, 3] = first + 1
    assert torch.equal(antialias(color, rast, pos, tri, table), expected)
    color, rast, pos = color.float(), rast.float(), pos.float()
    rast[0, 0, 0, 3] = torch.tensor(0x4A800000 + first + 1, dtype=torch.int32).view(torch.float32)
    torch.testing.assert_close(antialias(color, rast, pos, tri, table), expected.float())


COLOR, RAST, POS = (t.float() for t in pair(0.25, 1, False))
HASH = antialias_construct_topology_hash(ONE)
ERRORS = {
    "color type": (TypeError, "color must be a tensor", {"color": COLOR.numpy()}),
    "color dtype": (TypeError, "color must be float32 or float64 .* got uint8", {"color": COLOR.byte()}),
    "color rank": (ValueError, r"color must be .* got float32 \[1, 2, 1\]", {"color": COLOR[0]}),
    "rast type": (TypeError, "rast must be a tensor", {"rast": None}),
    "rast dtype": (TypeError, "rast must be float32 .* got float64", {"rast": RAST.double()}),
    "rast device": (ValueError, "rast must be .* on cpu, got .* on meta", {"rast": RAST.to("meta")}),
    "rast size": (ValueError, r"rast must be float32 \[1, 1, 2, 4\]", {"rast": RAST[:, :, :1]}),
    "pos type": (TypeError, "pos must be a tensor", {"pos": 1}),
    "pos dtype": (TypeError, "pos must be float32", {"pos": POS.double()}),
    "pos size": (ValueError, r"pos must be .* got float32 \[1, 3, 3\]", {"pos": POS[..., :3]}),
    "pos rank": (ValueError, "pos must be", {"pos": POS[0, 0]}),
    "pos minibatch": (ValueError, "minibatch must agree, got 2 in pos, 1 in color", {"pos": POS.repeat(2, 1, 1)}),
    "tri type": (TypeError, "tri must be a tensor", {"tri": [[0, 1, 2]]}),
    "tri dtype": (TypeError, r"antialias\(\): tri must be int32 \[T, 3\] on cpu, got int64", {"tri": ONE.long()}),
    "tri size": (ValueError, r"tri must be .* got int32 \[3\]", {"tri": ONE[0]}),
    "hash type": (TypeError, "topology_hash must come from", {"topology_hash": ONE}),
    "hash of another": (ValueError, r"topology_hash must be made from this tri", {"tri": ONE.repeat(2, 1)}),
    "boost type": (TypeError, "pos_gradient_boost must be a number", {"pos_gradient_boost": "high"}),
}


@pytest.mark.parametrize("error, message, change", ERRORS.values(), ids=ERRORS.keys())
def test_errors(error, message, change):
    arguments = {"color": COLOR, "rast": RAST, "pos": POS, "tri": ONE, "topology_hash": HASH}
    antialias(**arguments)
    with pytest.raises(error, match=message) as caught:
        antialias(**(arguments | change))
    assert str(caught.value).startswith("antialias(): ")


def test_errors_of_the_topology_hash():
    name = r"antialias_construct_topology_hash\(\): tri must be"
    for tri, error in (
        ([[0, 1, 2]], TypeError),
        (ONE.long(), TypeError),
        (ONE[0], ValueError),
        (ONE[:, :2], ValueError),
    ):
        with pytest.raises(error, match=name):
            antialias_construct_topology_hash(tri)
    assert antialias_construct_topology_hash(EMPTY_TRI) is not None


def test_topology_hashes_are_shown_in_a_line():
    assert repr(HASH) == "TopologyHash(1 triangles, on cpu)"
