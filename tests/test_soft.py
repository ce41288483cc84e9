"""Soft rasterization: cases by hand, a dense reference, finite differences, and what its results tend to."""

import itertools
import math

import pytest
import torch
from reference import soft as reference
from scenes import EMPTY_TRI, assert_same_visibility, soup, sphere, triangles

import glraster
from glraster.soft import SoftAux, soft_rasterize

DISTANCES, RGB, ALPHA = ("euclidean", "barycentric", "hard"), ("softmax", "hard"), ("prod", "sum", "hard")
TRIANGLE = torch.tensor([[[-0.6, -0.5, 0.0, 1.0], [0.7, -0.4, 0.0, 1.0], [-0.1, 0.6, 0.0, 1.0]]], dtype=torch.float64)
ONE = triangles((0, 1, 2))


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene(device, num_views=2, subdivisions=1):
    """Views of a sphere; colours, texture coordinates and a texture."""
    pos, tri = sphere(subdivisions, num_views)
    V = pos.shape[1]
    tensors = pos.double(), rand(V, 3, seed=1), 4 * rand(num_views, V, 2, seed=2) - 2, rand(1, 5, 7, 4, seed=3)
    return [tensor.to(device) for tensor in (*tensors, tri)]


def gradients(out, leaves):
    """Of a smooth function of an image."""
    weights = rand(*out.shape, seed=4).to(out)
    return torch.autograd.grad((out * weights).sum(), leaves, allow_unused=True, materialize_grads=True)


def reference_image(*tensors, **options):
    """`reference.soft_rasterize`, computed on the CPU; the tensors given, wherever they are, receive gradients."""

    def on_cpu(value):
        return value.cpu() if isinstance(value, torch.Tensor) else value

    return reference.soft_rasterize(*map(on_cpu, tensors), **{name: on_cpu(value) for name, value in options.items()})


def differ(found, expected):
    found, expected = found.detach().double().cpu(), expected.detach().cpu()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))


@pytest.mark.parametrize(("dist", "agg_rgb", "agg_alpha"), list(itertools.product(DISTANCES, RGB, ALPHA)))
@pytest.mark.parametrize("kind", ["colors", "texture", "silhouette"])
def test_equals_reference(device, dist, agg_rgb, agg_alpha, kind):
    pos, colors, uv, texture, tri = scene(device)
    attr = {"colors": colors, "texture": uv, "silhouette": None}[kind]
    leaves = [
        tensor.requires_grad_() for tensor in (pos, attr, texture if kind == "texture" else None) if tensor is not None
    ]
    modes = {"dist": dist, "agg_rgb": agg_rgb, "agg_alpha": agg_alpha, "sigma": 1e-3, "gamma": 1e-2}
    modes["depth"], modes["grad"] = ("z", "frozen") if agg_alpha == "sum" else ("w", "full")
    modes["double_sided"] = agg_alpha != "hard"
    if kind == "texture":
        modes["texture"] = texture
    background = [0.1, 0.2, 0.3, 0.4][: {"colors": 3, "texture": 4, "silhouette": 0}[kind]]
    out, aux = soft_rasterize(pos, tri, attr, (15, 20), background=background, **modes)
    expected, depth, ids = reference_image(pos, tri, attr, (15, 20), background=background, **modes)
    assert differ(out, expected) < 1e-12
    if attr is None:
        assert aux is None
    else:
        assert isinstance(aux, SoftAux) and torch.equal(aux.triangle.cpu(), ids.int())
        assert differ(aux.depth, depth) < 1e-12
    if out.requires_grad and expected.requires_grad:
        for mine, theirs in zip(gradients(out, leaves), gradients(expected, leaves), strict=True):
            assert differ(mine, theirs) < 1e-10


