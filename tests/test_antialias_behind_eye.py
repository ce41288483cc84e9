"""antialias of triangles that reach behind the eye: a floor, a wall, a road under the camera."""

import math

import pytest
import torch
from reference import antialias as reference
from scenes import soup, triangles

import glraster
from glraster import antialias, rasterize

LEFT, RIGHT = 3.0, 10.0
INNER = [-9.0, 1, 1]  # a vertex that leaves the edge on the right of its triangle


def edge_between(device, points, tri=None, ids=(1, 0), dtype=torch.float64):
    """alpha of two pixels side by side, and a function of pos for it.

    Args:
        points: (X, Y, w), where X / w and Y / w are in pixels from the left pixel's centre.
        ids: channel 3 of rast.
    """
    X, Y, w = torch.tensor(points, dtype=dtype, device=device).unbind(1)
    pos = torch.stack([X - 0.5 * w, 2 * Y, 0 * w, w], 1)  # a 1 x 2 image: pixels of 1 x 2 in x/w, y/w
    rast = torch.zeros(1, 1, 2, 4, dtype=dtype, device=device)
    rast[0, 0, :, 3] = torch.tensor(ids)
    color = torch.tensor([LEFT, RIGHT], dtype=dtype, device=device).reshape(1, 1, 2, 1)
    tri = triangles([0, 1, 2]) if tri is None else tri

    def alpha(pos):
        return (antialias(color, rast, pos, tri.to(device)) - color).sum() / (RIGHT - LEFT)

    return alpha(pos).item(), alpha, pos


