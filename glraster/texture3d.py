"""Lookups in volume textures."""

import torch

from glraster.cuda_kernels.launcher import dense, launch, new_output, params_type, pointer, threads_for

from .checks import FLOATS, check_same, check_tensor
from .mipmap import MAX_SIDE
from .texture import BOUNDARY_MODES, gradient_copies, new_gradient_sums, sum_of_copies

__all__ = ["texture3d"]

FILTER_MODES = ("nearest", "linear")
VOLUME_BOUNDARY_MODES = tuple(mode for mode in BOUNDARY_MODES if mode != "cube")

Texture3dParams = params_type(
    "Texture3dParams",
    "tex uvw out grad_out grad_tex grad_uvw",
    "N H W M D h w C boundary linear copies shared_gradient double_gradient",
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
    need = "float32 or float64 [N or 1, D, h, w, C]"
    tex = check_tensor(op, "tex", tex, need, shapes=[(None,) * 5], dtypes=FLOATS)
    if not all(0 < side <= MAX_SIDE for side in tex.shape[1:4]):
        raise ValueError(f"{op}(): tex must be {need} with sides from 1 to {MAX_SIDE}, got {list(tex.shape)}")
    need = f"{str(tex.dtype).removeprefix('torch.')} [N, H, W, 3]"
    uvw = check_tensor(op, "uvw", uvw, need, shapes=[(None, None, None, 3)], dtypes=(tex.dtype,), device=tex.device)
    if tex.shape[0] != 1:
        check_same(op, "the minibatch", tex=tex.shape[0], uvw=uvw.shape[0])
    return _Texture3d.apply(tex, uvw, filter_mode, boundary_mode)


class _Texture3d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tex, uvw, filter_mode, boundary_mode):
        out = new_output(uvw, *uvw.shape[:3], tex.shape[-1])
        _run("texture3d_fwd", tex, uvw, filter_mode, boundary_mode, out=out)
        ctx.save_for_backward(tex, uvw)
        ctx.modes = filter_mode, boundary_mode
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        tex, uvw = ctx.saved_tensors
        want_tex, want_uvw = ctx.needs_input_grad[0], ctx.needs_input_grad[1] and ctx.modes[0] == "linear"
        copies = gradient_copies(uvw, [tex], corners=8)
        corners = 8 if ctx.modes[0] == "linear" else 1
        grad_tex = new_gradient_sums(tex, copies, uvw, corners) if want_tex else None
        grad_uvw = new_output(uvw, *uvw.shape) if want_uvw else None
        grads = {"grad_out": dense(grad_out), "grad_tex": grad_tex, "grad_uvw": grad_uvw}
        _run("texture3d_bwd", tex, uvw, *ctx.modes, copies=copies, **grads)
        if grad_tex is not None:
            grad_tex = sum_of_copies(grad_tex, tex.dtype)
        return grad_tex, grad_uvw, None, None


def _run(kernel, tex, uvw, filter_mode, boundary_mode, copies=1, **tensors):
    N, H, W, _ = uvw.shape
    M, D, h, w, C = tex.shape
    grad_tex = tensors.get("grad_tex")
    tensors |= {"tex": tex, "uvw": uvw}
    params = Texture3dParams(
        **{name: pointer(tensor) for name, tensor in tensors.items()},
        **{"N": N, "H": H, "W": W, "M": M, "D": D, "h": h, "w": w, "C": C},
        boundary=BOUNDARY_MODES.index(boundary_mode),
        linear=filter_mode == "linear",
        copies=copies,
        shared_gradient=copies == 1 and threads_for(N * H * W, uvw.device) != 1,
        double_gradient=grad_tex is not None and grad_tex.dtype == torch.float64,
    )
    channels = C if uvw.dtype == torch.float32 and C <= 4 else 0  # 0: any number
    constants = (("TEXTURE_BOUNDARY", boundary_mode.upper()), ("TEXTURE_CHANNELS", channels))
    launch(kernel, params, N * H * W, uvw.dtype, uvw.device, adds_to=(grad_tex,), constants=constants)
