"""Forward-mode derivatives: torch.func.jvp, jacfwd and dual tensors through every operation."""

import pytest
import torch
from lookups import footprints
from scenes import soup, sphere, triangles
from torch.autograd import forward_ad
from torch.func import jacfwd, jacrev, jvp, vjp, vmap

import glraster

FLOATS = [torch.float32, torch.float64]
FILTERS = ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic"]


def random_like(tensors, seed):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device) for t in tensors)


def as_tuple(value):
    return (value,) if isinstance(value, torch.Tensor) else tuple(value)


def assert_transposed(function, primals, seed=0):
    """<u, J v> = <J^T u, v> for random u and v, for each argument alone and for all at once."""
    tangents = random_like(primals, seed)
    outputs, pull = vjp(lambda *args: as_tuple(function(*args)), *primals)
    cotangents = random_like(outputs, seed + 1)
    gradients = pull(cotangents)
    double = primals[0].dtype == torch.float64
    for chosen in [range(len(primals)), *([k] for k in range(len(primals)) if len(primals) > 1)]:
        moving = [tangents[k] if k in chosen else torch.zeros_like(p) for k, p in enumerate(primals)]
        _, pushed = jvp(lambda *args: as_tuple(function(*args)), primals, tuple(moving))
        forward = sum((u.double() * t.double()).sum() for u, t in zip(cotangents, pushed, strict=True))
        size = sum((u.double() * t.double()).abs().sum() for u, t in zip(cotangents, pushed, strict=True))
        backward = sum((g.double() * t.double()).sum() for g, t in zip(gradients, moving, strict=True))
        assert all(t.isfinite().all() for t in pushed)
        assert abs(forward - backward) <= (1e-12 if double else 1e-5) * size
        if len(chosen) == len(primals):
            assert size > 0


def assert_finite_differences(function, primals, step=1e-6, tolerance=1e-6, seed=0):
    """J v = (f(x + h v) - f(x - h v)) / 2 h, in float64."""
    tangents = random_like(primals, seed)
    ends = [[p + sign * step * t for p, t in zip(primals, tangents, strict=True)] for sign in (1, -1)]
    _, pushed = jvp(lambda *args: as_tuple(function(*args)), primals, tangents)
    for found, upper, lower in zip(pushed, *(as_tuple(function(*end)) for end in ends), strict=True):
        expected = (upper - lower) / (2 * step)
        scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
        assert (found - expected).abs().max() <= tolerance * scale if expected.numel() else True


@pytest.fixture
def context(device):
    return glraster.RasterizeCudaContext(device)


@pytest.fixture
def two_triangles(device):
    """pos [1, 4, 4] float64 and tri: two triangles that share an edge, in perspective."""
    pos = [[-0.8, -0.8, 0, 1], [0.9, -0.7, 0.2, 1.3], [-0.1, 0.8, 0, 0.9], [1.1, 1.0, 0.3, 1.4]]
    return torch.tensor([pos], dtype=torch.float64, device=device), triangles([0, 1, 2], [1, 3, 2]).to(device)


def test_by_hand(device):
    """The pixel sees u = 1/2, v = 1/4 of attributes 0, 2, 8; du = 1 and dv = 0 make it -8, dA_2 = 4 adds 1."""
    rast = torch.tensor([0.5, 0.25, 0, 1], device=device).view(1, 1, 1, 4)
    rast_db = torch.tensor([1.0, 0, 0, 2], device=device).view(1, 1, 1, 4)
    attr = torch.tensor([[0.0], [2], [8]], device=device)
    tri = triangles([0, 1, 2]).to(device)
    tangents = torch.zeros_like(attr), torch.tensor([1.0, 0, 9, 9], device=device).view(1, 1, 1, 4)
    tangents[0][2] = 4

    def draw(attr, rast):
        return glraster.interpolate(attr, rast, tri, rast_db, diff_attrs="all")

    (out, out_da), (moved, moved_da) = jvp(draw, (attr, rast), tangents)
    assert out.flatten().tolist() == [2.5] and out_da.flatten().tolist() == [-8, -12]
    assert moved.flatten().tolist() == [-7] and moved_da.flatten().tolist() == [-4, -8]


