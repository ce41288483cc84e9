"""Reference for rasterize and depth peeling: exact point sampling of every pixel against every triangle.

Visibility and barycentrics are separate, as in the library: `rasterize` and `peel` return triangle ids and carry no
gradient; `barycentrics` turns ids into (rast, rast_db) and is differentiable.

Source: Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997.
"""

from fractions import Fraction
from itertools import permutations

import torch
from torch import Tensor

MAX_CELLS = 1 << 18  # (triangle, pixel) pairs tested at a time: temporaries of 2 MiB, which caches hold
MAX_EXACT_ID = 1 << 24  # float32 holds every integer up to here
LARGE_ID_BITS = 0x4A800000
EMPTY = -1


def rasterize(
    pos: Tensor, tri: Tensor, resolution: tuple[int, int], ranges: Tensor | None = None, cull: str = "none"
) -> Tensor:
    """Returns the id of the triangle that each pixel sees.

    Args:
        pos: clip-space positions, [N, V, 4] (instanced) or [V, 4] (range mode).
        tri: vertex indices, integer [T, 3]. A triangle with an index outside pos is skipped.
        resolution: (height, width).
        ranges: rows (first triangle, count), integer [N, 2]; range mode only.
        cull: 'none', 'back' (drop triangles that appear clockwise, Y up) or 'front'.

    Returns:
        int64 [N, H, W], -1 where there is no triangle. Ids count from the start of tri.
    """
    return peel(pos, tri, resolution, 1, ranges, cull)[0]


def peel(
    pos: Tensor,
    tri: Tensor,
    resolution: tuple[int, int],
    num_layers: int,
    ranges: Tensor | None = None,
    cull: str = "none",
) -> Tensor:
    """Returns the nearest num_layers triangles over each pixel, sorted by (z/w, id).

    Arguments are those of `rasterize`. Returns int64 [num_layers, N, H, W], -1 past the last surface of a pixel.
    """
    pos, tri = pos.detach().double(), tri.long()
    if pos.dim() == 2:
        if ranges is None:
            raise ValueError("peel(): ranges is required where pos is [V, 4]")
        images = [(pos, first, first + count) for first, count in ranges.tolist()]
    else:
        images = [(instance, 0, len(tri)) for instance in pos]
    if any(first < 0 or end < first or end > len(tri) for _, first, end in images):
        raise ValueError(f"peel(): ranges must lie in [0, {len(tri)}], got {ranges}")
    layers = [_peel_image(p, tri, first, end, resolution, num_layers, cull) for p, first, end in images]
    height, width = resolution
    return torch.stack(layers, dim=1) if layers else torch.empty((num_layers, 0, height, width), dtype=torch.int64)