def test_float32(device):
    pos, colors, _, _, tri = scene(device)
    out, _ = soft_rasterize(pos.float(), tri, colors.float(), (16, 24), sigma=1e-4)
    expected, _, _ = reference_image(pos, tri, colors, (16, 24), sigma=1e-4)
    assert out.dtype == torch.float32 and (out.cpu() - expected).abs().max() < 1e-4
    leaf = pos.float().requires_grad_()
    exact = pos.clone().requires_grad_()
    (mine,) = gradients(soft_rasterize(leaf, tri, colors.float(), (16, 24), sigma=1e-4)[0], [leaf])
    (theirs,) = gradients(reference_image(exact, tri, colors, (16, 24), sigma=1e-4)[0], [exact])
    assert differ(mine, theirs) < 2e-3


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (9, 300), (70, 11)], ids=str)
def test_any_size(device, size):
    pos, colors, _, _, tri = scene(device, subdivisions=0)
    leaves = [pos.requires_grad_(), colors.requires_grad_()]
    out, _ = soft_rasterize(pos, tri, colors, size, sigma=1e-3)
    expected, _, _ = reference_image(pos, tri, colors, size, sigma=1e-3)
    assert differ(out, expected) < 1e-12
    for mine, theirs in zip(gradients(out, leaves), gradients(expected, leaves), strict=True):
        assert differ(mine, theirs) < 1e-9


def test_many_channels(device):
    pos, _, _, _, tri = scene(device)
    attr = rand(2, pos.shape[1], 37).to(device).requires_grad_()
    out, _ = soft_rasterize(pos, tri, attr, (11, 13), sigma=1e-3)
    assert out.shape == (2, 11, 13, 38)
    one, _ = soft_rasterize(pos, tri, attr[..., 20:21], (11, 13), sigma=1e-3)
    torch.testing.assert_close(out[..., 20:21], one[..., :1])
    none, aux = soft_rasterize(pos, tri, attr[..., :0], (11, 13), sigma=1e-3)
    assert torch.equal(none, out[..., 37:]) and aux is not None


def test_halves_on_an_edge(device):
    """With a centre exactly on an edge, D is 1/2; at equal distances inside and outside it sums to 1."""
    pos = torch.tensor([[-4.0, -4, 0, 1], [4, -4, 0, 1], [0, 0, 0, 1]], device=device)[None]
    alpha = soft_rasterize(pos, ONE.to(device), None, (5, 5), sigma=0.5)[0][0, ..., 0]
    assert alpha[2, 2] == 0.5  # its upper corner
    assert torch.equal(alpha.diagonal()[:2], torch.full((2,), 0.5, device=device))
    near, far = alpha[1, 2], alpha[2, 1]
    torch.testing.assert_close(near + far, torch.ones_like(near))
    d = 0.4 / math.sqrt(2)  # from a centre to the edge of its neighbour, half the image's height being 1
    torch.testing.assert_close(near, 1 / (1 + torch.exp(torch.tensor(-(d**2) / 0.5, device=device))))


def test_two_layers_by_hand(device):
    """In the middle of two triangles that cover everything: alpha and colours of the definition."""
    pos = torch.tensor([[-9.0, -9, 0, 1], [9, -9, 0, 1], [0, 9, 0, 1]], device=device, dtype=torch.float64)
    pos = torch.cat([2 * pos, 3 * pos])[None]  # at depths 2 and 3
    attr = torch.tensor([[0.25]] * 3 + [[0.75]] * 3, device=device, dtype=torch.float64)
    tri = triangles((0, 1, 2), (3, 4, 5)).to(device)
    gamma, near, far = 0.5, 1.0, 11.0
    out, aux = soft_rasterize(pos, tri, attr, (1, 1), gamma=gamma, near=near, far=far, background=0.5, eps=0.1)
    a, b, ground = (math.exp(zhat / gamma) for zhat in (0.9, 0.8, 0.1))
    assert abs(float(out[0, 0, 0, 0]) - (a * 0.25 + b * 0.75 + ground * 0.5) / (a + b + ground)) < 1e-12
    assert float(out[0, 0, 0, 1]) == 1 and float(aux.depth) == pytest.approx(2) and int(aux.triangle) == 0
    nearest, _ = soft_rasterize(pos, tri, attr, (1, 1), agg_rgb="hard", agg_alpha="sum")
    assert nearest.flatten().tolist() == pytest.approx([0.25, 1])
    cut, aux = soft_rasterize(pos, tri, attr, (1, 1), agg_rgb="hard", near=2.5)  # near cuts colour alone
    assert cut.flatten().tolist() == pytest.approx([0.75, 1]) and int(aux.triangle) == 1


