"""Loop subdivision, and the control mesh of a subdivided surface as a parameter."""

import numpy as np
import pytest

from glraster.stochastic import (
    MeshScene,
    Parameter,
    StochasticOptimizer,
    catmull_clark_subdivision,
    loop_subdivision,
)

TETRAHEDRON = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])


def test_by_hand():
    """One triangle: borders follow the cubic B-spline's rule, 1/8 3/4 1/8 and 1/2 1/2."""
    surface = loop_subdivision([[0, 1, 2]])
    eighths = 8 * surface.matrix.toarray()
    assert eighths[:3].tolist() == [[6, 1, 1], [1, 6, 1], [1, 1, 6]]
    assert sorted(eighths[3:].tolist()) == [[0, 4, 4], [4, 0, 4], [4, 4, 0]]
    assert len(surface.triangles) == 4
    # A vertex inside, of valence three: beta = 3/16. An edge inside: 3/8 for its ends, 1/8 for the two opposite.
    closed = 16 * loop_subdivision(TETRAHEDRON).matrix.toarray()
    assert closed[0].tolist() == [7, 3, 3, 3]
    assert all(sorted(row.tolist()) == [2, 2, 6, 6] for row in closed[4:])


def test_orientation_and_affine_maps_are_kept():
    rng = np.random.default_rng(0)
    surface = loop_subdivision(TETRAHEDRON, 3)
    assert surface.triangles.shape == (4 * 64, 3)
    np.testing.assert_allclose(surface.matrix.sum(1), 1)
    edges = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert {(b, a) for a, b in edges.tolist()} == {(a, b) for a, b in edges.tolist()}, "closed, and turned one way"
    starts, controls = surface.controls_of_triangles()
    position = rng.normal(size=(4, 3))
    fine = surface.matrix @ position
    moved = surface.matrix @ (position + np.eye(4)[:, :1])  # control vertex 0 alone
    changed = np.abs(moved - fine).max(1) > 0
    for index, triangle in enumerate(surface.triangles):
        assert changed[triangle].any() == (0 in controls[starts[index] : starts[index + 1]])


CUBE = np.array([[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]])  # bits: z y x


def test_catmull_clark_by_hand():
    """One quad: the corners follow the border's rule; the new vertices are in the middle of the edges and the quad."""
    surface = catmull_clark_subdivision([[0, 1, 2, 3]])
    eighths = 8 * surface.matrix.toarray()
    assert eighths[:4].tolist() == [[6, 1, 0, 1], [1, 6, 1, 0], [0, 1, 6, 1], [1, 0, 1, 6]]
    assert sorted(eighths[4:8].tolist()) == [[0, 0, 4, 4], [0, 4, 4, 0], [4, 0, 0, 4], [4, 4, 0, 0]]
    assert eighths[8].tolist() == [2, 2, 2, 2]
    assert len(surface.triangles) == 8 and surface.control.shape == (1, 4)
    # A cube [-1, 1]^3: corners go to 5/9, the middles of edges to 3/4 along both axes, those of faces stay.
    corners = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)])
    fine = catmull_clark_subdivision(CUBE).matrix @ corners
    np.testing.assert_allclose(fine[:8], corners * 5 / 9)
    assert all(sorted(row) == pytest.approx([0, 3 / 4, 3 / 4]) for row in np.abs(fine[8:20]).tolist())
    assert all(sorted(row) == pytest.approx([0, 0, 1]) for row in np.abs(fine[20:]).tolist())


def test_catmull_clark_keeps_orientation_and_sheets():
    surface = catmull_clark_subdivision(CUBE, 3)
    assert surface.triangles.shape == (6 * 64 * 2, 3)
    np.testing.assert_allclose(surface.matrix.sum(1), 1)
    edges = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    assert {(b, a) for a, b in edges.tolist()} == {(a, b) for a, b in edges.tolist()}, "closed, and turned one way"
    # A sheet of squares with uniform spacing stays a sheet inside, since its weights are those of B-splines.
    corner = (np.arange(4)[:, None] * 5 + np.arange(4)).reshape(-1, 1)
    sheet = catmull_clark_subdivision(corner + [0, 1, 6, 5])
    middle = sheet.matrix[12].toarray().reshape(5, 5)
    rule = np.array([1, 6, 1]) / 8
    np.testing.assert_allclose(middle[1:4, 1:4], np.outer(rule, rule))


def test_errors():
    for message, arguments in (
        (r"must be \[F, 4\]", ([[0, 1, 2]],)),
        ("has 3 quads", ([[0, 1, 2, 3], [0, 1, 4, 5], [0, 1, 6, 7]],)),
        ("num_controls must be at least 4", ([[0, 1, 2, 3]], 1, 3)),
    ):
        with pytest.raises(ValueError, match=message):
            catmull_clark_subdivision(*arguments)
    for message, arguments in (
        ("levels must be", ([[0, 1, 2]], 0)),
        (r"must be \[T, 3\]", ([0, 1, 2],)),
        ("has 3 triangles", ([[0, 1, 2], [0, 1, 3], [0, 1, 4]],)),
    ):
        with pytest.raises(ValueError, match=message):
            loop_subdivision(*arguments)


def test_quads_share_edges_and_not_diagonals(optimizer):
    """Smoothing of a control mesh of quads is along their edges."""
    position = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])
    parameter = Parameter("position", position, "control", smoothness=1.0)
    opt = optimizer([parameter], _scene(catmull_clark_subdivision([[0, 1, 2, 3]])), views=1)
    neighbours = opt._states[0]._neighbours.buffers["Neighbours"]
    with opt._device:
        assert np.frombuffer(neighbours.read(), np.int32).tolist() == [1, 3, 0, 2, 1, 3, 0, 2]
    opt.set_views(np.eye(4)[None], np.ones((1, 16, 16, 4)))
    opt.step()
    assert np.abs(opt.download()["position"] - position).max() > 0


def test_control_mesh_fit(moderngl_available):
    """A flat sheet becomes a larger one."""
    grid = np.stack([*np.mgrid[:4, :4].reshape(2, -1), np.zeros(16)], 1) / 3 - [0.5, 0.5, 0]
    cell = (np.arange(3)[:, None] * 4 + np.arange(3)).ravel()
    surface = loop_subdivision(np.concatenate([cell[:, None] + [0, 4, 5], cell[:, None] + [0, 5, 1]]), 2)
    camera = np.eye(4)[None]
    with StochasticOptimizer(None, [Parameter("position", 1.5 * grid, "control")], _scene(surface)) as truth:
        target = truth.render(camera, (48, 48))
    parameter = Parameter("position", grid, "control", lr=0.05, decay=0.02, smoothness=1.0)
    with StochasticOptimizer(None, [parameter], _scene(surface), views=1, pairs=4) as optimizer:
        optimizer.set_views(camera, target)
        drawn = optimizer.render(camera, (48, 48))[0, ..., 3]
        assert drawn.sum() == pytest.approx((48 / 2) ** 2, rel=0.2), "the sheet shrinks a little at its corners"
        for _ in range(100):
            optimizer.step()
        found, wanted = optimizer.render(camera, (48, 48))[..., 3] > 0.5, target[..., 3] > 0.5
    assert (found & wanted).sum() / (found | wanted).sum() > 0.94
    with pytest.raises(ValueError, match="must have credit 'control'"):
        StochasticOptimizer(None, [Parameter("position", grid, "vertex")], _scene(surface))


def _scene(surface) -> MeshScene:
    return MeshScene(subdivision=surface)
