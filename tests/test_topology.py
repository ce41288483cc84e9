"""The table of neighbouring sides, from which antialias knows what lies behind an edge."""

import pytest
import reference.topology
import torch
from scenes import sphere, triangles

from glraster import antialias_construct_topology_hash


def neighbours(tri: torch.Tensor) -> list[list[int]]:
    return antialias_construct_topology_hash(tri).neighbours.tolist()


def test_two_triangles_by_hand(device):
    # Side 1 of the first, from vertex 1 to 2, is side 2 of the second, which goes the other way.
    assert neighbours(triangles([0, 1, 2], [2, 3, 1]).to(device)) == [[-1, 5, -1], [-1, -1, 1]]
    assert neighbours(triangles([0, 1, 2], [1, 3, 2]).to(device)) == [[-1, 5, -1], [-1, -1, 1]]
    assert neighbours(triangles([0, 1, 2], [1, 2, 3]).to(device)) == [[-1, 3, -1], [1, -1, -1]]  # the same way


def test_edges_of_more_than_two_triangles_by_hand(device):
    # Opposite vertices 4, 2, 3 and 2 of edge (0, 1): 2 and 3 are remembered, 2 of the side with the lower code.
    tri = triangles([0, 1, 4], [1, 0, 2], [3, 0, 1], [0, 1, 2])
    first = [row[column] for row, column in zip(neighbours(tri.to(device)), (0, 0, 1, 0), strict=True)]
    assert first == [-2 - 3, -2 - 7, -2 - 3, -2 - 7]


def test_what_has_no_neighbour(device):
    none = [-1, -1, -1]
    assert neighbours(triangles([0, 1, 2], [2, 1, 0]).to(device)) == [none, none]  # one triangle listed twice
    assert neighbours(triangles([0, 1, 2], [2, 1, -1], [2, 1, 2**31 - 1]).to(device)) == [none] * 3
    assert neighbours(triangles([5, 5, 5], [4, 4, 4]).to(device)) == [none, none]
    assert neighbours(triangles([5, 5, 6], [6, 5, 5]).to(device)) == [none, none]
    assert neighbours(torch.empty((0, 3), dtype=torch.int32, device=device)) == []


def test_closed_mesh(device):
    tri = sphere(2)[1].to(device)
    table = antialias_construct_topology_hash(tri).neighbours
    assert (table >= 0).all()
    assert torch.equal(
        table.view(-1)[table.view(-1).long()].view_as(table).cpu(), torch.arange(table.numel()).view(-1, 3)
    )


@pytest.mark.parametrize("num_vertices", [4, 12, 300, 100_000])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_equals_reference(device, num_vertices, threads):
    tri = torch.randint(0, num_vertices, (9000, 3), generator=torch.Generator().manual_seed(0)).int()
    tri[::50, 1] = tri[::50, 0]
    tri[7::100, 2] = -1
    tri[::7, 0] = 2  # a vertex of many edges
    tri[1::7] += 2**20  # far from the others
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = antialias_construct_topology_hash(tri.to(device)).neighbours
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found.cpu().long(), reference.topology.neighbours(tri))


def test_too_many_triangles(device):
    tri = torch.zeros((1, 3), dtype=torch.int32, device=device).expand(2**30, 3)
    with pytest.raises(ValueError, match="tri must have at most 715827882 triangles, got 1073741824"):
        antialias_construct_topology_hash(tri)