def test_area_and_its_gradient(device):
    """The sum of alpha is the polygon's area, and its derivative that of the shoelace formula, as sigma shrinks."""
    pos, size, errors = TRIANGLE.to(device).requires_grad_(), 256, []
    x, y = (TRIANGLE[0, :, k].to(device) for k in (0, 1))
    area = 0.5 * (x * y.roll(-1) - x.roll(-1) * y).sum()
    slope = 0.5 * torch.stack([y.roll(-1) - y.roll(1), x.roll(1) - x.roll(-1)], -1)
    for sigma in (4e-3, 1e-3, 2.5e-4):
        alpha, _ = soft_rasterize(pos, ONE.to(device), None, (size, size), sigma=sigma, dist_eps=1e-12)
        total = alpha.sum() * (2 / size) ** 2
        (grad,) = torch.autograd.grad(total, pos)
        errors.append((float((total.detach() - area).abs()), float((grad[0, :, :2] - slope.detach()).abs().max())))
    assert all(3.9 < coarser[0] / finer[0] < 4.1 for coarser, finer in itertools.pairwise(errors))  # in proportion
    assert errors[-1][1] < 1e-3 * float(slope.abs().max())


def test_tends_to_the_hard_image(device):
    """With sigma and gamma small, the pixels that a hard rasterizer draws, in any order of the triangles."""
    pos, colors, uv, texture, tri = scene(device)
    context, size = glraster.SoftwareRasterizer(device), (40, 48)
    rast, _ = glraster.rasterize(context, pos, tri, size)
    out, aux = soft_rasterize(pos, tri, colors, size, sigma=1e-9, gamma=1e-6)
    assert_same_visibility(aux.triangle, rast[..., 3].int() - 1, pos, tri)
    same = (aux.triangle == rast[..., 3].int() - 1)[..., None]
    covered = (rast[..., 3:] > 0).double()
    expected, _ = glraster.interpolate(colors, rast, tri)
    clear = same & ((out[..., 3:] - covered).abs() < 1e-3)  # no edge passes through the pixel's centre
    assert clear.double().mean() > 0.99
    assert ((out[..., :3] - expected) * clear).abs().max() < 1e-3
    hard, _ = soft_rasterize(pos, tri, colors, size, dist="hard", agg_rgb="hard", agg_alpha="hard")
    assert ((hard - torch.cat([expected, covered], -1)) * same).abs().max() < 1e-12
    coordinates, _ = glraster.interpolate(uv, rast, tri)
    looked_up = glraster.texture(texture, coordinates) * covered
    textured, _ = soft_rasterize(pos, tri, uv, size, dist="hard", agg_rgb="hard", texture=texture)
    assert ((textured[..., :4] - looked_up) * same).abs().max() < 1e-12
    order = torch.randperm(len(tri), generator=torch.Generator().manual_seed(0)).to(device)
    shuffled, _ = soft_rasterize(pos, tri[order], colors, size, sigma=1e-3)
    assert (shuffled - soft_rasterize(pos, tri, colors, size, sigma=1e-3)[0]).abs().max() < 1e-12


@pytest.mark.parametrize(("dist", "agg_alpha"), list(itertools.product(DISTANCES[:2], ALPHA[:2])))
@pytest.mark.parametrize("kind", ["softmax", "hard", "texture"])
def test_gradcheck(dist, agg_alpha, kind):
    pos, tri = soup(5, 1, 3, behind_eye=0)
    pos = pos.double().requires_grad_()
    attr, texture = rand(pos.shape[1], 2).requires_grad_(), rand(1, 3, 4, 2).requires_grad_()
    modes = {"dist": dist, "agg_alpha": agg_alpha, "sigma": 0.05, "gamma": 0.3, "dist_eps": 1e-9, "near": 0.1, "far": 5}
    modes["agg_rgb"] = "hard" if kind == "hard" else "softmax"

    def image(pos, attr, texture):
        return soft_rasterize(pos, tri, attr, (4, 5), texture=texture, **modes)[0]

    inputs = pos, attr, texture if kind == "texture" else None
    assert torch.autograd.gradcheck(image, inputs, eps=1e-7, atol=1e-5, rtol=1e-4, nondet_tol=0)


