"""The references of rasterize, interpolate and antialias: cases computed by hand, and golden data."""

import pytest
import torch
from reference.antialias import antialias
from reference.compare import assert_gradient, assert_output, leaf, tensor64
from reference.interpolate import interpolate
from reference.rasterize import barycentrics, decode_id, encode_id, peel, rasterize
from torch import Tensor

SCENES = ("soup", "instanced", "range")

# Rasterize. A triangle (x, y) with z = 0 and w = 1 throughout.


def flat(*points: tuple[float, ...]) -> Tensor:
    """Clip-space positions [V, 4] from (x, y), (x, y, z) or (x, y, z, w)."""
    return tensor64([[*point, *(0.0, 0.0, 0.0, 1.0)[len(point) :]] for point in points])


LOWER_LEFT = flat((-1, -1), (1, -1), (-1, 1))
ONE = torch.tensor([[0, 1, 2]])


def test_diagonal_pixels_belong_to_the_triangle_whose_left_edge_it_is():
    quad = flat((-1, -1), (1, -1), (-1, 1), (1, 1))
    ids = rasterize(quad[None], torch.tensor([[0, 1, 2], [1, 3, 2]]), (4, 4))
    row, column = torch.arange(4)[:, None], torch.arange(4)
    assert torch.equal(ids[0], (row + column >= 3).long())


def test_lower_and_left_edges_own_their_pixels():
    """Corners at the centres of pixels 1 and 4."""
    low, high = 3 / 8 - 1, 9 / 8 - 1
    square = flat((low, low), (high, low), (high, high), (low, high))
    expected = torch.full((8, 8), -1)
    expected[1:4, 1:4] = 0
    ids = rasterize(square[None], torch.tensor([[0, 1, 2], [0, 2, 3]]), (8, 8))
    assert torch.equal(ids[0].clamp(max=0), expected)


def test_edges_are_clipped_at_w_zero():
    """The visible part runs from x = 0 and x >= 2 at the bottom to infinity: the right half of the image."""
    ids = rasterize(flat((0, -1), (2, -1), (0, 3, 0, -1))[None], ONE, (4, 8))
    assert torch.equal(ids[0], torch.tensor([[-1] * 4 + [0] * 4] * 4))


def test_triangles_behind_the_eye_are_culled():
    assert (rasterize(flat((-3, -3, 0, -1), (3, -3, 0, -1), (0, 3, 0, -1))[None], ONE, (4, 4)) == -1).all()


def test_depth_range_is_clipped_inclusively():
    """z = 4x/3: of the columns at x = -7/8, -5/8, ..., only |x| <= 3/4 has |z| <= 1; z = 1 itself is inside."""
    slope = flat((-3, -3, -4), (3, -3, 4), (0, 9, 0))
    ids = rasterize(slope[None], ONE, (1, 8))
    assert ids[0, 0].tolist() == [-1, 0, 0, 0, 0, 0, 0, -1]
    far = flat((-3, -3, 1), (3, -3, 1), (0, 9, 1))
    assert (rasterize(far[None], ONE, (4, 4)) == 0).all()


def test_layers_are_sorted_by_depth_then_id():
    """Triangles 0 and 2 coincide (with vertices in another order), 1 lies in front; 3 is coplanar with 0."""
    pos = torch.cat(
        [flat((-1, -1, 0.3), (1, -1, 0.3), (-1, 1, 0.3)), flat((-1, -1, -0.1), (1, -1, -0.1), (-1, 1, -0.1))]
    )
    pos = torch.cat([pos, flat((-2, -3, 0.3), (3, -1, 0.3), (-1, 4, 0.3))])
    tri = torch.tensor([[0, 1, 2], [3, 4, 5], [2, 0, 1], [6, 7, 8]])
    layers = peel(pos[None], tri, (16, 16), 5)
    assert layers.shape == (5, 1, 16, 16)
    inside = layers[0, 0] == 1
    assert inside.sum() == 15 * 16 // 2
    assert torch.equal(layers[:, 0, inside], torch.tensor([1, 0, 2, 3, -1])[:, None].expand(5, 120))
    assert torch.equal(layers[0], rasterize(pos[None], tri, (16, 16)))


def test_culling_drops_one_orientation():
    counter_clockwise, clockwise = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    for cull, tri, count in (("back", counter_clockwise, 6), ("back", clockwise, 0), ("front", clockwise, 6)):
        assert (rasterize(LOWER_LEFT[None], tri, (4, 4), cull=cull) >= 0).sum() == count


def test_ranges_count_ids_from_the_start_of_tri():
    tri = ONE.repeat(3, 1)
    ids = rasterize(LOWER_LEFT, tri, (4, 4), ranges=torch.tensor([[1, 2], [0, 0], [2, 1]]))
    assert ids[:, 0, 0].tolist() == [1, -1, 2]
    with pytest.raises(ValueError, match="ranges"):
        rasterize(LOWER_LEFT, tri, (4, 4), ranges=torch.tensor([[1, 3]]))


