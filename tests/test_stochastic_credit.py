"""The optimizer in OpenGL: pictures, perturbations, and gradients against exact ones."""

import math

import numpy as np
import pytest
from stochastic_quad import HEAD_ON, QUAD, TRIANGLES, quad, ramp, shader

from glraster.stochastic import MeshScene, Parameter


def test_pictures_have_their_bottom_row_first(optimizer):
    value = ramp(8)
    opt = optimizer([Parameter("albedo", value, "texel")], quad(), precision="single")
    (picture,) = opt.render(HEAD_ON, (8, 8))
    np.testing.assert_array_equal(picture[..., :3], value)
    many = opt.render(np.repeat(HEAD_ON, 40, 0), (8, 8))  # more than fit at a time
    assert many.shape == (40, 8, 8, 4) and (many == picture).all()


def test_one_contributor_per_pixel_is_exact(optimizer, tmp_path):
    """A texture of one channel, nearest: nothing else moves a pixel, so that one pair gives the gradient."""
    value, target = ramp(8, 1), np.full((1, 16, 16, 1), 0.3, np.float32)
    fragment = shader(tmp_path / "grey.frag", "color = vec4(grey(uv));", "in vec2 uv;\nfloat grey(vec2 uv);")
    opt = optimizer([Parameter("grey", value, "texel")], quad(fragment), views=1, precision="single")
    opt.set_views(HEAD_ON, target)
    # Four pixels show each texel, and only the first of the four channels counts.
    np.testing.assert_allclose(opt.gradient()["grey"], 4 * 2 * (value - 0.3), atol=1e-3)
    assert opt.loss() == pytest.approx(np.square(value - 0.3).mean(), rel=1e-5)


def test_colours_of_one_texel_are_right_on_average(optimizer):
    value, target = ramp(4), np.full((1, 4, 4, 3), 0.3, np.float32)
    opt = optimizer([Parameter("albedo", value, "texel")], quad(), views=1, pairs=64, precision="single")
    opt.set_views(HEAD_ON, target)
    exact = 2 * (value - 0.3)
    # The other two channels are noise of their own size, averaged over the pairs.
    noise = np.sqrt((np.square(exact).sum(-1, keepdims=True) - np.square(exact)) / 64)
    assert (np.abs(opt.gradient()["albedo"] - exact) <= 4 * noise + 1e-3).all()


def test_covered_area_against_shoelace(optimizer, tmp_path):
    """Vertices at silhouettes, and at an edge that two triangles share: each is credited once."""
    size, views = 16, 16
    corners = np.array([[-0.6, -0.5, 0], [0.5, -0.6, 0], [0.6, 0.55, 0], [-0.5, 0.45, 0]], np.float32)
    (tmp_path / "area.glsl").write_text("float pixel_loss(vec4 color, vec4 target) { return color.a; }\n")
    scene = MeshScene(TRIANGLES, fragment=shader(tmp_path / "white.frag", "color = vec4(1);"))
    parameter = Parameter("position", corners, "vertex", eps=0.5 * 2 / size)
    opt = optimizer([parameter], scene, views=views, loss=tmp_path / "area.glsl", precision="single")
    rng, samples = np.random.default_rng(0), []
    for step in range(150):
        cameras = np.repeat(HEAD_ON, views, 0)
        cameras[:, :2, 3] = rng.uniform(0, 2 / size, (views, 2))
        opt.set_views(cameras, np.zeros((views, size, size, 4)))
        opt.steps = step  # other signs
        samples.append(opt.gradient()["position"][:, :2])
    before, after = np.roll(corners, 1, 0), np.roll(corners, -1, 0)
    shoelace = np.stack([after[:, 1] - before[:, 1], before[:, 0] - after[:, 0]], 1) / 2 * (size / 2) ** 2
    mean, error = np.mean(samples, 0), np.std(samples, 0) / math.sqrt(len(samples))
    assert (np.abs(mean - shoelace) <= 4 * error).all()
    assert np.linalg.norm(mean - shoelace) < 0.12 * np.linalg.norm(shoelace)  # 0.66 where credited twice


