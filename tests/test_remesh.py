"""Remeshing, also of meshes that are on their way, subdivision, large steps, self-intersections."""

import math

import pytest
import torch

from glraster import losses, mesh
from glraster.mesh import remesh_steps

F64 = torch.float64


def check(pos: torch.Tensor, tri: torch.Tensor) -> mesh.Topology:
    """A surface: two triangles or one at an edge, all wound alike, no vertex without one, none without area."""
    topology = mesh.Topology(tri, len(pos))
    assert topology.counts.max() <= 2 and (topology.pairs[1] == 1).all()
    assert torch.equal(tri.unique(), torch.arange(len(pos), dtype=tri.dtype))
    assert (mesh.face_normals(pos, tri) != 0).any(1).all()
    return topology


def euler(topology: mesh.Topology) -> int:
    return topology.num_vertices - len(topology.edges) + len(topology.tri)


def lengths(pos, topology) -> torch.Tensor:
    return (pos[topology.edges[:, 0]] - pos[topology.edges[:, 1]]).norm(dim=1)


@pytest.mark.parametrize("marks", range(8))
def test_split_by_hand(marks):
    """One triangle whose edges are wanted or not: as many parts as there are middles, and one, and the same area."""
    pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=F64)
    tri = torch.tensor([[0, 1, 2]])
    # The wanted length of an edge is the mean of its ends'; edges ab, bc and ca have weights of their own by that.
    wanted = [0.5 if marks >> k & 1 else 5.0 for k in range(3)]  # ab, bc, ca
    ab, bc, ca = wanted
    values = torch.cat([pos, torch.tensor([[ab + ca - bc], [ab + bc - ca], [bc + ca - ab]], dtype=F64)], dim=1)
    mixed, parts = remesh_steps.split(values, tri)
    count = sum(length == 0.5 for length in wanted)
    assert len(parts) == count + 1
    if count == 0:
        assert mixed is None
        return
    finer = mixed.apply(values)[:, :3]
    assert len(finer) == 3 + count and torch.equal(finer[:3], pos)
    areas = mesh.face_normals(finer, parts, unit=False)[:, 2] / 2
    assert (areas > 0).all() and areas.sum().item() == pytest.approx(0.5)


def test_flip_by_hand():
    """A fan of 8 triangles around one vertex: flipping takes neighbours from it."""
    angle = torch.arange(8) * math.pi / 4
    rim = torch.stack([angle.cos(), angle.sin(), torch.zeros(8)], dim=1)
    rim[::2] *= 1.6
    outer = 2 * torch.stack([(angle + math.pi / 8).cos(), (angle + math.pi / 8).sin(), torch.zeros(8)], dim=1)
    pos = torch.cat([torch.zeros(1, 3), rim, outer])
    k, n = torch.arange(8), (torch.arange(8) + 1) % 8
    inner = torch.stack([torch.zeros_like(k), 1 + k, 1 + n], dim=1)
    tri = torch.cat([inner, torch.stack([1 + k, 9 + k, 1 + n], 1), torch.stack([1 + n, 9 + k, 9 + n], 1)])
    found, changed = remesh_steps.flip(torch.cat([pos, torch.ones(17, 1)], dim=1), tri)
    valence = torch.bincount(mesh.edges(found).flatten())
    assert changed and 6 <= valence[0] < 8
    topology = check(pos, found)
    areas = mesh.face_normals(pos, found, unit=False)[:, 2]
    assert (areas > 0).all() and areas.sum().item() == pytest.approx(
        mesh.face_normals(pos, tri, unit=False)[:, 2].sum().item(), rel=1e-5
    )
    assert euler(topology) == 1


@pytest.mark.parametrize("length", [0.1, 0.4])
@pytest.mark.parametrize("name", ["sphere", "square", "cube"])
def test_lengths_and_valences(name, length):
    made = {"sphere": mesh.icosphere(2), "square": mesh.grid(5, 7), "cube": mesh.cube()}[name]
    before = made.topology
    pos, tri = made.pos, made.tri
    for _ in range(10):
        found = mesh.remesh(pos, tri, length, relax=0.3)
        pos, tri = found.pos, found.tri
    topology = check(pos, tri)
    assert euler(topology) == euler(before)
    ratio = lengths(pos, topology) / length
    assert 0.8 < ratio.mean() < 1.2 and ratio.min() > 0.4 and ratio.max() < 2
    inner = torch.bincount(topology.edges.flatten())[~topology.on_border]
    assert (inner >= 4).all() and (inner - 6).abs().float().mean() < 0.6
    assert remesh_steps._quality(pos, tri.long()).min() > 0.4
    if name == "sphere":
        assert pos.norm(dim=1).min() > (0.97 if length < 0.2 else 0.9)
        assert (mesh.face_normals(pos, tri) * pos[tri.long()].mean(1)).sum(1).min() > 0.6
    elif name == "square":  # its border and corners stay
        assert mesh.face_normals(pos, tri, unit=False)[:, 2].sum().item() / 2 == pytest.approx(4, rel=1e-5)
        assert not pos[:, 2].any()


