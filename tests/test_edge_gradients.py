"""edge_gradients: cases by hand, the reference, modes, bad input and errors. See also test_visibility_truth.py."""

import pytest
import torch
from reference import edge_gradients as reference
from scenes import EMPTY_TRI, flat_soup, soup, sphere, triangles

import glraster
from glraster import edge_gradients

ONE = triangles([0, 1, 2])


def ids_of(triangle_of_pixel, dtype=torch.float64) -> torch.Tensor:
    """rast [1, H, W, 4] that shows triangles by number, -1 for none; the other channels are not looked at."""
    rast = torch.zeros((1, *torch.tensor(triangle_of_pixel).shape, 4), dtype=dtype)
    rast[..., 3] = torch.tensor(triangle_of_pixel) + 1
    return rast


def gradient(color, rast, pos, tri, grad_out, **options) -> torch.Tensor:
    pos = pos.clone().requires_grad_()
    out = edge_gradients(color, rast, pos, tri, **options)
    assert torch.equal(out, color)
    return torch.autograd.grad(out, pos, grad_out)[0]


def arranged(rows, mirrored: bool, vertical: bool) -> torch.Tensor:
    """Vertices of a picture of two pixels side by side: with the sides exchanged, or one above the other."""
    pos = torch.tensor(rows, dtype=torch.float64)
    pos[:, 0] *= -1 if mirrored else 1
    return pos[:, [1, 0, 2, 3]] if vertical else pos


def pictures(values, mirrored: bool, vertical: bool) -> torch.Tensor:
    """An image of two pixels, arranged likewise."""
    image = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 2, -1)
    image = image.flip(2) if mirrored else image
    return image.transpose(1, 2).contiguous() if vertical else image


def two_pixels(rows, tri, ids, mirrored, vertical) -> torch.Tensor:
    """The gradient of two pixels of one channel, 2 and 0.5, that receive 3 and 1; arranged back."""
    rast = ids_of([ids[::-1] if mirrored else ids])
    rast = rast.transpose(1, 2).contiguous() if vertical else rast
    color, grad_out = (pictures(values, mirrored, vertical) for values in ([2, 0.5], [3, 1]))
    found = gradient(color, rast, arranged(rows, mirrored, vertical), tri, grad_out)
    found = found[:, [1, 0, 2, 3]] if vertical else found
    found[:, 0] *= -1 if mirrored else 1
    return found


EVERY_SIDE = [(False, False), (True, False), (False, True), (True, True)]


