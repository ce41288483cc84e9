"""Antialiasing of silhouettes, which gives visibility its gradients."""

import functools
from dataclasses import dataclass
from typing import Any

import torch

from glraster.cuda_kernels.launcher import (
    ENOUGH_BLOCKS,
    KernelFile,
    new_output,
    new_output_like,
    new_sum_like,
    new_zeros,
    reciprocal,
    rounded,
    runs_on_gpu,
    threads_for,
)

from .checks import FLOATS, Same, check_same, check_tensor
from .operators import Operator, new_gradients, save

__all__ = ["TopologyHash", "antialias", "antialias_construct_topology_hash", "check_image"]

KERNELS = KernelFile("antialias", adds_to=("grad_pos",))
TOPOLOGY = KernelFile("topology")
_MAX_TRIANGLES = (2**31 - 2) // 3  # three codes a triangle, and as many below -1
_MAX_CHUNKS = 8  # of triangles that are sorted apart on a CPU: each has counters of its own


@dataclass(frozen=True, repr=False)
class TopologyHash:
    """Which sides of triangles lie on the same edge; made by `antialias_construct_topology_hash`.

    Attributes:
        neighbours: [T, 3] int32; what the entries mean is said in `cuda_kernels/common/neighbours.cuh`.
    """

    neighbours: torch.Tensor

    @property
    def num_triangles(self) -> int:
        return self.neighbours.shape[0]

    def __repr__(self) -> str:
        return f"TopologyHash({self.num_triangles} triangles, on {self.neighbours.device})"


def antialias(
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    topology_hash: TopologyHash | None = None,
    pos_gradient_boost: float = 1.0,
) -> torch.Tensor:
    """Blends colours across silhouette edges by where the edges pass between pixel centres.

    For every pair of horizontal or vertical neighbours that see different triangles, the nearer triangle's edge between
    them is looked for. If it is a silhouette, the colour of one pixel bleeds into the other by up to one half. Of a
    triangle that reaches behind the eye (w <= 0 at a vertex) the part before it counts, as if it had been clipped.

    Args:
        color: [N, H, W, C] float32 or float64.
        rast: [N, H, W, 4] from `rasterize`, same dtype and device.
        pos: the clip-space positions given to `rasterize`: [N, V, 4], or [V, 4] (shared by all images).
        tri: [T, 3] int32 vertex indices. Two triangles share an edge where they share the indices of its ends: vertices
            that differ in nothing but, say, their texture coordinates must be one vertex here, or every seam counts as
            a silhouette (see `interpolate` for giving them coordinates of their own).
        topology_hash: `antialias_construct_topology_hash(tri)`, to save the time where `tri` stays the same.
        pos_gradient_boost: factor of the gradient that reaches `pos`, and, in forward mode, of what comes from its
            tangent: the two modes stay each other's transpose.

    Returns:
        [N, H, W, C]. Contributions add up, so values may leave the range of `color`.

    Silhouettes are looked for among the edges of the triangles that pixels show. Where triangles come near the size of
    a pixel, these are seldom on the silhouette: of the gradient of a sphere's area with respect to its size, at 256 x
    256 pixels, 0.85, 0.27, 0.016 and 0.005 are left for 80, 1,280, 20,480 and 81,920 triangles. Lines where bodies
    intersect have none. `edge_gradients` has neither limit: `antialias(edge_gradients(color, rast, pos, tri), rast,
    pos.detach(), tri)` gives the same picture. See docs/visibility.md.

    Gradients reach `color` and x, y, w of `pos`; `rast` receives none. Those of `pos` divide by the length of the edge
    across the line through the two centres; edges shorter than 1e-3 pixels count as that long, for rounding alone can
    give them their direction.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape or device, or a topology hash of another triangle list.

    Source: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020, section 3.5.
    """
    op = "antialias"
    color, rast, pos, tri, topology_hash = check_image(op, color, rast, pos, tri, topology_hash)
    try:
        boost = float(pos_gradient_boost if not isinstance(pos_gradient_boost, str) else None)
    except (TypeError, ValueError):
        raise TypeError(f"{op}(): pos_gradient_boost must be a number, got {pos_gradient_boost!r}") from None
    return _antialias(color, rast, pos, tri, topology_hash.neighbours, boost)


