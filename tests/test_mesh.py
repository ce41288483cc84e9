"""Meshes: edges, Laplacians, normals, tangents, shapes, merging, points on surfaces."""

import math

import pytest
import torch

import glraster
from glraster import camera, mesh

F64 = torch.float64


def test_edges_by_hand():
    topology = mesh.Topology(torch.tensor([[0, 1, 2], [2, 1, 3]]), 5)
    assert topology.edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert topology.counts.tolist() == [1, 1, 2, 1, 1]
    assert topology.edge_of.tolist() == [[0, 2, 1], [2, 3, 4]]
    assert topology.on_border.tolist() == [True] * 4 + [False]
    pairs, alike = topology.pairs
    assert pairs.tolist() == [[0, 1]] and alike.tolist() == [1]
    twisted = mesh.Topology(torch.tensor([[0, 1, 2], [1, 2, 3], [1, 2, 4]]))
    assert twisted.pairs[0].tolist() == [[0, 1], [1, 2]] and twisted.pairs[1].tolist() == [-1, -1]


def test_laplacian():
    tri = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1]])  # an open fan: vertex 0 is inside
    graph = mesh.laplacian(tri, 5).to_dense()
    expected = [[3, -1, -1, -1, 0], [-1, 3, -1, -1, 0], [-1, -1, 3, -1, 0], [-1, -1, -1, 3, 0], [0] * 5]
    assert graph.tolist() == expected
    mean = mesh.laplacian(tri, 5, kind="mean").to_dense()
    third, half = -1 / 3, -1 / 2
    border = [[0, 1, half, half, 0], [0, half, 1, half, 0], [0, half, half, 1, 0]]
    torch.testing.assert_close(mean, torch.tensor([[1, third, third, third, 0], *border, [0.0] * 5], dtype=F64))
    values = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(values - mesh.neighbour_mean(values, tri), mean @ values)


def test_normals_by_hand():
    pos = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 3], [9, 9, 9]])
    tri = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 0, 1]], dtype=torch.int32)  # areas 1, 1.5 and 0
    assert mesh.face_normals(pos, tri).tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert mesh.face_normals(pos, tri, unit=False).tolist() == [[0, 0, 2], [3, 0, 0], [0, 0, 0]]
    expected = torch.tensor([[3.0, 0, 2], [0, 0, 1], [3, 0, 2], [1, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(mesh.vertex_normals(pos, tri), mesh.normalized(expected))
    assert mesh.vertex_normals(torch.stack([pos, -pos]), tri)[1, 1].tolist() == [0, 0, 1]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
def test_normals_of_any_size(scale):
    found = mesh.normalized(torch.tensor([[3.0, 0, 4], [0, 0, 0]]) * scale)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0, 0.8], [0, 0, 0]]))


def test_gradients_of_normals():
    shape = mesh.cube()
    pos = shape.pos.double() + 0.1 * torch.randn(8, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    pos.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: mesh.vertex_normals(p, shape.tri), pos)
    assert torch.autograd.gradcheck(lambda p: mesh.face_normals(p, shape.tri), pos)
    point = torch.zeros(3, 3, requires_grad=True)
    mesh.face_normals(point, torch.tensor([[0, 1, 2]])).sum().backward()
    assert not point.grad.any()


def test_tangents():
    sheet = mesh.grid(2, 2)
    found = mesh.tangents(sheet.pos, sheet.tri, sheet.uv, sheet.uv_tri)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0, 0, 1]]).expand(9, 4))
    mirrored = mesh.tangents(sheet.pos, sheet.tri, sheet.uv * torch.tensor([-1, 1]), sheet.uv_tri)
    torch.testing.assert_close(mirrored, torch.tensor([[-1.0, 0, 0, -1]]).expand(9, 4))
    assert not mesh.tangents(sheet.pos, sheet.tri, sheet.uv * 0, sheet.uv_tri).any()
    # A sphere with longitude and latitude: tangents run along the circles of latitude.
    ball = mesh.icosphere(2)
    x, y, z = ball.pos.unbind(1)
    uv = torch.stack([torch.atan2(x, z) / (2 * math.pi), y.asin() / math.pi], dim=1)
    inner = (uv[ball.tri.long(), 0].abs() < 0.2).all(1) & (uv[ball.tri.long(), 1].abs() < 0.2).all(1)
    tri = ball.tri[inner]
    found = mesh.tangents(ball.pos, tri, uv, tri)
    used = tri.unique().long()
    along = mesh.normalized(torch.stack([z, torch.zeros_like(x), -x], dim=1))
    assert (found[used, :3] * along[used]).sum(1).min() > 0.98 and (found[used, 3] == 1).all()


