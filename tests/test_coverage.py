"""rasterize: which triangle each pixel shows. Ties, watertightness, depth, clipping, culling and image sizes."""

import pytest
import torch
from reference import rasterize as reference
from scenes import drawn_by_a_card, soup, sphere, triangles

import glraster
from glraster import rasterize
from glraster.scene import Scene


def draw_ids(glctx, pos, tri, resolution, **options) -> torch.Tensor:
    rast, _ = rasterize(glctx, pos.to(glctx.device), tri.to(glctx.device), resolution, **options)
    return reference.decode_id(rast[..., 3].cpu())


def coverage_of_each(glctx, pos, tri, resolution) -> torch.Tensor:
    """How many of the triangles cover each pixel, each drawn into an image of its own: [H, W]."""
    ranges = torch.stack([torch.arange(len(tri)), torch.ones(len(tri))], 1).int()
    ids = draw_ids(glctx, pos, tri, resolution, ranges=ranges)
    assert ((ids < 0) | (ids == torch.arange(len(tri))[:, None, None])).all()
    return (ids >= 0).sum(0)


def flat(points, z: float = 0.0) -> torch.Tensor:
    """[V, 4] from [V, 2] in normalised device coordinates."""
    points = torch.as_tensor(points, dtype=torch.float32)
    return torch.cat([points, torch.full_like(points, z)[:, :1], torch.ones_like(points)[:, :1]], 1)


QUAD = triangles([0, 1, 2], [0, 2, 3])


def quad(x0, y0, x1, y1, z=0.0) -> torch.Tensor:
    return flat([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], z)


def test_edges_through_pixel_centres(glctx):
    # Centres at -3/4, -1/4, 1/4, 3/4. Left and lower edges own the centres on them, right and upper ones do not.
    expected = torch.zeros(4, 4, dtype=torch.long)
    expected[:3, :3] = 1
    for vertex_order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 2, 3, 0]):
        pos = quad(-0.75, -0.75, 0.75, 0.75)[vertex_order]
        assert torch.equal(coverage_of_each(glctx, pos, QUAD, (4, 4)), expected)


@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_fan_around_a_pixel_centre(glctx, flip):
    # Vertices on pixel centres of a 17 x 17 image, the hub in the middle; the fan covers the square between its rim.
    rim = [(-8, -8), (0, -8), (8, -8), (8, 0), (8, 8), (0, 8), (-8, 8), (-8, 0)]
    pos = flat(torch.tensor([(0, 0), *rim]) * torch.tensor(flip) / 8.5)
    fan = triangles(*[[0, 1 + i, 1 + (i + 1) % 8] for i in range(8)])
    fan[::2] = fan[::2].flip(1)
    expected = torch.ones(17, 17, dtype=torch.long)
    expected[16] = expected[:, 16] = 0
    assert torch.equal(coverage_of_each(glctx, pos, fan, (17, 17)), expected)