def check_image(
    op: str,
    color: torch.Tensor,
    rast: torch.Tensor,
    pos: torch.Tensor,
    tri: torch.Tensor,
    topology_hash: TopologyHash | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, TopologyHash]:
    """Checks the arguments that `antialias` and `edge_gradients` share; makes the topology where none is given."""
    color = check_tensor(op, "color", color, "[N, H, W, C]", shapes=((None,) * 4,), dtypes=FLOATS)
    N, H, W, _ = color.shape
    same: Same = {"dtypes": (color.dtype,), "device": color.device}
    rast = check_tensor(op, "rast", rast, shapes=((N, H, W, 4),), **same)
    pos = check_tensor(op, "pos", pos, "[N, V, 4] or [V, 4]", shapes=((None, None, 4), (None, 4)), **same)
    if pos.ndim == 3 and pos.shape[0] != 1:
        check_same(op, "the minibatch", pos=pos.shape[0], color=N)
    tri = check_tensor(op, "tri", tri, "[T, 3]", shapes=((None, 3),), dtypes=(torch.int32,), device=color.device)
    if topology_hash is None:
        topology_hash = antialias_construct_topology_hash(tri)
    elif not isinstance(topology_hash, TopologyHash):
        kind = type(topology_hash).__name__
        raise TypeError(f"{op}(): topology_hash must come from antialias_construct_topology_hash(), got {kind}")
    elif topology_hash.num_triangles != tri.shape[0] or topology_hash.neighbours.device != color.device:
        raise ValueError(
            f"{op}(): topology_hash must be made from this tri, [{tri.shape[0]}, 3] on {color.device}, got one of "
            f"{topology_hash.num_triangles} triangles on {topology_hash.neighbours.device}"
        )
    return color, rast, pos, tri, topology_hash


def antialias_construct_topology_hash(tri: torch.Tensor) -> TopologyHash:
    """Finds out which triangles share an edge, for `antialias`.

    Args:
        tri: [T, 3] int32 vertex indices. Of an edge that more than two triangles share, the two lowest different
            opposite vertices are remembered.

    Returns:
        An opaque table on the device of `tri`; it stays valid while the contents of `tri` do.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape.
    """
    op = "antialias_construct_topology_hash"
    tri = check_tensor(op, "tri", tri, "[T, 3]", shapes=((None, 3),), dtypes=(torch.int32,))
    if tri.shape[0] > _MAX_TRIANGLES:
        raise ValueError(f"{op}(): tri must have at most {_MAX_TRIANGLES} triangles, got {tri.shape[0]}")
    return TopologyHash(_topology(tri))


