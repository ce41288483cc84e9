"""Texels and their points: by hand, over folds, conservatively, and sewn."""

import pytest
import torch
from bake_scenes import SIDE, folded, two_islands

import glraster
from glraster import bake, mesh
from glraster.bake.walk import neighbours, walk

F64 = torch.float64


def test_by_hand(on_cpu):
    """Four texels are one unit along x, or z, and four along y."""
    found = bake.texels(on_cpu, two_islands(), SIDE)
    assert found.inside.sum() == 64 and found.inside[0, 4:12, 2:6].all() and found.inside[0, 4:12, 10:14].all()
    assert found.covered.sum() == 2 * 10 * 6, "one texel all around each half"
    pos, rows = found.positions[0], torch.arange(4, 12)
    y = (rows - 3.5) / 4
    zero = torch.zeros(8)
    torch.testing.assert_close(pos[4:12, 5], torch.stack([zero - 0.125, y, zero], dim=1))
    torch.testing.assert_close(pos[4:12, 6], torch.stack([zero, y, zero + 0.125], dim=1))
    torch.testing.assert_close(pos[4:12, 9], torch.stack([zero - 0.125, y, zero], dim=1))
    torch.testing.assert_close(pos[4:12, 1], torch.stack([zero - 1, y, zero], dim=1))
    assert (glraster.triangle_id(found.rast)[0, 4:12, 6] >= 2).all() and (found.home[0, 4:12, 6] < 2).all()
    torch.testing.assert_close(found.uv[0, 4:12, 6, 0] * SIDE, torch.full((8,), 10.5))
    assert not found.rast[~found.covered].any() and (found.home[~found.covered] == -1).all()
    assert found.islands.tolist() == [found.islands[0]] * 2 + [found.islands[2]] * 2


@pytest.mark.parametrize("turned", [False, True], ids=["as it is", "with triangles that wind the other way"])
def test_ways_over_folds_keep_lengths(turned):
    sheet = mesh.grid(6, 8)
    flat = sheet.pos[:, :2].double()
    tri = sheet.tri.long()
    if turned:
        tri = torch.where((torch.arange(len(tri)) % 3 == 0)[:, None], tri.flip(1), tri)
    generator = torch.Generator().manual_seed(0)
    goal = torch.rand(300, 2, dtype=F64, generator=generator) * 2 - 1
    start = torch.randint(len(tri), (300,), generator=generator)
    corners = flat[tri[start]]
    edges = torch.stack([corners[:, 0] - corners[:, 2], corners[:, 1] - corners[:, 2]], dim=2)
    first = torch.linalg.solve(edges, goal - corners[:, 2])
    weights = torch.cat([first, 1 - first.sum(1, keepdim=True)], dim=1)
    triangle, found = walk(folded(flat), tri, neighbours(tri, len(flat)), start, weights)
    assert found.min() >= 0
    torch.testing.assert_close((folded(flat)[tri[triangle]] * found[..., None]).sum(1), folded(goal))
    assert (triangle != start).float().mean() > 0.9


def test_borders_hold(on_cpu):
    sheet = mesh.grid(2, 2)
    pos, tri = sheet.pos.double(), sheet.tri.long()
    beyond = torch.tensor([[5.0, -6, 2], [0.5, -1.5, 2.0], [float("nan")] * 3], dtype=F64)
    triangle, weights = walk(pos, tri, neighbours(tri, len(pos)), torch.zeros(3, dtype=torch.int64), beyond)
    assert weights[:2].min() >= 0 and weights[2].isnan().all()
    points = (pos[tri[triangle]] * weights[..., None]).sum(1)[:2]
    assert points.abs().amax(1).tolist() == pytest.approx([1, 1])
    assert len(walk(pos, tri, neighbours(tri, 9), triangle[:0], weights[:0])[0]) == 0


def test_more_than_two_triangles_at_an_edge_are_a_border():
    tri = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    assert neighbours(tri, 5).tolist() == [-1] * 9
    assert neighbours(tri[:2], 5).tolist() == [3, -1, -1, 0, -1, -1]


@pytest.mark.parametrize("move", [(0.0, 0.0), (0.37, 0.0), (-1.2, 2.6)])
@pytest.mark.parametrize("size", [(24, 24), (7, 40)])
def test_all_that_lookups_touch_is_covered(on_cpu, move, size):
    """Also of triangles much smaller than a texel, beyond the sides of the texture, and without area in the layout."""
    generator = torch.Generator().manual_seed(1)
    count = 60
    uv = torch.rand(count, 1, 2, generator=generator)
    uv = (
        uv
        + torch.randn(count, 3, 2, generator=generator) * 10 ** (-3 * torch.rand(count, 1, 1, generator=generator)) / 9
    )
    uv[:5, 2] = uv[:5, 1]
    uv = uv.flatten(0, 1) + torch.tensor(move)
    tri = torch.arange(3 * count, dtype=torch.int32).view(-1, 3)
    found = bake.texels(on_cpu, mesh.Mesh(torch.rand(3 * count, 3, generator=generator), tri, uv=uv, uv_tri=tri), size)
    weights = torch.rand(count, 500, 3, generator=generator) ** 2
    weights[:, ::2, 0] = 0  # along edges
    weights[:, :3] = torch.eye(3)
    places = (weights / weights.sum(2, keepdim=True)) @ uv.view(count, 3, 2)
    touched = glraster.texture(found.covered[..., None].float(), places[None], filter_mode="linear")
    assert touched.min() > 0.999 and not found.covered.all()