def grid(seed: int, step: float, offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A triangulated [-1.5, 1.5]^2 with inner vertices moved, to multiples of `step` past `offset`: [V, 2], [T, 3]."""
    size, cell = 9, 1 / 3
    generator = torch.Generator().manual_seed(seed)
    line = torch.linspace(-1.5, 1.5, size + 1)
    points = torch.stack(torch.meshgrid(line, line, indexing="ij"), -1)
    points[1:-1, 1:-1] += 0.3 * cell * (torch.rand(points.shape, generator=generator) - 0.5)[1:-1, 1:-1]
    if step:
        points[1:-1, 1:-1] = ((points[1:-1, 1:-1] - offset) / step).round() * step + offset
    index = torch.arange((size + 1) ** 2).reshape(size + 1, size + 1)
    a, b, c, d = (index[i : size + i, j : size + j].flatten() for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)))
    other = (torch.rand(size**2, generator=generator) < 0.5)[:, None]
    first = torch.where(other, torch.stack([a, b, c], 1), torch.stack([a, b, d], 1))
    second = torch.where(other, torch.stack([a, c, d], 1), torch.stack([b, c, d], 1))
    tri = torch.cat([first, second]).int()
    backwards = (torch.rand(len(tri), generator=generator) < 0.5)[:, None]
    return points.reshape(-1, 2), torch.where(backwards, tri.flip(1), tri)


@pytest.mark.parametrize("step, offset", [(0, 0), (1 / 24, 0), (1 / 24, 1 / 48)], ids=["random", "corners", "centres"])
@pytest.mark.parametrize("seed", range(3))
def test_meshes_are_watertight(glctx, step, offset, seed):
    points, tri = grid(seed, step, offset)
    w = 0.5 + torch.rand(len(points), 1, generator=torch.Generator().manual_seed(seed))
    assert (coverage_of_each(glctx, flat(points) * w, tri, (48, 48)) == 1).all()


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_meshes_far_larger_than_the_view_are_watertight(glctx, scale):
    points, tri = grid(0, 0, 0)
    points -= points[44].clone()  # a corner in the middle of the view
    if drawn_by_a_card(glctx):  # up to what the context promises; llvmpipe goes on
        scale = min(scale, 0.99 * glctx.reach / float(points.abs().max()))
    count = coverage_of_each(glctx, flat(points * scale), tri, (33, 31))
    wrong = [(*place.tolist(), int(count[tuple(place)])) for place in (count != 1).nonzero()]
    assert not wrong, f"row, column, number of triangles: {wrong}"


@pytest.mark.parametrize("seed", range(3))
def test_plane_through_the_eye_is_watertight(glctx, seed):
    # A ground plane that reaches far behind the eye: x/w and y/w of its vertices jump from one side to the other at
    # w = 0. Every pixel below the horizon is covered once, no pixel above it.
    points, tri = grid(seed, 0, 0)
    x, depth = 8 * points[:, 0], 8 * points[:, 1] + 2
    assert (depth < 0).any() and (depth > 0).any()
    pos = torch.stack([x, torch.full_like(x, -0.25), 0 * x, depth], 1)
    count = coverage_of_each(glctx, pos, tri, (40, 40))
    nearest_row, horizon = (
        20 - 20 * 0.25 / 0.3,
        20 - 20 * 0.25 / 14,
    )  # of depth 0.3 and of the far end, y/w = -1/4 / depth
    assert (count[int(nearest_row) + 1 : int(horizon)] == 1).all() and not count[20:].any()
    assert count.max() == 1


def test_closed_surface_has_no_holes(glctx):
    pos, tri = sphere(3, num_views=4)
    seen = draw_ids(glctx, pos, tri, (101, 97)) >= 0
    for mask in (seen, seen.mT):  # the picture of a convex solid: one run in every row and column
        starts = (mask[..., 1:] & ~mask[..., :-1]).sum(-1) + mask[..., 0]
        assert starts.max() == 1
    assert 0.2 < seen.float().mean() < 0.8


def test_nearest_triangle_wins(glctx):
    far, near = quad(-1, -1, 1, 1, z=0.5), quad(-0.5, -0.5, 0.5, 0.5, z=-0.5)
    expected = torch.zeros(8, 8, dtype=torch.long)
    expected[2:6, 2:6] = 1
    both = torch.cat([far, near])[None]
    assert torch.equal(draw_ids(glctx, both, torch.cat([QUAD, QUAD + 4]), (8, 8))[0] // 2, expected)
    assert torch.equal(draw_ids(glctx, both, torch.cat([QUAD + 4, QUAD]), (8, 8))[0] // 2, 1 - expected)


def test_depth_is_compared_at_every_pixel(glctx):
    # Two planes z = x and z = -x; the one with the smaller z/w is seen on either side.
    pos = torch.cat([quad(-1, -1, 1, 1), quad(-1, -1, 1, 1)])[None]
    pos[0, :4, 2], pos[0, 4:, 2] = pos[0, :4, 0], -pos[0, 4:, 0]
    ids = draw_ids(glctx, pos, torch.cat([QUAD, QUAD + 4]), (6, 10))[0] // 2
    assert (ids[:, :5] == 0).all() and (ids[:, 5:] == 1).all()


def test_lower_id_wins_at_equal_depth(glctx):
    tri = torch.cat([QUAD] * 3)
    for order in ([0, 1, 2, 3, 4, 5], [4, 5, 0, 1, 2, 3], [5, 4, 3, 2, 1, 0]):
        ids = draw_ids(glctx, quad(-1, -1, 1, 1, z=0.3)[None], tri[order], (9, 9))[0]
        assert set(ids.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("w", [(1, 1), (1, 5)], ids=["affine", "perspective"])
def test_near_and_far_clipping(glctx, w):
    # z/w runs linearly over the screen from -2 at the left to 2 at the right; half of the pixels are within -1..1.
    pos = quad(-1, -1, 1, 1)
    pos[:, 2] = 2 * pos[:, 0]
    pos *= torch.where(pos[:, :1] < 0, *(float(value) for value in w))
    rast, _ = rasterize(glctx, pos[None].to(glctx.device), QUAD.to(glctx.device), (4, 16))
    depth = 2 * ((2 * torch.arange(16) + 1) / 16 - 1)
    visible = depth.abs() <= 1
    assert torch.equal(rast[0, ..., 3].cpu() > 0, visible.expand(4, -1))
    torch.testing.assert_close(rast[0, ..., 2].cpu(), (depth * visible).expand(4, -1), atol=1e-6, rtol=0)


def test_depth_exactly_at_the_limits_is_inside(glctx):
    for z in (-1.0, 1.0):
        assert (draw_ids(glctx, quad(-1, -1, 1, 1, z)[None], QUAD, (5, 7)) >= 0).all()
    for z in (-1.001, 1.001):
        assert (draw_ids(glctx, quad(-1, -1, 1, 1, z)[None], QUAD, (5, 7)) < 0).all()


def test_triangles_behind_the_eye(glctx):
    # w = -1 everywhere: culled, although x/w and y/w lie in the view. Mixed signs: only the part in front is drawn.
    behind = torch.tensor([[[-1.0, -1, 0, -1], [3, -1, 0, -1], [-1, 3, 0, -1]]])
    assert (draw_ids(glctx, behind, triangles([0, 1, 2]), (8, 8)) < 0).all()
    zero = behind * torch.tensor([1.0, 1, 1, 0])
    assert (draw_ids(glctx, zero, triangles([0, 1, 2]), (8, 8)) < 0).all()
    # A wall x = -1/4 .. from w = -2 to w = 2: it appears left of the centre, where w = -x/4 / x.
    wall = torch.tensor([[[-0.5, -9, 0, 2], [-0.5, 9, 0, 2], [-0.5, 0, 0, -30]]])
    seen = draw_ids(glctx, wall, triangles([0, 1, 2]), (8, 8))[0] >= 0
    assert seen[:, :3].all() and not seen[:, 3:].any()


def test_barycentrics_give_back_the_sample_position(glctx):
    # The interpolated clip-space position projects to the pixel's centre, and has w > 0, also across w = 0.
    pos, tri = soup(11, 2, 60, behind_eye=0.3)
    H, W = 30, 44
    pos, tri = pos.to(glctx.device).double(), tri.to(glctx.device)
    rast, _ = rasterize(glctx, pos, tri, (H, W))
    inside = (rast[..., 3] > 0) & (rast[..., :2] > 0).all(-1) & (rast[..., 0] + rast[..., 1] < 1)
    here = glraster.interpolate(pos, rast, tri)[0][inside]
    _, row, column = inside.nonzero(as_tuple=True)
    sample = torch.stack([(2 * column + 1) / W - 1, (2 * row + 1) / H - 1], 1).double()
    assert inside.float().mean() > 0.3 and (here[:, 3] > 0).all()
    torch.testing.assert_close(here[:, :2] / here[:, 3:], sample, rtol=0, atol=1e-6)
    torch.testing.assert_close(here[:, 2] / here[:, 3], rast[inside][:, 2], rtol=0, atol=1e-9)


def test_culling_by_hand(glctx):
    counterclockwise = flat([[-1, -1], [1, -1], [-1, 1]])[None]
    for pos, kept in ((counterclockwise, "back"), (counterclockwise[:, [0, 2, 1]], "front")):
        for cull in ("none", "back", "front"):
            seen = bool((draw_ids(glctx, pos, triangles([0, 1, 2]), (4, 4), cull=cull) >= 0).any())
            assert seen == (cull in ("none", kept))


def test_culling_of_a_closed_surface(glctx):
    pos, tri = sphere(2, num_views=2)
    outside, inside = (draw_ids(glctx, pos, tri, (40, 40), cull=cull) for cull in ("back", "front"))
    ids = draw_ids(glctx, pos, tri, (40, 40))
    assert torch.equal(ids, outside) and torch.equal(ids >= 0, inside >= 0)
    assert not ((ids == inside) & (ids >= 0)).any()


@pytest.mark.parametrize("cull", ["back", "front"])
def test_culling_equals_reference(glctx, cull):
    pos, tri = soup(12, 2, 30, behind_eye=0.3)
    ids, expected = draw_ids(glctx, pos, tri, (25, 35), cull=cull), reference.rasterize(pos, tri, (25, 35), cull=cull)
    assert (ids != expected).sum() <= 3 and (ids >= 0).any()


RESOLUTIONS = [(1, 1), (1, 2), (7, 5), (270, 480), (1, 100_000), (100_000, 1), (3, 40_000), (40_000, 2)]


@pytest.mark.parametrize("resolution", RESOLUTIONS, ids=str)
def test_any_resolution(glctx, resolution):
    # u runs from 0 at the left to 1 at the right and v from 0 at the bottom to 1 at the top of the image.
    H, W = resolution
    pos = torch.tensor([[[1.0, -1, 0, 1], [-1, 1, 0, 1], [-1, -1, 0, 1]]], device=glctx.device)
    pos[0, :2, :2] = torch.tensor([[3.0, -1], [-1, 3]])  # twice as large: the whole image is inside
    rast, rast_db = (t.cpu() for t in rasterize(glctx, pos, triangles([0, 1, 2]).to(glctx.device), resolution))
    assert rast.shape == rast_db.shape == (1, H, W, 4)
    assert (rast[..., 3] == 1).all()
    x, y = (torch.arange(W).double() + 0.5) / (2 * W), (torch.arange(H).double() + 0.5) / (2 * H)
    torch.testing.assert_close(rast[0, ..., 0].double(), x.expand(H, W), rtol=0, atol=1e-6)
    torch.testing.assert_close(rast[0, ..., 1].double(), y[:, None].expand(H, W), rtol=0, atol=1e-6)
    derivatives = torch.tensor([0.5 / W, 0, 0, 0.5 / H])
    torch.testing.assert_close(rast_db, derivatives.expand(1, H, W, 4), rtol=1e-5, atol=1e-6 / max(H, W))


@pytest.mark.parametrize("resolution", [(1, 100_000), (100_000, 1), (2, 40_000)], ids=str)
def test_edges_lie_right_in_long_images(glctx, resolution):
    length = max(resolution)
    at = [0, 1, 255, 16_384, 16_385, 32_768, 39_999, length // 2, length]
    for k in at:  # an edge between pixels k - 1 and k
        end = 2 * k / length - 1
        pos = quad(-1, -1, end, 1) if resolution[1] == length else quad(-1, -1, 1, end)
        covered = draw_ids(glctx, pos[None], QUAD, resolution) >= 0
        covered = covered.all(1) if resolution[1] == length else covered.all(2)
        assert torch.equal(covered.flatten(), torch.arange(length) < k)


def test_more_images_than_layers_of_a_texture(glctx):
    # Image n shows its own triangle in pixel n % 4 of 2 x 2.
    N = 3000
    corner = torch.tensor([[-1.0, -1], [0, -1], [-1, 0], [0, 0]])[torch.arange(N) % 4]
    points = corner[:, None] + torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    pos = torch.cat([points, torch.zeros(N, 4, 1), torch.ones(N, 4, 1)], 2)
    ids = draw_ids(glctx, pos, triangles([0, 1, 3], [0, 3, 2]), (2, 2))
    expected = torch.nn.functional.one_hot(torch.arange(N) % 4, 4).bool().reshape(N, 2, 2)
    assert torch.equal(ids >= 0, expected)


def test_edges_far_beyond_an_extremely_long_image(device):
    # An edge from one end of the image to the other that is 4 million times as high as the image: its fixed-point edge
    # function would overflow 64 bits, were it not clipped first. Only visibility: rast would take 2 GiB.
    W = 2**27
    pos = torch.tensor([[[-1, -4e6, 0, 1], [1, 4e6, 0, 1], [-1, 4e6, 0, 1]]], device=device)
    with glraster.RasterizeCudaContext(device) as glctx:
        keys = glctx.find_visible(Scene(pos, triangles([0, 1, 2]).to(device), 1, W, None, "none")).ids.flatten()
    assert (keys[: W // 2 - 1] != -1).all() and (keys[W // 2 + 1 :] == -1).all()


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_scale_of_homogeneous_positions_does_not_matter(glctx, scale):
    pos, tri = soup(13, 1, 20)
    pos, tri = pos.double().to(glctx.device), tri.to(glctx.device)
    rast, rast_db = rasterize(glctx, pos, tri, (20, 20))
    scaled, scaled_db = rasterize(glctx, pos * scale, tri, (20, 20))
    assert (rast[..., 3] != scaled[..., 3]).sum() <= 1
    agree = rast[..., 3] == scaled[..., 3]
    torch.testing.assert_close(scaled[agree], rast[agree], rtol=0, atol=1e-9)
    torch.testing.assert_close(scaled_db[agree], rast_db[agree], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1e2, 1e6])  # from 1e8 on, graphics drivers run out of float32 when they clip
def test_triangle_much_larger_than_the_image(glctx, scale):
    pos = torch.tensor([[[-scale, -scale, 0, 1], [scale, -scale, 0, 1], [0, scale, 0, 1]]], device=glctx.device)
    rast, _ = rasterize(glctx, pos, triangles([0, 1, 2]).to(glctx.device), (16, 24))
    assert (rast[..., 3] == 1).all()
    middle = rast[0, 8, 12, :2].cpu()
    torch.testing.assert_close(middle, torch.tensor([0.25, 0.25]), rtol=0, atol=1 / scale)
