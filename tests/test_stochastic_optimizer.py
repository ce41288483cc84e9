"""The optimizer in OpenGL: fits, determinism, resuming, and how it gets on with others."""

import math

import numpy as np
import pytest
import torch
from stochastic_quad import HEAD_ON, QUAD, TRIANGLES, quad, ramp, shader, textured

import glraster
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer


def test_texture_fit(optimizer):
    opt = textured(optimizer)
    for _ in range(60):
        opt.step()
    error = np.square(opt.download()["albedo"] - ramp(16)).mean()
    assert -10 * math.log10(error) > 30


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


def test_closed(optimizer):
    opt = textured(optimizer)
    opt.close()
    with pytest.raises(RuntimeError, match="closed"):
        opt.step()