@pytest.mark.parametrize(("mirrored", "vertical"), EVERY_SIDE)
def test_open_edge_by_hand(mirrored, vertical):
    # The right edge, 3/4 pixel from the left centre: D = 1/2 (3 + 1) (2 - 0.5) = 3, half of it for each end.
    rows = [[-5, 0, 0, 1], [0.25, -3, 0, 1], [0.25, 3, 0, 1]]
    found = two_pixels(rows, ONE, [0, -1], mirrored, vertical)
    expected = torch.tensor([[0, 0, 0, 0], [1.5, 0, 0, -0.375], [1.5, 0, 0, -0.375]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    # 1/4 pixel from it: the triangle's plane is taken half a pixel further, at 0.
    rows[1][0] = rows[2][0] = -0.25
    outside = -0.25 / 4.75
    share = torch.tensor([outside, (1 - outside) / 2, (1 - outside) / 2], dtype=torch.float64)
    torch.testing.assert_close(two_pixels(rows, ONE, [0, -1], mirrored, vertical)[:, 0], 3 * share)


@pytest.mark.parametrize(("mirrored", "vertical"), EVERY_SIDE)
def test_fold_by_hand(mirrored, vertical):
    # Behind the triangle the surface goes back to the left: the outline is exactly where the edge is.
    rows = [[-5, 0, 0, 1], [-0.25, -3, 0, 1], [-0.25, 3, 0, 1], [-5, 0, 0.5, 1]]
    found = two_pixels(rows, triangles([0, 1, 2], [1, 3, 2]), [0, -1], mirrored, vertical)
    expected = torch.zeros((4, 4), dtype=torch.float64)
    expected[1:3, 0], expected[1:3, 3] = 1.5, 0.375
    torch.testing.assert_close(found, expected)
    # Where it goes on to the right, the outline is its last edge, 3/4 pixel from the centre.
    rows[3] = [0.25, 0, 0, 1]
    found = two_pixels(rows, triangles([0, 1, 2], [1, 3, 2]), [0, -1], mirrored, vertical)
    expected = torch.tensor([0, 0, 0, 3], dtype=torch.float64)
    torch.testing.assert_close(found[:, 0], expected)


@pytest.mark.parametrize(("mirrored", "vertical"), EVERY_SIDE)
def test_occlusion_by_hand(mirrored, vertical):
    # Before another surface as before nothing, and the other surface does not move.
    rows = [[-5, 0, 0, 1], [0.25, -3, 0, 1], [0.25, 3, 0, 1], [-5, -5, 0.5, 1], [5, -5, 0.5, 1], [0, 9, 0.5, 1]]
    found = two_pixels(rows, triangles([0, 1, 2], [3, 4, 5]), [0, 1], mirrored, vertical)
    torch.testing.assert_close(found[1:3, 0], torch.tensor([1.5, 1.5], dtype=torch.float64))
    assert not found[3:].any()


@pytest.mark.parametrize(("mirrored", "vertical"), EVERY_SIDE)
def test_intersection_by_hand(mirrored, vertical):
    # z = x / 4 - 1 / 16 and its opposite meet at x = 1/4, a pixel being 1 wide. Raising z of the first by d moves the
    # line by -2 d; moving it by d to the right moves the line by d / 2.
    plane = [[-8, -8, -2.0625, 1], [8, -8, 1.9375, 1], [0, 8, -0.0625, 1]]
    rows = plane + [[x, y, -z, w] for x, y, z, w in plane]
    found = two_pixels(rows, triangles([0, 1, 2], [3, 4, 5]), [0, 1], mirrored, vertical)
    for one, sign in ((found[:3], 1), (found[3:], -1)):
        assert abs(one[:, 2].sum() + sign * 3 * 2) < 1e-12
        assert abs(one[:, 0].sum() - 3 * 0.5) < 1e-12
        assert one[:, 1].abs().max() < 1e-12
    weights = torch.tensor([[-8, -8, 1], [8, -8, 1], [0, 8, 1]], dtype=torch.float64).T
    at_line = torch.linalg.solve(weights, torch.tensor([0.25, 0, 1], dtype=torch.float64))
    torch.testing.assert_close(found[:3, 2], -6 * at_line)


def test_colours_are_extrapolated_to_the_boundary():
    # Of four pixels the left two see the triangle: from 1 and 2, by 2/3 of the step, the colour is 2 2/3.
    pos = torch.tensor([[-5, 0, 0, 1], [0.125, -3, 0, 1], [0.125, 3, 0, 1]], dtype=torch.float64)
    color = torch.tensor([1.0, 2.0, 0, 0], dtype=torch.float64).reshape(1, 1, 4, 1)
    found = gradient(color, ids_of([[0, 0, -1, -1]]), pos, ONE, torch.ones_like(color))
    assert abs(found[:, 0].sum() - 2 * (2 + 2 / 3)) < 1e-12  # two pixels per unit of x


def test_creases_by_hand():
    # Two facets that meet at x = 1/8, in a colour each: their common edge moves what one sees.
    pos = torch.tensor([[-5, 0, 0, 1], [0.125, -3, 0, 1], [0.125, 3, 0, 1], [5, 0, 0, 1]], dtype=torch.float64)
    tri, rast = triangles([0, 1, 2], [1, 3, 2]), ids_of([[0, 0, 1, 1]])
    facets = torch.tensor([5.0, 5.0, 2.0, 2.0], dtype=torch.float64).reshape(1, 1, 4, 1)
    ones = torch.ones_like(facets)
    found = gradient(facets, rast, pos, tri, ones)
    torch.testing.assert_close(found[:, 0], torch.tensor([0, 3, 3, 0], dtype=torch.float64))
    assert not gradient(facets, rast, pos, tri, ones, crease=False).any()
    # What changes on a side by a quarter of the jump is none, nor is a colour that is linear.
    for values in ([6.0, 5, 2, 2], [5.0, 4, 3, 2], [0.0, 1, 0, 1]):
        smooth = torch.tensor(values, dtype=torch.float64).reshape(1, 1, 4, 1)
        assert not gradient(smooth, rast, pos, tri, ones).any()
    assert not gradient(facets, ids_of([[0, 0, 1, 2]]), pos, triangles([0, 1, 2], [1, 3, 2], [1, 3, 2]), ones).any()


def test_facets_by_hand():
    # Their common edge meets the lines through the pixels' centres at x = 5/8 and 3/8, beside or between pixels: two of
    # three pixels around each pair see the same facet, above one another and side by side.
    pos = torch.tensor([[-9, 0, 0, 1], [0.75, -3, 0, 1], [0.25, 3, 0, 1], [9, 0, 0, 1]], dtype=torch.float64)
    tri = triangles([0, 1, 2], [1, 3, 2])
    rast = ids_of([[0, 0, 1], [0, 0, 1]])
    color = torch.tensor([[5.0, 5, 2], [5, 5, 2]], dtype=torch.float64).reshape(1, 2, 3, 1)
    ones = torch.ones_like(color)
    found = gradient(color, rast, pos, tri, ones)
    assert abs(found[:, 0].sum() - 2 * 3 * 1.5) < 1e-12  # two rows, a jump of 3, one and a half pixels per unit of x
    # Along one line a smooth image may be constant: not enough, unless facets are known to be flat.
    column, line = color[:, :, 1:], rast[:, :, 1:]
    assert not gradient(column, line, pos, tri, ones[:, :, 1:]).any()
    assert gradient(column, line, pos, tri, ones[:, :, 1:], crease="flat").any()


def test_flat_facets_that_do_not_touch():
    # Between the facets that two pixels see lie others: half of the jump moves with either.
    pos = torch.tensor(
        [[-5, 0, 0, 1], [-0.25, -3, 0, 1], [-0.25, 3, 0, 1], [0.25, -3, 0, 1], [0.25, 3, 0, 1], [5, 0, 0, 1]],
        dtype=torch.float64,
    )
    tri = triangles([0, 1, 2], [1, 3, 4], [1, 4, 2], [3, 5, 4])
    color = torch.tensor([5.0, 2.0], dtype=torch.float64).reshape(1, 1, 2, 1)
    found = gradient(color, ids_of([[0, 3]]), pos, tri, torch.ones_like(color), crease="flat")
    expected = torch.tensor([0, 0.75, 0.75, 0.75, 0.75, 0], dtype=torch.float64)
    torch.testing.assert_close(found[:, 0], expected)
    assert not gradient(color, ids_of([[0, 3]]), pos, tri, torch.ones_like(color)).any()


def random_case(pos, tri, size, channels, dtype, seed=0):
    """color, rast, pos, tri and a gradient, with colours that are smooth over triangles."""
    generator = torch.Generator().manual_seed(seed)
    ranges = torch.tensor([[0, len(tri)], [len(tri) // 3, len(tri) // 2]]).int() if pos.ndim == 2 else None
    pos = pos.to(dtype)
    rast, _ = glraster.rasterize(glraster.SoftwareRasterizer("cpu"), pos, tri, size, ranges)
    attr = torch.rand((pos.shape[-2], channels), generator=generator, dtype=torch.float64).to(dtype)
    color, _ = glraster.interpolate(attr, rast, tri)
    return color, rast, pos, tri, torch.rand(color.shape, generator=generator, dtype=torch.float64).to(dtype)


SCENES = {
    "coarse sphere": (sphere(0, 2), (30, 41)),
    "sphere": (sphere(2, 2), (40, 33)),
    "fine sphere": (sphere(4, 2), (32, 32)),
    "soup": (soup(0, 2, 40), (30, 41)),
    "flat soup": (flat_soup(1, 2, 40), (24, 17)),
    "ranges": ((sphere(2)[0][0], sphere(2)[1]), (40, 33)),
    "one column": (soup(2, 1, 20), (40, 1)),
    "one row": (soup(3, 1, 20), (1, 40)),
}


@pytest.mark.parametrize(("dtype", "channels"), [(torch.float32, 3), (torch.float64, 1), (torch.float64, 5)], ids=str)
@pytest.mark.parametrize("name", SCENES)
def test_equals_reference(device, name, dtype, channels):
    (pos, tri), size = SCENES[name]
    *inputs, grad_out = random_case(pos, tri, size, channels, dtype)
    leaf = inputs[2].clone().requires_grad_()
    for crease in (True, False, "flat"):
        out = reference.edge_gradients(inputs[0], inputs[1], leaf, tri, crease)
        assert torch.equal(out.to(dtype), inputs[0])
        (expected,) = torch.autograd.grad(out, leaf, grad_out.double())
        found = gradient(*(t.to(device) for t in inputs), grad_out.to(device), crease=crease).cpu()
        assert found.dtype == dtype and expected.any()
        # The reference inverts a matrix for every triangle, which loses digits where these are small.
        tolerance = 1e-7 if dtype == torch.float64 else 1e-6
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def test_edges_of_several_triangles(device):
    # Every triangle twice, and a fin on every edge of one: the walk follows what antialias takes for the other side.
    pos, tri = sphere(1, 1)
    fins = torch.stack([tri[:, 0], tri[:, 1], (tri[:, 2] + 7) % pos.shape[1]], 1)
    both = torch.cat([tri, tri, fins])
    *inputs, grad_out = random_case(pos, both, (40, 40), 3, torch.float64)
    leaf = inputs[2].clone().requires_grad_()
    (expected,) = torch.autograd.grad(reference.edge_gradients(*inputs[:2], leaf, both), leaf, grad_out)
    found = gradient(*(t.to(device) for t in inputs), grad_out.to(device)).cpu()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 * float(expected.abs().max()))


def test_one_surface_contributes_nothing(device):
    # A rough sheet that fills the picture, of triangles below a pixel, with a ridge and colours that change.
    side = 40
    ticks = torch.linspace(-1.1, 1.1, side + 1)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    z = 0.3 * x.abs() + 0.01 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    pos = torch.stack([x, y, z, torch.ones_like(x)], -1).reshape(1, -1, 4)
    corner = (torch.arange(side)[:, None] * (side + 1) + torch.arange(side)).reshape(-1, 1)
    offsets = torch.tensor([[0, 1, side + 2], [0, side + 2, side + 1]])
    tri = (corner + offsets[:, None]).reshape(-1, 3).int()
    noise, rast, *rest = (t.to(device) for t in random_case(pos, tri, (30, 30), 2, torch.float32))
    assert rast[..., 3].unique().numel() > 600
    assert not gradient(noise, rast, *rest, crease=False).any()
    attr = torch.sin(torch.stack([3 * x, 4 * y + x], -1)).reshape(-1, 2).to(device)
    smooth, _ = glraster.interpolate(attr, rast, rest[1])
    assert not gradient(smooth, rast, *rest).any()


def test_moving_and_scaling_the_scene_scales_the_gradient(device):
    color, rast, pos, tri, grad_out = (
        t.to(device) for t in random_case(*sphere(2, 2), size=(40, 33), channels=3, dtype=torch.float64)
    )
    expected = gradient(color, rast, pos, tri, grad_out)
    torch.testing.assert_close(gradient(color, rast, 4 * pos, tri, grad_out), expected / 4)
    torch.testing.assert_close(gradient(color, rast, pos, tri, 3 * grad_out), expected * 3)
    several = [gradient(color[n : n + 1], rast[n : n + 1], pos[n : n + 1], tri, grad_out[n : n + 1]) for n in (0, 1)]
    rounding = 0 if device.type == "cpu" else 1e-13 * float(expected.abs().max())  # a GPU's sums are in any order
    torch.testing.assert_close(torch.cat(several), expected, rtol=0, atol=rounding)


def test_positions_are_shared_and_topology_given(device):
    color, rast, pos, tri, grad_out = (t.to(device) for t in random_case(*sphere(2), (40, 33), 3, torch.float64))
    expected = gradient(color, rast, pos, tri, grad_out)
    several = [t.repeat(3, 1, 1, 1) for t in (color, rast)]
    table = glraster.antialias_construct_topology_hash(tri)
    for shared in (pos, pos[0]):
        found = gradient(*several, shared, tri, grad_out.repeat(3, 1, 1, 1), topology_hash=table)
        torch.testing.assert_close(found, 3 * expected.reshape(shared.shape))


def test_the_image_is_not_copied(device):
    color, rast, pos, tri, grad_out = (t.to(device) for t in random_case(*sphere(1), (20, 20), 3, torch.float32))
    assert edge_gradients(color, rast, pos, tri).data_ptr() == color.data_ptr()
    for of_color, of_pos in ((False, True), (True, False), (True, True)):
        image, leaf = color.clone().requires_grad_(of_color), pos.clone().requires_grad_(of_pos)
        out = edge_gradients(image, rast, leaf, tri)
        assert out.data_ptr() == image.data_ptr() and torch.equal(out, color)
        out.backward(grad_out, retain_graph=True)
        assert torch.equal(image.grad, grad_out) if of_color else image.grad is None
        assert leaf.grad.any() if of_pos else leaf.grad is None
        if not of_pos:
            continue
        out += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.backward(grad_out)


@pytest.mark.parametrize("empty", [{k: 0} for k in "NHWCVT"] + [{"V": 0, "T": 0}, {"H": 1, "W": 1}], ids=str)
def test_empty_and_one_pixel_inputs(device, empty):
    s = {"N": 2, "H": 3, "W": 4, "C": 2, "V": 3, "T": 1} | empty
    color = torch.rand(s["N"], s["H"], s["W"], s["C"], device=device, requires_grad=True)
    rast = torch.zeros(s["N"], s["H"], s["W"], 4, device=device)
    rast[:, ::2, ::2, 3] = 1
    pos = torch.full((s["N"], s["V"], 4), 1.0, device=device, requires_grad=True)
    tri = ONE[: s["T"]].to(device) if s["T"] else EMPTY_TRI.to(device)
    out = edge_gradients(color, rast, pos, tri)
    assert torch.equal(out, color)
    out.sum().backward()
    assert torch.equal(color.grad, torch.ones_like(color)) and not pos.grad.any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, 1e38, 1e-38, -1.0])
@pytest.mark.parametrize("column", range(4))
def test_bad_positions_stay_without_effect_elsewhere(device, value, column):
    color, rast, pos, tri, grad_out = (t.to(device) for t in random_case(*soup(5, 2, 25), (24, 30), 3, torch.float32))
    changed = pos.clone()
    changed[0, 0, column] = value
    found = gradient(color, rast, changed, tri, grad_out)
    assert found[0, 3:].isfinite().all() and found[1].isfinite().all()
    torch.testing.assert_close(found[1], gradient(color, rast, pos, tri, grad_out)[1])


@pytest.mark.parametrize("value", [-1.0, 2.0, 3e9, 1e30, float("inf"), -float("inf"), float("nan")])
def test_ids_that_do_not_exist_are_no_triangle(device, value):
    pos = torch.tensor([[-5, 0, 0, 1], [0.25, -3, 0, 1], [0.25, 3, 0, 1]], device=device)
    color = torch.tensor([2.0, 0.5], device=device).reshape(1, 1, 2, 1)
    rast = ids_of([[0, -1]], torch.float32).to(device)
    expected = gradient(color, rast, pos, ONE.to(device), torch.ones_like(color))
    rast[0, 0, 1, 3] = value
    assert torch.equal(gradient(color, rast, pos, ONE.to(device), torch.ones_like(color)), expected) and expected.any()
    rast[..., 3] = value
    assert not gradient(color, rast, pos, ONE.to(device), torch.ones_like(color)).any()


@pytest.mark.parametrize("index", [-1, 3, 2**31 - 1, -(2**31)])
def test_vertices_that_do_not_exist(device, index):
    pos = torch.tensor([[-5, 0, 0, 1], [0.25, -3, 0, 1], [0.25, 3, 0, 1]], device=device)
    color, rast = torch.tensor([2.0, 0.5]).reshape(1, 1, 2, 1), ids_of([[0, -1]], torch.float32)
    color, rast = color.to(device), rast.to(device)
    for corner in range(3):
        tri = ONE.clone()
        tri[0, corner] = index
        assert not gradient(color, rast, pos, tri.to(device), torch.ones_like(color)).any()
        # A neighbour that does not exist is none: the edge is open.
        neighbour = torch.cat([ONE, triangles([1, index, 2])]).to(device)
        assert gradient(color, rast, pos, neighbour, torch.ones_like(color)).any()


COLOR, RAST = torch.zeros(1, 1, 2, 1), ids_of([[0, -1]], torch.float32)
POS = torch.tensor([[[-5.0, 0, 0, 1], [0.25, -3, 0, 1], [0.25, 3, 0, 1]]])
TABLE = glraster.antialias_construct_topology_hash(ONE)
ERRORS = {
    "color dtype": (TypeError, "color must be float32 or float64 .* got uint8", {"color": COLOR.byte()}),
    "color rank": (ValueError, r"color must be .* got float32 \[1, 2, 1\]", {"color": COLOR[0]}),
    "rast dtype": (TypeError, "rast must be float32 .* got float64", {"rast": RAST.double()}),
    "rast size": (ValueError, r"rast must be float32 \[1, 1, 2, 4\]", {"rast": RAST[:, :, :1]}),
    "pos device": (ValueError, "pos must be .* on cpu, got .* on meta", {"pos": POS.to("meta")}),
    "pos minibatch": (ValueError, "minibatch must agree, got 2 in pos, 1 in color", {"pos": POS.repeat(2, 1, 1)}),
    "tri dtype": (TypeError, r"tri must be int32 \[T, 3\] on cpu, got int64", {"tri": ONE.long()}),
    "topology type": (TypeError, "topology_hash must come from", {"topology_hash": ONE}),
    "topology of another": (ValueError, r"topology_hash must be made from this tri", {"tri": ONE.repeat(2, 1)}),
    "crease type": (TypeError, 'crease must be True, False or "flat", got 1', {"crease": 1}),
    "crease value": (ValueError, "crease must be True, False or \"flat\", got 'no'", {"crease": "no"}),
}


@pytest.mark.parametrize("error, message, change", ERRORS.values(), ids=ERRORS.keys())
def test_errors(error, message, change):
    arguments = {"color": COLOR, "rast": RAST, "pos": POS, "tri": ONE, "topology_hash": TABLE}
    edge_gradients(**arguments)
    with pytest.raises(error, match=message) as caught:
        edge_gradients(**(arguments | change))
    assert str(caught.value).startswith("edge_gradients(): ")
