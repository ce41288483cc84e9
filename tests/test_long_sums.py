"""Gradients to which very many pixels add: as many as an element can have, none is lost."""

import pytest
import torch
from scenes import triangles

import glraster
from glraster import antialias, interpolate, rasterize, texture, texture3d

PIXELS = (1, 1500, 1000)  # enough for an error of 1e-2 in a running sum of float32
TOLERANCE = 1e-4


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def weight(device):
    """An incoming gradient whose multiples float32 cannot hold."""
    return lambda *channels: torch.full((*PIXELS, *channels), 0.3, device=device)


def assert_sums_up(grad, incoming):
    """The gradient of a texture, whose every pixel has weights that add up to one."""
    total = incoming.double().sum((0, 1, 2))
    found = grad.double().sum(tuple(range(grad.ndim - 1)))
    assert ((found - total).abs() <= TOLERANCE * total.abs()).all()


@pytest.mark.parametrize("filter_mode", ["nearest", "linear"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 4)], ids=str)
def test_small_textures(device, threads, weight, filter_mode, size):
    tex = torch.zeros(1, *size, 3, device=device, requires_grad=True)
    uv = torch.rand(*PIXELS, 2, device=device)
    texture(tex, uv, filter_mode=filter_mode).backward(weight(3))
    assert_sums_up(tex.grad, weight(3))


@pytest.mark.parametrize("filter_mode", ["linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic"])
def test_last_levels_of_large_textures(device, threads, weight, filter_mode):
    tex = torch.zeros(1, 512, 512, 1, device=device, requires_grad=True)
    uv = torch.rand(*PIXELS, 2, device=device)
    uv_da = torch.tensor([0.6, 0, 0, 0.7], device=device).expand(*PIXELS, 4)  # between the last two
    texture(tex, uv, uv_da, filter_mode=filter_mode).backward(weight(1))
    assert_sums_up(tex.grad, weight(1))
    # Every texel of the last levels passes on the same to each of those it is made of.
    assert (tex.grad.amax() - tex.grad.amin()) < 0.1 * tex.grad.amax()


def test_levels_of_ones_own(device, threads, weight):
    tex = torch.zeros(1, 64, 64, 1, device=device, requires_grad=True)
    levels = [torch.zeros(1, s, s, 1, device=device, requires_grad=True) for s in (32, 16, 8, 4, 2, 1)]
    bias = torch.full(PIXELS, 5.5, device=device)
    texture(tex, torch.rand(*PIXELS, 2, device=device), None, bias, levels).backward(weight(1))
    for level in levels[-2:]:
        assert_sums_up(level.grad, 0.5 * weight(1))
    assert not tex.grad.any() and not levels[0].grad.any()


@pytest.mark.parametrize("filter_mode", ["nearest", "linear"])
def test_cubes_and_volumes(device, threads, weight, filter_mode):
    uv = torch.randn(*PIXELS, 3, device=device)
    cube = torch.zeros(1, 6, 1, 1, 1, device=device, requires_grad=True)
    texture(cube, uv, filter_mode=filter_mode, boundary_mode="cube").backward(weight(1))
    assert_sums_up(cube.grad, weight(1))
    volume = torch.zeros(1, 2, 1, 2, 1, device=device, requires_grad=True)
    texture3d(volume, uv, filter_mode).backward(weight(1))
    assert_sums_up(volume.grad, weight(1))


def relative_error(gradient, scene):
    """Of a gradient in float32 against the same one in float64, relative to its largest element."""
    found, expected = (gradient(*(t.to(dtype) for t in scene)) for dtype in (torch.float32, torch.float64))
    return ((found - expected).abs().max() / expected.abs().max()).item()


VIEWS, ROWS = 10, 4000  # so many rows of pixels add to one vertex; within a row sums are short


@pytest.fixture
def narrow_triangle(device):
    """A triangle over many images of few columns, and rast of it, [1, 3, 4] and [VIEWS, ROWS, 4, 4]."""
    pos = torch.tensor([[-1.0, -1.1, 0, 1], [0.3, -1, 0, 1.5], [0.2, 9, 0, 1.2]], device=device)
    tri = triangles([0, 1, 2]).to(device)
    with glraster.RasterizeCudaContext(device) as glctx:
        ranges = torch.tensor([[0, 1]] * VIEWS, dtype=torch.int32)
        yield pos, tri, lambda pos: rasterize(glctx, pos, tri, (ROWS, 4), ranges=ranges)


def test_vertex_attributes(threads, narrow_triangle):
    pos, tri, render = narrow_triangle
    rast, rast_db = render(pos)

    def gradient(rast, rast_db):
        attr = torch.ones(1, 3, 1, dtype=rast.dtype, device=rast.device, requires_grad=True)
        out, out_da = interpolate(attr, rast, tri, rast_db, "all")
        return torch.autograd.grad(out.sum() * 0.3 + out_da.sum(), attr)[0]

    assert relative_error(gradient, (rast, rast_db)) < 1e-5


def test_positions_of_what_is_seen(threads, narrow_triangle):
    pos, _, render = narrow_triangle

    def gradient(pos):
        pos = pos.clone().requires_grad_()
        rast, _ = render(pos)
        return torch.autograd.grad(0.3 * rast[..., 0].sum() - 0.7 * rast[..., 1].sum(), pos)[0]

    assert relative_error(gradient, (pos,)) < 1e-5


def test_positions_of_silhouettes(threads, narrow_triangle):
    pos, tri, render = narrow_triangle
    rast, _ = render(pos)

    def gradient(pos, rast):
        pos = pos.clone().requires_grad_()
        color = (rast[..., 3:] > 0).to(pos.dtype)
        return torch.autograd.grad(0.3 * antialias(color, rast, pos, tri).sum(), pos)[0]

    assert relative_error(gradient, (pos, rast)) < 1e-5


@pytest.mark.parametrize("kind", ["nearest", "linear", "linear-mipmap-linear", "cube", "volume"])
def test_one_texel_of_a_large_texture(no_gpu, threads, weight, kind):
    """A background, whose coordinates are all the same, beside pixels that read the texture everywhere."""
    D = 2 if kind not in ("cube", "volume") else 3
    uv = torch.rand(*PIXELS, D)
    uv[:, ::2] = 0.3
    shape = {"cube": (1, 6, 128, 128, 1), "volume": (1, 48, 48, 48, 1)}.get(kind, (1, 256, 256, 1))
    tex = torch.zeros(shape, requires_grad=True)
    if kind == "volume":
        texture3d(tex, uv).backward(weight(1))
    elif kind == "cube":
        texture(tex, uv, boundary_mode="cube").backward(weight(1))
    else:
        bias = torch.zeros(PIXELS) if "mipmap" in kind else None
        texture(tex, uv, None, bias, filter_mode=kind).backward(weight(1))
    assert_sums_up(tex.grad, weight(1))