def test_gradcheck_of_depth_z_and_seams():
    pos, tri = soup(6, 2, 3, behind_eye=0)
    pos, attr = pos.double().requires_grad_(), rand(2, 4, 3).requires_grad_()
    attr_tri = triangles((0, 1, 2), (3, 1, 0), (2, 2, 1))

    def image(pos, attr):
        modes = {"depth": "z", "near": -3.0, "far": 3.0, "gamma": 0.3, "sigma": 0.05, "dist_eps": 1e-9}
        return soft_rasterize(pos, tri, attr, (4, 5), attr_tri=attr_tri, **modes)[0]

    assert torch.autograd.gradcheck(image, (pos, attr), eps=1e-7, atol=1e-5, rtol=1e-4)


def test_frozen_is_the_gradient_without_motion_inside(device):
    """With one colour per triangle and one depth, nothing moves inside: 'frozen' and 'full' agree. Else they do not."""
    pos, tri = soup(7, 1, 4, behind_eye=0)
    pos[..., :3] /= pos[..., 3:]
    pos[..., 3] = 2.0
    pos = pos.double().to(device).requires_grad_()
    tri = tri.to(device)
    flat = rand(4, 3).repeat_interleave(3, 0).to(device)
    for colors, equal in ((flat, True), (rand(12, 3).to(device), False)):
        grads = [
            gradients(soft_rasterize(pos, tri, colors, (8, 8), sigma=1e-2, grad=g)[0], [pos])[0][..., :2]
            for g in ("full", "frozen")
        ]
        assert (differ(*grads) < 1e-12) is equal


