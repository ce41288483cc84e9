"""Straight ways over a surface, from triangle to triangle, however its texture is cut."""

import torch

from glraster.mesh import Topology

__all__ = ["neighbours", "walk"]

_STEPS = 64  # triangles that a way crosses at most


def neighbours(tri: torch.Tensor, num_vertices: int) -> torch.Tensor:
    """Returns for each edge of triangles [T, 3], the one from corner k to the next, the same edge of another triangle.

    Returns:
        [3 T] int64, 3 t + k of the other; -1 on borders and where more than two triangles meet.
    """
    topology = Topology(tri, num_vertices)
    edge = topology.edge_of.flatten()
    order = edge.argsort(stable=True)
    first, second = order[:-1], order[1:]
    pair = (edge[first] == edge[second]) & (topology.counts[edge[first]] == 2)
    found = torch.full_like(edge, -1)
    found[first[pair]] = second[pair]
    found[second[pair]] = first[pair]
    return found


def walk(
    pos: torch.Tensor, tri: torch.Tensor, neighbour: torch.Tensor, triangle: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Finds where points beside triangles, in their planes, come to lie when the surface is laid flat around them.

    A point beyond an edge goes over to the triangle there, at the same distance from the edge and the same place along
    it, and on from this to the next. A border holds it, at the nearest point of its edge.

    Args:
        pos: [V, 3] float64.
        tri: [T, 3] int64.
        neighbour: [3 T] from `neighbours`.
        triangle: [P] int64.
        weights: [P, 3] float64, barycentrics of any sign.

    Returns:
        triangle and weights of points on the surface: weights from 0 to 1.
    """
    triangle, weights = triangle.clone(), weights.clone()
    for step in range(_STEPS + 1):
        outside = (weights.amin(1) < 0).nonzero()[:, 0]
        if not len(outside):
            break
        here, opposite = triangle[outside], weights[outside].argmin(1)
        over = neighbour[3 * here + (opposite + 1) % 3]
        if step == _STEPS:
            over = torch.full_like(over, -1)
        triangle[outside], weights[outside] = _crossed(pos, tri, here, weights[outside], opposite, over)
    return triangle, weights / weights.sum(1, keepdim=True)


def _crossed(pos, tri, triangle, weights, opposite, over) -> tuple[torch.Tensor, torch.Tensor]:
    """Points [P] beyond the edge opposite to a corner, in the triangle `over` it; on the edge where there is none."""
    rows = torch.arange(len(triangle), device=triangle.device)
    start, end = (opposite + 1) % 3, (opposite + 2) % 3
    point = (pos[tri[triangle]] * weights[..., None]).sum(1)
    a = pos[tri[triangle, start]]
    edge = pos[tri[triangle, end]] - a
    along, away = _split(point - a, edge)
    other, k = over.clamp(min=0) // 3, over.clamp(min=0) % 3
    apex_along, apex_away = _split(pos[tri[other, (k + 2) % 3]] - a, edge)
    crosses = (over >= 0) & (apex_away > 0)
    height = torch.where(crosses, away / torch.where(crosses, apex_away, 1.0), 0.0)
    b_weight = along - height * apex_along
    turned = tri[other, k] == tri[triangle, start]  # the other triangle winds the other way
    at_a, at_b = torch.where(turned, k, (k + 1) % 3), torch.where(turned, (k + 1) % 3, k)
    found = torch.zeros_like(weights)
    found[rows, at_a], found[rows, at_b], found[rows, (k + 2) % 3] = 1 - b_weight - height, b_weight, height
    on_edge, clamped = torch.zeros_like(weights), along.clamp(0, 1)
    on_edge[rows, start], on_edge[rows, end] = 1 - clamped, clamped
    return torch.where(crosses, other, triangle), torch.where(crosses[:, None], found, on_edge)


def _split(vector: torch.Tensor, edge: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where vectors [P, 3] lead along an edge, in lengths of it, and how far away from it."""
    square = edge.square().sum(1)
    along = torch.where(square > 0, (vector * edge).sum(1) / torch.where(square > 0, square, 1.0), 0.0)
    return along, (vector - along[:, None] * edge).norm(dim=1)