def test_unusable_triangles_are_skipped():
    line = flat((-1, -1), (0.1, 0.1), (1, 1), (torch.nan, 0), (torch.inf, 0))
    line[:3, 0] = line[:3, 1] = tensor64([-1.0, 0.1, 1.0]).float().double()
    tri = torch.tensor([[0, 1, 2], [0, 0, 2], [0, 1, 3], [0, 1, 4], [0, 1, 5], [-1, 0, 1]])
    assert (rasterize(line[None], tri, (8, 8)) == -1).all()
    assert rasterize(line[None], tri[:0], (8, 8)).eq(-1).all()


def test_barycentrics_by_hand():
    """u = -(x + y)/2 and v = (1 + x)/2 over the lower left triangle."""
    ids = rasterize(LOWER_LEFT[None], ONE, (4, 8))
    rast, rast_db = barycentrics(LOWER_LEFT[None], ONE, ids, (4, 8))
    x, y = -5 / 8, -1 / 4  # pixel (1, 1)
    assert_output(rast[0, 1, 1], tensor64([-(x + y) / 2, (1 + x) / 2, 0, 1]))
    assert_output(rast_db[0, 1, 1], tensor64([-1 / 8, -1 / 4, 1 / 8, 0]))
    assert not rast[ids < 0].any() and not rast_db[ids < 0].any()


def test_exact_barycentrics_gradient():
    pos = leaf(flat((-9, -5, 0.1, 1.5), (8, -6, 0.2, 1.2), (0.3, 9, -0.4, 2.0)))
    ids = rasterize(pos[None], ONE, (3, 4))
    assert (ids >= 0).all()

    def uv_and_db(p: Tensor, backward: str = "exact") -> tuple[Tensor, Tensor]:
        rast, rast_db = barycentrics(p[None], ONE, ids, (3, 4), backward)
        return rast[..., :2], rast_db

    assert torch.autograd.gradcheck(uv_and_db, [pos])
    exact, documented = (
        torch.autograd.grad(uv_and_db(pos, b)[0][..., 0].sum(), pos)[0] for b in ("exact", "documented")
    )
    torch.testing.assert_close(documented, exact, rtol=1e-9, atol=1e-12)  # where no clamp is active


def test_ids_past_2_to_24_keep_their_value():
    channel = torch.tensor([0, 1, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, (1 << 29) + 3])
    stored = encode_id(channel).float()
    assert torch.equal(stored[:4], channel[:4].float())
    assert stored[4:].view(torch.int32).tolist() == [0x4A800000 + c for c in channel[4:].tolist()]
    assert torch.equal(decode_id(stored), channel - 1)


@pytest.mark.parametrize("scene", SCENES)
def test_golden_rasterize(golden, scene):
    case = golden(f"rasterize_{scene}_0")
    pos, resolution = leaf(case["pos"]), tuple(case["resolution"].tolist())
    ids = rasterize(pos, case["tri"], resolution, case.get("ranges"))
    assert torch.equal(ids + 1, case["rast"][..., 3].long())
    rast, rast_db = barycentrics(pos, case["tri"], ids, resolution, guard=1e-6)
    assert_output(rast, case["rast"])
    assert_output(rast_db, case["rast_db"])
    grad_rast, grad_rast_db = case["grad_rast"].double(), case["grad_rast_db"].double()
    assert_gradient(torch.autograd.grad(rast, pos, grad_rast, retain_graph=True)[0], case["grad_pos_no_db"])
    assert_gradient(torch.autograd.grad([rast, rast_db], pos, [grad_rast, grad_rast_db])[0], case["grad_pos"])


# Interpolate


def test_interpolate_by_hand():
    attr = tensor64([[1.0, 10.0], [2.0, 20.0], [4.0, 80.0]])
    rast = tensor64([[[[0.5, 0.25, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.5, 0.25, 0.0, 9.0]]]])
    rast_db = tensor64([1.0, 2.0, 3.0, 5.0]).expand(1, 1, 3, 4)
    out, out_da = interpolate(attr, rast, ONE, rast_db, [-1])
    assert_output(out[0, 0], tensor64([[2.0, 30.0], [0.0, 0.0], [0.0, 0.0]]))
    # Along u: 10 - 80, along v: 20 - 80.
    assert_output(out_da[0, 0], tensor64([[-70.0 - 180.0, -140.0 - 300.0], [0.0, 0.0], [0.0, 0.0]]))
    assert interpolate(attr, rast, ONE, rast_db)[1].shape == (1, 1, 3, 0)