def test_texture_by_hand(device):
    """Between texels 1 and 5 the slope is 4 per texel, 8 per unit of s; texel tangents 2 and 4 mean 3 half way."""
    tex = torch.tensor([1.0, 5], device=device).view(1, 1, 2, 1)
    uv = torch.tensor([0.5, 0.5], device=device).view(1, 1, 1, 2)
    tangents = torch.tensor([2.0, 4], device=device).view_as(tex), torch.tensor([0.25, 7], device=device).view_as(uv)
    _, moved = jvp(lambda tex, uv: glraster.texture(tex, uv, boundary_mode="clamp"), (tex, uv), tangents)
    assert moved.item() == 3 + 2


@pytest.mark.parametrize("grad_db", [True, False])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("ranges", [None, [[0, 7], [3, 20]]])
def test_rasterize_is_transposed(context, device, dtype, ranges, grad_db):
    pos, tri = (tensor.to(device) for tensor in soup(1, 2, 25))
    pos = pos.to(dtype) if ranges is None else pos[0].to(dtype)
    ranges = None if ranges is None else torch.tensor(ranges, dtype=torch.int32)

    def draw(pos):
        return glraster.rasterize(context, pos, tri, (21, 35), ranges, grad_db=grad_db)

    assert_transposed(draw, (pos,))
    _, (rast, rast_db) = jvp(draw, (pos,), random_like([pos], 3))
    assert not rast[..., 2:].any() and bool(rast_db.any()) == grad_db


def test_rasterize_without_derivatives(device):
    context = glraster.RasterizeCudaContext(device)
    context.output_db = False
    pos, tri = (tensor.to(device) for tensor in soup(1, 2, 25))
    _, (rast, rast_db) = jvp(lambda p: glraster.rasterize(context, p, tri, (8, 9)), (pos,), random_like([pos], 0))
    assert rast.any() and rast_db.shape == (2, 8, 9, 0)


def test_rasterize_finite_differences(context, two_triangles):
    pos, tri = two_triangles

    def differentiable(pos):  # u, v, rast_db of the pixels in the middle, whose ids stay
        rast, rast_db = glraster.rasterize(context, pos, tri, (13, 17))
        return rast[:, 4:-4, 4:-4, :2], rast_db[:, 4:-4, 4:-4]

    assert_finite_differences(differentiable, (pos,))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (2,)])
@pytest.mark.parametrize("num_attrs, diff_attrs", [(1, None), (2, [1]), (3, "all"), (4, [2, 0]), (6, "all"), (5, None)])
def test_interpolate_is_transposed(context, device, dtype, shape, num_attrs, diff_attrs):
    pos, tri = (tensor.to(device) for tensor in soup(2, 2, 12))
    rast, rast_db = glraster.rasterize(context, pos.to(dtype), tri, (19, 27))
    (attr,) = random_like([torch.empty(*shape, pos.shape[1], num_attrs, dtype=dtype, device=device)], 5)

    def draw(attr, uv, rast_db):
        return glraster.interpolate(attr, torch.cat([uv, rast[..., 2:].to(uv)], -1), tri, rast_db, diff_attrs)

    assert_transposed(draw, (attr, rast[..., :2], rast_db))
    assert_finite_differences(draw, (attr.double(), rast[..., :2].double(), rast_db.double()))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize("mode", FILTERS)
def test_texture_is_transposed(device, mode, boundary, dtype):
    for channels, textures, options in [(3, 1, {}), (5, 2, {"max_mip_level": 2}), (4, 2, {"max_anisotropy": 4})]:
        args = footprints(device, boundary, dtype, channels, textures)
        names, primals = zip(*((name, value.detach()) for name, value in args.items()), strict=True)

        def look_up(*values, names=names, options=options):
            named = dict(zip(names, values, strict=True))
            return glraster.texture(**named, filter_mode=mode, boundary_mode=boundary, **options)

        assert_transposed(look_up, primals)


