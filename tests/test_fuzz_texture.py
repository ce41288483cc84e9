"""Random and hostile input to texture, texture_construct_mip and texture3d; see test_robustness.py."""

from fuzzing import DTYPES, SMALL, floats, fuzz
from hypothesis import given
from hypothesis import strategies as st

from glraster import texture, texture3d, texture_construct_mip

FILTER_MODES = ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic"]
TEXELS = st.integers(1, 9)


def some(data, shape, dtype):
    """A tensor that wants gradients, with special numbers in it or not."""
    return data.draw(floats(shape, special=data.draw(st.booleans()))).to(dtype).requires_grad_()


def check(out, tex, uv, readable) -> None:
    """Every result is a mean of texels and zeros; what cannot be read is zero and receives nothing."""
    assert out.shape == (*uv.shape[:-1], tex.shape[-1])
    low, high = tex.detach().amin().clamp(max=0), tex.detach().amax().clamp(min=0)
    assert ((out >= low - 1e-5) & (out <= high + 1e-5)).all()
    assert not out[~readable].any()
    out.sum().backward()
    assert tex.grad.isfinite().all()
    if uv.grad is not None:
        assert not uv.grad[~readable].any()


@fuzz
@given(data=st.data(), dtype=DTYPES, filter_mode=st.sampled_from(FILTER_MODES))
def test_fuzz_texture(data, dtype, filter_mode):
    N, H, W = (data.draw(SMALL, label=name) for name in "NHW")
    h, w, C = (data.draw(TEXELS, label=name) for name in "hwC")
    boundary_mode = data.draw(st.sampled_from(["wrap", "clamp", "zero", "cube"]))
    M = data.draw(st.sampled_from([1, N or 1]))
    shape, D = ((M, 6, h, h, C), 3) if boundary_mode == "cube" else ((M, h, w, C), 2)
    tex = data.draw(floats(shape, special=False)).to(dtype).requires_grad_()
    uv = some(data, (N, H, W, D), dtype)
    arguments, options = {}, {}
    if filter_mode not in ("nearest", "linear"):
        given = st.just("both") if filter_mode == "anisotropic" else st.sampled_from(["uv_da", "bias", "both"])
        which = data.draw(given)
        if which != "bias":
            arguments["uv_da"] = some(data, (N, H, W, 2 * D), dtype)
        if which != "uv_da":
            arguments["mip_level_bias"] = some(data, (N, H, W), dtype)
        options = {"mip_filter": "area", "max_mip_level": data.draw(st.one_of(st.none(), st.integers(0, 3)))}
        options["max_anisotropy"] = data.draw(st.sampled_from([1, 2, 16]))
        if data.draw(st.booleans()):
            cube = boundary_mode == "cube"
            options["mip"] = texture_construct_mip(tex, options["max_mip_level"], cube, mip_filter="area")
    out = texture(tex, uv, **arguments, filter_mode=filter_mode, boundary_mode=boundary_mode, **options)
    readable = uv.detach().isfinite().all(-1)
    if D == 3:
        readable &= (uv.detach() != 0).any(-1)
    check(out, tex, uv, readable)
    for argument in arguments.values():
        assert argument.grad is None or argument.grad.isfinite().all()


@fuzz
@given(data=st.data(), dtype=DTYPES)
def test_fuzz_texture3d(data, dtype):
    N, H, W = (data.draw(SMALL, label=name) for name in "NHW")
    sides = [data.draw(TEXELS, label=name) for name in "DhwC"]
    tex = data.draw(floats((data.draw(st.sampled_from([1, N or 1])), *sides), special=False)).to(dtype).requires_grad_()
    uvw = some(data, (N, H, W, 3), dtype)
    filter_mode = data.draw(st.sampled_from(["nearest", "linear"]))
    out = texture3d(tex, uvw, filter_mode, data.draw(st.sampled_from(["wrap", "clamp", "zero"])))
    check(out, tex, uvw, uvw.detach().isfinite().all(-1))
