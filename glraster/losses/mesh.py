"""Losses of meshes. Each takes positions [V, 3], or [N, V, 3] of which it returns the mean over the minibatch.

`tri` is [T, 3] integers, or a `glraster.mesh.Topology`, which saves the search for edges where the triangles stay the
same. Closed and open surfaces work alike, and so do edges at which more than two triangles meet.
"""

import torch

from glraster.mesh import Topology, laplacian, normalized

__all__ = [
    "chamfer_distance",
    "edge_length_loss",
    "flatten_loss",
    "laplacian_loss",
    "nearest_points",
    "normal_consistency_loss",
]

_MOST_DISTANCES = 2**24  # computed at a time


def laplacian_loss(pos: torch.Tensor, tri: torch.Tensor | Topology) -> torch.Tensor:
    """Mean over the vertices of (x_i - mean of its neighbours)^2: small where vertices lie evenly on a smooth surface.

    On a border the neighbours are those along it, so that open meshes are not pulled inwards.

    Args:
        pos: [V, 3] or [N, V, 3].
        tri: [T, 3] integers, or their `Topology`.

    Returns:
        A scalar in squared units of `pos`. Gradients reach `pos`.

    Source: Sorkine, "Laplacian Mesh Processing" (2005).
    """
    topology = _topology("laplacian_loss", pos, tri)
    matrix = laplacian(topology, kind="mean").to(pos.dtype)
    columns = pos.movedim(-2, 0).flatten(1)  # [V, 3 N]
    return (matrix @ columns).square().sum() * (3 / max(pos.numel(), 1))


def normal_consistency_loss(pos: torch.Tensor, tri: torch.Tensor | Topology) -> torch.Tensor:
    """Mean of 1 - cos over the angles between the normals of triangles that share an edge.

    Two triangles of opposite winding are compared as if they wound alike. Triangles without area do not count.

    Args:
        pos: [V, 3] or [N, V, 3].
        tri: [T, 3] integers, or their `Topology`.

    Returns:
        A scalar from 0 (flat) to 2. Gradients reach `pos`.
    """
    cosines, counted = _cosines_at_edges("normal_consistency_loss", pos, tri)
    return ((1 - cosines) * counted).sum() / counted.sum().clamp(min=1)


def flatten_loss(pos: torch.Tensor, tri: torch.Tensor | Topology) -> torch.Tensor:
    """Sum over the inner edges of (cos phi + 1)^2, phi the angle between the two triangles: pi where they are flat.

    Beside `normal_consistency_loss` it bears gentle bends and punishes sharp ones.

    Args:
        pos: [V, 3] or [N, V, 3].
        tri: [T, 3] integers, or their `Topology`.

    Returns:
        A scalar. Gradients reach `pos`.

    Source: Liu et al., "Soft Rasterizer" (2019).
    """
    cosines, counted = _cosines_at_edges("flatten_loss", pos, tri)  # between normals: cos phi is minus that
    return ((1 - cosines).square() * counted).sum() / (len(pos) if pos.ndim == 3 else 1)


def edge_length_loss(pos: torch.Tensor, tri: torch.Tensor | Topology, target: float | None = 0.0) -> torch.Tensor:
    """Mean over the edges of (length - target)^2.

    Args:
        pos: [V, 3] or [N, V, 3].
        tri: [T, 3] integers, or their `Topology`.
        target: a length in units of `pos`; None: the mean of the present ones, taken as a constant.

    Returns:
        A scalar in squared units of `pos`. Gradients reach `pos`.
    """
    topology = _topology("edge_length_loss", pos, tri)
    a, b = topology.edges.unbind(1)
    lengths = (pos[..., a, :] - pos[..., b, :]).norm(dim=-1)
    wanted = lengths.detach().mean(dim=-1, keepdim=True) if target is None else target
    return (lengths - wanted).square().sum() / max(lengths.numel(), 1)


def chamfer_distance(a: torch.Tensor, b: torch.Tensor, *, squared: bool = True) -> torch.Tensor:
    """How far two sets of points are from one another: each point's distance to the nearest of the other set.

    Of surfaces, take points with `glraster.mesh.sample_points`. Two samples of the same surface do not give zero, but
    about the distance between neighbours in a sample.

    Args:
        a: [P, 3].
        b: [Q, 3], same dtype and device.
        squared: squared distances, which weigh what is far off.

    Returns:
        The mean over `a` plus the mean over `b`, a scalar. Gradients reach both.

    Raises:
        ValueError: another shape, or no points.
    """
    for name, points in (("a", a), ("b", b)):
        if points.ndim != 2 or points.shape[1] != 3 or not len(points):
            raise ValueError(f"chamfer_distance(): {name} must be [P, 3], at least one, got {list(points.shape)}")
    total = a.new_zeros(())
    for x, y in ((a, b), (b, a)):
        offset = x - y[nearest_points(x, y)]
        total = total + (offset.square().sum(1) if squared else offset.norm(dim=1)).mean()
    return total


@torch.no_grad()
def nearest_points(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Returns [P] int64: for each point of `a` [P, 3] which of `b` [Q, 3] is nearest, one of them where several are.

    On the CPU with scipy's search tree, if scipy is there; else, and on GPUs, from all distances, some rows at a time.
    """
    if a.device.type == "cpu":
        try:
            from scipy.spatial import cKDTree
        except ImportError:
            pass
        else:
            return torch.from_numpy(cKDTree(b.double().numpy()).query(a.double().numpy())[1])
    return _nearest_of_all(a, b)


def _nearest_of_all(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    rows = max(1, _MOST_DISTANCES // max(len(b), 1))
    exact = "donot_use_mm_for_euclid_dist"  # the other way squares coordinates, and rounds
    return torch.cat([torch.cdist(part, b, compute_mode=exact).argmin(1) for part in a.split(rows)])


def _topology(op: str, pos: torch.Tensor, tri: torch.Tensor | Topology) -> Topology:
    if not isinstance(pos, torch.Tensor) or not pos.is_floating_point():
        raise TypeError(f"{op}(): pos must be a tensor of floats, got {getattr(pos, 'dtype', type(pos).__name__)}")
    if pos.ndim not in (2, 3) or pos.shape[-1] != 3:
        raise ValueError(f"{op}(): pos must be [V, 3] or [N, V, 3], got {list(pos.shape)}")
    topology = tri if isinstance(tri, Topology) else Topology(tri, pos.shape[-2])
    if topology.num_vertices != pos.shape[-2]:
        raise ValueError(f"{op}(): tri is of {topology.num_vertices} vertices, and pos has {pos.shape[-2]}")
    return topology


def _cosines_at_edges(op: str, pos: torch.Tensor, tri: torch.Tensor | Topology) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines between the normals of neighbours, [..., P], and which count, as 1 and 0."""
    topology = _topology(op, pos, tri)
    pairs, alike = topology.pairs
    a, b, c = pos[..., topology.tri, :].unbind(-2)
    normals = normalized(torch.linalg.cross(b - a, c - a))
    first, second = normals[..., pairs[:, 0], :], normals[..., pairs[:, 1], :]
    counted = ((first != 0).any(-1) & (second != 0).any(-1)).to(pos)
    return (first * second).sum(-1) * alike.to(pos), counted
