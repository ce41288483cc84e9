"""Reference for antialias: every pair of neighbouring pixels with different ids blends across a silhouette edge.

Source: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020, section 3.5.
"""

import torch
from torch import Tensor

from .rasterize import decode_id

Edges = dict[tuple[int, int], list[int]]


def antialias(color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, pos_gradient_boost: float = 1.0) -> Tensor:
    """Blends pixel colours over silhouette edges.

    Args:
        color: [N, H, W, C].
        rast: [N, H, W, 4] = (u, v, z/w, id + 1). Ids past the end of tri count as no triangle.
        pos: clip-space positions, [V, 4] or [N, V, 4].
        tri: vertex indices, integer [T, 3].
        pos_gradient_boost: factor on the gradient of pos.

    Returns:
        float64 [N, H, W, C]. color receives its true gradient. x, y and w of pos receive the gradient of the blend
        weight alpha, with dy + copysign(1e-3, dy) in place of an edge's dy, zero where |alpha| >= 1/2.
    """
    color, pos = color.double(), pos.double()
    n, height, width, _ = color.shape
    pos = pos.expand(n, *pos.shape[-2:])
    pos = pos.detach() + pos_gradient_boost * (pos - pos.detach())
    ids = decode_id(rast[..., 3])
    ids = torch.where((ids >= 0) & (ids < len(tri)), ids, -1)
    depth = rast[..., 2].detach().double()
    edges = _opposite_vertices(tri.tolist())

    out = color
    for vertical in (False, True):
        first = (ids[:, :-1], depth[:, :-1]) if vertical else (ids[:, :, :-1], depth[:, :, :-1])
        second = (ids[:, 1:], depth[:, 1:]) if vertical else (ids[:, :, 1:], depth[:, :, 1:])
        image, row, column = (first[0] != second[0]).nonzero(as_tuple=True)
        where0 = (image, row, column)
        where1 = (image, row + 1, column) if vertical else (image, row, column + 1)
        p0_owns = (second[0][where0] < 0) | ((first[0][where0] >= 0) & (first[1][where0] < second[1][where0]))
        own = [torch.where(p0_owns, a, b) for a, b in zip(where0, where1, strict=True)]
        towards = torch.where(p0_owns, 1.0, -1.0).double()

        alpha = _blend_weight(pos, tri.long(), ids[tuple(own)], edges, own, towards, (height, width), vertical)
        step = alpha[:, None] * (color[where1] - color[where0])
        target = [torch.where(alpha > 0, a, b) for a, b in zip(where0, where1, strict=True)]
        out = out.index_put(tuple(target), step, accumulate=True)
    return out


def _opposite_vertices(triangles: list[list[int]]) -> Edges:
    """The vertices opposite to each edge, keyed by its sorted vertex indices: at most two different ones."""
    edges: Edges = {}
    for triangle in triangles:
        for i in range(3):
            j, k = triangle[(i + 1) % 3], triangle[(i + 2) % 3]
            opposite = edges.setdefault((min(j, k), max(j, k)), [])
            if triangle[i] not in opposite and len(opposite) < 2:
                opposite.append(triangle[i])
    return edges


def _other_opposite(edges: Edges, triangle: list[int], i: int) -> int:
    """The vertex beyond the edge opposite to corner i of a triangle, -1 where no other triangle shares that edge."""
    j, k = triangle[(i + 1) % 3], triangle[(i + 2) % 3]
    others = [vertex for vertex in edges[(min(j, k), max(j, k))] if vertex != triangle[i]]
    return others[0] if others else -1


def _blend_weight(
    pos: Tensor,
    tri: Tensor,
    triangle: Tensor,
    edges: Edges,
    own: list[Tensor],
    towards: Tensor,
    resolution: tuple[int, int],
    vertical: bool,
) -> Tensor:
    """alpha of P pixel pairs, [P], zero where nothing blends.

    Args:
        triangle: id of the triangle considered, [P].
        own: (image, row, column) of that triangle's own pixel, [P] each.
        towards: +1 where the neighbour lies to the right or above, else -1, [P].
    """
    image, row, column = own
    vertices = tri[triangle]  # [P, 3]
    beyond = [[_other_opposite(edges, v, i) for i in range(3)] for v in vertices.tolist()]
    beyond = torch.tensor(beyond, dtype=torch.int64).view(-1, 3)
    centre = torch.stack([column, row], dim=-1)

    def project(index: Tensor) -> Tensor:
        """Pixel coordinates relative to the own pixel's centre, first axis along the pair: [P, 3] -> [P, 3, 2]."""
        corners = pos[image[:, None], index]
        size = torch.tensor([resolution[1], resolution[0]], dtype=torch.float64)
        xy = (corners[..., :2] / corners[..., 3:] + 1) * size / 2 - (centre[:, None] + 0.5)
        return xy.flip(-1) if vertical else xy

    points = project(vertices)
    start, end = points.roll(-1, 1), points.roll(-2, 1)  # edge i lies opposite to corner i
    counts = start[..., 1] * end[..., 1] < 0
    side_own, side_other = _side(start, end, points), _side(start, end, project(beyond.clamp(min=0)))
    silhouette = (beyond < 0) | (side_own * side_other > 0)

    distance = towards[:, None] * _crossing(start, end)
    farthest, edge = torch.where(counts, distance.detach(), -torch.inf).max(dim=1, keepdim=True)
    delta = (end - start).detach().abs()
    used = counts & silhouette & (delta[..., 1] >= delta[..., 0])
    used = used.gather(1, edge) & (farthest > -1 / 16) & (farthest < 17 / 16)

    distance = torch.where(used, distance.gather(1, edge), 0.5)
    # A distance at either limit is |alpha| = 1/2, which passes no gradient.
    distance = torch.where((distance > 0) & (distance < 1), distance, distance.detach().clamp(0, 1))
    return (towards * (0.5 - distance[:, 0])) * used[:, 0]


def _side(start: Tensor, end: Tensor, point: Tensor) -> Tensor:
    """Positive to the left of the line from start to end, negative to the right."""
    along, to = (end - start).detach(), (point - start).detach()
    return along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]


def _crossing(start: Tensor, end: Tensor) -> Tensor:
    """Where the line through start and end meets the first axis; the backward pass keeps away from dy = 0."""
    (x0, y0), (x1, y1) = start.unbind(-1), end.unbind(-1)
    numerator, dy = x0 * y1 - x1 * y0, y1 - y0
    guarded = dy + torch.full_like(dy, 1e-3).copysign(dy).detach()
    crossing = numerator / guarded
    return crossing + (numerator / torch.where(dy == 0, 1.0, dy) - crossing).detach()