def test_attributes_follow():
    ball = mesh.icosphere(2)
    pos, tri, values = ball.pos, ball.tri, torch.cat([ball.pos, ball.pos[:, :1] ** 2], dim=1)
    for _ in range(4):
        found = mesh.remesh(pos, tri, 0.15)
        torch.testing.assert_close(torch.sparse.sum(found.weights, 1).to_dense(), torch.ones(len(found.pos)))
        values = found.weights @ values
        torch.testing.assert_close(values[:, :3], found.pos)  # linear functions of the position stay themselves
        pos, tri = found.pos, found.tri
    assert (values[:, 3] - pos[:, 0] ** 2).abs().max() < 0.05


def test_lengths_of_their_own():
    sheet = mesh.grid(8, 8)
    pos, tri, wanted = sheet.pos, sheet.tri, torch.where(sheet.pos[:, 0] < 0, 0.1, 0.3)
    for _ in range(8):
        pos, tri, _, wanted = mesh.remesh(pos, tri, wanted, relax=0.2)
    topology = check(pos, tri)
    middle = pos[topology.edges].mean(1)[:, 0]
    found = lengths(pos, topology)
    assert found[middle < -0.3].mean() < 0.14 and found[middle > 0.3].mean() > 0.2


def test_degenerate_meshes():
    tetrahedron = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert torch.equal(mesh.remesh(pos, tetrahedron, 100.0).tri, tetrahedron.int())  # cannot become simpler
    flat = mesh.remesh(pos * 0, tetrahedron, 1.0)
    assert flat.pos.isfinite().all()
    book = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4]])  # three pages
    pages = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]])
    assert len(mesh.remesh(pages, book, 0.5, collapses=3).pos) >= 5
    none = mesh.remesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32), 1.0)
    assert none.pos.shape == none.tri.shape == (0, 3)
    for length in (0.0, torch.ones(3)):
        with pytest.raises(ValueError, match="length must be positive"):
            mesh.remesh(pos, tetrahedron, length)


def test_an_optimizer_goes_on():
    """Adam's moments follow the vertices: on a field that is linear in the position, they stay what they are."""
    ball = mesh.icosphere(1)
    pos = ball.pos.clone().requires_grad_()
    optimizer = torch.optim.Adam([pos], lr=0.0)
    for _ in range(3):
        pos.grad = pos.detach().clone()
        optimizer.step()
    found = mesh.remesh(pos, ball.tri, 0.3)
    assert len(found.pos) > len(pos)
    new = mesh.carry_state(optimizer, pos, found.pos, found.weights)
    assert new.is_leaf and new.requires_grad and optimizer.param_groups[0]["params"] == [new]
    state = optimizer.state[new]
    torch.testing.assert_close(state["exp_avg"], (1 - 0.9**3) * new.detach())
    assert state["step"] == 3 and state["exp_avg_sq"].shape == new.shape
    optimizer.zero_grad()
    new.square().sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match="old must be a parameter"):
        mesh.carry_state(optimizer, pos, found.pos, found.weights)


def test_steps_of_an_adaptive_mesh_by_hand():
    """Two steps beside the formula, without smoothing; then what smoothing adds to it."""
    ball, wanted = mesh.icosphere(1), 0.5
    grads = torch.randn(2, len(ball.pos), 3, generator=torch.Generator().manual_seed(0))
    surface = mesh.AdaptiveMesh(ball, shortest=0.1, longest=wanted, lr=0.2, betas=(0.5, 0.75), smoothing=0)
    surface.step()
    assert torch.equal(surface.pos, ball.pos)  # there is no gradient yet
    surface.pos.grad = grads[0].clone()
    surface.step()
    size = grads[0].norm(dim=1, keepdim=True)
    move = grads[0] / (size + 0.1 * size.mean())
    expected = ball.pos - 0.2 * wanted * move
    torch.testing.assert_close(surface.pos, expected.detach())
    length = (wanted * (1 + 0.2 * (move.norm(dim=1, keepdim=True) - 0.3))).clamp(0.1, wanted)
    length = (length + mesh.neighbour_mean(length, ball.tri)) / 2
    torch.testing.assert_close(surface.length, length)
    surface.pos.grad, surface.lr = grads[1].clone(), 0.1
    surface.step()
    first = (0.25 * grads[0] + 0.5 * grads[1]) / 0.75
    square = (0.1875 * grads[0].square() + 0.25 * grads[1].square()) / 0.4375
    size = square.sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(surface.pos, expected - 0.1 * length * first / (size + 0.1 * size.mean()))
    assert surface.pos.is_leaf and surface.pos.requires_grad and surface.pos.grad is None

    smoothed = mesh.AdaptiveMesh(ball, shortest=0.1, longest=wanted, lr=0.2, smoothing=0.5)
    smoothed.pos.grad = torch.zeros_like(smoothed.pos)
    smoothed.step()
    matrix = -mesh.laplacian(ball.tri, kind="mean").float()
    torch.testing.assert_close(smoothed.pos.detach(), ball.pos - 0.1 * (matrix @ (matrix @ ball.pos)))


