"""The references of texture and texture3d: cases computed by hand, PyTorch's grid_sample, and golden data."""

from itertools import product

import pytest
import torch
from reference.compare import assert_gradient, assert_output, leaf, tensor64
from reference.cube import cross_edge, to_face
from reference.texture import FILTER_MODES, texture, texture3d
from torch import Tensor
from torch.nn.functional import grid_sample

LEVEL_SOURCES = {"nearest": ["none"], "linear": ["none"]}
TEXTURE_CASES = [
    f"texture_{filter_mode}_{boundary_mode}_{source}_0"
    for filter_mode, boundary_mode in product(
        ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"), ("wrap", "clamp", "zero", "cube")
    )
    for source in LEVEL_SOURCES.get(filter_mode, ["da", "bias", "both"])
]


def at(*uv: float) -> Tensor:
    return tensor64(uv)[None, None, None]


def test_linear_filter_by_hand():
    tex = tensor64([1.0, 2.0, 4.0, 8.0])[None, None, :, None]

    def read(u: float, boundary_mode: str, filter_mode: str = "linear") -> float:
        return texture(tex, at(u, 0.5), filter_mode=filter_mode, boundary_mode=boundary_mode).item()

    assert read(0.375, "wrap") == 2.0  # the centre of texel 1
    assert read(0.5, "wrap") == 3.0
    assert [read(0.0, mode) for mode in ("wrap", "clamp", "zero")] == [4.5, 1.0, 0.5]
    assert [read(-0.125, mode) for mode in ("wrap", "clamp", "zero")] == [8.0, 1.0, 0.0]
    assert [read(-0.125, mode, "nearest") for mode in ("wrap", "clamp", "zero")] == [8.0, 1.0, 0.0]
    assert [read(1.0, mode, "nearest") for mode in ("wrap", "clamp", "zero")] == [1.0, 8.0, 0.0]


@pytest.mark.parametrize("boundary_mode, padding_mode", [("clamp", "border"), ("zero", "zeros")])
@pytest.mark.parametrize("axes", [2, 3])
def test_linear_filter_equals_grid_sample(boundary_mode, padding_mode, axes):
    torch.manual_seed(axes)
    tex = torch.rand(2, *(3, 4, 5)[:axes], 2, dtype=torch.float64)
    uv = leaf(torch.rand(2, 6, 7, axes) * 2 - 0.5)
    sample = texture if axes == 2 else texture3d
    out = sample(tex, uv, filter_mode="linear", boundary_mode=boundary_mode)
    grid = (2 * uv - 1).reshape(2, *(1,) * (axes - 2), 6, 7, axes)
    expected = grid_sample(tex.movedim(-1, 1), grid, "bilinear", padding_mode, align_corners=False)
    expected = expected.movedim(1, -1).reshape(out.shape)
    torch.testing.assert_close(out, expected)
    grads = [torch.autograd.grad((x**2).sum(), uv)[0] for x in (out, expected)]
    torch.testing.assert_close(*grads)


def test_volume_axes_and_boundaries():
    tex = torch.arange(24, dtype=torch.float64).reshape(1, 2, 3, 4, 1)
    centre = (1.5 / 4, 2.5 / 3, 0.5 / 2)  # texel (x, y, z) = (1, 2, 0)
    for mode, filter_mode in product(("wrap", "clamp", "zero"), ("nearest", "linear")):
        assert texture3d(tex, at(*centre), filter_mode, mode).item() == pytest.approx(9.0, abs=1e-12)
    below = (1.5 / 4, 2.5 / 3, -0.5 / 2)
    assert [texture3d(tex, at(*below), "nearest", mode).item() for mode in ("wrap", "clamp", "zero")] == [
        21.0,
        9.0,
        0.0,
    ]
    assert texture3d(tex, at(1.5 / 4, 2.5 / 3, 0.0), "linear", "wrap").item() == pytest.approx(15.0, abs=1e-12)
    assert not texture3d(tex, at(0.1, torch.nan, 0.2)).any()


