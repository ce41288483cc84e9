"""The steps of remeshing. Vertices have values [V, 4]: positions, and the wanted length of the edges around.

`split` and `collapse` return of which old vertices the new ones are mixed, None if nothing is left to do, and the new
triangles. Where an edge is chosen, no other is chosen whose triangles it would change.
"""

from typing import NamedTuple

import torch

from .geometry import face_normals, normalized
from .shapes import split_in_four
from .topology import Topology

__all__ = ["Mixed", "collapse", "corners_of_border", "flip", "split"]

LONGEST, SHORTEST = 4 / 3, 4 / 5  # in units of the wanted length: halves of the longest are not yet too short
CORNER = 0.5  # length of the sum of the unit vectors along a border, 0 where it is straight: bent by 29 degrees
SMALLEST_COSINE = 0.5  # between a triangle's normals before and after a collapse, or those on either side of a flip
LEAST_QUALITY = 0.5  # of the worse triangle after a flip, in parts of that before


class Mixed(NamedTuple):
    """New vertices, each a mean of two old ones."""

    ends: torch.Tensor  # [V', 2] int64
    shares: torch.Tensor  # [V', 2], of the two

    def apply(self, values: torch.Tensor) -> torch.Tensor:
        """[V', C] of values [V, C]."""
        return (values[self.ends] * self.shares[..., None]).sum(1)

    def compose(self, weights: torch.Tensor) -> torch.Tensor:
        """The sparse matrix [V', U] of what a sparse matrix [V, U] and then this makes."""
        (rows, columns), entries = weights.indices(), weights.values()
        row, item = _expanded(torch.bincount(rows, minlength=weights.shape[0]), self.ends.flatten())
        indices = torch.stack([row // 2, columns[item]])
        shape = (len(self.ends), weights.shape[1])
        shares = self.shares.flatten()[row] * entries[item]
        return torch.sparse_coo_tensor(indices, shares, shape, check_invariants=False).coalesce()


def split(values: torch.Tensor, tri: torch.Tensor) -> tuple[Mixed | None, torch.Tensor]:
    """Cuts all edges that are too long at their middles; triangles with one, two and three such edges accordingly."""
    topology = Topology(tri, len(values))
    lengths, wanted = _lengths(values, topology)
    marked = lengths > LONGEST * wanted
    count = int(marked.sum())
    if count == 0:
        return None, tri
    middle = torch.where(marked, marked.cumsum(0) - 1 + len(values), -1)[topology.edge_of]  # [T, 3]
    marks = (middle >= 0).sum(1)
    # One mark: on the first edge. Two: on the first two. That is how the triangles are turned.
    first = (middle >= 0).int().argmax(1)
    unmarked = (middle < 0).int().argmax(1)
    turn = torch.where(marks == 2, unmarked + 1, torch.where(marks == 1, first, 0))
    index = (torch.arange(3, device=tri.device) + turn[:, None]) % 3
    (a, b, c), (p, q, _) = tri.gather(1, index).unbind(1), middle.gather(1, index).unbind(1)
    ends = torch.cat([torch.arange(len(values), device=tri.device)[:, None].expand(-1, 2), topology.edges[marked]])
    pos = values[ends].mean(1)[:, :3]
    one, two = marks == 1, marks == 2
    a_to_q = two & ((pos[a] - pos[q]).norm(dim=1) <= (pos[p] - pos[c]).norm(dim=1))
    p_to_c = two & ~a_to_q
    parts = [tri[marks == 0], split_in_four(tri[marks == 3], middle[marks == 3])]
    for chosen, corners in (
        (one, ((a, p, c), (p, b, c))),
        (two, ((p, b, q),)),
        (a_to_q, ((a, p, q), (a, q, c))),
        (p_to_c, ((a, p, c), (p, q, c))),
    ):
        parts += [torch.stack([corner[chosen] for corner in triangle], dim=1) for triangle in corners]
    return Mixed(ends, values.new_full((len(ends), 2), 0.5)), torch.cat(parts)


def collapse(values: torch.Tensor, tri: torch.Tensor) -> tuple[Mixed | None, torch.Tensor]:
    """Makes edges that are too short points, the shortest first, where no triangle turns over."""
    topology = Topology(tri, len(values))
    lengths, wanted = _lengths(values, topology)
    share, allowed = _places(values[:, :3], topology)
    (chosen,) = ((lengths < SHORTEST * wanted) & allowed).nonzero(as_tuple=True)
    chosen = chosen[_keeps_links(topology, chosen)]
    chosen = chosen[_keeps_triangles(values, topology, chosen, share[chosen])]
    if len(chosen) == 0:
        return None, tri
    chosen = chosen[_apart(topology, chosen, lengths[chosen])]
    kept, gone = topology.edges[chosen].unbind(1)
    ends = torch.arange(len(values), device=tri.device)[:, None].repeat(1, 2)
    weights = torch.full_like(values[:, :2], 0.5)
    ends[kept, 1] = gone
    weights[kept] = torch.stack([share[chosen], 1 - share[chosen]], dim=1)
    target = torch.arange(len(values), device=tri.device)
    target[gone] = kept
    tri = target[tri]
    tri = tri[(tri != tri.roll(1, dims=1)).all(1)]
    used = torch.zeros(len(values), dtype=torch.bool, device=tri.device)
    used[tri.flatten()] = True
    number = used.cumsum(0) - 1
    return Mixed(ends[used], weights[used]), number[tri]


def flip(values: torch.Tensor, tri: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """Turns edges within their two triangles where that brings vertices closer to 6 neighbours, 4 on a border."""
    topology = Topology(tri, len(values))
    pos, edges = values[:, :3], topology.edges
    (chosen,) = (topology.counts == 2).nonzero(as_tuple=True)
    by_edge = topology.edge_of.flatten().argsort(stable=True)
    start = topology.counts.cumsum(0) - topology.counts
    h, g = by_edge[start[chosen]], by_edge[start[chosen] + 1]  # where the edge is in its two triangles
    flat = tri.flatten()
    a, b, c, d = flat[h], flat[_next(h)], flat[_next(_next(h))], flat[_next(_next(g))]
    alike = (flat[g] == b) & (c != d) & ~_are_edges(topology, c, d)
    excess = torch.bincount(edges.flatten(), minlength=len(values)) - torch.where(topology.on_border, 4, 6)
    gain = excess[a] + excess[b] - excess[c] - excess[d] - 2  # half of what the sum of squares goes down by
    (good,) = (alike & (gain > 0)).nonzero(as_tuple=True)
    a, b, c, d, gain, h, g = (x[good] for x in (a, b, c, d, gain, h, g))
    old = torch.stack([torch.stack([a, b, c], 1), torch.stack([b, a, d], 1)])
    new = torch.stack([torch.stack([a, d, c], 1), torch.stack([d, b, c], 1)])
    n, m = face_normals(pos, old.flatten(0, 1)).view(2, -1, 3), face_normals(pos, new.flatten(0, 1)).view(2, -1, 3)
    flat_enough = (n[0] * n[1]).sum(1) > SMALLEST_COSINE
    unfolded = ((m * normalized(n[0] + n[1])).sum(-1) > SMALLEST_COSINE).all(0)
    shape = _quality(pos, new).amin(0) > LEAST_QUALITY * _quality(pos, old).amin(0)
    (good,) = (flat_enough & unfolded & shape).nonzero(as_tuple=True)
    if len(good) == 0:
        return tri, False
    corners = torch.stack([a, b, c, d], dim=1)[good]
    rank = torch.empty_like(good)
    rank[gain[good].argsort(descending=True, stable=True)] = torch.arange(len(good), device=tri.device)
    lowest = _lowest(rank[:, None].expand(-1, 4).flatten(), corners.flatten(), len(values))
    good = good[(lowest[corners] == rank[:, None]).all(1)]
    tri = tri.clone()
    tri[h[good] // 3], tri[g[good] // 3] = new[0, good], new[1, good]
    return tri, True


def corners_of_border(pos: torch.Tensor, topology: Topology) -> torch.Tensor:
    """[V] bool: vertices of a border where it bends sharply, or where borders meet; also at edges of many triangles."""
    a, b = topology.edges[topology.counts == 1].unbind(1)
    along = normalized(pos[b] - pos[a])
    sums = torch.zeros_like(pos).index_add(0, a, along).index_add(0, b, -along)
    borders = torch.bincount(torch.cat([a, b]), minlength=len(pos))
    fixed = (sums.norm(dim=1) > CORNER) | (borders > 2)
    fixed[topology.edges[topology.counts > 2].flatten()] = True
    return fixed


def _lengths(values: torch.Tensor, topology: Topology) -> tuple[torch.Tensor, torch.Tensor]:
    """[E] lengths of the edges, and [E] those that are wanted."""
    a, b = values[topology.edges].unbind(1)
    return (a[:, :3] - b[:, :3]).norm(dim=1), (a[:, 3] + b[:, 3]) / 2


def _places(pos: torch.Tensor, topology: Topology) -> tuple[torch.Tensor, torch.Tensor]:
    """The share [E] of the first end in the point that an edge may become, and whether it may at all."""
    a, b = topology.edges.unbind(1)
    on_border, corner = topology.on_border, corners_of_border(pos, topology)
    rigid = on_border.int() + corner.int()  # what gives way to what
    share = torch.where(rigid[a] == rigid[b], 0.5, (rigid[a] > rigid[b]).to(pos))
    bridge = on_border[a] & on_border[b] & (topology.counts != 1)
    allowed = ~bridge & ~(corner[a] & corner[b]) & (topology.counts <= 2)
    # The vertices opposite lose a neighbour, and need as many as a surface has.
    valence = torch.bincount(topology.edges.flatten(), minlength=len(pos))
    spare = valence > torch.where(on_border, 2, 3)
    opposite = topology.tri.roll(1, dims=1)  # of the edge from each corner to the next
    poor = torch.zeros(len(a), dtype=torch.int32, device=pos.device)
    poor = poor.index_add(0, topology.edge_of.flatten(), (~spare[opposite.flatten()]).int())
    return share, allowed & (poor == 0)


def _keeps_links(topology: Topology, chosen: torch.Tensor) -> torch.Tensor:
    """Which edges' ends have no common neighbours but those opposite: else the surface would touch itself."""
    a, b = topology.edges[chosen].unbind(1)
    starts, ends = torch.cat([topology.edges, topology.edges.flip(1)]).unbind(1)
    ends = ends[starts.argsort(stable=True)]
    degree = torch.bincount(starts, minlength=topology.num_vertices)
    row, item = _expanded(degree, a)
    common = _are_edges(topology, ends[item], b[row])
    counts = torch.zeros_like(a).index_add(0, row, common.long())
    return counts == topology.counts[chosen]


def _keeps_triangles(
    values: torch.Tensor, topology: Topology, chosen: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """Which edges can become points without turning a triangle over or making an edge too long."""
    tri, (a, b) = topology.tri, topology.edges[chosen].unbind(1)
    point = share[:, None] * values[a] + (1 - share)[:, None] * values[b]  # [K, 4]
    around = tri.flatten().argsort(stable=True) // 3  # triangles by vertex
    degree = torch.bincount(tri.flatten(), minlength=len(values))
    good = torch.ones(len(chosen), dtype=torch.int32, device=tri.device)
    for end, other in ((a, b), (b, a)):
        row, item = _expanded(degree, end)
        corners = tri[around[item]]
        stays = (corners != other[row, None]).all(1)
        row, corners = row[stays], corners[stays]
        before = values[corners]
        after = torch.where((corners == end[row, None])[..., None], point[row, None], before)
        turned = _cosines(before[..., :3], after[..., :3]) < SMALLEST_COSINE
        sides = after - after.roll(1, dims=1)
        too_long = sides[..., :3].norm(dim=-1) > LONGEST * (after[..., 3] + after.roll(1, dims=1)[..., 3]) / 2
        was_long = (before - before.roll(1, dims=1))[..., :3].norm(dim=-1)
        too_long &= sides[..., :3].norm(dim=-1) > was_long  # it would not be this that makes it so
        good = good.index_add(0, row, -(turned | too_long.any(1)).int())
    return good > 0


def _apart(topology: Topology, chosen: torch.Tensor, priority: torch.Tensor) -> torch.Tensor:
    """Which edges come first, by lowest priority, among all whose ends are theirs or neighbours of theirs."""
    ends = topology.edges[chosen]
    rank = torch.empty_like(chosen)
    rank[priority.argsort(stable=True)] = torch.arange(len(chosen), device=chosen.device)
    lowest = _lowest(rank[:, None].expand(-1, 2).flatten(), ends.flatten(), topology.num_vertices)
    a, b = topology.edges.unbind(1)
    around = lowest.scatter_reduce(0, a, lowest[b], "amin").scatter_reduce(0, b, lowest[a], "amin")
    return (around[ends] == rank[:, None]).all(1)


def _lowest(ranks: torch.Tensor, vertices: torch.Tensor, count: int) -> torch.Tensor:
    """[V]: the lowest of the ranks at each vertex."""
    start = torch.full((count,), torch.iinfo(torch.int64).max, device=ranks.device)
    return start.scatter_reduce(0, vertices, ranks, "amin")


def _expanded(degree: torch.Tensor, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For lists of `degree` items per vertex, one after another: each item of the lists of `vertices`, and whose."""
    counts = degree[vertices]
    row = torch.repeat_interleave(torch.arange(len(vertices), device=degree.device), counts)
    within = torch.arange(len(row), device=degree.device) - (counts.cumsum(0) - counts)[row]
    return row, (degree.cumsum(0) - degree)[vertices][row] + within


def _are_edges(topology: Topology, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    keys = topology.edges[:, 0] * topology.num_vertices + topology.edges[:, 1]  # in order
    wanted = torch.minimum(a, b) * topology.num_vertices + torch.maximum(a, b)
    return keys[torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)] == wanted


def _next(half_edge: torch.Tensor) -> torch.Tensor:
    """The one that follows in the triangle."""
    return torch.where(half_edge % 3 == 2, half_edge - 2, half_edge + 1)


def _cosines(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """Between the normals of triangles [K, 3, 3]; 1 where there was none before."""
    n, m = (torch.linalg.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]) for t in (before, after))
    return torch.where((n != 0).any(1), (normalized(n) * normalized(m)).sum(1), 1.0)


def _quality(pos: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    """1 for equilateral triangles [..., T, 3], 0 for those without area."""
    corners = pos[tri]
    sides = (corners - corners.roll(1, dims=-2)).square().sum((-1, -2))
    area = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    return 2 * 3**0.5 * area.norm(dim=-1) / sides.clamp(min=torch.finfo(pos.dtype).tiny)
