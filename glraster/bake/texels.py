"""The texels of a mesh's texture, and which point of the surface each of them shows."""

import dataclasses
import functools

import torch

from glraster.contexts import RasterizeContext
from glraster.interpolate import interpolate
from glraster.mesh import Mesh, normalized
from glraster.rasterize import rasterize
from glraster.texture import texture as lookup
from glraster.triangle_id import as_rast, coded, triangle_id

from .walk import neighbours, walk

__all__ = ["Texels", "sew", "texels"]

_WINDOW = 4  # texels along a side around a piece of an edge
_PIECE = 2.0  # texels, the longest piece: texels nearer than one texel to it are within the window
_ROUNDING = 1e-6  # of texture coordinates
_ON_EDGE = 1e-3  # texels from an edge: a centre that rounding left to nobody
_PASSES = 3  # over a seam allowance, whose texels may show one another
_LEAST = 1e-3  # weight of known texels that lets a lookup count
_WELD = 2**26  # the inverse of a distance: texture coordinates nearer than that are one
_MOST = 16  # textures that a triangle goes over in each direction


@dataclasses.dataclass(frozen=True)
class Texels:
    """A texture's texels, each with a point of the surface.

    Attributes:
        mesh: with a layout: `uv` and `uv_tri`.
        rast: [1, H, W, 4], as `rasterize` returns it for pixels: with it, `interpolate` makes a texture of attributes
            of vertices, which receive its gradients. Zeros where no lookup on the mesh comes to.
        inside: [1, H, W] bool: the texel's centre is inside of an island. The others that `rast` tells of are the seam
            allowance: around islands, as far as bilinear lookups reach. Their points are those where they come to lie
            when the surface is continued over the seam; on a border of the surface, the nearest one.
        home: [1, H, W] int32, the triangle beside or under the texel in the layout, which in a seam allowance is not
            the one that `rast` tells; -1 where there is none.
    """

    mesh: Mesh
    rast: torch.Tensor
    inside: torch.Tensor
    home: torch.Tensor

    @property
    def covered(self) -> torch.Tensor:
        """[1, H, W] bool: the texel has a point, inside of an island or beside it."""
        return self.home >= 0

    @functools.cached_property
    def uv(self) -> torch.Tensor:
        """[1, H, W, 2], where on the texture the point has its own place: in a seam allowance, on another island."""
        assert self.mesh.uv is not None and self.mesh.uv_tri is not None  # `texels` checks it
        return interpolate(self.mesh.uv.detach().to(self.rast.dtype), self.rast, self.mesh.uv_tri)[0]

    @property
    def positions(self) -> torch.Tensor:
        """[1, H, W, 3], the points. Gradients reach the mesh's `pos`."""
        return interpolate(self.mesh.pos.to(self.rast.dtype), self.rast, self.mesh.tri)[0]

    @property
    def normals(self) -> torch.Tensor:
        """[1, H, W, 3], unit normals there, interpolated between those of vertices. Gradients reach `pos`."""
        return normalized(interpolate(self.mesh.vertex_normals().to(self.rast.dtype), self.rast, self.mesh.tri)[0])

    @functools.cached_property
    def islands(self) -> torch.Tensor:
        """[T] int64: a number for each triangle, the same for those that hang together in the layout.

        Raises:
            RuntimeError: scipy is not installed.
        """
        assert self.mesh.uv is not None and self.mesh.uv_tri is not None
        tri = self.mesh.uv_tri.long()
        steps = (self.mesh.uv.detach().double() * _WELD).round().long()
        steps -= steps.amin(0)
        places, place = (steps[:, 0] * (steps[:, 1].amax() + 1) + steps[:, 1]).unique(return_inverse=True)
        if len(places) < len(place):  # where corners of one vertex have the same place, there is no seam
            pairs = self.mesh.tri.long() * len(places) + place[tri]
            tri = pairs.unique(return_inverse=True)[1]
        return _connected(tri)

    @property
    def goes_over_sides(self) -> bool:
        """Whether the layout hangs over the sides of the texture and goes on at the opposite ones."""
        assert self.mesh.uv is not None and self.mesh.uv_tri is not None
        used = self.mesh.uv.detach()[self.mesh.uv_tri.flatten().long()]
        return bool(((used < -_ROUNDING) | (used > 1 + _ROUNDING)).any())


