"""The optimizer in OpenGL: its gradients against exact ones, determinism, resuming, and errors that change nothing."""

import math

import numpy as np
import pytest
import torch

import glraster
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer

pytestmark = pytest.mark.usefixtures("moderngl_available")

QUAD = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
TRIANGLES = [[0, 1, 2], [0, 2, 3]]
HEAD_ON = np.eye(4)[None]  # shows [-1, 1]^2


def quad(fragment="albedo", size=1.0, **options) -> MeshScene:
    return MeshScene(TRIANGLES, {"position": size * QUAD, "uv": (QUAD[:, :2] + 1) / 2}, fragment=fragment, **options)


def shader(path, body: str, declarations: str = "") -> str:
    path.write_text(f"#version 430\n{declarations}\nout vec4 color;\nvoid main() {{\n    {body}\n}}\n")
    return str(path)


def ramp(size: int, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    return np.stack([x, y, 1 - x, x * y], -1)[..., :channels].astype(np.float32)


@pytest.fixture
def optimizer():
    """Makes optimizers that are closed in the end, and looks for OpenGL errors."""
    made = []

    def make(params, scene, **options):
        made.append(StochasticOptimizer(None, params, scene, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


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
        solution = opt._states[0]._smoothing.solve(opt._device.buffer(right))
        found = np.frombuffer(solution.read(), np.float32)[:90].reshape(30, 3)
    expected = np.linalg.solve(np.eye(30) + 5 * laplacian, right)
    assert np.abs(found - expected).max() < 2e-3 * np.abs(expected).max()


def textured(optimizer, seed=0, **options):
    start = np.full((16, 16, 3), 0.5)
    opt = optimizer([Parameter("albedo", start, "texel", lr=0.1)], quad(), views=2, seed=seed, **options)
    opt.set_views(np.repeat(HEAD_ON, 3, 0), np.repeat(ramp(16)[None], 3, 0))
    return opt


def test_texture_fit(optimizer):
    opt = textured(optimizer)
    for _ in range(60):
        opt.step()
    error = np.square(opt.download()["albedo"] - ramp(16)).mean()
    assert -10 * math.log10(error) > 30


def test_same_seed_same_bits_and_resuming(optimizer, tmp_path):
    runs = []
    for seed in (3, 3, 4):
        opt = textured(optimizer, seed)
        for step in range(8):
            if step == 5 and len(runs) == 0:
                opt.save(tmp_path / "state.npz")
            opt.step()
        runs.append(opt.download()["albedo"])
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    resumed = textured(optimizer, seed=9)
    resumed.load(tmp_path / "state.npz")
    assert resumed.steps == 5
    for _ in range(3):
        resumed.step()
    assert np.array_equal(resumed.download()["albedo"], runs[0])
    other = optimizer([Parameter("albedo", np.zeros((8, 8, 3)), "texel")], quad())
    with pytest.raises(ValueError, match="must be \\[8, 8, 3\\]"):
        other.load(tmp_path / "state.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"], "no drafts stay behind"


def test_resuming_a_mesh_with_smoothing(optimizer, tmp_path):
    def make():
        parameter = Parameter("position", 0.5 * QUAD, "vertex", lr=0.02, smoothness=4.0)
        opt = optimizer([parameter], MeshScene(TRIANGLES), views=2)
        opt.set_views(np.repeat(HEAD_ON, 2, 0), np.ones((2, 16, 16, 4)))
        return opt

    first, second = make(), make()
    for step in range(6):
        if step == 3:
            first.save(tmp_path / "state.npz")
        first.step()
    second.load(tmp_path / "state.npz")
    for _ in range(3):
        second.step()
    moved = first.download()["position"]
    assert np.array_equal(moved, second.download()["position"])
    assert np.abs(moved - 0.5 * QUAD).max() > 0.01


def test_mesh_fit(optimizer):
    """A square becomes a larger one, elsewhere."""
    grid = np.stack([*np.mgrid[:5, :5].reshape(2, -1), np.zeros(25)], 1).astype(np.float32) / 4 - [0.5, 0.5, 0]
    cell = (np.arange(4)[:, None] * 5 + np.arange(4)).ravel()
    triangles = np.concatenate([cell[:, None] + [0, 5, 6], cell[:, None] + [0, 6, 1]])
    wanted = 1.4 * grid + [0.2, 0.1, 0]
    truth = optimizer([Parameter("position", wanted, "vertex")], MeshScene(triangles))
    target = truth.render(HEAD_ON, (48, 48))
    start = Parameter("position", grid, "vertex", lr=0.05, decay=0.02, smoothness=4.0)
    opt = optimizer([start], MeshScene(triangles), views=1, pairs=4)
    opt.set_views(HEAD_ON, target)
    for _ in range(120):
        opt.step()
    found, wanted = opt.render(HEAD_ON, (48, 48))[..., 3] > 0.5, target[..., 3] > 0.5
    assert (found & wanted).sum() / (found | wanted).sum() > 0.95  # 0.46 at the start


def test_other_credits(optimizer, tmp_path):
    """A colour for the whole scene, one for each triangle, and the environment behind them."""
    declarations = "vec3 tint();\nvec3 face();"
    fragment = shader(tmp_path / "tint.frag", "color = vec4(tint() * face(), 1);", declarations)
    params = [
        Parameter("tint", [0.5, 0.5, 0.5], "scene", lr=0.03),
        Parameter("face", np.full((2, 3), 0.5), "primitive", lr=0.03),
        Parameter("sky", np.full((4, 8, 3), 0.5), "background", lr=0.03),
    ]
    camera = np.diag([1.0, 1, -1, 1])  # looks along -Z with parallel rays: one texel of the sky
    camera = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1.2, -2.2], [0, 0, -1, 0]]) @ np.array(
        [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -3], [0, 0, 0, 1]]
    )
    scene = quad(fragment)
    opt = optimizer(params, scene, views=1, pairs=4, precision="single")
    truth = optimizer(
        [
            Parameter("tint", [0.9, 0.8, 0.7], "scene"),
            Parameter("face", [[0.9, 0.1, 0.5], [0.2, 0.7, 0.5]], "primitive"),
            Parameter("sky", ramp(8)[:4], "background"),
        ],
        quad(fragment),
        precision="single",
    )
    target = truth.render(camera[None], (24, 24))
    assert np.ptp(target[0, :, 0, :3], axis=0).max() > 0.1, "the background shows more than one texel"
    opt.set_views(camera[None], target)
    before = opt.loss()
    for _ in range(150):
        opt.step()
    assert opt.loss() < 0.01 * before
    seen = np.abs(opt.download()["sky"] - 0.5).max(-1) > 0
    assert 0 < seen.sum() < 32, "only what a picture shows has moved"