def test_mip_levels_by_hand():
    """Level 1 of the texture is (3, 7), level 2 is 5. The footprint is 2^level texels wide."""
    tex, uv = tensor64([1.0, 5.0, 5.0, 9.0])[None, None, :, None], at(0.25, 0.5)

    def read(level: float, **options) -> Tensor:
        return texture(tex, uv, uv_da=at(2**level / 4, 0, 0, 0), boundary_mode="clamp", **options)

    assert read(-1.0).item() == 3.0  # between the first two texels of level 0
    assert read(1.0).item() == 3.0
    assert read(1.5).item() == pytest.approx(4.0)
    assert read(1.5, filter_mode="linear-mipmap-nearest").item() == 3.0
    assert read(1.5, max_mip_level=1).item() == 3.0
    assert read(9.0).item() == 5.0
    assert read(1.5, mip_level_bias=at(0.25)[..., 0]).item() == pytest.approx(3.5 + 1.0)
    assert texture(tex, uv, mip_level_bias=at(1.5)[..., 0], boundary_mode="clamp").item() == pytest.approx(4.0)
    with pytest.raises(ValueError, match="odd"):
        texture(torch.rand(1, 6, 6, 1), uv, mip_level_bias=at(0.0)[..., 0])


@pytest.mark.parametrize(
    "uv_da, reason",
    [
        ((0.1, 0.0, 0.0, 0.0), "clamped at level 0"),
        ((0.5, 0.0, 0.0, 0.0), "exactly level 1"),
        ((9.0, 0.0, 0.0, 0.0), "clamped at the last level"),
        ((0.3, 0.0, 0.0, 0.3), "a circular footprint: the derivative of the major axis is not finite"),
        ((0.0, 0.0, 0.0, 0.0), "no footprint"),
        ((torch.nan, 0.0, 0.0, 0.0), "NaN counts as level 0"),
    ],
)
def test_level_gradients_are_zero(uv_da, reason):
    tex, uv_da = torch.rand(1, 4, 4, 3, dtype=torch.float64), leaf(at(*uv_da))
    out = texture(tex, at(0.4, 0.7), uv_da=uv_da)
    assert out.isfinite().all(), reason
    assert not torch.autograd.grad(out.sum(), uv_da)[0].any(), reason


def test_clamp_limits_pass_no_gradient():
    tex = torch.rand(1, 4, 4, 1, dtype=torch.float64)
    for u, v, expected in ((0.125, 0.4, [False, True]), (0.5, 2.0, [True, False]), (0.875, 0.4, [False, True])):
        uv = leaf(at(u, v))
        grad = torch.autograd.grad(texture(tex, uv, boundary_mode="clamp").sum(), uv)[0]
        assert (grad != 0).flatten().tolist() == expected


@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize("filter_mode", FILTER_MODES)
def test_unreadable_coordinates_read_zero(filter_mode, boundary_mode):
    cube = boundary_mode == "cube"
    tex = leaf(torch.rand(1, 6, 4, 4, 2) + 1) if cube else leaf(torch.rand(1, 4, 4, 2) + 1)
    bad = [[torch.nan, 1.0, 1.0], [1.0, -torch.inf, 1.0], [0.0, 0.0, 0.0] if cube else [torch.inf] * 3]
    uv = leaf(tensor64(bad)[None, None, :, : 3 if cube else 2])
    uv_da = leaf(torch.full((1, 1, 3, 6 if cube else 4), 0.2))
    out = texture(tex, uv, uv_da=uv_da, filter_mode=filter_mode, boundary_mode=boundary_mode)
    assert not out.any()
    for grad in torch.autograd.grad(out.sum(), [tex, uv, uv_da], allow_unused=True):
        assert grad is None or not grad.any()