@pytest.mark.parametrize("boundary", ["wrap", "cube"])
def test_levels_are_transposed(device, boundary):
    """Levels in a list have tangents of their own; those of a stack, and of area filtering, follow tex."""
    args = footprints(device, boundary, torch.float64, 3, 1)
    tex, uv, uv_da, bias = (args[name].detach() for name in ("tex", "uv", "uv_da", "mip_level_bias"))
    stack = glraster.texture_construct_mip(tex, cube_mode=boundary == "cube")
    modes = {"filter_mode": "linear-mipmap-linear", "boundary_mode": boundary}

    def with_list(tex, uv, *levels):
        return glraster.texture(tex, uv, uv_da, bias, mip=list(levels), **modes)

    assert_transposed(with_list, (tex, uv, *stack.levels[:3]))
    assert_transposed(lambda tex: glraster.texture(tex, uv, uv_da, bias, mip=stack, **modes), (tex,))
    odd = tex[..., :15, :15, :]
    assert_transposed(lambda tex: glraster.texture(tex, uv, uv_da, bias, mip_filter="area", **modes), (odd,))


def test_one_level_moves(device):
    """The other levels of a list have no tangent: the same as a tangent of zeros."""
    args = footprints(device, "wrap", torch.float32, 3, 1)
    tex, uv, uv_da = (args[name].detach() for name in ("tex", "uv", "uv_da"))
    levels = glraster.texture_construct_mip(tex).levels[:2]
    tangents = random_like(levels, 0)

    def look_up(first, second):
        return glraster.texture(tex, uv, uv_da, mip=[first, second])

    _, alone = jvp(lambda level: look_up(levels[0], level), (levels[1],), tangents[1:])
    assert alone.any()
    assert torch.equal(alone, jvp(look_up, tuple(levels), (torch.zeros_like(levels[0]), tangents[1]))[1])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
def test_constant_textures_stand_still(device, boundary, dtype):
    """Where texels are alike, moving the point among them changes nothing, to the last bit."""
    args = footprints(device, boundary, dtype, 3, 1)
    tex, uv = torch.full_like(args["tex"].detach(), 0.3), args["uv"].detach()
    for channels in (1, 3, 4, 5):
        alike = tex[..., :1].expand(*tex.shape[:-1], channels).contiguous()
        look_up = lambda uv, alike=alike: glraster.texture(alike, uv, boundary_mode=boundary)  # noqa: E731
        _, moved = jvp(look_up, (uv,), random_like([uv], 1))
        assert bool(moved.any()) == (boundary == "zero")  # beyond whose edge texels are others


@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize("mode", ["linear", "linear-mipmap-linear", "anisotropic"])
def test_texture_finite_differences(device, mode, boundary):
    """Where a small step changes neither texels, levels nor the number of samples, found by halving it."""
    args = footprints(device, boundary, torch.float64, 2, 1)
    names, primals = zip(*((name, value.detach()) for name, value in args.items()), strict=True)
    tangents = random_like(primals, 7)
    tangents = [t * (p.abs() if name == "uv_da" else 1) for name, t, p in zip(names, tangents, primals, strict=True)]

    def look_up(*values):
        return glraster.texture(**dict(zip(names, values, strict=True)), filter_mode=mode, boundary_mode=boundary)

    def difference(step):
        ends = [look_up(*(p + s * t for p, t in zip(primals, tangents, strict=True))) for s in (step, -step)]
        return (ends[0] - ends[1]) / (2 * step)

    _, found = jvp(look_up, primals, tuple(tangents))
    coarse, fine = difference(1e-6), difference(5e-7)
    scale = fine.abs().max(-1, keepdim=True)[0] + 1
    smooth = ((coarse - fine).abs() < 1e-6 * scale).all(-1)
    assert smooth.double().mean() > 0.8
    circles = torch.arange(smooth.numel(), device=device).view(smooth.shape) % 8 == 7  # their level has a kink
    assert not ((found - fine).abs() > 1e-5 * scale).any(-1)[smooth & ~circles].any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_texture3d_is_transposed(device, mode, boundary, dtype):
    for channels, textures in [(1, 2), (3, 1), (4, 2), (5, 1)]:
        tex, uvw = random_like(
            [torch.empty(textures, 4, 5, 6, channels, dtype=dtype), torch.empty(2, 9, 11, 3, dtype=dtype)], 1
        )
        tex, uvw = tex.to(device), uvw.to(device)
        uvw[0, 0, 0] = torch.nan

        def look_up(tex, uvw):
            return glraster.texture3d(tex, uvw, filter_mode=mode, boundary_mode=boundary)

        assert_transposed(look_up, (tex, uvw))