def test_texels_between_islands_are_the_nearest_ones(on_cpu):
    found = bake.texels(on_cpu, two_islands(gap=1), SIDE)
    assert found.home[0, 4:12, 6].max() <= 3 and found.covered[0, 4:12, 6].all()
    found = bake.texels(on_cpu, two_islands(gap=0), SIDE)
    assert found.inside.sum() == 64 and found.covered.sum() == 10 * 10


def test_centres_on_edges_are_inside(on_cpu):
    square = two_islands()
    found = bake.texels(on_cpu, square.replace(uv=square.uv + 0.5 / SIDE), SIDE)
    assert found.inside[0, 4:13, 2:7].all() and found.inside.sum() == 2 * 5 * 9


def test_gradients_reach_attributes(on_cpu):
    square = two_islands()
    found = bake.texels(on_cpu, square.replace(uv=square.uv.double(), pos=square.pos.double()), (4, 8))
    colors = torch.rand(6, 2, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: glraster.interpolate(c, found.rast, square.tri)[0], colors)
    assert found.rast.dtype == F64 and not found.rast.requires_grad


def test_attributes_are_smooth_over_seams(on_cpu):
    """What is linear on the unfolded sheet is looked up exactly, on both sides of the seam."""
    square = two_islands()
    found = bake.texels(on_cpu, square, SIDE)
    tex = glraster.interpolate(square.pos[:, :1] + square.pos[:, 2:], found.rast, square.tri)[0]
    y = torch.linspace(4.6, 11.4, 9)
    for column, x in ((6.0, 0.0), (10.0, 0.0), (5.8, -0.05), (10.2, 0.05)):
        place = torch.stack([torch.full_like(y, column), y], dim=1) / SIDE
        looked = glraster.texture(tex, place[None, None], filter_mode="linear")
        torch.testing.assert_close(looked, torch.full_like(looked, x))


def test_sewn_textures_agree_at_seams(on_cpu):
    """The halves' texels lie on one grid, so that lookups on both sides meet the same texels."""
    square = two_islands()
    found = bake.texels(on_cpu, square, SIDE)
    generator = torch.Generator().manual_seed(0)
    tex = torch.rand(1, SIDE, SIDE, 3, generator=generator)
    tex[~found.inside] = torch.nan
    sewn = bake.sew(tex, found)
    assert torch.equal(sewn[found.inside], tex[found.inside]) and sewn[~found.covered].isnan().all()
    torch.testing.assert_close(sewn[0, 4:12, 6], tex[0, 4:12, 10])
    torch.testing.assert_close(sewn[0, 4:12, 9], tex[0, 4:12, 5])
    y = 4.5 + 7 * torch.rand(50, generator=generator)
    x = torch.rand(50, generator=generator) - 0.5  # within half a texel of the seam
    left, right = (
        glraster.texture(sewn, (torch.stack([x + column, y], dim=1) / SIDE)[None, None], filter_mode="linear")
        for column in (6.0, 10.0)
    )
    torch.testing.assert_close(left, right)


def test_gradients_go_over_seams(on_cpu):
    square = two_islands()
    found = bake.texels(on_cpu, square.replace(uv=square.uv.double()), SIDE)
    tex = torch.rand(1, SIDE, SIDE, 1, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: bake.sew(t, found)[0, 3:7, 4:8], tex, atol=1e-8)
    (grad,) = torch.autograd.grad(bake.sew(tex, found)[0, 4:12, 6].sum(), tex)
    torch.testing.assert_close(grad[0, 4:12, 10], torch.ones(8, 1, dtype=F64))
    assert grad.sum() == pytest.approx(8)


def test_nothing(on_cpu):
    empty = mesh.Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int32))
    empty = empty.replace(uv=torch.zeros(3, 2), uv_tri=empty.tri)
    found = bake.texels(on_cpu, empty, 4)
    assert not found.covered.any() and len(found.islands) == 0
    tex = torch.rand(1, 4, 4, 1)
    assert torch.equal(bake.sew(tex, found), tex)


def test_errors(on_cpu):
    square = two_islands()
    with pytest.raises(ValueError, match=r"texels\(\): mesh must have uv, got none: glraster.mesh.unwrap"):
        bake.texels(on_cpu, square.replace(uv=None, uv_tri=None), 8)
    for uv in (square.uv * 100, square.uv / 0):
        with pytest.raises(ValueError, match=r"texels\(\): uv must be finite and span at most 16 textures"):
            bake.texels(on_cpu, square.replace(uv=uv), 8)
    with pytest.raises(ValueError, match=r"sew\(\): texture must be .* \[1, 8, 8\], got \[1, 4, 8, 3\]"):
        bake.sew(torch.zeros(1, 4, 8, 3), bake.texels(on_cpu, square, 8))
