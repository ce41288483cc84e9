"""antialias: which edges it takes for silhouettes, and which of them it uses."""

import pytest
import torch
from scenes import sphere, triangles

import glraster
from glraster import antialias, antialias_construct_topology_hash, rasterize

LEFT, RIGHT = 3.0, 10.0


def blend(device, points, tri, ids=(1, 0), depth=(0.0, 0.0), topology=None, dtype=torch.float64) -> float:
    """alpha of two pixels side by side; points are in pixels from the left one's centre, ids are channel 3 of rast."""
    points = torch.tensor(points, dtype=dtype)
    ndc = torch.stack([points[:, 0] - 0.5, points[:, 1] * 2], 1)  # a 1 x 2 image: pixels of 1 x 2 in ndc
    pos = torch.cat([ndc, torch.zeros_like(ndc[:, :1]), torch.ones_like(ndc[:, :1])], 1).to(device)
    rast = torch.zeros(1, 1, 2, 4, dtype=dtype)
    rast[0, 0, :, 3], rast[0, 0, :, 2] = torch.tensor(ids), torch.tensor(depth)
    color = torch.tensor([LEFT, RIGHT], dtype=dtype, device=device).reshape(1, 1, 2, 1)
    left, right = antialias(color, rast.to(device), pos, tri.to(device), topology).flatten().tolist()
    assert left == LEFT or right == RIGHT  # one of the two is modified, if any
    return (left - LEFT + right - RIGHT) / (RIGHT - LEFT)


# An upright edge (vertices 0 and 1) a quarter of a pixel right of the left centre; one vertex to its left, two to its
# right (one far, one near), and one more on the left.
EDGE = [[0.25, -4.0], [0.25, 4.0], [-9.0, 1.0], [9.0, 1.0], [0.75, 1.0], [-8.0, 2.0]]
A, B, L, R, NEAR, L2 = range(6)
ALPHA = 0.25


def test_edge_of_a_single_triangle(device):
    for order in ([A, B, L], [B, A, L], [L, A, B], [L, B, A]):
        assert blend(device, EDGE, triangles(order)) == pytest.approx(ALPHA)


@pytest.mark.parametrize("neighbour", [[A, B, R], [B, A, R], [R, A, B], [B, R, A]])
def test_edge_between_two_triangles_is_none(device, neighbour):
    assert blend(device, EDGE, triangles([A, B, L], neighbour)) == 0
    assert blend(device, EDGE, triangles(neighbour, [A, B, L]), ids=(2, 0)) == 0


@pytest.mark.parametrize("neighbour", [[A, B, L2], [B, A, L2]])
def test_edge_of_a_fold_is_a_silhouette(device, neighbour):
    assert blend(device, EDGE, triangles([A, B, L], neighbour)) == pytest.approx(ALPHA)
    assert blend(device, EDGE, triangles([A, B, L], neighbour), ids=(2, 0)) == pytest.approx(ALPHA)


def test_neighbours_that_share_one_vertex_or_none_do_not_count(device):
    assert blend(device, EDGE, triangles([A, B, L], [A, R, NEAR], [R, NEAR, L2])) == pytest.approx(ALPHA)


def test_sharing_is_by_index_not_by_position(device):
    points = [*EDGE, EDGE[A], EDGE[B]]
    assert blend(device, points, triangles([A, B, L], [6, 7, R])) == pytest.approx(ALPHA)
    assert blend(device, points, triangles([A, B, L], [A, 7, R])) == pytest.approx(ALPHA)


def test_the_same_triangle_twice_is_no_neighbour(device):
    assert blend(device, EDGE, triangles([A, B, L], [B, L, A], [L, B, A])) == pytest.approx(ALPHA)
    assert blend(device, EDGE, triangles([A, B, L], [B, L, A], [A, B, R])) == 0


def test_three_triangles_at_an_edge(device):
    # Two opposite vertices are remembered, so that every triangle of three has one that is not its own.
    tri = triangles([A, B, L], [A, B, L2], [A, B, R])
    alphas = {order: blend(device, EDGE, tri[list(order)]) for order in ((0, 1, 2), (0, 2, 1))}
    assert all(alpha in (0, pytest.approx(ALPHA)) for alpha in alphas.values())
    assert len(set(alphas.values())) == 1  # whatever the order of the list
    assert blend(device, EDGE, triangles([A, B, L], [A, B, R], [A, B, NEAR])) == 0