def test_groups_take_turns(optimizer):
    params = [
        Parameter("position", 0.5 * QUAD, "vertex", eps="1 pixel", lr=0.01, smoothness=1.0, group=1),
        Parameter("albedo", ramp(8), "texel", lr=0.01),
    ]
    scene = MeshScene(TRIANGLES, {"uv": (QUAD[:, :2] + 1) / 2}, fragment="albedo")
    opt = optimizer(params, scene, views=1)
    opt.set_views(HEAD_ON, np.full((1, 16, 16, 3), 0.5))
    before = opt.download()
    for moving, still in (("albedo", "position"), ("position", "albedo")):
        assert list(opt.gradient()) == [moving]
        opt.step()
        after = opt.download()
        assert not np.array_equal(after[moving], before[moving]) and np.array_equal(after[still], before[still])
        before = after


def test_failures_leave_the_parameters(optimizer, tmp_path):
    value = ramp(8)
    bad = shader(tmp_path / "bad.frag", "color = vec4(sqrt(-1 - albedo(uv)), 1);", "in vec2 uv;\nvec3 albedo(vec2 uv);")
    cases = [
        ("not finite", quad(bad), {}),
        ("left its range", quad(), {"scale": 2.0**60}),
    ]
    for message, scene, options in cases:
        opt = optimizer([Parameter("albedo", value, "texel", lr=0.1)], scene, views=1, **options)
        opt.set_views(HEAD_ON, np.full((1, 32, 32, 3), 0.9))
        for _ in range(3):
            opt.step()
        with pytest.raises(RuntimeError, match=f"step 0 failed.*{message}"):
            opt.download()
        assert opt.steps == 0
        np.testing.assert_array_equal(opt.download()["albedo"], value)
        with pytest.raises(RuntimeError, match=message):
            opt.gradient()
        np.testing.assert_array_equal(opt.download()["albedo"], value)


