"""Loop subdivision, and the control mesh of a subdivided surface as a parameter."""

import numpy as np
import pytest

from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer, loop_subdivision

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


def test_errors():
    for message, arguments in (
        ("levels must be", ([[0, 1, 2]], 0)),
        (r"must be \[T, 3\]", ([0, 1, 2],)),
        ("has 3 triangles", ([[0, 1, 2], [0, 1, 3], [0, 1, 4]],)),
    ):
        with pytest.raises(ValueError, match=message):
            loop_subdivision(*arguments)


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