def test_neighbour_that_does_not_project_to_either_side(device):
    # Its opposite vertex lies on the edge's line: not the same side, so no silhouette.
    points = [*EDGE, [0.25, 7.0]]
    assert blend(device, points, triangles([A, B, L], [A, B, 6])) == 0


def test_the_farthest_crossing_decides(device):
    # The right triangle's edges cross the line at -1/4 (A-B) and far right; the left one's at 1/4 and 3/8.
    points = [[0.25, -4.0], [0.5, 4.0], [0.125, 4.0]]
    assert blend(device, points, triangles([0, 1, 2])) == pytest.approx(0.5 - 0.375)
    # That edge shared with a triangle on its other side: the nearer edge is a silhouette, but is not taken instead.
    tri = triangles([0, 1, 2], [0, 1, 3])
    assert blend(device, [*points, [9.0, 0.0]], tri) == 0
    # Farthest towards the neighbour, not by distance: seen from the right pixel, the crossing at 1/8 + 1/2.
    points = [[0.75, -4.0], [0.5, 4.0], [0.875, 4.0]]
    assert blend(device, points, triangles([0, 1, 2]), ids=(0, 1)) == pytest.approx(-(0.5 - 0.375))


def test_a_farther_crossing_out_of_reach_rules_out_a_nearer_one(device):
    points = [[0.25, -4.0], [4.0, 4.0], [0.125, 4.0]]
    assert blend(device, points, triangles([0, 1, 2])) == 0