def test_sums_that_overflow_are_found(optimizer, tmp_path):
    """Each pixel's difference fits into an integer, and the sum of many does not."""
    fragment = shader(tmp_path / "tint.frag", "color = vec4(tint());", "float tint();")
    params = [Parameter("tint", [0.5], "scene", eps=0.125)]
    opt = optimizer(params, quad(fragment), views=1, scale=2.0**29)
    opt.set_views(HEAD_ON, np.zeros((1, 64, 64, 3)))
    with pytest.raises(RuntimeError, match="left its range"):
        opt.gradient()
    fine = optimizer(params, quad(fragment), views=1, scale=2.0**16)
    fine.set_views(HEAD_ON, np.zeros((1, 64, 64, 3)))
    assert fine.gradient()["tint"].item() == pytest.approx(64 * 64 * 3 * 2 * 0.5, rel=1e-3)


def test_sizes_beyond_the_driver(optimizer):
    with pytest.raises(ValueError, match="this OpenGL driver allows"):
        optimizer([Parameter("albedo", np.zeros((512, 512, 3)), "texel")], quad(), views=1, pairs=5000)
    opt = textured(optimizer)
    before = opt.download()["albedo"]
    with pytest.raises(ValueError, match="do not fit"):
        opt.render(HEAD_ON, (70000, 4))
    with pytest.raises(ValueError, match="targets takes.*this OpenGL driver allows"):
        opt.set_views(HEAD_ON, np.zeros((1, 1, 70000, 3), np.uint8))
    opt.step()
    assert not np.array_equal(opt.download()["albedo"], before), "it is usable afterwards"


def test_shader_errors_name_the_users_file_and_line(optimizer, tmp_path):
    declarations = "in vec2 uv;\nvec3 albedo(vec2 uv);"
    for body, message in (("color = vec4(1)", r"mine\.frag:7"), ("color = nothing();", r"mine\.frag:6")):
        fragment = shader(tmp_path / "mine.frag", body, declarations)
        with pytest.raises(RuntimeError, match=message):
            optimizer([Parameter("albedo", ramp(4), "texel")], quad(fragment))
    (tmp_path / "mine.glsl").write_text("\nfloat pixel_loss(vec4 color, vec4 target) { return other; }\n")
    with pytest.raises(RuntimeError, match=r"mine\.glsl:2"):
        optimizer([Parameter("albedo", ramp(4), "texel")], quad(), loss=tmp_path / "mine.glsl")


def test_contexts_of_others_stay_current(optimizer, gl_available):
    import moderngl

    default = moderngl._store.default_context
    context = glraster.RasterizeGLContext(device="cpu")
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    expected, _ = glraster.rasterize(context, pos, tri, (8, 8))
    opt = textured(optimizer)
    opt.step()
    assert torch.equal(glraster.rasterize(context, pos, tri, (8, 8))[0], expected)
    shared = StochasticOptimizer(context._pass.context, [Parameter("albedo", ramp(8), "texel")], quad(), views=1)
    shared.set_views(HEAD_ON, np.ones((1, 8, 8, 3)))
    shared.step()
    assert torch.equal(glraster.rasterize(context, pos, tri, (8, 8))[0], expected)
    shared.close()
    shared.close()
    assert torch.equal(glraster.rasterize(context, pos, tri, (8, 8))[0], expected)
    assert moderngl._store.default_context is default
    context.close()


