"""Where a surface goes through itself."""

import torch

from .topology import Topology

__all__ = ["self_intersections"]

_MOST_PAIRS = 2**22  # compared at a time


@torch.no_grad()
def self_intersections(pos: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    """Finds edges that go through triangles of the same mesh.

    Triangles that share a vertex with an edge do not count, and neither do surfaces that only touch.

    Args:
        pos: [V, 3] floats.
        tri: [T, 3] integers.

    Returns:
        [P, 2] int64: edge (row of `edges(tri)`) and triangle of each intersection; none in a mesh without. Computed in
        float64.

    Source: Moller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection" (1997), for segments.
    """
    topology, exact = Topology(tri, len(pos)), pos.double()
    ends, corners = exact[topology.edges], exact[topology.tri]
    order = corners[..., 0].amin(1).argsort()  # along X: only what begins before an edge ends can meet it
    boxes = corners[order].amin(1), corners[order].amax(1)
    low, high = ends.amin(1), ends.amax(1)
    last = torch.searchsorted(boxes[0][:, 0].contiguous(), high[:, 0].contiguous(), right=True)
    widest = (boxes[1][:, 0] - boxes[0][:, 0]).max() if len(tri) else 0
    first = torch.searchsorted(boxes[0][:, 0].contiguous(), (low[:, 0] - widest).contiguous())
    found = [torch.zeros(0, 2, dtype=torch.int64, device=pos.device)]
    counts = (last - first).clamp(min=0)
    for edge in torch.arange(len(ends), device=pos.device).split(_rows(counts)):
        row, item = _pairs(counts[edge], first[edge])
        row = edge[row]
        overlap = (boxes[0][item] <= high[row]).all(1) & (boxes[1][item] >= low[row]).all(1)
        row, item = row[overlap], order[item[overlap]]
        apart = (topology.edges[row][:, :, None] != topology.tri[item][:, None]).all(2).all(1)
        row, item = row[apart], item[apart]
        hit = _crosses(ends[row], corners[item])
        found.append(torch.stack([row[hit], item[hit]], dim=1))
    return torch.cat(found)


def _rows(counts: torch.Tensor) -> int:
    return max(1, _MOST_PAIRS // max(1, int(counts.max()) if len(counts) else 1))


def _pairs(counts: torch.Tensor, first: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers from first to first + counts, one list after another, and of which list each is."""
    row = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    within = torch.arange(len(row), device=counts.device) - (counts.cumsum(0) - counts)[row]
    return row, first[row] + within


def _crosses(segment: torch.Tensor, triangle: torch.Tensor) -> torch.Tensor:
    """Whether segments [P, 2, 3] go through the inside of triangles [P, 3, 3]."""
    start, along = segment[:, 0], segment[:, 1] - segment[:, 0]
    a, ab, ac = triangle[:, 0], triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]
    p, q = torch.linalg.cross(along, ac), torch.linalg.cross(start - a, ab)
    det = (ab * p).sum(1)
    safe = torch.where(det == 0, 1.0, det)
    u, v, t = ((start - a) * p).sum(1) / safe, (along * q).sum(1) / safe, (ac * q).sum(1) / safe
    return (det != 0) & (u > 0) & (v > 0) & (u + v < 1) & (t > 0) & (t < 1)
