"""Reference for antialias: every pair of neighbouring pixels with different ids blends across a silhouette edge.

Source: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020, section 3.5.
"""

import torch
from torch import Tensor

from .rasterize import decode_id

Edges = dict[tuple[int, int], list[int]]


def antialias(
    color: Tensor, rast: Tensor, pos: Tensor, tri: Tensor, pos_gradient_boost: float = 1.0, lengthened: float = 0.0
) -> Tensor:
    """Blends pixel colours over silhouette edges.

    Args:
        color: [N, H, W, C].
        rast: [N, H, W, 4] = (u, v, z/w, id + 1). Ids past the end of tri count as no triangle.
        pos: clip-space positions, [V, 4] or [N, V, 4].
        tri: vertex indices, integer [T, 3].
        pos_gradient_boost: factor on the gradient of pos.
        lengthened: by how much the backward pass takes every edge for longer: 1e-3 in recorded results.

    Returns:
        float64 [N, H, W, C]. color receives its true gradient. x, y and w of pos receive the gradient of the blend
        weight alpha, with copysign(1e-3, dy) in place of an edge's dy where that is shorter; zero where |alpha| >= 1/2.
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

        alpha = _blend_weight(pos, tri.long(), ids[tuple(own)], edges, own, towards, (height, width), vertical, lengthened)
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
    lengthened: float,
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
    size = torch.tensor([resolution[1], resolution[0]], dtype=torch.float64)
    middle = size / 2 - torch.stack([column, row], dim=-1) - 0.5

    def in_pixels(index: Tensor) -> Tensor:
        """(X, Y, w), X / w and Y / w in pixels from the own pixel's centre, X along the pair: [P, 3] -> [P, 3, 3]."""
        x, y, _, w = pos[image[:, None], index].unbind(-1)
        x, y = x * size[0] / 2 + w * middle[:, None, 0], y * size[1] / 2 + w * middle[:, None, 1]
        return torch.stack([y, x, w] if vertical else [x, y, w], dim=-1)

    corners, others = in_pixels(vertices), in_pixels(beyond.clamp(min=0))
    a, b, seen, closing = _clip_edges(corners)  # edge i lies opposite to corner i
    start, end = _project(a), _project(b)
    counts = seen & (start[..., 1] * end[..., 1] < 0)
    side_own, side_other = (_side(start, end, _project(_in_front(a, b, q))) for q in (corners, others))
    silhouette = (beyond < 0) | (side_own * side_other > 0)

    distance = towards[:, None] * _crossing(start, end, lengthened)
    farthest, edge = torch.where(counts, distance.detach(), -torch.inf).max(dim=1, keepdim=True)
    delta = (end - start).detach().abs()
    used = counts & silhouette & (delta[..., 1] >= delta[..., 0])
    used = used.gather(1, edge) & (farthest > -1 / 16) & (farthest < 17 / 16)
    # Where the triangle was cut off, it has an edge that is none of its own.
    closing = [_project(point) for point in closing]
    cut = closing[0][:, 1] * closing[1][:, 1] < 0
    used &= ~(cut & (towards * _crossing(*closing) > farthest[:, 0]))[:, None]

    distance = torch.where(used, distance.gather(1, edge), 0.5)
    # A distance at either limit is |alpha| = 1/2, which passes no gradient.
    distance = torch.where((distance > 0) & (distance < 1), distance, distance.detach().clamp(0, 1))
    return (towards * (0.5 - distance[:, 0])) * used[:, 0]


def _clip_edges(corners: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Cuts off what lies behind the eye, or within a millionth of the triangle's extent before it.

    Args:
        corners: homogeneous, [P, 3, 3].

    Returns:
        The ends of the edges opposite to the corners, [P, 3, 3] each; which edges are left, [P, 3]; the ends of the
        edge along the cut, [P, 3] each, equal where there is none. Triangles before the eye stay as they are.
    """
    whole = (corners[..., 2] > 0).all(1)
    limit = torch.where(whole, -torch.inf, 1e-6 * corners[..., 2].detach().abs().amax(1))[:, None]
    a, b = corners.roll(-1, 1), corners.roll(-2, 1)
    a_left, b_left = a[..., 2] > limit, b[..., 2] > limit
    is_cut = a_left != b_left
    t = (limit - a[..., 2]) / torch.where(is_cut, b[..., 2] - a[..., 2], 1.0)
    cut = a + torch.where(is_cut, t, 0.0)[..., None] * (b - a)
    pick = torch.arange(len(corners))
    ends = [cut[pick, torch.where(is_cut, rank, -1).argmax(1)] for rank in (torch.arange(3), torch.arange(2, -1, -1))]
    ends[1] = torch.where(is_cut.any(1)[:, None], ends[1], ends[0])
    a, b = torch.where(a_left[..., None], a, cut), torch.where(b_left[..., None], b, cut)
    return a, b, a_left | b_left, ends


def _in_front(a: Tensor, b: Tensor, q: Tensor) -> Tensor:
    """q, or where that lies behind the eye, a point before it on the way there from the middle of a and b."""
    middle = a + b
    step = middle[..., 2:] / (2 * torch.where(q[..., 2:] < 0, -q[..., 2:], 1.0))
    return torch.where(q[..., 2:] > 0, q, middle + step * q).detach()


def _project(point: Tensor) -> Tensor:
    return point[..., :2] / point[..., 2:]


def _side(start: Tensor, end: Tensor, point: Tensor) -> Tensor:
    """Positive to the left of the line from start to end, negative to the right."""
    along, to = (end - start).detach(), (point - start).detach()
    return along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]


def _crossing(start: Tensor, end: Tensor, lengthened: float = 0.0) -> Tensor:
    """Where the line through start and end meets the first axis; the backward pass keeps away from dy = 0."""
    (x0, y0), (x1, y1) = start.unbind(-1), end.unbind(-1)
    numerator, dy = x0 * y1 - x1 * y0, y1 - y0
    dy = dy + torch.full_like(dy, lengthened).copysign(dy).detach()
    guarded = torch.where(dy.detach().abs() < 1e-3, dy + (1e-3 * torch.ones_like(dy).copysign(dy) - dy).detach(), dy)
    crossing, length = numerator / guarded, y1 - y0
    return crossing + (numerator / torch.where(length == 0, 1.0, length) - crossing).detach()