def test_pixel_eps_is_a_part_of_a_projected_pixel(optimizer):
    """In clip space here one pixel is 2 / 16; the quad's edges are long enough."""
    opt = optimizer([Parameter("position", 0.5 * QUAD, "vertex", eps="0.5 pixel")], MeshScene(TRIANGLES), views=2)
    opt.set_views(np.stack([np.eye(4), np.diag([2.0, 2, 1, 1])]), np.zeros((2, 16, 16, 4)))
    opt.gradient()
    (state,) = opt._states
    with opt._device:
        perturbed = np.frombuffer(state.perturbed.read(), np.float32).reshape(2, 2, 4, 3)
    change = np.abs(perturbed - 0.5 * QUAD)
    np.testing.assert_allclose(sorted(change.max((1, 2, 3))), [0.5 * 2 / 32, 0.5 * 2 / 16], rtol=1e-5)
    np.testing.assert_allclose(change.max((1, 2, 3)), change.min((1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(perturbed.mean(1), np.broadcast_to(0.5 * QUAD, (2, 4, 3)), atol=1e-6)


def test_signs_are_balanced_and_independent(optimizer):
    opt = optimizer([Parameter("rgb", np.zeros((4096, 3)), "vertex", eps=1.0)], _points(4096), views=2)
    opt.set_views(np.repeat(HEAD_ON, 2, 0), np.zeros((2, 4, 4, 4)))
    opt.gradient()
    with opt._device:
        perturbed = np.frombuffer(opt._states[0].perturbed.read(), np.float32).reshape(2, 2, 4096, 3)
    signs = perturbed[:, 0].transpose(0, 2, 1).reshape(6, 4096)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    correlation = signs @ signs.T / 4096
    assert np.abs(correlation - np.eye(6)).max() < 5 / math.sqrt(4096)
    assert np.abs(signs.mean(1)).max() < 5 / math.sqrt(4096)
    assert np.abs((signs[:, 1:] * signs[:, :-1]).mean(1)).max() < 5 / math.sqrt(4096)


def _points(count: int) -> MeshScene:
    position = np.random.default_rng(0).uniform(-1, 1, (count, 3)).astype(np.float32)
    triangles = np.arange(count // 3 * 3).reshape(-1, 3)
    return MeshScene(triangles, {"position": position}, fragment="vertex_color")


def test_smoothing_against_a_dense_solution(optimizer):
    rng = np.random.default_rng(1)
    triangles = rng.integers(0, 30, (60, 3))
    parameter = Parameter("position", rng.uniform(-1, 1, (30, 3)), "vertex", smoothness=5.0)
    opt = optimizer([parameter], MeshScene(triangles), views=1)
    laplacian = np.zeros((30, 30))
    for a, b in {
        tuple(sorted(e)) for t in triangles for e in ((t[0], t[1]), (t[1], t[2]), (t[0], t[2])) if e[0] != e[1]
    }:
        laplacian[a, b] = laplacian[b, a] = -1
    laplacian -= np.diag(laplacian.sum(1))
    right = rng.normal(size=(30, 3)).astype(np.float32)
    with opt._device:
        given = opt._device.texels(opt._device.buffer(right), 3)
        solution = opt._states[0]._smoothing.solve(given)
        found = np.frombuffer(solution.read(), np.float32)[:90].reshape(30, 3)
    expected = np.linalg.solve(np.eye(30) + 5 * laplacian, right)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


def bilinear(u: np.ndarray, v: np.ndarray, height: int, width: int, wraps: bool) -> np.ndarray:
    """Weights [pixels, height, width] of a bilinear lookup."""
    x, y = u.ravel() * width - 0.5, v.ravel() * height - 0.5
    weights, pixels = np.zeros((x.size, height, width)), np.arange(x.size)
    for right in (0, 1):
        for above in (0, 1):
            column, row = np.floor(x).astype(int) + right, np.floor(y).astype(int) + above
            part = np.abs(1 - right - (x - np.floor(x))) * np.abs(1 - above - (y - np.floor(y)))
            column = column % width if wraps else column.clip(0, width - 1)
            np.add.at(weights, (pixels, row.clip(0, height - 1), column), part)
    return weights


def test_linear_filter(optimizer):
    value = np.random.default_rng(0).uniform(size=(5, 7, 3)).astype(np.float32)
    opt = optimizer([Parameter("albedo", value, "texel", filter="linear")], quad(), precision="single")
    v, u = (np.mgrid[:16, :16] + 0.5) / 16
    expected = np.tensordot(bilinear(u, v, 5, 7, False), value, 2).reshape(16, 16, 3)
    np.testing.assert_allclose(opt.render(HEAD_ON, (16, 16))[0, ..., :3], expected, atol=1e-5)


def test_environment_repeats_around(optimizer):
    """Along -Z is the map's seam: the first and the last column are neighbours, for lookups and for credit."""
    value = np.random.default_rng(0).uniform(size=(4, 8, 3)).astype(np.float32)
    sky = Parameter("sky", value, "background", filter="linear", footprint="linear")
    opt = optimizer([sky], quad("flat", size=1e-3), views=1, precision="single")
    projection = np.array([[0.5, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, -1.2, -2.2], [0, 0, -1, 0]])
    y, x = ((np.mgrid[:8, :8] + 0.5) / 4 - 1) / 0.5
    u, v = np.arctan2(x, -1 + 0 * x) / (2 * np.pi) + 0.5, np.arcsin(y / np.sqrt(x**2 + y**2 + 1)) / np.pi + 0.5
    weights = bilinear(u, v, 4, 8, True)
    expected = np.tensordot(weights, value, 2).reshape(8, 8, 3)
    # Mesa's arc tangent deviates by 1e-4.
    np.testing.assert_allclose(opt.render(projection[None], (8, 8))[0, ..., :3], expected, atol=1e-3)
    opt.set_views(projection[None], np.full((1, 8, 8, 3), 2.0))
    assert np.array_equal(np.abs(opt.gradient()["sky"]).sum(-1) > 0, weights.sum(0) > 0)


def test_sums_in_floats(optimizer, float_atomics, tmp_path):
    """They agree with those in fixed point, for every kind of credit."""
    fragment = shader(tmp_path / "all.frag", "color = vec4(albedo(uv) * face() * tint() * rgb, 1);", _EVERYTHING)
    found = []
    for sums in ("fixed", "float"):
        params = [
            Parameter("position", 0.5 * QUAD, "vertex"),
            Parameter("rgb", ramp(2).reshape(4, 3) + 0.2, "vertex"),
            Parameter("albedo", ramp(8), "texel"),
            Parameter("tint", [0.7], "scene"),
            Parameter("face", [[0.9], [0.5]], "primitive"),
            Parameter("sky", ramp(4), "background"),
        ]
        scene = MeshScene(TRIANGLES, {"uv": (QUAD[:, :2] + 1) / 2}, fragment=fragment)
        opt = optimizer(params, scene, views=2, pairs=2, sums=sums, precision="single")
        opt.set_views(np.repeat(HEAD_ON, 2, 0), np.full((2, 24, 24, 4), 0.3))
        found.append(opt.gradient())
        opt.step()
        found[-1]["stepped"] = opt.download()["albedo"]
    for name, fixed in found[0].items():
        assert np.abs(fixed).max() > 0
        np.testing.assert_allclose(found[1][name], fixed, atol=1e-3 * np.abs(fixed).max(), rtol=1e-3, err_msg=name)


_EVERYTHING = "in vec2 uv;\nin vec3 rgb;\nvec3 albedo(vec2 uv);\nfloat face();\nfloat tint();"