@pytest.mark.parametrize("sigma", [1e-2, 1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("gamma", [1e-1, 1e-4, 1e-6])
@pytest.mark.parametrize("dist", DISTANCES)
def test_finite_everywhere(device, sigma, gamma, dist):
    pos, tri = sphere(3)
    clutter, more = soup(1, 1, 60, behind_eye=0.1)
    tri = torch.cat([tri, more + pos.shape[1]]).to(device)
    pos = torch.cat([pos, clutter], 1).to(device).requires_grad_()
    attr = rand(pos.shape[1], 3).float().to(device).requires_grad_()
    for modes in ({}, {"agg_alpha": "sum", "agg_rgb": "hard"}, {"depth": "z"}):
        out, aux = soft_rasterize(pos, tri, attr, (24, 30), sigma=sigma, gamma=gamma, dist=dist, **modes)
        grads = gradients(out, [pos, attr])
        assert all(tensor.isfinite().all() for tensor in (out, aux.depth, *grads))
        assert grads[1].any()


def test_triangles_that_are_skipped(device):
    pos, colors, _, _, tri = scene(device, 1)
    pos = pos.float()
    expected = soft_rasterize(pos, tri, colors.float(), (16, 16), sigma=1e-3)
    extra = torch.tensor([[0, 0, 0, 1], [torch.nan, 0, 0, 1], [1, torch.inf, 0, 1], [0, 1, 0, -1], [0.5, 0.5, 0, 1e-3]])
    V = pos.shape[1]
    bad = triangles((0, 1, V + 1), (0, 1, V + 2), (0, 1, V + 3), (0, 1, -1), (0, 1, 10**6), (0, 1, V + 4)).to(device)
    more = torch.cat([pos, extra.to(device)[None]], 1).requires_grad_()
    attr = torch.cat([colors.float(), torch.rand(5, 3, device=device)]).requires_grad_()
    out, aux = soft_rasterize(more, torch.cat([tri, bad]), attr, (16, 16), sigma=1e-3)
    assert torch.equal(out, expected[0]) and torch.equal(aux.triangle, expected[1].triangle)
    assert all(grad.isfinite().all() for grad in gradients(out, [more, attr]))
    with pytest.raises(
        ValueError, match=r"^soft_rasterize\(\): tri must index pos's 47 vertices, got -1 in triangle 83"
    ):
        soft_rasterize(more, torch.cat([tri, bad]), attr, (16, 16), validate=True)
    half, _ = soft_rasterize(pos, tri, colors.float(), (16, 16), attr_tri=torch.where(tri > 20, -1, tri))
    assert half.isfinite().all()


def test_without_area(device):
    """Collinear corners have the alpha of the segment, no colour; equal corners that of a point."""
    line = torch.tensor([[-0.5, 0.0, 0, 1], [0.5, 0, 0, 1], [0.0, 0, 0, 1]], device=device, dtype=torch.float64)[None]
    line.requires_grad_()
    attr = torch.ones(3, 1, device=device, dtype=torch.float64)
    out, aux = soft_rasterize(line, ONE.to(device), attr, (9, 9), sigma=1e-2)
    d = torch.tensor(2 / 9, dtype=torch.float64, device=device)
    torch.testing.assert_close(out[0, 3:6, 4, 1], torch.sigmoid(torch.stack([-(d**2), 0 * d, -(d**2)]) / 1e-2))
    assert not out[..., 0].any() and (aux.triangle == -1).all()
    (grad,) = gradients(out, [line])
    assert grad.isfinite().all() and grad.any()
    point, _ = soft_rasterize(line[:, :1].expand(1, 3, 4), ONE.to(device), attr, (9, 9), sigma=1e-2)
    assert 0 < point[..., 1].sum() < out[..., 1].sum()
    for dist in DISTANCES[1:]:
        assert not soft_rasterize(line, ONE.to(device), attr, (9, 9), dist=dist)[0].any()


def test_ranges(device):
    pos, colors, _, _, tri = scene(device)
    ranges = torch.tensor([[0, 30], [10, 70], [5, 0]], dtype=torch.int32)
    pos = pos[0].clone().requires_grad_()
    colors.requires_grad_()
    modes = {"sigma": 1e-3, "agg_alpha": "sum"}
    out, aux = soft_rasterize(pos, tri, colors, (12, 14), ranges=ranges, **modes)
    parts = [tri[first : first + count] for first, count in ranges.tolist()]
    single = [soft_rasterize(pos[None], part, colors, (12, 14), **modes) for part in parts]
    assert torch.equal(out, torch.cat([image for image, _ in single]))
    ids = [
        torch.where(one.triangle < 0, -1, one.triangle + first)
        for (_, one), first in zip(single, (0, 10, 5), strict=True)
    ]
    assert torch.equal(aux.triangle, torch.cat(ids).int())
    mine = gradients(out, [pos, colors])
    theirs = gradients(torch.cat([image for image, _ in single]), [pos, colors])
    assert all(differ(a, b) < 1e-12 for a, b in zip(mine, theirs, strict=True))


def test_wide_triangles(device):
    """Rows of large triangles are searched for the part that can be touched: nothing is missed."""
    pos, tri = soup(9, 1, 12, behind_eye=0)
    pos = pos.double().to(device)
    attr = rand(36, 2).to(device)
    for dist in DISTANCES:
        out, _ = soft_rasterize(pos, tri.to(device), attr, (40, 90), sigma=2e-3, dist=dist)
        expected, _, _ = reference_image(pos, tri.to(device), attr, (40, 90), sigma=2e-3, dist=dist, background=(0, 0))
        assert differ(out, expected) < 1e-12


def test_nothing_to_draw(device):
    pos, attr = torch.zeros(2, 0, 4, device=device, requires_grad=True), torch.zeros(0, 3, device=device)
    out, aux = soft_rasterize(pos, EMPTY_TRI.to(device), attr, (3, 4), background=(1, 2, 3), far=7.0)
    assert torch.equal(out[0, 0, 0], torch.tensor([1.0, 2, 3, 0], device=device)) and (aux.depth == 7).all()
    out.sum().backward()
    assert pos.grad.shape == pos.shape
    out, _ = soft_rasterize(torch.zeros(0, 3, 4, device=device), ONE.to(device), None, (3, 4))
    assert out.shape == (0, 3, 4, 1)
    far_away = torch.tensor([[[50.0, 50, 0, 1], [51, 50, 0, 1], [50, 51, 0, 1]]], device=device)
    assert not soft_rasterize(far_away, ONE.to(device), None, (3, 4))[0].any()


BAD = [
    ({"pos": torch.zeros(3, 4)}, ValueError, r"pos of shape \[V, 4\] needs ranges"),
    ({"pos": torch.zeros(1, 3, 3)}, ValueError, r"pos must be float32 or float64 \[N, V, 4\].*got float32 \[1, 3, 3\]"),
    ({"tri": ONE.long()}, TypeError, r"tri must be int32 \[T, 3\] on cpu, got int64 \[1, 3\] on cpu"),
    ({"attr": torch.zeros(4, 3)}, ValueError, "the number of vertices must agree, got 4 in attr, 3 in pos"),
    ({"attr": torch.zeros(2, 3, 3)}, ValueError, "the minibatch must agree, got 2 in attr, 1 in pos"),
    ({"attr": torch.zeros(3, 3, dtype=torch.float64)}, TypeError, "attr must be float32 .* got float64"),
    (
        {"attr_tri": torch.cat([ONE, ONE])},
        ValueError,
        "the number of triangles must agree, got 2 in attr_tri, 1 in tri",
    ),
    ({"texture": torch.zeros(1, 4, 4, 3)}, ValueError, r"attr must be float32 \[V, 2\].* with a texture"),
    ({"texture": torch.zeros(1, 4, 4, 3), "attr": None}, ValueError, "texture needs attr"),
    ({"texture": torch.zeros(1, 0, 4, 3), "attr": torch.zeros(3, 2)}, ValueError, "texture must be .* sides from 1"),
    ({"resolution": (0, 4)}, ValueError, "resolution must be"),
    ({"resolution": (4, 1 << 25)}, ValueError, "resolution must be at most"),
    ({"sigma": 0.0}, ValueError, "sigma must be at least 1e-20, got 0.0"),
    ({"gamma": -1.0}, ValueError, "gamma must be at least"),
    ({"gamma": torch.nan}, ValueError, "gamma must be finite, got nan"),
    ({"sigma": "small"}, TypeError, "sigma must be a number, got str"),
    ({"dist_eps": 0.5}, ValueError, "dist_eps must lie between 0 and 0.5, got 0.5"),
    ({"near": 2.0, "far": 1.0}, ValueError, "near and far must be 0 < near < far, got 2.0 and 1.0"),
    ({"near": -1.0}, ValueError, "near and far must be 0 < near < far"),
    ({"background": (0.0, 1.0)}, ValueError, "background must be a number or 3 of them, got 2"),
    ({"background": "red"}, TypeError, "background must be a number or 3 of them, got 'red'"),
    ({"dist": "manhattan"}, ValueError, r"dist must be one of \('euclidean', 'barycentric', 'hard'\), got 'manhattan'"),
    ({"agg_rgb": "mean"}, ValueError, "agg_rgb must be one of"),
    ({"agg_alpha": "max"}, ValueError, "agg_alpha must be one of"),
    ({"depth": "y"}, ValueError, "depth must be one of"),
    ({"grad": "none"}, ValueError, "grad must be one of"),
]


@pytest.mark.parametrize(("changes", "error", "message"), BAD, ids=lambda value: str(value)[:30])
def test_bad_arguments(changes, error, message):
    arguments = {"pos": TRIANGLE.float(), "tri": ONE, "attr": torch.zeros(3, 3), "resolution": (4, 4)} | changes
    with pytest.raises(error, match=r"^soft_rasterize\(\): " + message):
        soft_rasterize(**arguments)


def test_ranges_outside_of_the_triangles():
    ranges = torch.tensor([[0, 2]], dtype=torch.int32)
    with pytest.raises(ValueError, match=r"^soft_rasterize\(\): ranges must lie within tri's 1 triangles"):
        soft_rasterize(TRIANGLE[0], ONE, None, (4, 4), ranges=ranges)
