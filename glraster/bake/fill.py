"""Values for the texels that got none: along the surface, over seams, and between islands."""

from typing import NamedTuple

import torch

from .texels import Texels, sew

__all__ = ["fill"]

_FEWEST = 256  # nodes of the coarsest graph, if islands let it become so small
_SHRINKS = 0.7  # of the nodes, at most, are those of a coarser graph worth having
_STEPS = (16, 512)  # of conjugate gradients, fewest and most
_WORK = 1 << 24  # nodes times steps, between these two
_GOOD = 1e-5  # of the largest value: changes that end them


class _Graph(NamedTuple):
    """What is to be found: values of nodes, the mean of those at the other ends of their edges."""

    start: torch.Tensor  # [E] int64
    end: torch.Tensor  # [E]
    weight: torch.Tensor  # [E]
    values: torch.Tensor  # [N, C]
    known: torch.Tensor  # [N] bool
    mean: torch.Tensor  # [C], of all that is known


@torch.no_grad()
def fill(texture: torch.Tensor, known: torch.Tensor, texels: Texels | None = None) -> torch.Tensor:
    """Fills the texels of a texture that nothing is known of, as smoothly as what is known allows.

    On the surface each becomes the mean of its four neighbours, which at a seam are those on the other island: a
    membrane stretched over the mesh, not over its layout. Parts of the mesh of which nothing is known get the mean of
    all. Seam allowances are sewn (`sew`), and what lies between islands, where only coarse mip levels come to, becomes
    a blurred continuation of what is around.

    Args:
        texture: [1, H, W, C] floats.
        known: [1, H, W] bool.
        texels: of the texture. None: the layout does not matter, all of the texture is filled as between islands.

    Returns:
        [1, H, W, C] of the dtype of `texture`, equal to it where it is known. No gradients.

    Raises:
        ValueError: sizes that do not fit, or nothing is known.

    Source: cascadic conjugate gradients (Bornemann and Deuflhard, "The Cascadic Multigrid Method for Elliptic
    Problems", 1996); pull and push (Gortler et al., "The Lumigraph", 1996).
    """
    if texture.ndim != 4 or texture.shape[0] != 1 or texture.shape[:3] != known.shape:
        got = f"{list(texture.shape)} and {list(known.shape)}"
        raise ValueError(f"fill(): texture and known must be [1, H, W, C] and [1, H, W], got {got}")
    if texels is not None and texels.home.shape != known.shape:
        want, has = list(texels.home.shape), list(known.shape)
        raise ValueError(f"fill(): texture must have the size of texels, {want}, got {has}")
    if not known.any():
        raise ValueError("fill(): known must be true of a texel, got none")
    if texels is not None:
        inside = texels.inside
        if not (known & inside).any():
            return fill(texture, known)
        if not bool(known[inside].all()):
            graph, place = _graph_of(texture.float(), known & inside, texels)
            solved = _solve(graph, place).to(texture.dtype)
            texture = texture.index_put((place[:, 0] * 0, place[:, 1], place[:, 2]), solved)
        texture = torch.where((known | inside)[..., None], texture, sew(texture, texels))
        known = known | texels.covered
    return _pull_push(texture.movedim(3, 1), known[:, None]).movedim(1, 3).contiguous()