def test_an_adaptive_mesh_grows_a_horn():
    """Triangles come where the surface goes, and the optimizer's state with them; nothing folds."""
    x, y, z = mesh.icosphere(3).pos.unbind(1)
    target = torch.stack([x, y, z + z.clamp(min=0) * torch.exp(-(x * x + y * y) / 0.1)], dim=1)  # up to z = 2
    surface = mesh.AdaptiveMesh(mesh.icosphere(2), shortest=0.12, longest=0.3)
    for step in range(40):
        losses.chamfer_distance(surface.pos, target, squared=False).backward()
        surface.step()
        if step % 4 == 3:
            surface.remesh()
    pos = surface.pos.detach()
    topology = check(pos, surface.tri)
    assert euler(topology) == 2 and len(mesh.self_intersections(pos, surface.tri)) == 0
    assert 1.7 < pos[:, 2].max() < 2.05 and (pos[:, 2] > 1.2).sum() > 30
    assert (pos - target[losses.nearest_points(pos, target)]).norm(dim=1).max() < 0.25
    assert surface.length.shape == (len(pos), 1)
    assert surface.length.min() > 0.119 and surface.length.max() < 0.301 and lengths(pos, topology).mean() < 0.16


def test_errors_of_adaptive_meshes():
    for shortest, longest in ((0.0, 1.0), (0.2, 0.1), (0.1, math.inf)):
        with pytest.raises(ValueError, match=r"AdaptiveMesh\(\): shortest and longest must be"):
            mesh.AdaptiveMesh(mesh.cube(), shortest=shortest, longest=longest)
    none = mesh.AdaptiveMesh(mesh.Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32)), shortest=1, longest=1)
    none.pos.sum().backward()
    none.step()
    none.remesh()
    assert none.pos.shape == (0, 3)


@pytest.mark.parametrize("scheme", ["midpoint", "loop"])
def test_subdivision(scheme):
    pytest.importorskip("scipy")
    sheet = mesh.grid(2, 2).replace(textures=(torch.ones(1, 1, 3),), material=torch.arange(8, dtype=torch.int32) * 0)
    finer = mesh.subdivide(sheet, 2, scheme)
    check(finer.pos, finer.tri)
    assert len(finer.tri) == 128 and finer.material.shape == (128,) and len(finer.pos) == 81
    if scheme == "midpoint":
        torch.testing.assert_close(finer.uv[finer.uv_tri.long()], (finer.pos[finer.tri.long()][..., :2] + 1) / 2)
        assert torch.equal(finer.pos[:9], sheet.pos)
        first = finer.pos[finer.tri[:16].long()].mean((0, 1))
        torch.testing.assert_close(first, sheet.pos[sheet.tri[0].long()].mean(0))
    else:
        corner = finer.pos[0].abs().max()
        assert 0.7 < corner < 1  # rounded
    ball = mesh.subdivide(mesh.icosphere(0), 1, scheme)
    assert euler(check(ball.pos, ball.tri)) == 2
    pos = sheet.pos.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: mesh.subdivide(mesh.Mesh(p, sheet.tri), 1, scheme).pos, pos)
    with pytest.raises(ValueError, match="scheme must be"):
        mesh.subdivide(sheet, 1, "catmull")


def test_large_steps():
    pytest.importorskip("scipy")
    ball = mesh.icosphere(1)
    pos = ball.pos.double()
    smooth = mesh.LargeSteps(ball.tri, strength=5.0)
    unknowns = smooth.to_unknowns(pos)
    dense = torch.eye(len(pos), dtype=F64) + 5 * mesh.laplacian(ball.tri).to_dense()
    torch.testing.assert_close(unknowns, dense @ pos)
    torch.testing.assert_close(smooth.to_positions(unknowns), pos)
    assert torch.autograd.gradcheck(smooth.to_positions, unknowns.requires_grad_())
    start = smooth.to_unknowns(ball.pos).requires_grad_()
    optimizer = mesh.UniformAdam([start], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (smooth.to_positions(start) - 2 * ball.pos).square().sum().backward()
        optimizer.step()
    assert (smooth.to_positions(start) - 2 * ball.pos).norm(dim=1).max() < 0.05


def test_self_intersections():
    ball = mesh.icosphere(2)
    assert len(mesh.self_intersections(ball.pos, ball.tri)) == 0
    two, _ = mesh.merge([ball, ball.replace(pos=ball.pos + torch.tensor([1.0, 0.03, 0.02]))])
    found = mesh.self_intersections(two.pos, two.tri)
    middle = two.pos[two.tri[found[:, 1]].long()].mean(1)
    assert len(found) > 20 and ((middle[:, 0] - 0.5).abs() < 0.2).all()
    pos = torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 4, 0], [1, 1, -1], [1, 1, 1], [-5, 1, 1]])
    tri = torch.tensor([[0, 1, 2], [3, 4, 5]])
    found = mesh.self_intersections(pos, tri)  # at (1, 1, 0) and (0, 1.33, 0)
    assert mesh.edges(tri)[found[:, 0]].tolist() == [[0, 2], [3, 4]] and found[:, 1].tolist() == [1, 0]
    assert len(mesh.self_intersections(pos[:0], tri[:0])) == 0