def test_tensors_in_and_out(optimizer):
    tensor = torch.full((4, 4, 3), 0.5)
    opt = optimizer([Parameter("albedo", tensor, "texel", lr=0.1)], quad(), views=1)
    opt.step(torch.eye(4)[None], torch.ones(1, 4, 4, 3, dtype=torch.uint8))
    out = torch.zeros(4, 4, 3, dtype=torch.float64, requires_grad=True)
    values = opt.download({"albedo": out})
    assert (tensor == 0.5).all() and np.abs(np.abs(values["albedo"] - 0.5) - 0.1).max() < 1e-3
    assert np.array_equal(out.detach().numpy(), values["albedo"])
    with pytest.raises(ValueError, match="out must be among"):
        opt.download({"other": out})


def test_errors(optimizer):
    albedo = Parameter("albedo", ramp(4), "texel")
    position = Parameter("position", QUAD, "vertex")
    cases = [
        (ValueError, "identifier", lambda: Parameter("a b", ramp(4), "texel")),
        (ValueError, "credit of 'a' must be", lambda: Parameter("a", ramp(4), "pixel")),
        (ValueError, r"must be \[height, width, C\]", lambda: Parameter("a", QUAD, "texel")),
        (ValueError, "must be finite", lambda: Parameter("a", QUAD + np.inf, "vertex")),
        (TypeError, "array or tensor", lambda: Parameter("a", "text", "vertex")),
        (ValueError, "eps of 'a'", lambda: Parameter("a", ramp(4), "texel", eps="pixel")),
        (ValueError, "eps of 'a'", lambda: Parameter("a", ramp(4), "texel", eps=0)),
        (ValueError, "needs credit", lambda: Parameter("a", ramp(4), "texel", smoothness=1)),
        (ValueError, "filter of 'a'", lambda: Parameter("a", ramp(4), "texel", filter="cubic")),
        (ValueError, "triangles must be given", lambda: MeshScene()),
        (ValueError, r"triangles must be \[T, 3\]", lambda: MeshScene([0, 1, 2])),
        (FileNotFoundError, "nowhere", lambda: MeshScene(TRIANGLES, fragment="nowhere.frag")),
        (ValueError, "names of their own", lambda: optimizer([], quad())),
        (ValueError, "names of their own", lambda: optimizer([albedo, albedo], quad())),
        (ValueError, "both a parameter and", lambda: optimizer([position], quad())),
        (ValueError, "needs 'position'", lambda: optimizer([albedo], MeshScene(TRIANGLES))),
        (ValueError, "attribute 'uv'", lambda: optimizer([albedo, position], MeshScene(TRIANGLES))),
        (ValueError, "indices 0..3", lambda: optimizer([position], MeshScene([[0, 1, 4]]))),
        (ValueError, "must have 2 rows", lambda: optimizer([Parameter("a", QUAD, "primitive")], quad())),
        (ValueError, "views must be", lambda: optimizer([albedo], quad(), views=0)),
        (ValueError, "precision", lambda: optimizer([albedo], quad(), precision="double")),
        (ValueError, "no views yet", lambda: optimizer([albedo], quad()).step()),
        (ValueError, "cameras must be", lambda: optimizer([albedo], quad()).set_views(np.eye(4), ramp(4)[None])),
        (ValueError, "have an inverse", lambda: optimizer([albedo], quad()).set_views(0 * HEAD_ON, ramp(4)[None])),
        (ValueError, "targets must be", lambda: optimizer([albedo], quad()).set_views(HEAD_ON, ramp(4))),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_closed(optimizer):
    opt = textured(optimizer)
    opt.close()
    with pytest.raises(RuntimeError, match="closed"):
        opt.step()
