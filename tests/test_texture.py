"""texture and texture_construct_mip."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import glraster
from tests.lookups import assert_close, assert_equals_reference, footprints
from tests.reference import texture as reference

GOLDEN = [
    f"texture_{mode}_{boundary}_{kind}_0"
    for boundary in ("wrap", "clamp", "zero", "cube")
    for mode, kinds in {
        "nearest": ("none",),
        "linear": ("none",),
        "linear-mipmap-nearest": ("da", "bias", "both"),
        "linear-mipmap-linear": ("da", "bias", "both"),
    }.items()
    for kind in kinds
]
BOUNDARY_MODES = ("wrap", "clamp", "zero", "cube")
MIPMAP_MODES = ("linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic")


def arguments(device, boundary, dtype=torch.float64, images=2, textures=1, channels=3, size=8, seed=0) -> dict:
    """Random arguments of a lookup; uv lies inside and outside the texture, footprints are of all levels."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    cube = boundary == "cube"
    tex = random(textures, 6, size, size, channels) if cube else random(textures, size, 2 * size, channels)
    uv = random(images, 5, 7, 3) * 2 - 1 if cube else random(images, 5, 7, 2) * 3 - 1
    uv_da = (random(images, 5, 7, 2 * uv.shape[-1]) - 0.5) * 2 ** (random(images, 5, 7, 1) * 4 - 4)
    bias = random(images, 5, 7) * 1.5 - 0.5
    found = {"tex": tex, "uv": uv, "uv_da": uv_da, "mip_level_bias": bias}
    return {name: value.to(device, dtype).requires_grad_() for name, value in found.items()}


def test_by_hand(device):
    tex = torch.tensor([[[[1.0], [3.0]]]], device=device)
    uv = torch.tensor([[[[0.25, 0.5], [0.5, 0.5], [0.0, 0.5], [-0.25, 0.5]]]], device=device)
    for boundary, expected in {"wrap": [1, 2, 2, 3], "clamp": [1, 2, 1, 1], "zero": [1, 2, 0.5, 0]}.items():
        assert glraster.texture(tex, uv, boundary_mode=boundary).flatten().tolist() == expected
    nearest = glraster.texture(tex, uv, filter_mode="nearest", boundary_mode="zero").flatten().tolist()
    assert nearest == [1.0, 3.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "s,texel_da,options,expected",
    [
        # Two samples from level 1 = (2, 7, 4, 2), a texel of the base level to either side: (6.25 + 3.5) / 2.
        (0.5625, (4, 0, 0, 2), {}, 4.875),
        (0.5625, (2.4, -3.2, 1.6, 1.2), {}, 4.875),  # the same ellipse, turned in the image
        (0.5625, (4, 0, 0, 0), {"max_anisotropy": 2}, 4.875),  # a line, widened to 2
        (0.5625, (3, 0, 0, 2), {}, 4.8125),  # the ratio is rounded up: (5.875 + 3.75) / 2, the level still 1
        (0.5625, (4, 0, 0, 2), {"mip_level_bias": 1.0}, 3.5625),  # the same two places on level 2 = (4.5, 3)
        (0.5, (4, 0, 0, 0.25), {}, 5.5),  # no more than one sample per texel: (5 + 9 + 2 + 6) / 4
        (0.5, (4.0005, 0, 0, 0.25), {}, 5.499625),  # still four
        (0.5, (4.002, 0, 0, 0.25), {}, 5.33872),  # five
        (0.5, (0.9, 0, 0, 0.1), {}, 5.5),  # smaller than a texel: one sample between 9 and 2
        (0.5625, (0, 0, 0, 0), {}, 2.0),
        (0.5625, (float("nan"), 0, 0, 8), {}, 2.0),  # one sample of level 0
        (0.5625, (1, float("inf"), 0, 0), {}, 3.75),  # and of the last level
        (0.5625, (1, float("inf"), 0, 0), {"max_mip_level": 0}, 2.0),
    ],
)
def test_anisotropic_by_hand(device, s, texel_da, options, expected):
    tex = torch.tensor([1, 3, 5, 9, 2, 6, 0, 4], dtype=torch.float64).view(1, 1, 8, 1)
    uv_da = torch.tensor(texel_da, dtype=torch.float64) / torch.tensor([8, 8, 1, 1])
    tensors = {"tex": tex, "uv": torch.tensor([[[[s, 0.5]]]], dtype=torch.float64), "uv_da": uv_da.view(1, 1, 1, 4)}
    if "mip_level_bias" in options:
        tensors["mip_level_bias"] = torch.full((1, 1, 1), options["mip_level_bias"], dtype=torch.float64)
    modes = {"filter_mode": "anisotropic", "boundary_mode": "clamp"} | options | tensors
    assert reference.texture(**modes).item() == pytest.approx(expected, abs=1e-12)
    modes |= {name: value.to(device) for name, value in tensors.items()}
    assert glraster.texture(**modes).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("lookup", [glraster.texture, reference.texture])