def test_custom_levels_receive_their_own_gradient():
    tex, level1 = leaf(torch.rand(1, 2, 2, 1)), leaf(torch.rand(1, 1, 1, 1))
    bias = at(0.25)[..., 0]
    out = texture(tex, at(0.25, 0.25), mip_level_bias=bias, mip=[level1])
    assert out.item() == pytest.approx(0.75 * tex[0, 0, 0, 0].item() + 0.25 * level1.item())
    grad_tex, grad_level1 = torch.autograd.grad(out.sum(), [tex, level1])
    assert grad_tex.flatten().tolist() == [0.75, 0.0, 0.0, 0.0]
    assert grad_level1.item() == 0.25


def test_cube_faces_by_hand():
    directions = tensor64([[2, 1, -1], [-2, 1, -1], [1, 2, -1], [1, -2, -1], [1, -1, 2], [1, -1, -2]])
    face, st, _ = to_face(directions)
    assert face.tolist() == [0, 1, 2, 3, 4, 5]
    signs = tensor64([[1, -1], [-1, -1], [1, -1], [1, 1], [1, 1], [-1, 1]])
    assert torch.equal(st, 0.5 + signs / 4)
    ties = tensor64([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]])
    assert to_face(ties)[0].tolist() == [0, 0, 2, 0]


def test_cube_corner_reads_the_mean_of_three_texels():
    tex = torch.rand(1, 6, 4, 4, 1, dtype=torch.float64)
    out = texture(tex, at(1.0, 1.0, 1.0), boundary_mode="cube").item()
    # s = (-z/x + 1)/2 = 0 and t = (-y/x + 1)/2 = 0 on +x; (1, 1) on +y; (1, 0) on +z.
    corners = tex[0, 0, 0, 0], tex[0, 2, 3, 3], tex[0, 4, 0, 3]
    assert out == pytest.approx(sum(c.item() for c in corners) / 3)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 64])
def test_cube_neighbours_are_mutual(size):
    """Leaving any face over any side and turning back leads to the texel one started from."""
    along = torch.arange(size)
    sides = [(along, torch.full_like(along, -1)), (along, torch.full_like(along, size))]
    sides += [(column, row) for row, column in sides]
    for face, (row, column) in product(range(6), sides):
        new_face, new_row, new_column = cross_edge(torch.full_like(along, face), row, column, size)
        assert (new_face != face).all()
        home = (torch.full_like(along, face), row.clamp(0, size - 1), column.clamp(0, size - 1))
        steps = [(new_row, new_column + d) for d in (-1, 1)] + [(new_row + d, new_column) for d in (-1, 1)]
        found = torch.zeros_like(along, dtype=torch.bool)
        for r, c in steps:
            outside = (r < 0) | (r >= size) | (c < 0) | (c >= size)
            back = cross_edge(new_face, r, c, size)
            found |= outside & torch.stack([a == b for a, b in zip(back, home, strict=True)]).all(dim=0)
        assert found.all()


def test_cube_filtering_is_continuous_over_edges():
    torch.manual_seed(0)
    tex = torch.rand(1, 6, 4, 4, 1, dtype=torch.float64)
    t = torch.linspace(-1, 1, 41, dtype=torch.float64)
    for (i, j), a, b in product(((0, 1), (0, 2), (1, 2)), (-1, 1), (-1, 1)):
        direction = torch.empty(1, 2, 41, 3, dtype=torch.float64)
        direction[..., 3 - i - j] = t
        direction[..., i] = a * tensor64([1 - 1e-9, 1 + 1e-9])[:, None]
        direction[..., j] = b
        first, second = texture(tex, direction, boundary_mode="cube")[0]
        torch.testing.assert_close(first, second, rtol=0, atol=1e-7)