@pytest.mark.parametrize("slope, used", [(0.0, True), (0.99, True), (1.0, True), (1.01, False), (3.0, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_only_edges_steeper_than_the_diagonal(device, slope, used, sign):
    # The edge runs through (1/4, 0) with dx = slope * dy.
    points = [[0.25 - 2 * sign * slope, -2.0], [0.25 + 2 * sign * slope, 2.0], [-90.0, 0.5 if sign > 0 else -0.5]]
    assert blend(device, points, triangles([0, 1, 2])) == (pytest.approx(ALPHA) if used else 0)


def test_ends_must_lie_strictly_on_both_sides(device):
    for low, high, used in ((-1, 2, True), (0, 2, False), (-2, 0, False), (1, 2, False), (-2, -1, False)):
        points = [[0.25, low], [0.25, high], [-50.0, 40.0]]
        assert blend(device, points, triangles([0, 1, 2])) == (pytest.approx(ALPHA) if used else 0)


# Two triangles with upright edges at 1/4 (facing right) and, seen from the right pixel, at 5/8 (facing left).
TWO = [[0.25, -4.0], [0.25, 4.0], [-9.0, 1.0], [0.625, -4.0], [0.625, 4.0], [9.0, 1.0]]


@pytest.mark.parametrize(
    "depth, alpha", [((0.1, 0.2), 0.5 - 0.25), ((0.2, 0.1), -(0.5 - 0.375)), ((0.1, 0.1), -(0.5 - 0.375))]
)
def test_the_nearer_triangle_is_considered(device, depth, alpha):
    assert blend(device, TWO, triangles([0, 1, 2], [3, 4, 5]), ids=(1, 2), depth=depth) == pytest.approx(alpha)


def test_an_empty_pixel_is_never_nearer(device):
    tri = triangles([0, 1, 2], [3, 4, 5])
    assert blend(device, TWO, tri, ids=(1, 0), depth=(0.9, 0.0)) == pytest.approx(0.25)
    assert blend(device, TWO, tri, ids=(0, 2), depth=(0.0, 0.9)) == pytest.approx(-0.125)


def test_equal_ids_are_not_blended(device):
    tri = triangles([0, 1, 2], [3, 4, 5])
    assert blend(device, TWO, tri, ids=(1, 1)) == blend(device, TWO, tri, ids=(0, 0)) == 0


def test_nothing_across_the_border_or_between_images(device):
    # Columns 0 and 2 of one row, neighbours in memory of the next row, and the last row of one image and the first of
    # the next, see different triangles; no edge is near any other pair.
    rast = torch.zeros(2, 2, 3, 4, dtype=torch.float64, device=device)
    rast[..., 3] = torch.tensor([1, 2], device=device)[:, None, None]
    pos = torch.rand(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device) * 4 - 2
    color = torch.rand(2, 2, 3, 2, dtype=torch.float64, device=device)
    assert torch.equal(antialias(color, rast, pos, triangles([0, 1, 2], [3, 4, 5]).to(device)), color)
    rast[:, 0, :, 3], rast[:, 1, :, 3] = 1, 2  # rows differ: only vertical pairs
    steep = torch.tensor([[x, y, 0, 1] for x, y in ((-0.9, -9), (-0.9, 9), (-40, 1), (0.9, -9), (0.9, 9), (40, 1))])
    out = antialias(color, rast, steep.double().to(device), triangles([0, 1, 2], [3, 4, 5]).to(device))
    assert torch.equal(out, color)


def test_wide_and_high_images_use_their_own_pixels(device):
    # The same edge in images of other shapes: distances are in pixels along each axis.
    for width, height in ((2, 1), (4, 2), (10, 3)):
        x = (width // 2 - 0.5 + 0.25) * 2 / width - 1  # a quarter of a pixel right of the centre of column w/2 - 1
        pos = torch.tensor([[x, -9, 0, 1], [x, 9, 0, 1], [-90, 1, 0, 1]], dtype=torch.float64, device=device)
        rast = torch.zeros(1, height, width, 4, dtype=torch.float64, device=device)
        rast[:, :, : width // 2, 3] = 1
        color = (rast[..., 3:] == 0).double()
        out = antialias(color, rast, pos, triangles([0, 1, 2]).to(device))
        expected = color.clone()
        expected[:, :, width // 2 - 1] = 0.25
        torch.testing.assert_close(out, expected)


def test_topology_hash_gives_equal_results(glctx, device):
    pos, tri = (t.to(device) for t in sphere(2, num_views=2))
    rast, _ = rasterize(glctx, pos, tri, (40, 40))
    color = torch.rand(2, 40, 40, 3, generator=torch.Generator().manual_seed(0)).to(device)
    table = antialias_construct_topology_hash(tri)
    assert torch.equal(antialias(color, rast, pos, tri, table), antialias(color, rast, pos, tri))
    assert torch.equal(antialias(color, rast, pos, tri, topology_hash=table), antialias(color, rast, pos, tri))


def test_topology_does_not_depend_on_the_order_of_triangles(device):
    generator = torch.Generator().manual_seed(0)
    pos, tri = sphere(3)
    with glraster.RasterizeCudaContext(device) as glctx:
        rast, _ = rasterize(glctx, pos.to(device), tri.to(device), (60, 60))
    color = torch.rand(1, 60, 60, 1, generator=generator).to(device)
    expected = antialias(color, rast, pos.to(device), tri.to(device))
    for _ in range(3):
        order = torch.randperm(len(tri), generator=generator)
        shuffled, inverse = tri[order].roll(1, 1), order.argsort()
        renamed = rast.clone()
        ids = rast[..., 3].long().cpu()
        renamed[..., 3] = torch.where(ids > 0, inverse[(ids - 1).clamp(min=0)] + 1, 0).to(device, rast.dtype)
        torch.testing.assert_close(
            antialias(color, renamed, pos.to(device), shuffled.contiguous().to(device)), expected
        )


def test_tri_may_change_in_place_between_calls(device):
    tri = triangles([A, B, L], [A, B, R])
    assert blend(device, EDGE, tri) == 0
    tri[1, 2] = L2
    assert blend(device, EDGE, tri) == pytest.approx(ALPHA)
    tri[1, 0] = NEAR
    assert blend(device, EDGE, tri) == pytest.approx(ALPHA)


def test_triangles_of_fewer_than_three_vertices_are_harmless(device):
    tri = triangles([A, B, L], [A, A, R], [B, B, B], [R, R, A])
    assert blend(device, EDGE, tri) == pytest.approx(ALPHA)
    assert blend(device, EDGE, tri, ids=(2, 0)) == blend(device, EDGE, tri, ids=(3, 0)) == 0
