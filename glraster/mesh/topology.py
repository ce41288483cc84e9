"""Which triangles and vertices of a mesh belong together."""

import functools

import torch

__all__ = ["Topology", "edges", "laplacian", "neighbour_mean"]


class Topology:
    """The edges of a list of triangles, found once and used as often as the list stays the same.

    Args:
        tri: [T, 3] integers. Any number of triangles may meet at an edge.
        num_vertices: V; None: as many as the triangles use.

    Attributes:
        tri: [T, 3] int64.
        num_vertices: V.

    Raises:
        ValueError: tri is not [T, 3], or has an index outside of 0..V - 1.
    """

    def __init__(self, tri: torch.Tensor, num_vertices: int | None = None):
        if tri.ndim != 2 or tri.shape[1] != 3 or tri.is_floating_point():
            raise ValueError(f"Topology(): tri must be integers [T, 3], got {tri.dtype} {list(tri.shape)}")
        self.tri = tri.long()
        low, high = (int(tri.min()), int(tri.max())) if len(tri) else (0, -1)
        self.num_vertices = high + 1 if num_vertices is None else num_vertices
        if low < 0 or high >= self.num_vertices:
            raise ValueError(
                f"Topology(): tri must have indices from 0 to {self.num_vertices - 1}, got {low} to {high}"
            )

    @functools.cached_property
    def _found(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        following = self.tri.roll(-1, dims=1)
        keys = torch.minimum(self.tri, following) * self.num_vertices + torch.maximum(self.tri, following)
        keys, edge_of, counts = keys.unique(return_inverse=True, return_counts=True)
        size = max(self.num_vertices, 1)
        return torch.stack([keys // size, keys % size], dim=1), edge_of, counts

    @property
    def edges(self) -> torch.Tensor:
        """[E, 2] int64, each once, the lower vertex first, in order."""
        return self._found[0]

    @property
    def edge_of(self) -> torch.Tensor:
        """[T, 3] int64: the edge from each corner of a triangle to its next."""
        return self._found[1]

    @property
    def counts(self) -> torch.Tensor:
        """[E] int64: how many triangles meet at an edge."""
        return self._found[2]

    @functools.cached_property
    def on_border(self) -> torch.Tensor:
        """[V] bool: vertices at an edge with one triangle."""
        marked = torch.zeros(self.num_vertices, dtype=torch.bool, device=self.tri.device)
        marked[self.edges[self.counts == 1].flatten()] = True
        return marked

    @functools.cached_property
    def pairs(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Triangles that share an edge, [P, 2] int64, and [P] of 1.0 where both wind alike and -1.0 elsewhere.

        Where k > 2 triangles meet there are k - 1 pairs, each triangle beside the next in the list.
        """
        order = self.edge_of.flatten().argsort(stable=True)
        of_edge = self.edge_of.flatten()[order]
        first, second = order[:-1], order[1:]
        together = of_edge[:-1] == of_edge[1:]
        first, second = first[together], second[together]
        start = self.tri.flatten()
        alike = 1.0 - 2.0 * (start[first] == start[second])  # of one winding, two neighbours run along it both ways
        return torch.stack([first // 3, second // 3], dim=1), alike

    @functools.cached_property
    def half_edges_to_mean(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Start and end, [H] int64, of what vertices are averaged over: see `laplacian`, kind 'mean'."""
        start, end = torch.cat([self.edges, self.edges.flip(1)]).unbind(1)
        inner = ~self.on_border[start] | (self.counts == 1).repeat(2)
        return start[inner], end[inner]


def edges(tri: torch.Tensor) -> torch.Tensor:
    """Returns the undirected edges [E, 2] int64, each once, of triangles [T, 3]."""
    return Topology(tri).edges


def laplacian(tri: torch.Tensor | Topology, num_vertices: int | None = None, kind: str = "graph") -> torch.Tensor:
    """Returns the Laplacian of a mesh as a sparse matrix.

    Args:
        tri: [T, 3] integers, or their `Topology`.
        num_vertices: V; None: as many as the triangles use.
        kind: 'graph': D - A, symmetric, with the numbers of neighbours on the diagonal. 'mean': the vertex less the
            mean of its neighbours, I - A / D; on a border the neighbours are those along it, so that a flat sheet of
            regular triangles gives zero up to its corners. Vertices without neighbours have rows of zeros.

    Returns:
        [V, V], sparse COO, coalesced, float64.

    Raises:
        ValueError: another kind, or a tri that is none.
    """
    topology = tri if isinstance(tri, Topology) else Topology(tri, num_vertices)
    V = topology.num_vertices
    if kind == "graph":
        start, end = torch.cat([topology.edges, topology.edges.flip(1)]).unbind(1)
    elif kind == "mean":
        start, end = topology.half_edges_to_mean
    else:
        raise ValueError(f"laplacian(): kind must be 'graph' or 'mean', got {kind!r}")
    degree = torch.bincount(start, minlength=V).double()
    scale = degree if kind == "graph" else (degree > 0).double()
    weights = -torch.ones_like(start, dtype=torch.float64) * (scale / degree.clamp(min=1))[start]
    diagonal = torch.arange(V, device=start.device)
    indices = torch.stack([torch.cat([start, diagonal]), torch.cat([end, diagonal])])
    return torch.sparse_coo_tensor(indices, torch.cat([weights, scale]), (V, V), check_invariants=False).coalesce()


def neighbour_mean(values: torch.Tensor, tri: torch.Tensor | Topology) -> torch.Tensor:
    """Returns [V, C]: for every vertex the mean of its neighbours' values [V, C]; its own where there are none.

    On a border the neighbours are those along it. Differentiable.
    """
    topology = tri if isinstance(tri, Topology) else Topology(tri, len(values))
    start, end = topology.half_edges_to_mean
    count = torch.bincount(start, minlength=len(values)).to(values)[:, None]
    sums = torch.zeros_like(values).index_add(0, start, values[end])
    return torch.where(count > 0, sums / count.clamp(min=1), values)