@pytest.mark.parametrize("name", [f"interpolate_{scene}_{i}_0" for scene in SCENES for i in range(3)])
def test_golden_interpolate(golden, name):
    case = golden(name)
    inputs = {key: leaf(case[key]) for key in ("attr", "rast", "rast_db") if key in case}
    diff_attrs = case.get("diff_attrs")
    if isinstance(diff_attrs, Tensor):
        diff_attrs = diff_attrs.tolist()
    results = interpolate(**inputs, tri=case["tri"], diff_attrs=diff_attrs)
    outputs = {key: value for key, value in zip(("out", "out_da"), results, strict=True) if key in case}
    for key, value in outputs.items():
        assert_output(value, case[key])
    grad_outputs = [case[f"grad_{key}"].double() for key in outputs]
    grads = torch.autograd.grad(list(outputs.values()), list(inputs.values()), grad_outputs)
    for key, grad in zip(inputs, grads, strict=True):
        assert_gradient(grad, case[f"grad_{key}"])


# Antialias


def right_edge_at(x: float) -> Tensor:
    """A triangle whose vertical right edge lies at x pixels of 4, over an image of height 1."""
    return flat((-9, 0), (x / 2 - 1, -7), (x / 2 - 1, 7))


def antialias_row(color: Tensor, pos: Tensor) -> Tensor:
    ids = rasterize(pos[None], ONE, (1, 4))
    rast = barycentrics(pos[None], ONE, ids, (1, 4))[0].detach()
    return antialias(color[None, None, :, None], rast, pos[None], ONE)[0, 0, :, 0]


def test_antialias_gives_pixels_their_coverage():
    """Pixels 0 and 1 are covered. Where the edge lies before or behind the boundary at 2, pixel 1 or 2 blends."""
    color = tensor64([0.0, 1.0, 9.0, 0.0])
    assert_output(antialias_row(color, right_edge_at(1.75)), tensor64([0.0, 1.0 + 0.25 * 8, 9.0, 0.0]))
    assert_output(antialias_row(color, right_edge_at(2.25)), tensor64([0.0, 1.0, 9.0 - 0.25 * 8, 0.0]))


def test_antialias_position_gradient_by_hand():
    """d(out[1])/d(edge) = -(c[2] - c[1]) = -8 in pixels, half of it from each end, 2 pixels to the unit of x/w."""
    pos = leaf(right_edge_at(1.75))
    grad = torch.autograd.grad(antialias_row(tensor64([0.0, 1.0, 9.0, 0.0]), pos)[1], pos)[0]
    x = 1.75 / 2 - 1
    expected = tensor64([[0, 0, 0, 0], [-8, 0, 0, 8 * x], [-8, 0, 0, 8 * x]])
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


def test_antialias_passes_no_gradient_at_its_limits():
    """Ids may come from elsewhere, so an edge may lie up to 1/16 pixel beyond the two centres: d is clamped."""
    color, tri = tensor64([0.0, 1.0, 9.0, 0.0]), ONE
    rast = tensor64([[[[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]]])
    for edge, expected in ((1.47, 1 + 0.5 * 8), (1.43, 1.0)):
        pos = leaf(right_edge_at(edge))
        out = antialias(color[None, None, :, None], rast, pos[None], tri)
        assert_output(out[0, 0, 1, 0], tensor64(expected))
        assert not torch.autograd.grad(out.sum(), pos)[0].any()


def test_antialias_leaves_edges_inside_a_surface():
    """Two triangles of a quad: their shared edge is no silhouette until one of them is folded over."""
    quad = flat((-3, -3, -0.9), (-0.1, -3), (-0.1, 3), (3, 3))
    tri = torch.tensor([[0, 1, 2], [1, 3, 2]])
    color = torch.rand(1, 4, 4, 2, dtype=torch.float64)
    ids = rasterize(quad[None], tri, (4, 4))
    rast = barycentrics(quad[None], tri, ids, (4, 4))[0]
    assert ids.unique().numel() == 2
    assert torch.equal(antialias(color, rast, quad, tri), color)
    folded = quad.clone()
    folded[3, 0] = -3
    assert not torch.equal(antialias(color, rast, folded, tri), color)


@pytest.mark.parametrize("scene", ["instanced", "range"])
def test_golden_antialias(golden, scene):
    case = golden(f"antialias_{scene}_0")
    color, pos = leaf(case["color"]), leaf(case["pos"])
    out = antialias(color, case["rast"], pos, case["tri"], lengthened=1e-3)
    assert_output(out, case["out"])
    grad_color, grad_pos = torch.autograd.grad(out, [color, pos], case["grad_out"].double())
    assert_gradient(grad_color, case["grad_color"])
    assert_gradient(grad_pos, case["grad_pos"])
