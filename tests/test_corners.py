"""order_corners: the order of a triangle's vertices by position, and what it leaves alone."""

import pytest
import torch
from scenes import soup, triangles

from glraster.interop.corners import order_corners


def test_by_hand(device):
    pos = torch.tensor([[1.0, 0, 0, 1], [0, 2, 0, 1], [0, 1, 0, 1]], device=device)  # ascending: 2, 1, 0
    tri = triangles([0, 1, 2], [1, 0, 2], [2, 0, 1]).to(device)
    assert order_corners(pos, tri, keep_facing=False).tolist() == [[2, 1, 0]] * 3
    assert order_corners(pos, tri, keep_facing=True).tolist() == [[2, 0, 1], [2, 1, 0], [2, 0, 1]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equals_sorting(device, dtype):
    pos = soup(0, 1, 30)[0][0].to(dtype)
    pos[::2, 0], pos[::4, 1] = 0.25, 0.5  # so that y, z and w must decide
    tri = torch.randint(len(pos), (20_000, 3), generator=torch.Generator().manual_seed(0)).int()
    rank = torch.tensor(sorted(range(len(pos)), key=lambda v: pos[v].tolist())).argsort()
    expected = rank.argsort()[rank[tri.long()].sort(1)[0]].int()
    assert torch.equal(order_corners(pos.to(device), tri.to(device), keep_facing=False).cpu(), expected)
    turned = order_corners(pos.to(device), tri.to(device), keep_facing=True).cpu()
    distinct = (tri[:, 0] != tri[:, 1]) & (tri[:, 1] != tri[:, 2]) & (tri[:, 2] != tri[:, 0])
    assert torch.equal(turned[:, 0], expected[:, 0])
    turns = torch.stack([(turned == tri.roll(shift, 1)).all(1) for shift in range(3)])
    assert (turns[:, distinct].sum(0) == 1).all() and turns.any(0).all()


def test_what_cannot_be_ordered_stays(device):
    pos = torch.tensor([[2.0, 0, 0, 1], [torch.nan, 0, 0, 1], [1, 0, 0, 1]], device=device)
    tri = triangles([0, -1, 2], [0, 3, 2], [2**31 - 1, 0, 2]).to(device)
    assert torch.equal(order_corners(pos, tri, keep_facing=False), tri)
    not_finite = order_corners(pos, triangles([0, 1, 2]).to(device), keep_facing=False)
    assert not_finite.sort(1)[0].tolist() == [[0, 1, 2]]
    assert order_corners(pos, tri[:0], keep_facing=True).shape == (0, 3)