def test_anisotropic_gradients_by_hand(device, lookup):
    """The first case above: the two samples lie on slopes of -3 and -2 per texel of level 1, that is per s / 4."""
    place = device if lookup is glraster.texture else "cpu"

    def leaf(*values, shape=(1, 1, 1, -1)):
        return torch.tensor(values, dtype=torch.float64, device=place).view(shape).requires_grad_()

    tex, bias = leaf(1, 3, 5, 9, 2, 6, 0, 4, shape=(1, 1, 8, 1)), leaf(0, shape=(1, 1, 1))
    uv, uv_da = leaf(0.5625, 0.5), leaf(4 / 8, 0, 0, 2)
    lookup(tex, uv, uv_da, bias, filter_mode="anisotropic", boundary_mode="clamp").backward()
    assert uv.grad.flatten().tolist() == pytest.approx([(-12 - 8) / 2, 0], abs=1e-12)
    assert uv_da.grad.flatten().tolist() == pytest.approx([(12 / 4 - 8 / 4) / 2, 0, 0, 0], abs=1e-12)
    assert bias.grad.item() == 0, "the level is whole"
    assert tex.grad.flatten().tolist() == pytest.approx([0, 0, 3 / 16, 3 / 16, 1 / 4, 1 / 4, 1 / 16, 1 / 16], abs=1e-12)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(golden, device, name):
    data = golden(name)
    names = [key for key in ("tex", "uv", "uv_da", "mip_level_bias") if key in data]
    args = {key: data[key].to(device).requires_grad_() for key in names}
    limit = None if data["max_mip_level"] < 0 else data["max_mip_level"]
    modes = {"filter_mode": data["filter_mode"], "boundary_mode": data["boundary_mode"]}
    out = glraster.texture(**args, **modes, max_mip_level=limit)
    assert (out - data["out"].to(device)).abs().max() <= 1e-5
    out.backward(data["grad_out"].to(device))
    for key in names:
        if f"grad_{key}" in data:
            assert_close(args[key].grad, data[f"grad_{key}"], 1e-3, key)


@pytest.mark.parametrize("boundary", BOUNDARY_MODES)
@pytest.mark.parametrize("mode", reference.FILTER_MODES)
@pytest.mark.parametrize("channels,textures", [(1, 1), (2, 2), (3, 1), (4, 2), (7, 1)])
def test_equals_reference(device, boundary, mode, channels, textures):
    for dtype in (torch.float64, torch.float32):
        args = arguments(device, boundary, dtype, textures=textures, channels=channels)
        assert_equals_reference(args, mode, boundary)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("boundary", BOUNDARY_MODES)
@pytest.mark.parametrize("max_anisotropy,channels,textures", [(1, 1, 2), (2, 3, 1), (5, 5, 2), (16, 3, 2), (16, 1, 1)])
def test_anisotropic_equals_reference(device, boundary, dtype, max_anisotropy, channels, textures):
    args = footprints(device, boundary, dtype, channels, textures)
    assert_equals_reference(args, "anisotropic", boundary, max_anisotropy=max_anisotropy)