def test_texture3d_finite_differences(device):
    tex = torch.rand(1, 3, 4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    uvw = (torch.rand(1, 6, 7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).to(device)
    assert_finite_differences(glraster.texture3d, (tex, uvw), tolerance=1e-5)


@pytest.mark.parametrize("boost", [1.0, 3.0])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shared", [True, False])
def test_antialias_is_transposed(context, device, dtype, shared, boost):
    for pos, tri in [sphere(1, 2), soup(3, 2, 12, behind_eye=0.3)]:
        pos, tri = pos.to(device, dtype), tri.to(device)
        rast, _ = glraster.rasterize(context, pos, tri, (24, 31))
        pos = pos[0] if shared else pos
        (color,) = random_like([torch.empty(2, 24, 31, 3, dtype=dtype, device=device)], 2)

        def blend(color, pos, rast=rast, tri=tri):
            return glraster.antialias(color, rast, pos, tri, pos_gradient_boost=boost)

        assert_transposed(blend, (color, pos))


@pytest.mark.parametrize("dtype", FLOATS)
def test_depth_is_transposed(context, device, dtype):
    for pos, tri in [sphere(1, 2), soup(3, 2, 12, behind_eye=0.3)]:
        pos, tri = pos.to(device, dtype), tri.to(device)
        assert_transposed(lambda p, t=tri: glraster.rasterize(context, p, t, (24, 31), grad_depth=True), (pos,))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shared", [True, False])
def test_edge_gradients_are_transposed(context, device, dtype, shared):
    for pos, tri in [sphere(1, 2), soup(3, 2, 12, behind_eye=0.3)]:
        pos, tri = pos.to(device, dtype), tri.to(device)
        rast, _ = glraster.rasterize(context, pos, tri, (24, 31))
        pos = pos[0] if shared else pos
        (color,) = random_like([torch.empty(2, 24, 31, 3, dtype=dtype, device=device)], 2)

        def image(color, pos, rast=rast, tri=tri):
            return glraster.edge_gradients(color, rast, pos, tri)

        assert_transposed(image, (color, pos))


def test_antialias_finite_differences(context, two_triangles):
    pos, tri = two_triangles
    rast, _ = glraster.rasterize(context, pos, tri, (16, 16))
    (color,) = random_like([torch.empty(1, 16, 16, 2, dtype=torch.float64, device=pos.device)], 2)
    assert_finite_differences(lambda c, p: glraster.antialias(c, rast, p, tri), (color, pos), tolerance=1e-5)


def pipeline(context, tri, tex, size=(12, 14)):
    """pos and attributes to an antialiased, textured image."""

    def draw(pos, attr):
        rast, rast_db = glraster.rasterize(context, pos, tri, size)
        uv, uv_da = glraster.interpolate(attr, rast, tri, rast_db, diff_attrs="all")
        image = glraster.edge_gradients(glraster.texture(tex, uv, uv_da), rast, pos, tri)
        return glraster.antialias(image, rast, pos, tri)

    return draw


@pytest.fixture
def scene(context, two_triangles):
    """The function from pos and attr to a picture, and where to evaluate it."""
    pos, tri = two_triangles
    generator = torch.Generator().manual_seed(3)
    attr, tex = (torch.rand(*shape, generator=generator, dtype=torch.float64) for shape in [(4, 2), (1, 16, 16, 2)])
    return pipeline(context, tri, tex.to(pos.device)), (pos, attr.to(pos.device))


def test_jacfwd_equals_jacrev(scene):
    draw, primals = scene
    argnums = (0, 1)
    for forward, backward in zip(jacfwd(draw, argnums)(*primals), jacrev(draw, argnums)(*primals), strict=True):
        assert forward.any()
        torch.testing.assert_close(forward, backward, rtol=1e-10, atol=1e-10)


def test_dual_tensors_equal_jvp(scene):
    draw, primals = scene
    tangents = random_like(primals, 1)
    out, expected = jvp(draw, primals, tangents)
    with forward_ad.dual_level():
        dual = draw(*(forward_ad.make_dual(p, t) for p, t in zip(primals, tangents, strict=True)))
        found = forward_ad.unpack_dual(dual)
        assert torch.equal(found.primal, out) and torch.equal(found.tangent, expected)
        assert torch.equal(out, draw(*primals))
        assert forward_ad.unpack_dual(draw(*primals)).tangent is None


@pytest.mark.usefixtures("same_bits")
def test_dual_tensors_and_gradients_at_once(scene):
    draw, (pos, attr) = scene
    tangents = random_like((pos, attr), 1)
    expected = jvp(draw, (pos, attr), tangents)[1]
    leaf = pos.clone().requires_grad_()
    with forward_ad.dual_level():
        dual = draw(forward_ad.make_dual(leaf, tangents[0]), forward_ad.make_dual(attr, tangents[1]))
        primal, tangent = forward_ad.unpack_dual(dual)
    assert torch.equal(tangent.detach(), expected)
    primal.sum().backward()
    assert torch.equal(leaf.grad, torch.func.grad(lambda p: draw(p, attr).sum())(pos))


def test_one_argument_moves(scene):
    """The others have no tangent: the same as a tangent of zeros."""
    draw, (pos, attr) = scene
    tangents = random_like((pos, attr), 1)
    alone = jvp(lambda pos: draw(pos, attr), (pos,), (tangents[0],))[1]
    assert torch.equal(alone, jvp(draw, (pos, attr), (tangents[0], torch.zeros_like(attr)))[1])
    alone = jvp(lambda attr: draw(pos, attr), (attr,), (tangents[1],))[1]
    torch.testing.assert_close(alone, jvp(draw, (pos, attr), (torch.zeros_like(pos), tangents[1]))[1])


def test_strided_tangents(scene):
    draw, (pos, attr) = scene
    tangent = random_like([pos.mT], 1)[0].mT
    assert not tangent.is_contiguous()
    dense = jvp(lambda pos: draw(pos, attr), (pos,), (tangent.contiguous(),))[1]
    assert torch.equal(dense, jvp(lambda pos: draw(pos, attr), (pos,), (tangent,))[1])


def test_many_tangents_at_once(scene):
    draw, (pos, attr) = scene
    tangents = torch.stack(random_like([pos] * 3, 1))
    push = lambda tangent: jvp(lambda pos: draw(pos, attr), (pos,), (tangent,))[1]  # noqa: E731
    assert torch.equal(vmap(push)(tangents), torch.stack([push(tangent) for tangent in tangents]))


@pytest.mark.parametrize("outer, inner", [(jacfwd, jacfwd), (jacrev, jacfwd), (jacfwd, jacrev)])
def test_second_derivatives_are_refused(scene, outer, inner):
    draw, (pos, attr) = scene
    with pytest.raises(RuntimeError, match="cannot differentiate twice"):
        outer(inner(lambda pos: draw(pos, attr).square().sum()))(pos)


def test_empty_inputs(context, device):
    tri = torch.zeros(0, 3, dtype=torch.int32, device=device)
    pos = torch.zeros(1, 3, 4, device=device)
    draw = pipeline(context, tri, torch.rand(1, 4, 4, 3, device=device))
    out, moved = jvp(draw, (pos, torch.zeros(3, 2, device=device)), (pos + 1, torch.ones(3, 2, device=device)))
    assert moved.shape == out.shape and not moved.any()