def _topology_forward(tri):
    T, neighbours = tri.shape[0], _topology_fake(tri)
    given = {"tri": tri, "neighbours": neighbours, "num_triangles": T, "num_buckets": 0, "num_chunks": 0}
    if runs_on_gpu(tri.device):
        keys = new_output(tri, 3 * T, dtype=torch.int64)
        TOPOLOGY.launch("topology_keys", T, keys=keys, **given)
        ordered, order = keys.sort()
        TOPOLOGY.launch("topology_match", 3 * T, sorted=ordered, order=order, **given)
        return neighbours
    threads = threads_for(T, tri.device)
    chunks, buckets = min(threads, _MAX_CHUNKS), 1 << (T // 2).bit_length()
    given |= {"half_edges": new_output(tri, 3 * T, 4), "starts": new_output(tri, chunks, buckets)}
    given |= {"num_chunks": chunks, "num_buckets": buckets}
    TOPOLOGY.launch("topology_sort", T, threads=threads, **given)
    return neighbours


def _topology_fake(tri):
    return new_output(tri, *tri.shape)


def _forward(color, rast, pos, tri, neighbours, boost):
    out = _copied(color)
    _launch("antialias_fwd", color, rast, pos, tri, neighbours, boost, out=out)
    return out


def _setup(ctx, inputs, output):
    *tensors, ctx.boost = inputs
    save(ctx, *tensors)


def _backward(ctx, needs, grad_out):
    wanted = [needs[0], needs[2]]
    grad_color, grad_pos = _antialias_bwd(grad_out, *ctx.saved_tensors, ctx.boost, wanted)
    return grad_color, None, grad_pos, None, None, None


def _bwd(grad_out, color, rast, pos, tri, neighbours, boost, wanted):
    grad_color = _copied(grad_out) if wanted[0] else None
    grad_pos = new_sum_like(pos) if wanted[1] else None
    grads = {"grad_out": grad_out, "grad_color": grad_color, "grad_pos": grad_pos}
    _launch("antialias_bwd", color, rast, pos, tri, neighbours, boost, **grads)
    return grad_color, rounded(grad_pos, pos.dtype)


def _fake_bwd(grad_out, color, rast, pos, tri, neighbours, boost, wanted):
    return new_gradients((color, pos), wanted)


def _jvp_of(ctx, color, rast, pos, tri, neighbours, boost):
    return _antialias_jvp(color, pos, *ctx.saved_tensors, ctx.boost)


def _jvp(tangent_color, tangent_pos, color, *inputs):
    out = _copied(color if tangent_color is None else tangent_color)
    if tangent_color is None and runs_on_gpu(color.device):
        out.zero_()
    tangents = {"tangent_color": tangent_color, "tangent_pos": tangent_pos, "tangent_out": out}
    _launch("antialias_jvp", color, *inputs, **tangents)
    return out


def fields_of_image(color, rast, pos, tri, neighbours) -> dict[str, Any]:
    """What kernels take that compare the pixels of an image: its tensors, their sizes and strides."""
    numbers = _numbers_of_image(color.shape, pos.shape, tri.shape[0])
    return {"color": color, "rast": rast, "pos": pos, "tri": tri, "neighbours": neighbours, **numbers}


@functools.lru_cache
def _numbers_of_image(color_shape, pos_shape, num_triangles: int) -> dict[str, int]:
    (N, H, W, C), V = color_shape, pos_shape[-2]
    sizes = {"N": N, "H": H, "W": W, "C": C, "V": V, "num_triangles": num_triangles}
    sizes |= {"width_reciprocal": reciprocal(W), "height_reciprocal": reciprocal(H)}
    return sizes | {"pos_stride": V * 4 if len(pos_shape) == 3 and pos_shape[0] > 1 else 0}


def list_of_pairs(rast) -> dict[str, torch.Tensor]:
    """Where kernels list pairs of neighbouring pixels, on a GPU: room for all of them, and their number, so far 0."""
    room = new_output(rast, rast.numel() // 2, dtype=torch.int64)
    return {"pairs": room, "num_pairs": new_zeros(rast, 1, dtype=torch.int64)}


def _copied(tensor):
    """An output that begins as a copy: of which the kernels on a CPU make the copy themselves."""
    out = new_output_like(tensor)
    return out.copy_(tensor) if runs_on_gpu(tensor.device) else out


def _launch(kernel, color, rast, pos, tri, neighbours, boost, **tensors):
    count, launches = rast.numel() // 4, []
    if runs_on_gpu(color.device):
        tensors |= list_of_pairs(rast)
        launches.append(("antialias_find", count, ENOUGH_BLOCKS))
        count *= 2
    KERNELS.launch_in_turn(
        [*launches, (kernel, count, ENOUGH_BLOCKS)],
        **fields_of_image(color, rast, pos, tri, neighbours),
        **tensors,
        pos_gradient_boost=boost,
    )


_topology = Operator("topology(Tensor tri) -> Tensor", _topology_forward, _topology_fake)
_inputs = "Tensor color, Tensor rast, Tensor pos, Tensor tri, Tensor neighbours, float boost"
_antialias = Operator(
    f"antialias({_inputs}) -> Tensor",
    _forward,
    lambda color, *_: new_output_like(color),
    setup=_setup,
    backward=_backward,
    jvp=_jvp_of,
)
_antialias_jvp = Operator(
    f"antialias_jvp(Tensor? tangent_color, Tensor? tangent_pos, {_inputs}) -> Tensor",
    _jvp,
    lambda tangent_color, tangent_pos, color, *_: new_output(color, *color.shape),
)
_antialias_bwd = Operator(
    f"antialias_bwd(Tensor grad_out, {_inputs}, bool[] wanted) -> (Tensor, Tensor)", _bwd, _fake_bwd
)