def texels(glctx: RasterizeContext, mesh: Mesh, resolution: int | tuple[int, int]) -> Texels:
    """Finds the texels that a mesh's layout uses, conservatively: all those that bilinear lookups on it touch.

    Where islands are nearer to each other than two texels, a texel between them is the nearest one's. Where they
    overlap, the triangle that comes first has the texel. What hangs over the sides of the texture goes on at the
    opposite side, as lookups do.

    Args:
        glctx: a context on the mesh's device.
        mesh: with `uv` (`glraster.mesh.unwrap` makes them), and with vertices shared along seams, as
            `glraster.mesh.load` has them: over split vertices nothing goes on.
        resolution: of the texture: a side, or (height, width).

    Returns:
        Texels, without gradients to `uv` and `pos`.

    Raises:
        ValueError: the mesh has no uv, or a triangle where they are not finite or span more than 16 textures.

    Source: the seam allowance follows the straightest way over an edge (Polthier and Schmies, "Straightest Geodesics on
    Polyhedral Surfaces", 1998).
    """
    if mesh.uv is None or mesh.uv_tri is None:
        raise ValueError("texels(): mesh must have uv, got none: glraster.mesh.unwrap(mesh) makes them")
    uv = mesh.uv.detach()
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    with torch.no_grad():
        rast = _drawn(glctx, uv, mesh.uv_tri, size)
        home = triangle_id(rast)
        inside = home >= 0
        texel, beside, place, distance = _beside(uv, mesh.uv_tri.long(), inside[0])
        weights = _barycentrics(place, (uv[mesh.uv_tri[beside].long()] * uv.new_tensor(size[::-1])).double())
        tri = mesh.tri.long()
        triangle, weights = walk(mesh.pos.detach().double(), tri, neighbours(tri, len(mesh.pos)), beside, weights)
        rast.view(-1, 4)[texel] = as_rast(triangle, weights.to(rast))
        home.view(-1)[texel] = beside.int()
        inside.view(-1)[texel[distance < _ON_EDGE**2]] = True
    return Texels(mesh, rast, inside, home)


def _connected(tri: torch.Tensor) -> torch.Tensor:
    """A number for each triangle [T, 3], the same for those that share corners."""
    try:
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components
    except ImportError as error:
        raise RuntimeError(f"Texels.islands: needs scipy: pip install 'glraster[bake]' ({error})") from error
    ends = tri.cpu()[:, [0, 1, 1, 2]].reshape(-1, 2).numpy()
    count = int(ends.max(initial=-1)) + 1
    graph = coo_matrix((ends[:, 0] >= 0, (ends[:, 0], ends[:, 1])), (count, count))
    label = connected_components(graph, directed=False)[1]
    return torch.from_numpy(label).long().to(tri.device)[tri[:, 0]]


