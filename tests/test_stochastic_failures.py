"""Errors of the optimizer in OpenGL, which change nothing."""

import math

import numpy as np
import pytest
from stochastic_quad import HEAD_ON, QUAD, TRIANGLES, quad, ramp, shader, textured

from glraster import OpenGLError
from glraster.interop.context import HeadlessContext
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer


def test_failures_leave_the_parameters(optimizer, float_atomics, tmp_path):
    value = ramp(8)
    bad = shader(tmp_path / "bad.frag", "color = vec4(sqrt(-1 - albedo(uv)), 1);", "in vec2 uv;\nvec3 albedo(vec2 uv);")
    cases = [
        ("not finite", quad(bad), {}),
        ("not finite", quad(bad), {"sums": "float"}),
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


def test_sums_that_overflow_are_found(optimizer, float_atomics, tmp_path):
    """Each pixel's difference fits into an integer, and the sum of many does not."""
    fragment = shader(tmp_path / "tint.frag", "color = vec4(tint());", "float tint();")
    params = [Parameter("tint", [0.5], "scene", eps=0.125)]
    opt = optimizer(params, quad(fragment), views=1, scale=2.0**29)
    opt.set_views(HEAD_ON, np.zeros((1, 64, 64, 3)))
    with pytest.raises(RuntimeError, match="left its range"):
        opt.gradient()
    fine = optimizer(params, quad(fragment), views=1, scale=2.0**16)
    fine.set_views(HEAD_ON, np.zeros((1, 64, 64, 3)))
    large = shader(tmp_path / "large.frag", "color = vec4(4e18 * tint());", "float tint();")
    opt = optimizer(params, quad(large), views=1, sums="float", precision="single")
    opt.set_views(HEAD_ON, np.zeros((1, 64, 64, 3)))
    with pytest.raises(RuntimeError, match="left its range"):
        opt.gradient()
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


def test_errors(optimizer):
    albedo = Parameter("albedo", ramp(4), "texel")
    position, bare = Parameter("position", QUAD, "vertex"), MeshScene(TRIANGLES)
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
        (ValueError, "sums must be", lambda: optimizer([albedo], quad(), sums="double")),
        (ValueError, "scale must be", lambda: optimizer([albedo], quad(), sums="float", scale=2.0)),
        (TypeError, "render must be", lambda: optimizer([albedo], lambda: None)),
        (ValueError, "size must be", lambda: optimizer([albedo], quad()).render(HEAD_ON, (0, 4))),
        (ValueError, "seed must be", lambda: optimizer([albedo], quad(), seed=-1)),
        (ValueError, "jitter must be", lambda: optimizer([albedo], quad(), jitter=math.nan)),
        (ValueError, "'control' is for", lambda: optimizer([Parameter("position", QUAD, "control")], bare)),
        (ValueError, "'control' is for", lambda: optimizer([position, Parameter("a", QUAD, "control")], bare)),
        (ValueError, "'voxel' needs", lambda: optimizer([Parameter("a", np.zeros((2, 2, 2, 4)), "voxel")], bare)),
        (ValueError, "'uv' must have credit", lambda: optimizer([Parameter("uv", ramp(4), "texel"), position], bare)),
        (ValueError, r"'uv' must be \[V, 2\]", lambda: optimizer([Parameter("uv", QUAD, "vertex"), position], bare)),
        (ValueError, r"'rgb' must be \[V, 1 or", lambda: optimizer([position], MeshScene(TRIANGLES, {"rgb": 1.0}))),
        (ValueError, "attributes must be an identifier", lambda: MeshScene(TRIANGLES, {"a b": QUAD})),
        (ValueError, "attribute 'uv'", lambda: optimizer([albedo, position], MeshScene(TRIANGLES))),
        (ValueError, "indices 0..3", lambda: optimizer([position], MeshScene([[0, 1, 4]]))),
        (ValueError, "must have 2 rows", lambda: optimizer([Parameter("a", QUAD, "primitive")], quad())),
        (ValueError, "views must be", lambda: optimizer([albedo], quad(), views=0)),
        (ValueError, "precision", lambda: optimizer([albedo], quad(), precision="double")),
        (ValueError, "no views yet", lambda: optimizer([albedo], quad()).step()),
        (
            ValueError,
            "cameras must be",
            lambda: optimizer([albedo], quad()).set_views(np.eye(4), np.zeros((2, 2, 2, 4))),
        ),
        (
            ValueError,
            "have an inverse",
            lambda: optimizer([albedo], quad()).set_views(0 * HEAD_ON, np.zeros((2, 2, 2, 4))),
        ),
        (ValueError, "targets must be", lambda: optimizer([albedo], quad()).set_views(HEAD_ON, ramp(4))),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


def test_driver_without_atomic_floats(moderngl_available):
    context = HeadlessContext(version=(4, 3), extensions=())
    context.extensions = context.extensions - {"GL_NV_shader_atomic_float"}
    albedo = Parameter("albedo", ramp(4), "texel")
    with pytest.raises(OpenGLError, match="lacks GL_NV_shader_atomic_float; sums='fixed'"):
        StochasticOptimizer(context, [albedo], quad(), sums="float")
    StochasticOptimizer(context, [albedo], quad()).close()
    context.close()


def test_files_that_are_no_states(optimizer, tmp_path):
    opt = textured(optimizer)
    opt.save(tmp_path / "state.npz")
    whole = (tmp_path / "state.npz").read_bytes()
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, content in (("empty", b""), ("text", b"one two"), ("part", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
    for name in ("empty", "text", "part", "array.npy"):
        with pytest.raises(ValueError, match=f"{name} is no state"):
            opt.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        opt.load(tmp_path / "nowhere")
