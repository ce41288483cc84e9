"""Gradients of visibility for triangles of any size: an image as it is, with derivatives of its boundaries."""

from typing import Literal

import torch

from glraster.cuda_kernels.launcher import (
    ENOUGH_BLOCKS,
    KernelFile,
    new_output,
    new_output_like,
    new_sum_like,
    rounded,
    runs_on_gpu,
)

from .antialias import TopologyHash, check_image, fields_of_image, list_of_pairs
from .operators import Operator, save

__all__ = ["edge_gradients"]

KERNELS = KernelFile("edge_gradients", adds_to=("grad_pos",))
FLAT_FACETS = 2  # CreaseMode, see cuda_kernels/common/creases.cuh: 0 none, 1 those that can be seen


def edge_gradients(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    *,
    topology_hash: TopologyHash | None = None,
    crease: bool | Literal["flat"] = True,
) -> torch.Tensor:
    """Returns the image as it is, with derivatives of where surfaces end and meet in it.

    Between two neighbouring pixels that see different surfaces lies a boundary: an outline, an open edge, or the line
    where two bodies intersect. As it moves, pixels change by the colours on its two sides. The gradient is that of the
    image under a box filter as wide as a pixel, on average over where between the pixels' centres the boundary lies,
    for triangles of any size: see docs/visibility.md for how near it is to the truth.

    Args:
        color: [N, H, W, C] float32 or float64, any number of channels: colours, masks, depth, normals.
        rast: [N, H, W, 4] from `rasterize`, same dtype and device.
        pos: the clip-space positions given to `rasterize`: [N, V, 4], or [V, 4] (shared by all images).
        tri: [T, 3] int32 vertex indices. Two triangles share an edge where they share the indices of its ends: weld
            vertices that differ in texture coordinates alone (see `interpolate` for giving them coordinates of their
            own), or the outline is taken to lie at every seam near it, which costs accuracy.
        topology_hash: `antialias_construct_topology_hash(tri)`, to save the time where `tri` stays the same.
        crease: which jumps of colour within a surface count. "flat": every difference between two triangles, which is
            right for facets of any size that have one colour each, and wrong for smooth colours. True: between two
            triangles that have one colour each as far as the pixels around a pair show them, and where colours
            extrapolated from two pixels of one triangle and two of another differ by more than four times what changes
            on both sides; facets below some pixels in size are missed. False: none, which saves a third of the time.

    Returns:
        [N, H, W, C], in the memory of `color`: clone it before changing it in place. In programs that PyTorch has
        traced, and in forward mode, it is a copy.

    Gradients reach `color`, unchanged, and x, y, w of `pos`; where surfaces intersect also z. `rast` receives none. No
    gradient comes from the image's border, or from the near and far planes. Apply it before whatever changes pixels by
    their neighbours: `antialias(edge_gradients(color, rast, pos, tri), rast, pos.detach(), tri)` has smooth edges and
    these gradients. Tangents flow in forward mode where gradients do.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape or device, a topology hash of another triangle list, or an unknown `crease`.

    Source: in the line of Pidhorskyi et al., "Rasterized Edge Gradients: Handling Discontinuities Differentiably", ECCV
    2024.
    """
    op = "edge_gradients"
    color, rast, pos, tri, topology_hash = check_image(op, color, rast, pos, tri, topology_hash)
    if not isinstance(crease, bool) and crease != "flat":
        raise (ValueError if isinstance(crease, str) else TypeError)(
            f'{op}(): crease must be True, False or "flat", got {crease!r}'
        )
    mode = FLAT_FACETS if crease == "flat" else int(crease)
    return _edge_gradients(color, rast, pos, tri, topology_hash.neighbours, mode)


def _forward(color, rast, pos, tri, neighbours, crease):
    return color.detach()


def _setup(ctx, inputs, output):
    *tensors, ctx.crease = inputs
    save(ctx, *tensors)


def _backward(ctx, needs, grad_out):
    grad_pos = _edge_gradients_bwd(grad_out, *ctx.saved_tensors, ctx.crease) if needs[2] else None
    return grad_out if needs[0] else None, None, grad_pos, None, None, None


def _bwd(grad_out, color, rast, pos, tri, neighbours, crease):
    grad_pos = new_sum_like(pos)
    tensors: dict[str, torch.Tensor] = {"grad_out": grad_out, "grad_pos": grad_pos}
    launches = [("edge_gradients_bwd", rast.numel() // 4, ENOUGH_BLOCKS)]
    if runs_on_gpu(color.device):  # there it goes through a list
        launches.insert(0, ("edge_gradients_find", rast.numel() // 4, ENOUGH_BLOCKS))
        tensors |= list_of_pairs(rast)
    fields = fields_of_image(color, rast, pos, tri, neighbours)
    KERNELS.launch_in_turn(launches, **fields, **tensors, crease=crease)
    return rounded(grad_pos, pos.dtype)


def _jvp_of(ctx, color, rast, pos, tri, neighbours, crease):
    return _edge_gradients_jvp(color, pos, *ctx.saved_tensors, ctx.crease)


def _jvp(tangent_color, tangent_pos, color, *inputs):
    out = new_output(color, *color.shape)
    tangents = {"tangent_color": tangent_color, "tangent_pos": tangent_pos, "tangent_out": out}
    *of_image, crease = inputs
    fields = fields_of_image(color, *of_image)
    KERNELS.launch("edge_gradients_jvp", color.shape[:3].numel(), **fields, **tangents, crease=crease)
    return out


_inputs = "Tensor color, Tensor rast, Tensor pos, Tensor tri, Tensor neighbours, int crease"
_edge_gradients = Operator(
    f"edge_gradients({_inputs}) -> Tensor",
    _forward,
    lambda color, *_: new_output_like(color),
    setup=_setup,
    backward=_backward,
    jvp=_jvp_of,
    shares_memory=True,
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