def _drawn(glctx: RasterizeContext, uv: torch.Tensor, uv_tri: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The triangles that texels' centres are in, as `rast` [1, H, W, 4]."""
    corners = uv[uv_tri.long()]
    first, end = (corners.amin(1) + _ROUNDING).floor(), (corners.amax(1) - _ROUNDING).ceil()  # textures side by side
    end = torch.maximum(end, first + 1)
    if not ((end - first) <= _MOST).all():
        raise ValueError(f"texels(): uv must be finite and span at most {_MOST} textures in every triangle")
    if not first.any() and bool((end == 1).all()):
        return rasterize(glctx, _clip(uv)[None], uv_tri, size)[0]
    spans = (end - first).long()
    count = spans.prod(1)
    triangle = torch.repeat_interleave(count)
    number = torch.arange(len(triangle), device=uv.device) - (count.cumsum(0) - count)[triangle]
    column, row = number % spans[triangle, 0], number // spans[triangle, 0]
    moved = corners[triangle] - (first[triangle] + torch.stack([column, row], dim=1))[:, None]
    rast = rasterize(
        glctx, _clip(moved.flatten(0, 1))[None], torch.arange(len(moved) * 3).to(uv_tri).view(-1, 3), size
    )[0]
    copy = triangle_id(rast)
    rast[..., 3] = coded(torch.where(copy >= 0, triangle[copy.clamp(min=0).long()], -1), rast.dtype)
    return rast


def _clip(uv: torch.Tensor) -> torch.Tensor:
    return torch.cat([2 * uv - 1, torch.zeros_like(uv[:, :1]), torch.ones_like(uv[:, :1])], dim=1)


def _beside(uv: torch.Tensor, uv_tri: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The texels outside of islands within reach of lookups inside, and the nearest triangle of each.

    Returns:
        texel: [P] int64, rows of the flat texture, each once.
        triangle: [P] int64.
        place: [P, 2] float64, its centre in texels, beyond the sides of the texture where the triangle hangs over.
        distance: [P], squared, of the two.
    """
    H, W = inside.shape
    corners = uv[uv_tri] * uv.new_tensor([W, H])  # in texels, whose centres are at halves
    near = _near_outside(corners, inside).nonzero()[:, 0]
    start, end = corners[near].flatten(0, 1), corners[near].roll(-1, 1).flatten(0, 1)  # edges [E, 2]
    pieces = ((end - start).abs().amax(1) / _PIECE).ceil().long().clamp(min=1)
    edge = torch.repeat_interleave(pieces)
    number = torch.arange(len(edge), device=edge.device) - (pieces.cumsum(0) - pieces)[edge]
    middle = torch.lerp(start[edge], end[edge], ((number + 0.5) / pieces[edge])[:, None].to(uv))
    first = (middle - 0.5 - _WINDOW / 2).ceil().long()  # column and row
    steps = torch.arange(_WINDOW, device=edge.device)
    window = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).view(-1, 2)
    place = (first[:, None] + window).flatten(0, 1)
    edge = edge.repeat_interleave(len(window))
    texel = place[:, 1] % H * W + place[:, 0] % W
    outside = ~inside.flatten()[texel]
    texel, edge, place = texel[outside], edge[outside], place[outside] + 0.5
    distance = _distance(place, start[edge], end[edge])
    nearest = torch.full((H * W,), 2.0, dtype=distance.dtype, device=uv.device)  # the square of a texel's diagonal
    nearest.scatter_reduce_(0, texel, distance, "amin")
    is_nearest = ((distance == nearest[texel]) & (distance < 2)).nonzero()[:, 0]
    chosen = torch.full((H * W,), len(texel), device=uv.device)
    chosen.scatter_reduce_(0, texel[is_nearest], is_nearest, "amin")
    found = (chosen < len(texel)).nonzero()[:, 0]
    chosen = chosen[found]
    return found, near[edge[chosen] // 3], place[chosen].double(), distance[chosen]


def _near_outside(corners: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Which triangles [T, 3, 2] have texels outside of islands around, or a side of the texture; all that may."""
    H, W = inside.shape
    low = (corners.amin(1) - 1.5).floor().long()
    high = (corners.amax(1) + 1.5).ceil().long()
    limit = low.new_tensor([W, H])
    beyond = ((low < 0) | (high > limit)).any(1)
    (x0, y0), (x1, y1) = (limit.minimum(c.clamp(min=0)).unbind(1) for c in (low, high))
    sums = torch.zeros(H + 1, W + 1, dtype=torch.int32, device=inside.device)
    sums[1:, 1:] = (~inside).cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32)
    return beyond | (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0] > 0)


def _distance(points: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Squared distances of points [P, 2] from segments."""
    edge, offset = end - start, points - start
    square = edge.square().sum(1)
    along = ((offset * edge).sum(1) / torch.where(square > 0, square, 1.0)).clamp(0, 1)
    return (offset - along[:, None] * edge).square().sum(1)


def _barycentrics(point: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Of points [P, 2] in triangles [P, 3, 2]; for triangles without area, of their middles."""
    a, b, c = corners.unbind(1)
    (x1, y1), (x2, y2), (x, y) = ((v - a).unbind(1) for v in (b, c, point))
    area = x1 * y2 - x2 * y1
    safe = torch.where(area == 0, 1.0, area)
    second, third = (x * y2 - x2 * y) / safe, (x1 * y - x * y1) / safe
    found = torch.stack([1 - second - third, second, third], dim=1)
    return torch.where((area == 0)[:, None], 1 / 3, found)


def sew(texture: torch.Tensor, texels: Texels) -> torch.Tensor:
    """Sets the texels of a texture's seam allowance to what the texture shows where their points have their own place.

    For textures that are not functions of the surface alone, such as those whose texels are optimized one by one: both
    sides of a seam then show the same to within bilinear filtering.

    Args:
        texture: [1, H, W, C] floats.
        texels: of the same size.

    Returns:
        [1, H, W, C]. Gradients reach the texels inside of islands.

    Raises:
        ValueError: another size.
    """
    if texture.shape[:3] != texels.home.shape:
        want, got = list(texels.home.shape), list(texture.shape)
        raise ValueError(f"sew(): texture must be [1, H, W, C], in the size of texels {want}, got {got}")
    rows = (texels.covered & ~texels.inside).nonzero(as_tuple=True)
    if not len(rows[0]):
        return texture
    uv = texels.uv[rows][None, None].to(texture.dtype)
    known = texels.inside[..., None].to(texture)
    for _ in range(_PASSES):
        both = torch.cat([texture.where(known > 0, 0), known], dim=-1)
        values, weight = lookup(both, uv, filter_mode="linear")[0, 0].split([texture.shape[-1], 1], dim=-1)
        shown = weight > _LEAST
        texture = texture.index_put(rows, values.where(shown, 0) / weight.where(shown, 1))
        known = known.index_put(rows, shown.to(known))
    return texture
