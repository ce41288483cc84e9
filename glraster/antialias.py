"""Antialiasing of silhouettes, which gives visibility its gradients."""

from dataclasses import dataclass

import torch

from glraster.cuda_kernels.launcher import dense, launch, new_output, new_zeros, params_type, pointer

from .checks import FLOATS, check_same, check_tensor

__all__ = ["TopologyHash", "antialias", "antialias_construct_topology_hash"]

AntialiasParams = params_type(
    "AntialiasParams",
    "color rast pos tri edges opposites out grad_out grad_color grad_pos",
    "N H W C V num_triangles capacity pos_stride",
    "pos_gradient_boost",
)


@dataclass(frozen=True, repr=False)
class TopologyHash:
    """The edge table of one triangle list; made by `antialias_construct_topology_hash`."""

    edges: torch.Tensor  # [capacity] int64
    opposites: torch.Tensor  # [capacity, 2] int32
    num_triangles: int

    def __repr__(self) -> str:
        return f"TopologyHash({self.num_triangles} triangles, on {self.edges.device})"


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
        pos_gradient_boost: factor of the gradient that reaches `pos`.

    Returns:
        [N, H, W, C]. Contributions add up, so values may leave the range of `color`.

    Gradients reach `color` and x, y, w of `pos`; `rast` receives none. Those of `pos` divide by the length of the edge
    across the line through the two centres; edges shorter than 1e-3 pixels count as that long, for rounding alone can
    give them their direction.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape or device, or a topology hash of another triangle list.

    Source: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020, section 3.5.
    """
    op = "antialias"
    color = check_tensor(op, "color", color, "float32 or float64 [N, H, W, C]", shapes=[(None,) * 4], dtypes=FLOATS)
    N, H, W, _ = color.shape
    same = {"dtypes": (color.dtype,), "device": color.device}
    kind = str(color.dtype).removeprefix("torch.")
    rast = check_tensor(op, "rast", rast, f"{kind} {[N, H, W, 4]}", shapes=[(N, H, W, 4)], **same)
    shapes = [(None, None, 4), (None, 4)]
    pos = check_tensor(op, "pos", pos, f"{kind} [N, V, 4] or [V, 4]", shapes=shapes, **same)
    if pos.ndim == 3 and pos.shape[0] != 1:
        check_same(op, "the minibatch", pos=pos.shape[0], color=N)
    tri = check_tensor(op, "tri", tri, "int32 [T, 3]", shapes=[(None, 3)], dtypes=(torch.int32,), device=color.device)
    try:
        boost = float(pos_gradient_boost if not isinstance(pos_gradient_boost, str) else None)
    except (TypeError, ValueError):
        raise TypeError(f"{op}(): pos_gradient_boost must be a number, got {pos_gradient_boost!r}") from None
    if topology_hash is None:
        topology_hash = antialias_construct_topology_hash(tri)
    elif not isinstance(topology_hash, TopologyHash):
        kind = type(topology_hash).__name__
        raise TypeError(f"{op}(): topology_hash must come from antialias_construct_topology_hash(), got {kind}")
    elif topology_hash.num_triangles != tri.shape[0] or topology_hash.edges.device != color.device:
        raise ValueError(
            f"{op}(): topology_hash must be made from this tri, [{tri.shape[0]}, 3] on {color.device}, got one of "
            f"{topology_hash.num_triangles} triangles on {topology_hash.edges.device}"
        )
    return _Antialias.apply(color, rast, pos, tri, topology_hash, boost)


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
    tri = check_tensor(op, "tri", tri, "int32 [T, 3]", shapes=[(None, 3)], dtypes=(torch.int32,))
    T = tri.shape[0]
    capacity = 1 << max(1, (4 * T - 1).bit_length())  # at most three edges a triangle: never more than 3/4 full
    edges = new_output(tri, capacity, dtype=torch.int64).fill_(-1)
    opposites = new_output(tri, capacity, 2).fill_(torch.iinfo(torch.int32).max)
    tensors = {"tri": tri, "edges": edges, "opposites": opposites}
    params = AntialiasParams(
        **{name: pointer(tensor) for name, tensor in tensors.items()},
        V=torch.iinfo(torch.int32).max,
        num_triangles=T,
        capacity=capacity,
    )
    launch("antialias_topology", params, T, torch.float32, tri.device)
    return TopologyHash(edges, opposites, T)


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx, color, rast, pos, tri, topology, boost):
        out = new_output(color, *color.shape)
        _run("antialias_fwd", color, rast, pos, tri, topology, boost, out=out)
        ctx.save_for_backward(color, rast, pos, tri)
        ctx.topology, ctx.boost = topology, boost
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        color, rast, pos, tri = ctx.saved_tensors
        grad_color = new_output(color, *color.shape) if ctx.needs_input_grad[0] else None
        grad_pos = new_zeros(pos, *pos.shape, dtype=torch.float64) if ctx.needs_input_grad[2] else None
        tensors = {"grad_out": dense(grad_out), "grad_color": grad_color, "grad_pos": grad_pos}
        _run("antialias_bwd", color, rast, pos, tri, ctx.topology, ctx.boost, **tensors)
        return grad_color, None, grad_pos if grad_pos is None else grad_pos.to(pos.dtype), None, None, None


def _run(kernel, color, rast, pos, tri, topology, boost, **tensors):
    N, H, W, C = color.shape
    V = pos.shape[-2]
    tensors |= {"color": color, "rast": rast, "pos": pos, "tri": tri}
    tensors |= {"edges": topology.edges, "opposites": topology.opposites}
    params = AntialiasParams(
        **{name: pointer(tensor) for name, tensor in tensors.items()},
        **{"N": N, "H": H, "W": W, "C": C, "V": V},
        num_triangles=tri.shape[0],
        capacity=topology.edges.shape[0],
        pos_stride=V * 4 if pos.ndim == 3 and pos.shape[0] > 1 else 0,
        pos_gradient_boost=boost,
    )
    launch(kernel, params, N * H * W, color.dtype, color.device, adds_to=(tensors.get("grad_pos"),))
