"""texture3d: values, gradients, boundaries and errors."""

import math
from itertools import product

import pytest
import torch
from reference import texture as reference
from torch.nn import functional

from glraster import texture, texture3d

FLOATS = [torch.float32, torch.float64]
FILTERS = ["nearest", "linear"]
BOUNDARIES = ["wrap", "clamp", "zero"]
MODES = list(product(FILTERS, BOUNDARIES))
SIZE = (3, 4, 5)  # D, h, w


def random_tex(images: int = 1, C: int = 2, size=SIZE, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((images, *size, C), generator=generator, dtype=torch.float64)


def random_uvw(images: int = 2, H: int = 6, W: int = 9, seed: int = 1) -> torch.Tensor:
    """Points inside a texture and around it."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((images, H, W, 3), generator=generator, dtype=torch.float64) * 3 - 1


def points(*uvw, device) -> torch.Tensor:
    return torch.tensor(uvw, device=device).reshape(1, 1, -1, 3)


def assert_equals_reference(tex, uvw, filter_mode, boundary_mode):
    """Compares the output and both gradients, in the precision of tex."""
    inputs = [t.detach().clone().requires_grad_() for t in (tex, uvw)]
    leaves = [t.detach().cpu().double().clone().requires_grad_() for t in (tex, uvw)]
    out = texture3d(*inputs, filter_mode, boundary_mode)
    expected = reference.texture3d(*leaves, filter_mode, boundary_mode)
    assert out.dtype == tex.dtype and out.shape == expected.shape
    generator = torch.Generator().manual_seed(2)
    grad = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    out.backward(grad.to(out))
    expected.backward(grad)
    assert inputs[1].grad is not None or filter_mode == "nearest"
    tolerance = 2e-5 if tex.dtype == torch.float32 else 1e-12
    for mine, theirs in [(out, expected), (inputs[0].grad, leaves[0].grad), (inputs[1].grad, leaves[1].grad)]:
        if mine is not None:
            limit = tolerance * max(theirs.abs().max().item(), 1)
            torch.testing.assert_close(mine.cpu().double(), theirs, rtol=0, atol=limit)


def test_by_hand(device):
    tex = torch.arange(8.0, device=device).reshape(1, 2, 2, 2, 1)  # x + 2 y + 4 z
    uvw = points([0.25, 0.25, 0.25], [0.75, 0.25, 0.25], [0.25, 0.75, 0.25], [0.25, 0.25, 0.75], device=device)
    assert texture3d(tex, uvw).flatten().tolist() == [0, 1, 2, 4]
    between = points([0.5, 0.5, 0.5], [0.375, 0.25, 0.75], [0.0, 0.25, 0.25], [1.25, 0.75, 0.75], device=device)
    assert texture3d(tex, between).flatten().tolist() == [3.5, 4.25, 0.5, 6]
    assert texture3d(tex, between, boundary_mode="clamp").flatten().tolist() == [3.5, 4.25, 0, 7]
    assert texture3d(tex, between, boundary_mode="zero").flatten().tolist() == [3.5, 4.25, 0, 0]
    near = points([0.4, 0.1, 0.9], [0.6, 0.6, 0.4], [-0.1, 0.1, 0.1], [0.9, 0.9, 1.1], device=device)
    assert texture3d(tex, near, "nearest").flatten().tolist() == [4, 3, 1, 3]
    assert texture3d(tex, near, "nearest", "clamp").flatten().tolist() == [4, 3, 0, 7]
    assert texture3d(tex, near, "nearest", "zero").flatten().tolist() == [4, 3, 0, 0]


def test_gradients_by_hand(device):
    z, y, x = torch.meshgrid(*(torch.arange(2.0),) * 3, indexing="ij")
    tex = (x + 10 * y + 100 * z)[None, ..., None].to(device).requires_grad_()
    uvw = points([0.375, 0.5, 0.625], device=device).requires_grad_()
    out = texture3d(tex, uvw)
    assert out.item() == 0.25 * 1 + 0.5 * 10 + 0.75 * 100
    out.backward(torch.full_like(out, 3.0))
    assert uvw.grad.flatten().tolist() == [3 * 2 * 1, 3 * 2 * 10, 3 * 2 * 100]
    expected = [3 * a * b * c for c, b, a in product((0.25, 0.75), (0.5, 0.5), (0.75, 0.25))]
    assert tex.grad.flatten().tolist() == expected


def test_clamp_passes_no_gradient_at_the_limits(device):
    tex = random_tex(size=(4, 4, 4)).float().to(device)
    at = torch.tensor([-0.5, 0.124, 0.125, 0.126, 0.5, 0.874, 0.875, 0.876, 1.5], device=device)
    moves = torch.tensor([False, False, False, True, True, True, False, False, False], device=device)
    for axis in range(3):
        uvw = torch.full((1, 1, len(at), 3), 0.4, device=device)
        uvw[..., axis] = at
        uvw.requires_grad_()
        texture3d(tex, uvw, boundary_mode="clamp").sum().backward()
        assert torch.equal(uvw.grad[0, 0, :, axis] != 0, moves)
        assert uvw.grad[0, 0, :, [a for a in range(3) if a != axis]].all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("filter_mode, boundary_mode", MODES)
@pytest.mark.parametrize("images, C", [(1, 1), (2, 2), (1, 3), (2, 4), (1, 5), (2, 17)])
def test_equals_reference(device, dtype, filter_mode, boundary_mode, images, C):
    tex, uvw = random_tex(images, C).to(device, dtype), random_uvw().to(device, dtype)
    assert_equals_reference(tex, uvw, filter_mode, boundary_mode)


@pytest.mark.parametrize("boundary_mode", BOUNDARIES)
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 3, 1), (2, 1, 5), (1, 1, 64), (64, 1, 1)], ids=str)
def test_flat_textures_equal_reference(device, boundary_mode, size):
    for filter_mode in FILTERS:
        assert_equals_reference(random_tex(size=size).to(device), random_uvw().to(device), filter_mode, boundary_mode)


@pytest.mark.parametrize("boundary_mode", BOUNDARIES)
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("size", [SIZE, (60, 50, 70)], ids=str)
def test_gradients_of_several_threads(device, boundary_mode, images, size):
    # Few texels per sample: every thread fills a copy of the gradient. Many: all add to one.
    tex, uvw = random_tex(images, 3, size).float().to(device), random_uvw(2, 1, 9999).float().to(device)
    for filter_mode in FILTERS:
        assert_equals_reference(tex, uvw, filter_mode, boundary_mode)


@pytest.mark.parametrize("boundary_mode", BOUNDARIES)
@pytest.mark.parametrize("images, C", [(1, 2), (2, 1)])
def test_gradcheck(device, boundary_mode, images, C):
    generator = torch.Generator().manual_seed(3)
    texel = torch.randint(-4, 8, (2, 2, 3, 3), generator=generator)
    fraction = 0.1 + 0.8 * torch.rand(texel.shape, generator=generator, dtype=torch.float64)
    uvw = (texel + 0.5 + fraction) / torch.tensor(SIZE[::-1])  # away from the centres of texels, where slopes change
    tex, uvw = random_tex(images, C).to(device).requires_grad_(), uvw.to(device).requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: texture3d(*args, boundary_mode=boundary_mode), (tex, uvw))
    nearest = lambda tex: texture3d(tex, uvw.detach(), "nearest", boundary_mode)  # noqa: E731
    assert torch.autograd.gradcheck(nearest, (tex,))


def grid_sample(tex, uvw, filter_mode, boundary_mode):
    """texture3d by PyTorch's function, which wraps no coordinates: the texture is wrapped around itself instead."""
    tex, size = tex.movedim(-1, 1), torch.tensor(tex.shape[3:0:-1], device=tex.device)
    if boundary_mode == "wrap":
        tex = functional.pad(tex, (1,) * 6, mode="circular")
        uvw = ((uvw - uvw.detach().floor()) * size + 1) / (size + 2)
    mode = "bilinear" if filter_mode == "linear" else "nearest"
    padding = "zeros" if boundary_mode == "zero" else "border"
    grid = (uvw * 2 - 1)[:, None]
    out = functional.grid_sample(tex.expand(len(uvw), *tex.shape[1:]), grid, mode, padding, align_corners=False)
    return out[:, :, 0].movedim(1, -1)


@pytest.mark.parametrize("filter_mode, boundary_mode", MODES)
def test_equals_grid_sample(device, filter_mode, boundary_mode):
    tex, uvw = random_tex(2, 3).to(device).requires_grad_(), random_uvw().to(device).requires_grad_()
    out, expected = (f(tex, uvw, filter_mode, boundary_mode) for f in (texture3d, grid_sample))
    torch.testing.assert_close(out, expected)
    grad = random_uvw(seed=4).to(device)
    inputs = [tex, uvw] if filter_mode == "linear" else [tex]
    mine, theirs = (torch.autograd.grad(f, inputs, grad) for f in (out, expected))
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("filter_mode, boundary_mode", MODES)
def test_a_volume_of_one_layer_is_a_texture(device, filter_mode, boundary_mode):
    tex, uv = random_tex(2, 3, (1, 8, 6)).float().to(device), random_uvw()[..., :2].float().to(device)
    uvw = functional.pad(uv, (0, 1), value=0.5)
    expected = texture(tex[:, 0], uv, filter_mode=filter_mode, boundary_mode=boundary_mode)
    assert torch.equal(texture3d(tex, uvw, filter_mode, boundary_mode), expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("filter_mode, boundary_mode", MODES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_points_that_are_not_finite_read_zero(device, dtype, filter_mode, boundary_mode, value):
    for axis in range(3):
        uvw = random_uvw().to(device, dtype)
        uvw[..., axis] = value
        tex = torch.ones(1, 3, 3, 3, 2, dtype=dtype, device=device, requires_grad=True)
        uvw.requires_grad_()
        out = texture3d(tex, uvw, filter_mode, boundary_mode)
        out.sum().backward()
        assert not out.any() and not tex.grad.any()
        assert filter_mode == "nearest" or not uvw.grad.any()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("filter_mode, boundary_mode", MODES)
@pytest.mark.parametrize("value", [-1e-12, 1 - 1e-7, 1.0, -1.0, 2.0**24 + 2, 1e15, -1e15, 3e38, -3e38])
def test_extreme_points(device, dtype, filter_mode, boundary_mode, value):
    uvw = random_uvw(1, 1, 4).to(device, dtype)
    uvw[0, 0, [0, 1, 2], [0, 1, 2]] = value
    uvw[0, 0, 3] = value
    assert_equals_reference(random_tex().to(device, dtype), uvw, filter_mode, boundary_mode)


SIZES = {"N": 2, "H": 3, "W": 4, "C": 2}


@pytest.mark.parametrize("empty", [{name: 0} for name in SIZES] + [{"N": 1, "H": 1, "W": 1, "C": 1}], ids=str)
@pytest.mark.parametrize("shared", [False, True])
def test_empty_and_one_pixel_inputs(device, empty, shared):
    s = SIZES | empty
    tex = torch.ones(1 if shared else s["N"], *SIZE, s["C"], device=device, requires_grad=True)
    uvw = torch.full((s["N"], s["H"], s["W"], 3), 0.3, device=device, requires_grad=True)
    out = texture3d(tex, uvw)
    assert out.shape == (s["N"], s["H"], s["W"], s["C"])
    torch.testing.assert_close(out, torch.ones_like(out))
    out.sum().backward()
    assert tex.grad.shape == tex.shape and uvw.grad.shape == uvw.shape
    torch.testing.assert_close(tex.grad.sum().item(), float(out.numel()))


@pytest.mark.parametrize("filter_mode", FILTERS)
def test_textures_of_more_elements_than_32_bits_count(tmp_path, filter_mode):
    # A file with holes: only the pages that are read or written take memory.
    D, h, w = 2**11 + 1, 2**10, 2**10
    tex = torch.from_file(str(tmp_path / "tex"), shared=True, size=D * h * w).view(1, D, h, w, 1)
    assert tex.numel() > 2**31
    last = tex[0, -2:, -2:, -2:, 0]
    last.copy_(torch.arange(1.0, 9).view(2, 2, 2))
    step = 1 / torch.tensor([w, h, D], dtype=torch.float32)
    uvw = (1 - step * torch.tensor([[0.5, 0.5, 0.5], [1.5, 1.5, 1.5], [0.5, 1.5, 0.5]]))[None, None].requires_grad_()
    out = texture3d(tex, uvw, filter_mode, "clamp")
    torch.testing.assert_close(out.flatten(), torch.tensor([8.0, 1, 6]), rtol=0, atol=2e-3)  # 1e3 texels, 1e-7 each
    if filter_mode == "linear":
        middle = (1 - step).view(1, 1, 1, 3).requires_grad_()
        texture3d(tex, middle, boundary_mode="clamp").sum().backward()
        torch.testing.assert_close(middle.grad.flatten(), torch.tensor([1.0 * w, 2 * h, 4 * D]), rtol=1e-3, atol=0)


def test_layouts_and_wanted_gradients(device):
    tex, uvw = random_tex(2, 3).to(device), random_uvw().to(device)
    expected = texture3d(tex, uvw)
    assert torch.equal(texture3d(tex.movedim(-1, 1).contiguous().movedim(1, -1), uvw.flip(2)).flip(2), expected)
    assert torch.equal(texture3d(tex[:1], uvw), texture3d(tex[:1].expand(2, -1, -1, -1, -1), uvw))
    for wanted in range(2):
        inputs = [tex.clone(), uvw.clone()]
        inputs[wanted].requires_grad_()
        texture3d(*inputs).square().sum().backward()
        assert [t.grad is not None for t in inputs] == [i == wanted for i in range(2)]


def test_deterministic_gradients(device):
    tex, uvw = random_tex(1, 3, (20, 20, 20)).float().to(device), random_uvw(2, 100, 99).float().to(device)
    gradients = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(3):
            leaf = tex.clone().requires_grad_()
            texture3d(leaf, uvw).square().sum().backward()
            gradients.append(leaf.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    assert gradients[0].any() and all(torch.equal(grad, gradients[0]) for grad in gradients)


TEX, UVW = random_tex(2).float(), random_uvw().float()
ERRORS = {
    "filter": (ValueError, "filter_mode must be one of .* got 'cubic'", {"filter_mode": "cubic"}),
    "mip filter": (ValueError, "filter_mode must be", {"filter_mode": "linear-mipmap-linear"}),
    "boundary": (ValueError, "boundary_mode must be one of .* got 'mirror'", {"boundary_mode": "mirror"}),
    "cube": (ValueError, "boundary_mode must be one of .* got 'cube'", {"boundary_mode": "cube"}),
    "tex type": (TypeError, "tex must be a tensor, float32 or float64 .* got ndarray", {"tex": TEX.numpy()}),
    "tex dtype": (TypeError, "tex must be float32 or float64 .* got float16", {"tex": TEX.half()}),
    "tex rank": (ValueError, r"tex must be .* got float32 \[3, 4, 5, 2\]", {"tex": TEX[0]}),
    "tex minibatch": (ValueError, "minibatch must agree, got 3 in tex, 2 in uvw", {"tex": TEX[[0, 1, 1]]}),
    "tex D": (ValueError, r"sides from 1 to 16777216, got \[2, 0, 4, 5, 2\]", {"tex": TEX[:, :0]}),
    "tex h": (ValueError, r"sides from 1 to 16777216, got \[2, 3, 0, 5, 2\]", {"tex": TEX[:, :, :0]}),
    "tex w": (ValueError, r"sides from 1 to 16777216, got \[2, 3, 4, 0, 2\]", {"tex": TEX[:, :, :, :0]}),
    "tex long": (ValueError, r"sides from 1 to 16777216, got", {"tex": torch.zeros(1, 1, 1, 2**24 + 1, 1)}),
    "uvw type": (TypeError, r"uvw must be a tensor, float32 \[N, H, W, 3\] on cpu, got list", {"uvw": UVW.tolist()}),
    "uvw dtype": (TypeError, "uvw must be float32 .* got float64", {"uvw": UVW.double()}),
    "uvw device": (ValueError, "uvw must be .* on cpu, got .* on meta", {"uvw": UVW.to("meta")}),
    "uvw size": (ValueError, r"uvw must be .* got float32 \[2, 6, 9, 2\]", {"uvw": UVW[..., :2]}),
    "uvw rank": (ValueError, r"uvw must be .* got float32 \[6, 9, 3\]", {"uvw": UVW[0]}),
}


@pytest.mark.parametrize("error, message, change", ERRORS.values(), ids=ERRORS.keys())
def test_errors(error, message, change):
    arguments = {"tex": TEX, "uvw": UVW}
    texture3d(**arguments)
    with pytest.raises(error, match=message) as caught:
        texture3d(**(arguments | change))
    assert str(caught.value).startswith("texture3d(): ")
