"""Values for the texels that got none: along the surface, over seams, and between islands."""

from typing import NamedTuple

import torch

from .texels import Texels, sew

__all__ = ["fill"]

_FEWEST = 256  # nodes of the coarsest graph, if islands let it become so small
_SHRINKS = 0.7  # of the nodes, at most, are those of a coarser graph worth having
_STEPS = (16, 32, 64, 128, 512)  # of conjugate gradients, from the finest graph on
_GOOD = 1e-5  # of the largest value: changes that end them


class _Graph(NamedTuple):
    """What is to be found: values of nodes, the mean of those at the other ends of their edges."""

    ends: torch.Tensor  # [E, 2] int64
    weight: torch.Tensor  # [E]
    values: torch.Tensor  # [N, C]
    known: torch.Tensor  # [N] bool


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
        want, got = list(texels.home.shape), list(known.shape)
        raise ValueError(f"fill(): texture must have the size of texels, {want}, got {got}")
    if not known.any():
        raise ValueError("fill(): known must be true of a texel, got none")
    if texels is not None:
        inside = texels.inside
        if not (known & inside).any():
            return fill(texture, known)
        if not bool(known[inside].all()):
            solved = _solve(*_graph_of(texture.float(), known & inside, texels))
            texture = texture.masked_scatter(inside[..., None], solved.to(texture.dtype))
        texture = torch.where((known | inside)[..., None], texture, sew(texture, texels))
        known = known | texels.covered
    return _pull_push(texture.movedim(3, 1), known[:, None]).movedim(1, 3).contiguous()