def _pull_push(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Values [1, C, H, W], those that are not known from means of those around, the nearest that there are."""
    if known.all():
        return values
    sizes = list(values.shape[2:])
    window = [min(2, size) for size in sizes]
    weight = torch.nn.functional.avg_pool2d(known.to(values), window, ceil_mode=True)
    sums = torch.nn.functional.avg_pool2d(values.where(known, 0), window, ceil_mode=True)
    coarse = _pull_push(sums / weight.clamp(min=0.1), weight > 0)
    return torch.where(known, values, torch.nn.functional.interpolate(coarse, size=sizes, mode="bilinear"))


def _graph_of(texture: torch.Tensor, known: torch.Tensor, texels: Texels) -> tuple[_Graph, torch.Tensor]:
    """The graph of the texels inside of islands, and of each node its island, row and column [N, 3]."""
    inside, home = texels.inside[0], texels.home[0]
    H, W = inside.shape
    island = texels.islands[home.clamp(min=0).long()]
    node = torch.where(inside, inside.flatten().cumsum(0).view(H, W) - 1, -1)
    own, flat = _own_node(texels, node), known[0][inside]
    edges = []
    for dim, step in ((1, -1), (0, -1), (1, 1), (0, 1)):
        beside, beside_inside = own.roll(step, dim), inside.roll(step, dim)
        linked = inside & (island == island.roll(step, dim)) & (beside >= 0) & (beside != node)
        if step > 0:  # of two texels inside, one sees the other already
            linked &= ~beside_inside
        elif not texels.goes_over_sides:
            linked.select(dim, -1)[beside_inside.select(dim, -1)] = False
        start, end = node[linked], beside[linked]
        # Over a seam, there is another edge back from the other side.
        edges.append((start, end, torch.where(beside_inside[linked], 1.0, 0.5)))
    start, end, weight = (torch.cat(parts) for parts in zip(*edges, strict=True))
    needed = ~(flat[start] & flat[end])
    start, end, weight = start[needed], end[needed], weight[needed]
    used = ~flat  # and what these are beside
    used[start] = used[end] = True
    number, rows = used.cumsum(0) - 1, inside.nonzero()[used]
    place = torch.cat([island[inside][used, None], rows], dim=1)
    mean = texture[known].mean(0)
    return _Graph(number[start], number[end], weight, texture[0][inside][used], flat[used], mean), place


def _own_node(texels: Texels, node: torch.Tensor) -> torch.Tensor:
    """[H, W]: the node of every texel; in a seam allowance, the nearest one to where its point has its own place."""
    H, W = node.shape
    rows = (texels.covered & ~texels.inside)[0].nonzero(as_tuple=True)
    place = texels.uv[0][rows] * texels.uv.new_tensor([W, H]) - 0.5
    first, found = place.floor(), torch.full_like(rows[0], -1)
    nearest = torch.full_like(place[:, 0], torch.inf)
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        corner = first + first.new_tensor([x, y])
        candidate = node[corner[:, 1].long() % H, corner[:, 0].long() % W]
        distance = (corner - place).square().sum(1)
        better = (candidate >= 0) & (distance < nearest)
        found, nearest = torch.where(better, candidate, found), torch.where(better, distance, nearest)
    return node.index_put(rows, found)


def _solve(graph: _Graph, place: torch.Tensor) -> torch.Tensor:
    """The values of all nodes [N, C]: those of a coarser graph first, then improved."""
    start = graph.mean
    coarse_place = torch.cat([place[:, :1], place[:, 1:] // 2], dim=1)
    size = coarse_place.amax(0) + 1
    key = (coarse_place[:, 0] * size[1] + coarse_place[:, 1]) * size[2] + coarse_place[:, 2]
    key, parent = key.unique(return_inverse=True)
    if len(place) > _FEWEST and len(key) < _SHRINKS * len(place):
        rest, column = key // size[2], key % size[2]
        coarse_place = torch.stack([rest // size[1], rest % size[1], column], dim=1)
        start = _solve(_coarser(graph, parent, len(key)), coarse_place)[parent]
    return _conjugate_gradients(graph, graph.values.where(graph.known[:, None], start))


def _coarser(graph: _Graph, parent: torch.Tensor, count: int) -> _Graph:
    """The graph of groups of nodes; a group of which some are known has their mean."""
    known = graph.known.nonzero()[:, 0]
    number = torch.bincount(parent[known], minlength=count)
    sums = graph.values.new_zeros(count, graph.values.shape[1]).index_add(0, parent[known], graph.values[known])
    some = number > 0
    start, end = parent[graph.start], parent[graph.end]
    crossing = ((start != end) & ~(some[start] & some[end])).nonzero()[:, 0]
    start, end = start[crossing], end[crossing]
    key, edge = (torch.minimum(start, end) * count + torch.maximum(start, end)).unique(return_inverse=True)
    weight = torch.zeros(len(key), device=key.device).index_add(0, edge, graph.weight[crossing])
    return _Graph(key // count, key % count, weight, sums / number.clamp(min=1)[:, None], some, graph.mean)


def _conjugate_gradients(graph: _Graph, values: torch.Tensor) -> torch.Tensor:
    """Better values [N, C] of nodes that are not known; preconditioned by the diagonal, each channel for itself."""
    free = (~graph.known).nonzero()[:, 0]
    if not len(free) or not len(graph.start):
        return values
    matrix, residual = _matrix(graph, free, values)
    found, direction = values[free], torch.zeros_like(residual)
    smallest = _GOOD * values.abs().max()
    energy = torch.zeros_like(values[0])
    for step in range(min(max(_STEPS[0], _WORK // len(free)), _STEPS[1])):
        scaled = residual * matrix.inverse
        if step % 8 == 0 and not bool((scaled.abs() > smallest).any()):
            break
        last, energy = energy, (residual * scaled).sum(0)
        direction.mul_(_ratio(energy, last)).add_(scaled)
        image = torch.addcmul(matrix.times(direction).neg_(), direction, matrix.diagonal)
        length = _ratio(energy, (direction * image).sum(0))
        found.addcmul_(length, direction)
        residual.addcmul_(length, image, value=-1)
    return values.index_copy(0, free, found)


def _ratio(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.where(b > 0, a / b.where(b > 0, 1.0), 0.0)


class _Matrix(NamedTuple):
    """A sparse matrix [F, F] off its diagonal, by rows, and the diagonal [F, 1]."""

    column: torch.Tensor  # [K]
    weight: torch.Tensor  # [K]
    first: torch.Tensor  # [F + 1], where each row begins
    diagonal: torch.Tensor
    inverse: torch.Tensor  # of the diagonal, 0 where that is

    def times(self, values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.embedding_bag(
            self.column, values, self.first, mode="sum", per_sample_weights=self.weight, include_last_offset=True
        )


def _matrix(graph: _Graph, free: torch.Tensor, values: torch.Tensor) -> tuple[_Matrix, torch.Tensor]:
    """The edges between nodes that are not known; and what their values lack to be means, [F, C]."""
    number = torch.full_like(graph.known, -1, dtype=torch.int64)
    number[free] = torch.arange(len(free), device=free.device)
    start, end = torch.cat([graph.start, graph.end]), torch.cat([graph.end, graph.start])
    weight, row, column = graph.weight.repeat(2), number[start], number[end]
    inner = ((row >= 0) & (column >= 0)).nonzero()[:, 0]
    border = ((row >= 0) & (column < 0)).nonzero()[:, 0]
    diagonal = torch.zeros(len(free), 1, device=free.device)
    residual = torch.zeros(len(free), values.shape[1], device=free.device)
    residual.index_add_(0, row[border], values[end[border]] * weight[border, None])
    diagonal.index_add_(0, row[border], weight[border, None])
    row, column, weight = row[inner], column[inner], weight[inner]
    row, order = row.int().sort(stable=True)  # a radix sort, which it is not of 64 bits
    first = torch.nn.functional.pad(torch.bincount(row, minlength=len(free)).cumsum(0), (1, 0)).int()
    diagonal.index_add_(0, row, weight[order, None])
    inverse = torch.where(diagonal > 0, 1 / diagonal.clamp(min=0.1), 0.0)
    matrix = _Matrix(column[order].int(), weight[order], first, diagonal, inverse)
    return matrix, residual + matrix.times(values[free]) - diagonal * values[free]
