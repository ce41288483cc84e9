"""Lookups in volume textures."""

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output, new_output_like, new_zeros, reciprocal, threads_for

from .checks import FLOATS, Same, check_same, check_tensor
from .mipmap import MAX_SIDE
from .operators import Operator, new_gradients, save
from .texel_sums import gradient_copies, receives_many, sum_of_copies
from .texture import BOUNDARY_MODES

__all__ = ["texture3d"]

FILTER_MODES = ("nearest", "linear")
VOLUME_BOUNDARY_MODES = tuple(mode for mode in BOUNDARY_MODES if mode != "cube")

KERNELS = KernelFile(
    "texture3d",
    adds_to=("grad_tex",),
    constants={"TEXTURE_BOUNDARY": tuple(map(str.upper, VOLUME_BOUNDARY_MODES)), "TEXTURE_CHANNELS": ("kAnyNumber",)},
)


def texture3d(
    tex: torch.Tensor,
    uvw: torch.Tensor,
    filter_mode: str = "linear",
    boundary_mode: str = "wrap",
) -> torch.Tensor:
    """Samples a volume texture at every pixel.

    The conventions are those of `texture`, with one axis more: u runs along w, v along h and w along D; the centre of
    texel i lies at (i + 0.5) / size.

    Args:
        tex: [N or 1, D, h, w, C], float32 or float64. One texture serves the whole minibatch.
        uvw: [N, H, W, 3], same dtype and device. Where one is not finite, the result is zero and nothing receives a
            gradient.
        filter_mode: 'nearest', or 'linear' between the eight texels around a point.
        boundary_mode: 'wrap', 'clamp' or 'zero' (texels outside read zero).

    Returns:
        [N, H, W, C].

    Gradients reach `tex` always, and `uvw` with 'linear'. With 'clamp', that along an axis is zero from the centre of
    the last texel outwards.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape, device or mode.

    Source: the OpenGL specification, three-dimensional textures.
    """
    op = "texture3d"
    if filter_mode not in FILTER_MODES:
        raise ValueError(f"{op}(): filter_mode must be one of {FILTER_MODES}, got {filter_mode!r}")
    if boundary_mode not in VOLUME_BOUNDARY_MODES:
        raise ValueError(f"{op}(): boundary_mode must be one of {VOLUME_BOUNDARY_MODES}, got {boundary_mode!r}")
    need = "[N or 1, D, h, w, C]"
    tex = check_tensor(op, "tex", tex, need, shapes=((None,) * 5,), dtypes=FLOATS)
    if not all(0 < side <= MAX_SIDE for side in tex.shape[1:4]):
        raise ValueError(f"{op}(): tex must be {need} with sides from 1 to {MAX_SIDE}, got {list(tex.shape)}")
    same: Same = {"dtypes": (tex.dtype,), "device": tex.device}
    uvw = check_tensor(op, "uvw", uvw, "[N, H, W, 3]", shapes=((None, None, None, 3),), **same)
    if tex.shape[0] != 1:
        check_same(op, "the minibatch", tex=tex.shape[0], uvw=uvw.shape[0])
    return _texture3d(tex, uvw, filter_mode, boundary_mode)


def _forward(tex, uvw, filter_mode, boundary_mode):
    out = _fake(tex, uvw, filter_mode, boundary_mode)
    _launch("texture3d_fwd", tex, uvw, filter_mode, boundary_mode, out=out)
    return out


def _fake(tex, uvw, filter_mode, boundary_mode):
    return new_output(uvw, *uvw.shape[:3], tex.shape[-1])


def _setup(ctx, inputs, output):
    tex, uvw, *ctx.modes = inputs
    save(ctx, tex, uvw)


def _backward(ctx, needs, grad_out):
    wanted = [needs[0], needs[1] and ctx.modes[0] == "linear"]
    return *_texture3d_bwd(grad_out, *ctx.saved_tensors, *ctx.modes, wanted), None, None


def _bwd(grad_out, tex, uvw, filter_mode, boundary_mode, wanted):
    grad_uvw = new_output_like(uvw) if wanted[1] else None
    threads = threads_for(uvw.shape[:3].numel(), uvw.device, adds=wanted[0])
    copies = gradient_copies(uvw, [tex], threads, corners=8)
    most_additions = 8 if filter_mode == "linear" else 1
    dtype = torch.float64 if wanted[0] and receives_many(tex, uvw, most_additions) else tex.dtype
    grad_tex = new_zeros(tex, copies, *tex.shape, dtype=dtype) if wanted[0] else None
    grads = {"grad_out": grad_out, "grad_tex": grad_tex, "grad_uvw": grad_uvw}
    _launch("texture3d_bwd", tex, uvw, filter_mode, boundary_mode, copies, threads, **grads)
    return sum_of_copies(grad_tex, tex.dtype), grad_uvw


def _fake_bwd(grad_out, tex, uvw, filter_mode, boundary_mode, wanted):
    return new_gradients((tex, uvw), wanted)


def _jvp_of(ctx, tex, uvw, filter_mode, boundary_mode):
    return _texture3d_jvp(tex, uvw, *ctx.saved_tensors, *ctx.modes)


def _jvp(tangent_tex, tangent_uvw, *inputs):
    out = _fake(*inputs)
    _launch("texture3d_jvp", *inputs, tangent_tex=tangent_tex, tangent_uvw=tangent_uvw, tangent_out=out)
    return out


def _launch(kernel, tex, uvw, filter_mode, boundary_mode, copies=1, threads=None, **tensors):
    N, H, W, _ = uvw.shape
    M, D, h, w, C = tex.shape
    channels = C if uvw.dtype == torch.float32 and C <= 4 else "kAnyNumber"
    KERNELS.launch(
        kernel,
        N * H * W,
        threads=threads,
        constants=(("TEXTURE_BOUNDARY", boundary_mode.upper()), ("TEXTURE_CHANNELS", channels)),
        **{"tex": tex, "uvw": uvw, "N": N, "H": H, "W": W, "M": M, "D": D, "h": h, "w": w, "C": C},
        boundary=BOUNDARY_MODES.index(boundary_mode),
        linear=filter_mode == "linear",
        image_reciprocal=reciprocal(H * W),
        copies=copies,
        shared_gradient=copies == 1 and threads != 1,
        double_gradient=tensors.get("grad_tex") is not None and tensors["grad_tex"].dtype == torch.float64,
        **tensors,
    )


_inputs = "Tensor tex, Tensor uvw, str filter_mode, str boundary_mode"
_texture3d = Operator(f"texture3d({_inputs}) -> Tensor", _forward, _fake, setup=_setup, backward=_backward, jvp=_jvp_of)
_texture3d_jvp = Operator(
    f"texture3d_jvp(Tensor? tangent_tex, Tensor? tangent_uvw, {_inputs}) -> Tensor",
    _jvp,
    lambda tangent_tex, tangent_uvw, *inputs: _fake(*inputs),
)
_texture3d_bwd = Operator(
    f"texture3d_bwd(Tensor grad_out, {_inputs}, bool[] wanted) -> (Tensor, Tensor)", _bwd, _fake_bwd
)
