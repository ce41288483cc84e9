"""Gradients of visibility that hold for triangles of any size: an image as it is, with derivatives of its boundaries."""

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output, new_output_like, new_sum_like, rounded

from .antialias import TopologyHash, antialias_construct_topology_hash
from .checks import FLOATS, Same, check_same, check_tensor
from .operators import Operator

__all__ = ["edge_gradients"]

KERNELS = KernelFile("edge_gradients", adds_to=("grad_pos",))


def edge_gradients(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    *,
    topology_hash: TopologyHash | None = None,
    crease: bool = True,
) -> torch.Tensor:
    N, H, W, _ = color.shape
    return _edge_gradients(color, rast, pos, tri, antialias_construct_topology_hash(tri).neighbours, crease)


def _forward(color, rast, pos, tri, neighbours, crease):
    return color


def _setup(ctx, inputs, output):
    *tensors, ctx.crease = inputs
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.set_materialize_grads(False)


def _backward(ctx, needs, grad_out):
    grad_pos = _edge_gradients_bwd(grad_out, *ctx.saved_tensors, ctx.crease) if needs[2] else None
    return grad_out if needs[0] else None, None, grad_pos, None, None, None


def _bwd(grad_out, color, rast, pos, tri, neighbours, crease):
    grad_pos = new_sum_like(pos)
    _launch("edge_gradients_bwd", color, rast, pos, tri, neighbours, crease, grad_out=grad_out, grad_pos=grad_pos)
    return rounded(grad_pos, pos.dtype)


def _jvp_of(ctx, color, rast, pos, tri, neighbours, crease):
    return _edge_gradients_jvp(color, pos, *ctx.saved_tensors, ctx.crease)


def _jvp(tangent_color, tangent_pos, color, *inputs):
    out = new_output(color, *color.shape)
    tangents = {"tangent_color": tangent_color, "tangent_pos": tangent_pos, "tangent_out": out}
    _launch("edge_gradients_jvp", color, *inputs, **tangents)
    return out


def _launch(kernel, color, rast, pos, tri, neighbours, crease, **tensors):
    N, H, W, C = color.shape
    V = pos.shape[-2]
    KERNELS.launch(
        kernel,
        N * H * W,
        **{"color": color, "rast": rast, "pos": pos, "tri": tri, "neighbours": neighbours},
        **{"N": N, "H": H, "W": W, "C": C, "V": V},
        num_triangles=tri.shape[0],
        pos_stride=V * 4 if pos.ndim == 3 and pos.shape[0] > 1 else 0,
        crease=crease,
        **tensors,
    )


_inputs = "Tensor color, Tensor rast, Tensor pos, Tensor tri, Tensor neighbours, bool crease"
_edge_gradients = Operator(
    f"edge_gradients({_inputs}) -> Tensor",
    _forward,
    lambda color, *_: new_output_like(color),
    setup=_setup,
    backward=_backward,
    jvp=_jvp_of,
    returns_input=True,
)
_edge_gradients_jvp = Operator(
    f"edge_gradients_jvp(Tensor? tangent_color, Tensor? tangent_pos, {_inputs}) -> Tensor",
    _jvp,
    lambda tangent_color, tangent_pos, color, *_: new_output(color, *color.shape),
)
_edge_gradients_bwd = Operator(
    f"edge_gradients_bwd(Tensor grad_out, {_inputs}) -> Tensor",
    _bwd,
    lambda grad_out, color, rast, pos, *_: new_output_like(pos),
)