# Upright edges at X / w = 1/4. Vertex 0 is before the eye and below the pixels' line.
BELOW = [0.25, -4, 1]
CASES = {
    "both before": ([0.25, 4, 1], 0.25),
    "passes the line": ([-0.25, 20, -1], 0.25),  # seen from Y / w = -4 upwards, although it ends at -20
    "passes the line, far": ([-2.5, 100, -10], 0.25),
    "turns away from it": ([-0.25, -20, -1], 0),  # seen from -4 downwards
    "meets it behind": ([-0.75, 6, -3], 0),  # Y = 0 at w = -0.6
    "end in the eye's plane": ([0, 6, 0], 0.25),
    "end in the eye's plane, below": ([0, -6, 0], 0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("end, expected", CASES.values(), ids=CASES.keys())
def test_by_hand(device, end, expected, dtype):
    assert edge_between(device, [BELOW, end, INNER], dtype=dtype)[0] == pytest.approx(expected, abs=1e-6)
    swapped = edge_between(device, [end, BELOW, INNER], dtype=dtype)[0]
    assert swapped == pytest.approx(expected, abs=1e-6)


def test_gradient_by_hand(device):
    # alpha = 1/2 - x with x = (Y_a X_b - Y_b X_a) / (Y_a w_b - Y_b w_a) = -4 / -16 for a = (1/4, -4, 1) and
    # b = (-1/4, 20, -1): dx = (-20 dX_a - 4 dX_b - 1/2 dY_a... ) / -16, by the quotient rule.
    _, alpha, pos = edge_between(device, [BELOW, CASES["passes the line"][0], INNER])
    (grad,) = torch.autograd.grad(alpha(pos.requires_grad_()), pos)
    by_a = torch.tensor([-20, -0.25 + 0.25, 0.25 * 20]) / -16  # d x / d (X_a, Y_a, w_a)
    by_b = torch.tensor([-4, -0.25 + 0.25, 0.25 * 4]) / -16
    # X = x + w / 2, Y = y / 2
    expected = [[-g[0], -g[1] / 2, 0, -(g[2] + g[0] / 2)] for g in (by_a, by_b)]
    torch.testing.assert_close(grad[:2].cpu(), torch.tensor(expected).double())
    assert not grad[2].any()


def test_nothing_is_seen_of_a_triangle_behind(device):
    behind = [[-0.25, 4, -1], [-0.25, -4, -1], [9, -1, -1]]  # would project to the first case
    assert edge_between(device, behind)[0] == 0


def test_a_triangle_that_reaches_the_horizon_has_no_edge_there(device):
    # Between Y = -1 and 1 at w = 1, the left edge at X / w = -0.03, and to the right without end.
    endless = [[-0.03, -1, 1], [-0.03, 1, 1], [1, 0.01, 0]]
    assert edge_between(device, endless)[0] == 0
    beyond = [[-0.03, -1, 1], [-0.03, 1, 1], [9, 0.1, -1]]
    assert edge_between(device, beyond)[0] == 0
    # The other way round it is the edge towards the neighbour.
    assert edge_between(device, [[-0.03, -1, 1], [-0.03, 1, 1], [-1, 0.01, 0]])[0] == pytest.approx(0.5)


@pytest.mark.parametrize("w", [1.0, 1e-3, 0.0, -1e-3, -1.0, -50.0])
@pytest.mark.parametrize("side", [1, -1])
def test_silhouettes_do_not_depend_on_w_of_the_opposite_vertices(device, w, side):
    # The neighbour's vertex is the edge's middle and a step to one side, with any w: that is where it can be seen.
    ends = [[0.25, -4, 1], [0.25, 4, 1]]
    for edge in (ends, [ends[0], [-0.25, 20, -1]]):
        opposite = [0.25 * w + side, 0.3 * w, w]
        for tri in (triangles([0, 1, 2], [0, 1, 3]), triangles([2, 0, 1], [1, 0, 3])):
            alpha = edge_between(device, [*edge, INNER, opposite], tri)[0]
            assert alpha == (0 if side > 0 else pytest.approx(0.25))


def behind_soup(seed: int, count: int = 25):
    """Triangles that reach behind the eye with one vertex or two, float64, and some that do not."""
    pos, tri = soup(seed, 2, count)
    generator = torch.Generator().manual_seed(seed)
    pos = pos.double()
    flip = torch.rand(pos.shape[:2], generator=generator) < 0.35
    pos[..., 3] = torch.where(flip, -0.5 * pos[..., 3], pos[..., 3])
    return pos, tri


@pytest.mark.parametrize("seed", range(4))
def test_equals_reference(device, seed):
    pos, tri = behind_soup(seed)
    generator = torch.Generator().manual_seed(seed)
    size = (2, 17, 23)
    with glraster.RasterizeCudaContext("cpu") as glctx:
        rast, _ = rasterize(glctx, pos, tri, size[1:])
    tri = (tri % 40).contiguous() if seed % 2 else tri  # shared vertices; ids then are any
    color = torch.rand((*size, 3), generator=generator, dtype=torch.float64)
    mine = [t.to(device, copy=True).requires_grad_() for t in (color, pos)]
    theirs = [t.clone().requires_grad_() for t in (color, pos)]
    out = antialias(mine[0], rast.to(device), mine[1], tri.to(device), pos_gradient_boost=1.5)
    expected = reference.antialias(theirs[0], rast, theirs[1], tri, 1.5)
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=1e-8)
    assert (out.cpu() != color).float().mean() > 0.01
    g = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    out.backward(g.to(device))
    expected.backward(g)
    torch.testing.assert_close(mine[0].grad.cpu(), theirs[0].grad, rtol=0, atol=1e-8)
    scale = float(theirs[1].grad.abs().max())
    torch.testing.assert_close(mine[1].grad.cpu(), theirs[1].grad, rtol=1e-6, atol=1e-7 * scale)
    reaches_behind = (pos[..., 3] < 0)[..., None] & (mine[1].grad.cpu() != 0)
    assert reaches_behind.any()


def camera(eye, yaw: float, pitch: float, aspect: float) -> torch.Tensor:
    """World to clip space, float64 [4, 4]: 60 degrees, near 0.1, far 100."""
    f, near, far = 1 / math.tan(math.radians(30)), 0.1, 100.0
    (c, s), (cp, sp) = ((math.cos(a), math.sin(a)) for a in (yaw, pitch))
    project = [[f / aspect, 0, 0, 0], [0, f, 0, 0], [0, 0, (far + near) / (near - far), 2 * far * near / (near - far)]]
    turn = torch.tensor([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ torch.tensor([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    view = torch.cat([turn, -turn @ torch.tensor(eye)[:, None]], 1).double()
    return torch.tensor([*project, [0, 0, -1, 0]]).double() @ torch.cat([view, torch.tensor([[0, 0, 0, 1.0]])])


def quad(a, b, c, d):
    return torch.tensor([a, b, c, d], dtype=torch.float64), triangles([0, 1, 2], [0, 2, 3])


SCENES = {
    "floor": quad([-3, 0, 5], [3, 0, 5], [3, 0, -20], [-3, 0, -20]),
    "wall": quad([-2, -1, 5], [-2, -1, -15], [-2, 3, -15], [-2, 3, 5]),
    "road": (
        torch.tensor([[x, 0.01 * z, z] for z in (6, 1, -3, -8, -30) for x in (-1.3, 1.1)], dtype=torch.float64),
        triangles(*[t for i in range(0, 8, 2) for t in ([i, i + 1, i + 3], [i, i + 3, i + 2])]),
    ),
    "beam": quad([-0.5, 1.0, 5], [0.7, 1.2, -9], [0.8, 1.9, -9], [-0.4, 1.8, 5]),
}


def clip(pos: torch.Tensor, tri: torch.Tensor, w_min: float = 1e-2):
    """The same surface cut off at w_min: positions that depend on `pos`, triangles, the triangle each was part of."""
    vertices, cuts, parts, source = list(pos), {}, [], []
    for number, corners in enumerate(tri.tolist()):
        polygon = []
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            if pos[a, 3] > w_min:
                polygon.append(a)
            if (pos[a, 3] > w_min) != (pos[b, 3] > w_min):
                low, high = min(a, b), max(a, b)
                if (low, high) not in cuts:
                    t = (w_min - pos[low, 3]) / (pos[high, 3] - pos[low, 3])
                    cuts[low, high] = len(vertices)
                    vertices.append(pos[low] + t * (pos[high] - pos[low]))
                polygon.append(cuts[low, high])
        parts += [[polygon[0], b, c] for b, c in zip(polygon[1:], polygon[2:], strict=False)]
        source += [number] * (len(polygon) - 2)
    return torch.stack(vertices), triangles(*parts), torch.tensor([*source, -1])


@pytest.mark.parametrize("view", [2, 3])
@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_geometry_clipped_first(device, name, view, dtype):
    world, tri = SCENES[name]
    height, width = 96, 128
    eye = [0.1 * view, 1.5, 0.3 * view]
    to_clip = camera(eye, 0.35 * (view - 2.5), 0.1 * view - 0.3, width / height)
    pos = (torch.cat([world, torch.ones_like(world[:, :1])], 1) @ to_clip.T).to(dtype).requires_grad_()
    cut, cut_tri, source = clip(pos, tri)
    assert (pos[:, 3] < 0).any()
    generator = torch.Generator().manual_seed(0)
    palette = torch.rand((len(tri) + 1, 3), generator=generator, dtype=dtype)
    with glraster.RasterizeCudaContext("cpu") as glctx:
        rast, _ = rasterize(glctx, pos.detach()[None], tri, (height, width))
        cut_rast, _ = rasterize(glctx, cut.detach()[None], cut_tri, (height, width))
    parts = cut_rast[..., 3].long() - 1
    ids = source[parts]
    assert torch.equal(ids, rast[..., 3].long() - 1)
    color = palette[ids].to(device)
    out = antialias(color, rast.to(device), pos.to(device)[None], tri.to(device)).cpu()
    expected = antialias(color, cut_rast.to(device), cut.to(device)[None], cut_tri.to(device)).cpu()
    # Where both parts of a triangle that was cut in two lie between the same centres, neither has the whole crossing.
    compared = ~_near_seams(parts, ids)
    changed = ((expected - color.cpu()).abs().amax(-1) > 0) & compared
    assert changed.sum() > 30
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    assert ((out - expected).abs().amax(-1) * compared).max() < tolerance
    weight = torch.rand(out.shape, generator=generator, dtype=dtype) * compared[..., None]
    mine, theirs = (torch.autograd.grad(image, pos, weight, retain_graph=True)[0] for image in (out, expected))
    assert (mine - theirs).abs().max() < 10 * tolerance * theirs.abs().max()
    assert (mine[pos[:, 3] < 0] != 0).any()


def _near_seams(parts, ids):
    """Pixels from which a seam between two parts of one triangle is at most a few pixels away along the seam."""
    seams = torch.zeros(ids.shape, dtype=torch.bool)
    for axis in (1, 2):
        a, b = (t.narrow(axis, 0, t.shape[axis] - 1) for t in (parts, ids))
        c, d = (t.narrow(axis, 1, t.shape[axis] - 1) for t in (parts, ids))
        meets = (a != c) & (b == d)
        seams.narrow(axis, 0, ids.shape[axis] - 1).logical_or_(meets)
    spread = torch.nn.functional.max_pool2d(seams.float()[:, None], 9, 1, 4)[:, 0]
    return spread > 0


def test_gradcheck(device):
    _, alpha, pos = edge_between(device, [BELOW, [-0.31, 20, -1.2], INNER])
    assert alpha(pos) != 0
    assert torch.autograd.gradcheck(alpha, pos.requires_grad_(), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e38, -1e38, 1e-38, -1e-38])
@pytest.mark.parametrize("column", range(4))
def test_bad_positions_give_finite_images(device, value, column):
    pos, tri = behind_soup(5)
    with glraster.RasterizeCudaContext("cpu") as glctx:
        rast, _ = rasterize(glctx, pos.float(), tri, (17, 23))
    changed = pos.float()
    changed[:, ::3, column] = value
    changed = changed.to(device).requires_grad_()
    color = torch.rand(2, 17, 23, 3, generator=torch.Generator().manual_seed(0)).to(device)
    assert antialias(color, rast.to(device), changed, tri.to(device)).isfinite().all()