def _peel_image(
    pos: Tensor, tri: Tensor, first: int, end: int, resolution: tuple[int, int], num_layers: int, cull: str
) -> Tensor:
    """Layers of one image, [num_layers, H, W], from the triangles first <= id < end."""
    height, width = resolution
    candidates = torch.arange(first, end)
    valid = ((tri[first:end] >= 0) & (tri[first:end] < len(pos))).all(dim=1)
    chunks = candidates[valid].split(max(1, MAX_CELLS // max(1, height * width)))
    fragments = [_fragments(pos, tri, chunk, resolution, cull) for chunk in chunks]
    ids, pixel, depth = (torch.cat(x) for x in zip(*fragments, strict=True))

    # Fragments come in order of id; two stable sorts put them in order of (pixel, depth, id).
    order = depth.argsort(stable=True)
    order = order[pixel[order].argsort(stable=True)]
    ids, pixel = ids[order], pixel[order]
    layer = torch.arange(len(pixel)) - torch.searchsorted(pixel, pixel)
    layers = torch.full((num_layers, height * width), EMPTY)
    kept = layer < num_layers
    layers[layer[kept], pixel[kept]] = ids[kept]
    return layers.view(num_layers, height, width)


def _fragments(
    pos: Tensor, tri: Tensor, ids: Tensor, resolution: tuple[int, int], cull: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Where the triangles `ids` cover pixel centres: (id, row * W + column, z/w), [F] each, in order of id."""
    height, width = resolution
    corners = pos[tri[ids]]
    orientation = _orientation(corners)
    visible = {"none": orientation != 0, "back": orientation > 0, "front": orientation < 0}[cull]
    ids, corners, facing = ids[visible], corners[visible], orientation[visible].double()[:, None, None, None]
    x, y, z, w = (c[:, :, None, None] for c in corners.unbind(-1))
    # q of the conventions times (W, H), so that sample positions are integers and pixels on an edge are found exactly.
    # Its sign makes every triangle counter-clockwise.
    qx = facing * (x * width - (2 * torch.arange(width) + 1 - width) * w)  # [t, 3, 1, W]
    qy = y * height - (2 * torch.arange(height)[:, None] + 1 - height) * w  # [t, 3, H, 1]
    covered = torch.ones((len(ids), height, width), dtype=torch.bool)
    edges = []
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        edge = qx[:, j] * qy[:, k] - qy[:, j] * qx[:, k]
        # The edge function is linear over the image; its gradient points into the triangle.
        inward_x = facing[:, 0] * (y[:, j] * w[:, k] - w[:, j] * y[:, k])
        inward_y = facing[:, 0] * (w[:, j] * x[:, k] - x[:, j] * w[:, k])
        # The top-left rule of OpenGL framebuffer objects, whose "top" is row 0: left and lower edges own their pixels.
        owns_its_pixels = (inward_x > 0) | ((inward_x == 0) & (inward_y > 0))
        covered &= torch.where(owns_its_pixels, edge >= 0, edge > 0)
        edges.append(edge)
    # sum a_i w_i is the triangle's determinant, which has the sign of `orientation`. So all a_i of that sign means
    # that the barycentrics are positive and that the point has w > 0.
    triangle, row, column = covered.nonzero(as_tuple=True)
    a = torch.stack([edge[triangle, row, column] for edge in edges], dim=1)
    depth = (a * corners[triangle, :, 2]).sum(dim=1) / (a * corners[triangle, :, 3]).sum(dim=1)
    # Rounded to 2^-40, so that coplanar triangles of any shape tie as they should.
    depth = (depth * 2**40).round() / 2**40
    inside = depth.abs() <= 1
    return ids[triangle[inside]], (row * width + column)[inside], depth[inside]


def _orientation(corners: Tensor) -> Tensor:
    """Exact sign of det(x, y, w): 1 counter-clockwise on screen, -1 clockwise, 0 no area or not finite. [t] int64."""
    finite = corners.isfinite().all(dim=-1).all(dim=-1)
    matrix = corners[..., [0, 1, 3]]
    terms = torch.stack([matrix[:, i, 0] * matrix[:, j, 1] * matrix[:, k, 2] for i, j, k in permutations(range(3))])
    parity = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0], dtype=torch.float64)
    determinant = (parity[:, None] * terms).sum(dim=0)
    sign = torch.where(finite, determinant, 0.0).sign().long()
    uncertain = finite & (determinant.abs() < 1e-14 * terms.abs().sum(dim=0))
    for t in uncertain.nonzero().flatten().tolist():
        sign[t] = _exact_determinant_sign(matrix[t].tolist())
    return sign


def _exact_determinant_sign(matrix: list[list[float]]) -> int:
    (a, b, c), (d, e, f), (g, h, i) = [[Fraction(value) for value in row] for row in matrix]
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return (determinant > 0) - (determinant < 0)


def barycentrics(
    pos: Tensor, tri: Tensor, ids: Tensor, resolution: tuple[int, int], backward: str = "documented", guard: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Computes (rast, rast_db) from triangle ids and unclipped positions.

    Args:
        pos: clip-space positions, [N, V, 4] or [V, 4].
        tri: vertex indices, integer [T, 3].
        ids: triangle of each pixel, integer [N, H, W], -1 for none, as from `rasterize`.
        resolution: (height, width).
        backward: 'documented': the clamps of u and v are not differentiated; 'exact': the derivative of the forward
            formula as it stands.
        guard: added to the magnitude of S in the documented backward pass, as it was when the golden data was recorded.

    Returns:
        rast [N, H, W, 4] = (u, v, z/w, id + 1) and rast_db [N, H, W, 4] = (du/dX, du/dY, dv/dX, dv/dY), float64,
        zeros where there is no triangle. x, y and w of pos receive gradients from u, v and rast_db; z receives none.
    """
    if backward not in ("documented", "exact"):
        raise ValueError(f"barycentrics(): backward must be 'documented' or 'exact', got {backward!r}")
    pos = pos.double()
    image, row, column = (ids >= 0).nonzero(as_tuple=True)
    hit = ids[image, row, column]
    vertices = tri.long()[hit]
    corners = pos[vertices] if pos.dim() == 2 else pos[image[:, None], vertices]  # [P, 3, 4]

    uv, uv_db = _uv_and_derivatives(corners, row, column, resolution)
    if backward == "documented":
        uv_bwd, uv_db_bwd = _uv_and_derivatives(corners, row, column, resolution, guard)
        uv, uv_db = _with_gradient_of(uv, uv_bwd), _with_gradient_of(uv_db, uv_db_bwd)

    a = _edge_functions(corners, row, column, resolution)[0].detach()
    z, w = corners.detach()[..., 2], corners.detach()[..., 3]
    nearest, farthest = _depth_limits(z, w)
    depth = ((a * z).sum(-1) / (a * w).sum(-1)).clamp(nearest, farthest).clamp(-1, 1)
    rast = torch.cat([uv, torch.stack([depth, encode_id(hit + 1)], dim=-1)], dim=-1)
    where = (image, row, column)
    shape = (*ids.shape, 4)
    return uv.new_zeros(shape).index_put(where, rast), uv.new_zeros(shape).index_put(where, uv_db)


def _depth_limits(z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest z/w of the corners, [P], of what is left of triangles [P, 3] by clipping at w = 0."""
    inside = [torch.where(w > 0, z / w, torch.nan)]
    for i, j in permutations(range(3), 2):  # a point of the side from i to j, just before it reaches w = 0
        t = w[:, i] / (w[:, i] - w[:, j])
        z_there = z[:, i] + t * (z[:, j] - z[:, i])
        crosses = (w[:, i] > 0) & (w[:, j] <= 0) & (z_there != 0)
        inside.append(torch.where(crosses, z_there.sign() * torch.inf, torch.nan)[:, None])
    values = torch.cat(inside, dim=1)
    return values.nan_to_num(torch.inf, torch.inf, -torch.inf).amin(1), values.nan_to_num(
        -torch.inf, torch.inf, -torch.inf
    ).amax(1)


def _edge_functions(
    corners: Tensor, row: Tensor, column: Tensor, resolution: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """a_i and their derivatives by fx and fy, each [P, 3]."""
    height, width = resolution
    fx = ((2 * column + 1).double() / width - 1)[:, None]
    fy = ((2 * row + 1).double() / height - 1)[:, None]
    x, y, _, w = corners.unbind(-1)
    qx, qy = x - fx * w, y - fy * w

    def cross(p: Tensor, q: Tensor) -> Tensor:
        """p_j q_k - q_j p_k for (j, k) = (1, 2), (2, 0), (0, 1)."""
        return p.roll(-1, -1) * q.roll(-2, -1) - q.roll(-1, -1) * p.roll(-2, -1)

    return cross(qx, qy), cross(y, w), cross(w, x)


def _uv_and_derivatives(
    corners: Tensor, row: Tensor, column: Tensor, resolution: tuple[int, int], guard: float | None = None
) -> tuple[Tensor, Tensor]:
    """(u, v) [P, 2] and (du/dX, du/dY, dv/dX, dv/dY) [P, 4]; guard: added to |S|, clamps not differentiated."""
    height, width = resolution
    a, a_fx, a_fy = _edge_functions(corners, row, column, resolution)
    total = a.sum(-1, keepdim=True)
    divisor = total if guard is None else total + torch.full_like(total, guard).copysign(total).detach()
    uv = a[:, :2] / divisor
    clamped = uv.clamp(0, 1)
    clamped = clamped / clamped.sum(-1, keepdim=True).clamp(min=1)
    uv = _with_gradient_of(clamped, uv) if guard is not None else clamped
    by_x = 2 / width * (a_fx[:, :2] - uv * a_fx.sum(-1, keepdim=True)) / divisor
    by_y = 2 / height * (a_fy[:, :2] - uv * a_fy.sum(-1, keepdim=True)) / divisor
    return uv, torch.stack([by_x, by_y], dim=-1).flatten(-2)


def _with_gradient_of(value: Tensor, source: Tensor) -> Tensor:
    """`value` going forward, the derivative of `source` going backward."""
    return value.detach() + (source - source.detach())


def encode_id(channel: Tensor) -> Tensor:
    """Channel 3 of rast for triangle id + 1 (integer tensor, 0 for none): the value, or its bits past 2^24."""
    large = (channel + LARGE_ID_BITS).to(torch.int32).view(torch.float32).double()
    return torch.where(channel > MAX_EXACT_ID, large, channel.double())


def decode_id(channel: Tensor) -> Tensor:
    """Triangle ids from channel 3 of rast, int64, -1 where there is none."""
    bits = channel.detach().float().contiguous().view(torch.int32).long()
    return torch.where(channel > MAX_EXACT_ID, bits - LARGE_ID_BITS, channel.detach().long()) - 1