def _pull_push(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Values [1, C, H, W], those that are not known from means of those around, the nearest that there are."""
    if known.all():
        return values
    sizes = values.shape[2:]
    pool = {"kernel_size": [min(2, size) for size in sizes], "ceil_mode": True}
    weight = torch.nn.functional.avg_pool2d(known.to(values), **pool)
    sums = torch.nn.functional.avg_pool2d(values.where(known, 0), **pool)
    coarse = _pull_push(sums / weight.clamp(min=0.1), weight > 0)
    return torch.where(known, values, torch.nn.functional.interpolate(coarse, size=sizes, mode="bilinear"))


def _graph_of(texture: torch.Tensor, known: torch.Tensor, texels: Texels) -> tuple[_Graph, torch.Tensor]:
    """The graph of the texels inside of islands, and of each node its island, row and column [N, 3]."""
    inside, home = texels.inside[0], texels.home[0]
    H, W = inside.shape
    island = texels.islands[home.clamp(min=0).long()]
    node = torch.where(inside, inside.flatten().cumsum(0).view(H, W) - 1, -1)
    own = _own_node(texels, node)
    pairs = []
    for dim, step in ((1, -1), (0, -1), (1, 1), (0, 1)):
        beside, same = own.roll(step, dim), island == island.roll(step, dim)
        linked = inside & same & (beside >= 0)
        if step > 0:  # of two texels inside, one sees the other already
            linked &= ~inside.roll(step, dim)
        pairs.append(torch.stack([node[linked], beside[linked]], dim=1))
    ends = torch.cat(pairs)
    flat = known[0][inside]
    ends = ends[~flat[ends].all(1) & (ends[:, 0] != ends[:, 1])]
    weight = torch.ones_like(ends[:, 0], dtype=torch.float32)
    place = torch.cat([island[inside][:, None], inside.nonzero()], dim=1)
    return _Graph(ends, weight, texture[0][inside], flat), place


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


def _solve(graph: _Graph, place: torch.Tensor, level: int = 0) -> torch.Tensor:
    """The values of all nodes [N, C]: those of a coarser graph first, then improved."""
    start = graph.values.where(graph.known[:, None], graph.values[graph.known].mean(0))
    coarse_place = torch.cat([place[:, :1], place[:, 1:] // 2], dim=1)
    size = coarse_place.amax(0) + 1
    key = (coarse_place[:, 0] * size[1] + coarse_place[:, 1]) * size[2] + coarse_place[:, 2]
    key, parent = key.unique(return_inverse=True)
    if len(place) > _FEWEST and len(key) < _SHRINKS * len(place):
        rest, column = key // size[2], key % size[2]
        coarse_place = torch.stack([rest // size[1], rest % size[1], column], dim=1)
        found = _solve(_coarser(graph, parent, len(key)), coarse_place, level + 1)
        start = torch.where(graph.known[:, None], graph.values, found[parent])
    return _conjugate_gradients(graph, start, _STEPS[min(level, len(_STEPS) - 1)])


def _coarser(graph: _Graph, parent: torch.Tensor, count: int) -> _Graph:
    """The graph of groups of nodes; a group of which some are known has their mean."""
    ends = parent[graph.ends]
    low, high = ends.amin(1), ends.amax(1)
    crossing = low != high
    key, edge = (low * count + high)[crossing].unique(return_inverse=True)
    weight = torch.zeros(len(key), device=key.device).index_add(0, edge, graph.weight[crossing])
    known = graph.known.nonzero()[:, 0]
    number = torch.bincount(parent[known], minlength=count)
    sums = graph.values.new_zeros(count, graph.values.shape[1]).index_add(0, parent[known], graph.values[known])
    ends = torch.stack([key // count, key % count], dim=1)
    some = number > 0
    needed = ~some[ends].all(1)
    return _Graph(ends[needed], weight[needed], sums / number.clamp(min=1)[:, None], some)


def _conjugate_gradients(graph: _Graph, start: torch.Tensor, steps: int) -> torch.Tensor:
    """Better values [N, C] of nodes that are not known; preconditioned by the diagonal, each channel for itself."""
    free = (~graph.known).nonzero()[:, 0]
    if not len(free) or not len(graph.ends):
        return start
    matrix = _Rows(graph, free)
    inverse = torch.where(matrix.sums > 0, 1 / matrix.sums.clamp(min=0.1), 0.0)
    values = start.clone()
    residual = matrix.times(values) - matrix.sums * values[free]
    direction = torch.zeros_like(values)
    smallest = _GOOD * start.abs().max()
    energy = torch.zeros_like(values[0])
    for step in range(steps):
        scaled = inverse * residual
        if step % 8 == 0 and not bool((scaled.abs() > smallest).any()):
            break
        last, energy = energy, (residual * scaled).sum(0)
        ratio = torch.where(last > 0, energy / torch.where(last > 0, last, 1.0), 0.0)
        along = scaled + ratio * direction[free]
        direction[free] = along
        image = matrix.sums * along - matrix.times(direction)
        curvature = (along * image).sum(0)
        length = torch.where(curvature > 0, energy / torch.where(curvature > 0, curvature, 1.0), 0.0)
        values[free] += length * along
        residual -= length * image
    return values


class _Rows:
    """The edges' weights as a matrix from all nodes to those that are not known, and its sums of rows [F, 1]."""

    def __init__(self, graph: _Graph, free: torch.Tensor):
        row_of = torch.full_like(graph.known, -1, dtype=torch.int64)
        row_of[free] = torch.arange(len(free), device=free.device)
        start, end = torch.cat([graph.ends, graph.ends.flip(1)]).unbind(1)
        order = row_of[start].argsort(stable=True)
        order = order[row_of[start[order]] >= 0]
        self._end, self._weight = end[order], graph.weight.repeat(2)[order]
        counts = torch.bincount(row_of[start[order]], minlength=len(free))
        self._first = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        self.sums = self.times(torch.ones_like(graph.weight[:1]).expand(len(graph.known), 1).contiguous())

    def times(self, values: torch.Tensor) -> torch.Tensor:
        """[F, C] of [N, C]."""
        options = {"mode": "sum", "per_sample_weights": self._weight, "include_last_offset": True}
        return torch.nn.functional.embedding_bag(self._end, values, self._first, **options)