def test_shapes():
    for subdivisions in range(4):
        ball = mesh.icosphere(subdivisions)
        assert len(ball.tri) == 20 * 4**subdivisions and len(ball.pos) == 10 * 4**subdivisions + 2
        torch.testing.assert_close(ball.pos.norm(dim=1), torch.ones(len(ball.pos)))
        assert (ball.topology.counts == 2).all() and (ball.topology.pairs[1] == 1).all()
        assert ((ball.face_normals() * ball.pos[ball.tri.long()].mean(1)).sum(1) > 0.79).all()
    assert (mesh.cube().face_normals() * mesh.cube().pos[mesh.cube().tri.long()].mean(1)).sum(1).min() > 0.99
    sheet = mesh.grid(2, 3)
    assert len(sheet.tri) == 12 and torch.equal(sheet.face_normals(), torch.tensor([[0.0, 0, 1]]).expand(12, 3))


def test_sampled_points():
    pos = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 2, 5]], dtype=F64)
    tri = torch.tensor([[0, 1, 2], [3, 4, 5], [0, 0, 1]])  # areas 1/2, 3, 0
    points, triangle, weights = mesh.sample_points(pos, tri, 7000, torch.Generator().manual_seed(0))
    assert torch.equal(points[:, 2] > 2, triangle == 1) and not (triangle == 2).any()
    assert (triangle == 0).sum().item() == pytest.approx(1000, abs=90)
    torch.testing.assert_close(weights.sum(1), torch.ones(7000, dtype=F64))
    assert weights.min() >= 0
    centre = points[triangle == 1].mean(0)
    assert centre.tolist() == pytest.approx([1, 2 / 3, 5], abs=0.03)

    def few(p):
        return mesh.sample_points(p, tri, 5, torch.Generator().manual_seed(0))[0]

    assert torch.autograd.gradcheck(few, pos.requires_grad_())
    with pytest.raises(ValueError, match="area above zero"):
        mesh.sample_points(pos, tri[2:], 5)


def test_scaled_far_from_the_origin():
    ball = mesh.icosphere(3).pos.double()
    moved = mesh.scaled_to_unit_sphere(3 * ball + torch.tensor([5e5, 4.5e6, 100])).float()
    torch.testing.assert_close(moved, mesh.scaled_to_unit_sphere(ball).float(), atol=1e-6, rtol=0)


def test_merged_meshes_are_drawn_as_each_alone():
    shapes = [mesh.cube(), mesh.icosphere(1), mesh.grid(2, 2)]
    whole, ranges = mesh.merge(shapes)
    assert ranges.tolist() == [[0, 12], [12, 80], [92, 8]] and whole.uv.shape == (11, 2)
    assert whole.material is None and whole.color is None
    matrix = camera.perspective() @ camera.look_at(torch.tensor([1.0, 2, 5]))
    glctx = glraster.context("cpu", "software")
    pos = camera.transform(whole.pos, matrix[None])[0]
    together, _ = glraster.rasterize(glctx, pos, whole.tri, (32, 32), ranges)
    own = pos.split([len(shape.pos) for shape in shapes])
    for image, shape, part, (first, _) in zip(together, shapes, own, ranges.tolist(), strict=True):
        alone, _ = glraster.rasterize(glctx, part[None], shape.tri, (32, 32))
        moved = alone[0].clone()
        moved[..., 3] += first * (alone[0, ..., 3] > 0)
        assert alone[..., 3].any() and torch.equal(image, moved)


def test_merged_looks():
    red, blue = torch.tensor([[[1.0, 0, 0]]]), torch.zeros(2, 4, 3)
    corners = torch.zeros(12, 3, dtype=torch.int32)
    one = mesh.cube().replace(textures=(red, blue), material=torch.tensor([0, 1] * 6, dtype=torch.int32))
    two = mesh.cube().replace(color=torch.tensor([[0.5, 0.5, 0.5]]), color_tri=corners)
    whole, _ = mesh.merge([two, one])
    assert [list(texture.shape) for texture in whole.textures] == [[1, 1, 3], [1, 1, 3], [2, 4, 3]]
    assert whole.material.tolist() == [0] * 12 + [1, 2] * 6 and whole.uv is None
    assert whole.color.tolist() == [[0.5] * 3, [1] * 3] and whole.color_tri.unique().tolist() == [0, 1]
    assert whole.to("cpu").textures[2] is whole.textures[2]


def test_errors():
    cube, tri = mesh.cube(), mesh.cube().tri
    for call in (
        lambda: mesh.Mesh(cube.pos[:, :2], tri),
        lambda: mesh.Mesh(cube.pos, tri.long()),
        lambda: mesh.Mesh(cube.pos, tri, uv=cube.pos[:, :2]),
        lambda: mesh.Mesh(cube.pos, tri, material=tri[:, 0].long()),
        lambda: mesh.Topology(tri, 7),
        lambda: mesh.Topology(-tri, 8),
        lambda: mesh.Topology(tri[:, :2]),
        lambda: mesh.laplacian(tri, kind="cotangent"),
        lambda: mesh.merge([]),
    ):
        with pytest.raises(ValueError, match=r"\(\): "):
            call()
