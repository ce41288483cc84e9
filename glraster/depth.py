"""Gradients of depth, channel 2 of `rast`, for `rasterize(..., grad_depth=True)`."""

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output_like, new_sum_like, rounded

from .operators import Operator, save
from .scene import fields_of_ids

__all__ = ["add_depth_gradients"]

KERNELS = KernelFile("depth", adds_to=("grad_pos",))


def add_depth_gradients(rast: torch.Tensor, pos: torch.Tensor, tri: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Returns `rast` in its own memory, with gradients from channel 2 to x, y, z and w of `pos` besides those it has.

    Args:
        rast: [N, H, W, 4] from the kernels of barycentrics.
        pos: clip-space positions [N, V, 4] or, in range mode, [V, 4].
        tri: [T, 3] int32.
        ids: [N, H, W], which triangle each pixel sees.
    """
    return _depth(rast, pos, tri, ids)


def _setup(ctx, inputs, output):
    _, *tensors = inputs
    save(ctx, *tensors)


def _backward(ctx, needs, grad_rast):
    return grad_rast, _depth_bwd(grad_rast, *ctx.saved_tensors) if needs[1] else None, None, None


def _bwd(grad_rast, pos, tri, ids):
    grad_pos = new_sum_like(pos)
    _launch("depth_bwd", pos, tri, ids, grad_rast=grad_rast, grad_pos=grad_pos)
    return rounded(grad_pos, pos.dtype)


def _jvp_of(ctx, tangent_rast, tangent_pos, tri, ids):
    return _depth_jvp(tangent_rast, tangent_pos, *ctx.saved_tensors)


def _jvp(tangent_rast, tangent_pos, pos, tri, ids):
    tangent = pos.new_zeros((*ids.shape, 4)) if tangent_rast is None else tangent_rast.contiguous().clone()
    if tangent_pos is not None:
        _launch("depth_jvp", pos, tri, ids, tangent_pos=tangent_pos, tangent_rast=tangent)
    return tangent


def _launch(kernel, pos, tri, ids, **tensors):
    KERNELS.launch(kernel, ids.numel(), **fields_of_ids(pos, tri, ids), **tensors)


_inputs = "Tensor pos, Tensor tri, Tensor ids"
_depth = Operator(
    f"depth(Tensor rast, {_inputs}) -> Tensor",
    lambda rast, *_: rast.detach(),
    lambda rast, *_: new_output_like(rast),
    setup=_setup,
    backward=_backward,
    jvp=_jvp_of,
    shares_memory=True,
)
_depth_jvp = Operator(
    f"depth_jvp(Tensor? tangent_rast, Tensor? tangent_pos, {_inputs}) -> Tensor",
    _jvp,
    lambda tangent_rast, tangent_pos, pos, tri, ids: pos.new_empty((*ids.shape, 4)),
)
_depth_bwd = Operator(
    f"depth_bwd(Tensor grad_rast, {_inputs}) -> Tensor", _bwd, lambda grad_rast, pos, *_: new_output_like(pos)
)