@pytest.mark.parametrize("filter_mode", ["linear-mipmap-linear", "anisotropic"])
def test_texture_gradients(filter_mode):
    """True derivatives away from the switches between texels, faces, levels and numbers of samples."""
    torch.manual_seed(3)
    tex, cube = leaf(torch.rand(1, 4, 8, 2)), leaf(torch.rand(1, 6, 4, 4, 2))
    bias = leaf(torch.full((1, 2, 3), 0.6))
    signs = tensor64([1, -1, 1, 1])  # the columns of the Jacobian far from parallel: both axes are long
    for boundary_mode in ("wrap", "clamp", "zero"):
        uv, uv_da = leaf(torch.rand(1, 2, 3, 2)), leaf((torch.rand(1, 2, 3, 4) / 4 + 0.1) * signs)
        modes = {"filter_mode": filter_mode, "boundary_mode": boundary_mode}
        assert torch.autograd.gradcheck(lambda *a, m=modes: texture(*a, **m), [tex, uv, uv_da, bias], fast_mode=True)
    uv, uv_da = leaf(torch.randn(1, 2, 3, 3)), leaf(torch.randn(1, 2, 3, 6) / 4)
    modes = {"filter_mode": filter_mode, "boundary_mode": "cube"}
    assert torch.autograd.gradcheck(lambda *a: texture(*a, **modes), [cube, uv, uv_da, bias], fast_mode=True)


@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero", "cube"])
def test_anisotropic_filter_of_one_sample_is_trilinear(boundary_mode):
    torch.manual_seed(0)
    cube = boundary_mode == "cube"
    tex = leaf(torch.rand(2, 6, 8, 8, 3) if cube else torch.rand(2, 8, 16, 3))
    uv, uv_da = leaf(torch.randn(2, 3, 4, 3 if cube else 2)), leaf(torch.randn(2, 3, 4, 6 if cube else 4) / 4)
    one, linear = (
        texture(tex, uv, uv_da, boundary_mode=boundary_mode, **options)
        for options in ({"filter_mode": "anisotropic", "max_anisotropy": 1}, {"filter_mode": "linear-mipmap-linear"})
    )
    torch.testing.assert_close(one, linear)
    grads = [torch.autograd.grad((x**2).sum(), [tex, uv, uv_da]) for x in (one, linear)]
    torch.testing.assert_close(*grads)


def test_anisotropic_filter_turns_with_the_image():
    """Turning pixels about their centre turns nothing on the texture, and gradients turn with them."""
    torch.manual_seed(0)
    tex, uv, uv_da = torch.rand(1, 16, 16, 2), leaf(torch.rand(1, 4, 5, 2)), torch.randn(1, 4, 5, 4) / 4
    angle = torch.rand(1, 4, 5, 1, dtype=torch.float64) * 6
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=-1).unflatten(-1, (2, 2))
    straight = leaf(uv_da)
    turned = (straight.unflatten(-1, (2, 2))[..., None, :, :] @ turn).flatten(-3)
    outs = [texture(tex, uv, da, filter_mode="anisotropic") for da in (straight, turned)]
    torch.testing.assert_close(*outs)
    torch.testing.assert_close(*(torch.autograd.grad((x**2).sum(), [uv, straight]) for x in outs))


@pytest.mark.parametrize("name", TEXTURE_CASES)
def test_golden_texture(golden, name):
    case = golden(name)
    inputs = {key: leaf(case[key]) for key in ("tex", "uv", "uv_da", "mip_level_bias") if key in case}
    modes = {key: case[key] for key in ("filter_mode", "boundary_mode")}
    max_mip_level = case["max_mip_level"] if case["max_mip_level"] >= 0 else None
    out = texture(**inputs, **modes, max_mip_level=max_mip_level)
    assert_output(out, case["out"])
    grads = torch.autograd.grad(out, list(inputs.values()), case["grad_out"].double(), allow_unused=True)
    for key, grad in zip(inputs, grads, strict=True):
        assert (grad is None) == (f"grad_{key}" not in case)
        if grad is not None:
            assert_gradient(grad, case[f"grad_{key}"])