@pytest.mark.parametrize("boundary", BOUNDARY_MODES)
@pytest.mark.parametrize("mode", ["nearest", "linear", *MIPMAP_MODES])
def test_gradcheck(device, boundary, mode):
    args = arguments(device, boundary, size=4, images=1, channels=2, seed=3)
    names = ["tex"] + ["uv"] * (mode != "nearest")
    names += ["uv_da", "mip_level_bias"] * (mode in ("linear-mipmap-linear", "anisotropic"))

    def run(*tensors):
        return glraster.texture(
            **(args | dict(zip(names, tensors, strict=True))), filter_mode=mode, boundary_mode=boundary
        )

    fixed = {name: value.detach() for name, value in args.items()}
    args.update(fixed)
    inputs = [fixed[name].clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(run, inputs, eps=1e-7, atol=1e-4, rtol=1e-3, nondet_tol=1e-9)


@pytest.mark.parametrize("boundary", BOUNDARY_MODES)
def test_round_footprints_make_anisotropic_trilinear(device, boundary):
    args = {name: value.detach() for name, value in arguments(device, boundary).items()}
    if boundary == "cube":
        args["uv_da"] = torch.zeros_like(args["uv_da"])
    else:
        args["uv_da"] = torch.tensor([0.5, 0, 0, 1.0]).to(args["uv_da"]).expand_as(args["uv_da"]) / 4
    modes = {"boundary_mode": boundary}
    expected = glraster.texture(**args, filter_mode="linear-mipmap-linear", **modes)
    assert torch.allclose(glraster.texture(**args, filter_mode="anisotropic", **modes), expected, atol=1e-12)


def test_anisotropic_is_the_mean_along_the_major_axis(device):
    args = {name: value.detach() for name, value in arguments(device, "wrap", size=16).items()}
    tex, uv = args["tex"], args["uv"]
    # 8 texels along s (32 texels wide), 2 along t (16 high): four samples from level 1.
    args["uv_da"] = torch.tensor([8 / 32, 0, 0, 2 / 16]).to(uv).expand(*uv.shape[:3], 4).contiguous()
    args["mip_level_bias"] = None
    offsets = [(k + 0.5) / 4 - 0.5 for k in range(4)]
    level = torch.ones_like(uv[..., 0])
    samples = [glraster.texture(tex, uv + torch.tensor([o * 8 / 32, 0]).to(uv), mip_level_bias=level) for o in offsets]
    found = glraster.texture(**args, filter_mode="anisotropic")
    assert torch.allclose(found, torch.stack(samples).mean(0), atol=1e-12)


@pytest.mark.parametrize("h,w", [(5, 7), (6, 10), (12, 3), (1, 9)])
def test_area_levels_are_means_over_area(device, h, w):
    tex = torch.rand(1, h, w, 2, dtype=torch.float64, device=device)
    stack = glraster.texture_construct_mip(tex, mip_filter="area")
    for level in stack.levels:
        H, W = level.shape[1:3]
        fine = tex.repeat_interleave(H, 1).repeat_interleave(W, 2)  # [1, h H, w W, 2]: divides evenly
        assert torch.allclose(level, fine.unflatten(1, (H, h)).unflatten(3, (W, w)).mean((2, 4)), atol=1e-12)
    assert stack.levels[-1].shape[1:3] == (1, 1)


def test_area_gradcheck(device):
    tex = torch.rand(1, 5, 6, 2, dtype=torch.float64, device=device, requires_grad=True)
    uv = torch.rand(1, 4, 4, 2, dtype=torch.float64, device=device)
    bias = torch.rand(1, 4, 4, dtype=torch.float64, device=device) * 2
    assert torch.autograd.gradcheck(
        lambda t: glraster.texture(t, uv, mip_level_bias=bias, mip_filter="area"), tex, nondet_tol=1e-9
    )


def test_given_levels(device):
    args = arguments(device, "wrap")
    stack = glraster.texture_construct_mip(args["tex"])
    own = [level.clone().requires_grad_() for level in stack.levels]
    built, cached = glraster.texture(**args), glraster.texture(**args, mip=stack)
    listed = glraster.texture(**args, mip=own)
    assert torch.equal(built, cached) and torch.equal(built, listed)
    ones = torch.ones_like(built)
    (full,) = torch.autograd.grad(built, args["tex"], ones)
    assert torch.allclose(torch.autograd.grad(cached, args["tex"], ones)[0], full, atol=1e-12)
    base, *levels = torch.autograd.grad(listed, [args["tex"], *own], ones)
    total = base.sum() + sum(level.sum() for level in levels)
    assert torch.allclose(total, full.sum()) and base.sum() < full.sum()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("boundary", BOUNDARY_MODES)
@pytest.mark.parametrize("mode", ["nearest", "linear", *MIPMAP_MODES])
def test_coordinates_that_are_not_finite_read_zero(device, boundary, mode, bad):
    args = arguments(device, boundary, torch.float32)
    with torch.no_grad():
        args["uv"][..., -1] = bad
    out = glraster.texture(**args, filter_mode=mode, boundary_mode=boundary)
    assert not out.any()
    out.backward(torch.ones_like(out))
    for value in args.values():
        assert value.grad is None or not value.grad.any()


@pytest.mark.parametrize("boundary", BOUNDARY_MODES)
@pytest.mark.parametrize("mode", ["nearest", "linear", *MIPMAP_MODES])
def test_wild_values(device, boundary, mode):
    wild = torch.tensor([0, -0.0, 1, 1e-45, -1e-30, 1e10, -1e10, 3e38, -3e38, 16777216.0, -0.99999994], device=device)
    uv = torch.stack(torch.meshgrid(wild, wild, indexing="ij"), -1)[None]
    args = arguments(device, boundary, torch.float32)
    if boundary == "cube":
        uv = torch.cat([uv, wild.expand(1, len(wild), len(wild))[..., None]], -1)
    uv_da = wild[torch.arange(uv.shape[1] * uv.shape[2] * uv.shape[3] * 2, device=device) % len(wild)]
    uv_da = uv_da.view(*uv.shape[:3], -1)
    uv, uv_da = uv.contiguous().requires_grad_(), uv_da.clone().requires_grad_()
    out = glraster.texture(args["tex"], uv, uv_da, filter_mode=mode, boundary_mode=boundary)
    assert out.isfinite().all() and out.min() >= 0 and out.max() <= 1 + 1e-5
    out.sum().backward()
    assert args["tex"].grad.isfinite().all()
    assert uv_da.grad is None or uv_da.grad.isfinite().all()


def test_cube_edges_and_corners_are_seamless(device):
    size = 64
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1
    t, s = torch.meshgrid(centre, centre, indexing="ij")
    one = torch.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    directions = torch.nn.functional.normalize(torch.stack([torch.stack(face, -1) for face in faces]), dim=-1)
    tex = torch.stack([directions[..., 0] + 2 * directions[..., 1] ** 2, directions.prod(-1)], -1)[None].to(device)
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)), dtype=torch.float64)
    along = torch.linspace(-1, 1, 201, dtype=torch.float64)
    edges = []
    for axis, a, b in itertools.product(range(3), (-1.0, 1.0), (-1.0, 1.0)):
        others = [torch.full_like(along, a), torch.full_like(along, b)]
        others.insert(axis, along)
        edges.append(torch.stack(others, -1))
    points = torch.cat([*edges, signs]).to(device)
    step = 1e-7 * torch.randn(32, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    uv = (points[None] + step)[None]  # [1, 32, P, 3]: 32 directions a hair from each point, on all its sides
    out = glraster.texture(tex, uv.contiguous(), boundary_mode="cube")
    assert (out.amax(1) - out.amin(1)).max() < 1e-4


def test_odd_sides_are_refused_with_their_sizes(device):
    tex, uv = torch.rand(1, 12, 20, 1, device=device), torch.rand(1, 2, 2, 2, device=device)
    bias = torch.zeros(1, 2, 2, device=device)
    with pytest.raises(ValueError, match=r"12 x 20[\s\S]*2 +3 +5[\s\S]*max_mip_level=2[\s\S]*area"):
        glraster.texture(tex, uv, mip_level_bias=bias)
    assert glraster.texture(tex, uv, mip_level_bias=bias, max_mip_level=2).shape == (1, 2, 2, 1)


@pytest.mark.parametrize(
    "change,error,match",
    [
        ({"filter_mode": "linear-mipmap-linear", "uv_da": None, "mip_level_bias": None}, ValueError, "pass uv_da"),
        ({"filter_mode": "anisotropic", "uv_da": None}, ValueError, "needs uv_da"),
        ({"filter_mode": "cubic"}, ValueError, "filter_mode must be.*'cubic'"),
        ({"boundary_mode": "mirror"}, ValueError, "boundary_mode must be.*'mirror'"),
        ({"uv": torch.zeros(1, 2, 2, 3, dtype=torch.float64)}, ValueError, r"uv must be float64 \[N, H, W, 2\]"),
        ({"uv": torch.zeros(2, 5, 7, 2)}, TypeError, "uv must be float64.*got float32"),
        ({"uv_da": torch.zeros(1, 1, 1, 4, dtype=torch.float64)}, ValueError, "uv_da must be"),
        ({"tex": [1.0]}, TypeError, "tex must be a tensor"),
        ({"max_mip_level": -1}, ValueError, "max_mip_level must be 0 or greater, got -1"),
        ({"mip": 3}, TypeError, "mip must come from texture_construct_mip"),
        ({"mip_filter": "gauss"}, ValueError, "mip_filter must be one of"),
        ({"filter_mode": "anisotropic", "max_anisotropy": 0}, ValueError, "max_anisotropy must be .* 1 to 1024, got 0"),
        (
            {"filter_mode": "anisotropic", "max_anisotropy": 2.0},
            TypeError,
            "max_anisotropy must be an integer.*got 2.0",
        ),
    ],
)
def test_errors(change, error, match):
    args = arguments("cpu", "wrap") | change
    with pytest.raises(error, match=match):
        glraster.texture(**args)


@pytest.mark.parametrize("textures", [0, 1])
@pytest.mark.parametrize("boundary", BOUNDARY_MODES)
@pytest.mark.parametrize("mode", ["nearest", "linear", *MIPMAP_MODES])
@pytest.mark.parametrize("empty", ["N", "H", "W", "C"])
def test_empty_inputs(device, textures, boundary, mode, empty):
    N, H, W, C = (0 if name == empty else size for name, size in {"N": 2, "H": 3, "W": 4, "C": 2}.items())
    if textures == 0 and N > 0:
        pytest.raises(ValueError, glraster.texture, torch.rand(0, 4, 4, 1), torch.rand(2, 1, 1, 2))
        return
    D, faces = (3, (6,)) if boundary == "cube" else (2, ())
    tex = torch.rand(textures, *faces, 4, 4, C, device=device, requires_grad=True)
    uv = torch.rand(N, H, W, D, device=device, requires_grad=True)
    uv_da = torch.rand(N, H, W, 2 * D, device=device, requires_grad=True)
    out = glraster.texture(tex, uv, uv_da, filter_mode=mode, boundary_mode=boundary)
    assert out.shape == (N, H, W, C)
    out.sum().backward()
    assert tex.grad.shape == tex.shape and not tex.grad.any()


def test_integers_of_numpy(device):
    tex, uv = torch.rand(1, 8, 8, 2, device=device), torch.rand(1, 3, 3, 2, device=device)
    uv_da = torch.rand(1, 3, 3, 4, device=device)
    limits = {"max_anisotropy": 4, "max_mip_level": 2}
    expected = glraster.texture(tex, uv, uv_da, filter_mode="anisotropic", **limits)
    limits = {name: np.int64(limit) for name, limit in limits.items()}
    assert torch.equal(glraster.texture(tex, uv, uv_da, filter_mode="anisotropic", **limits), expected)


def test_mip_stacks_are_shown_in_a_line(device):
    stack = glraster.texture_construct_mip(torch.rand(2, 4, 8, 3, device=device))
    assert repr(stack) == "MipStack([[2, 2, 4, 3], [2, 1, 2, 3], [2, 1, 1, 3]] of tex [2, 4, 8, 3], mip_filter='box')"


def test_more_elements_than_32_bits_count(tmp_path):
    """A texture of 2^31 + 2^17 elements, of which only the pages that are read exist."""
    h, w = 2**15 + 2, 2**16
    path = Path(tmp_path, "texture")
    with path.open("wb") as file:
        file.truncate(h * w * 4)
        file.seek((h * w - 1) * 4)
        file.write(torch.tensor([5.0]).numpy().tobytes())
    tex = torch.from_file(str(path), shared=True, size=h * w).view(1, h, w, 1)
    uv = torch.tensor([[[[1 - 0.5 / w, 1 - 0.5 / h], [0.5, 0.5]]]])
    assert glraster.texture(tex, uv, filter_mode="nearest", boundary_mode="clamp").flatten().tolist() == [5, 0]
