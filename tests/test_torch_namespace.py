"""glraster.torch: the names, defaults and habits that existing programs rely on."""

import inspect
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from reference import rasterize as reference
from scenes import soup, sphere, triangles

import glraster
import glraster.torch as dr
import glraster.torch.ops as dr_ops

SIGNATURES = {
    "rasterize": "glctx pos tri resolution ranges=None grad_db=True",
    "interpolate": "attr rast tri rast_db=None diff_attrs=None",
    "antialias": "color rast pos tri topology_hash=None pos_gradient_boost=1.0",
    "antialias_construct_topology_hash": "tri",
    "RasterizeCudaContext": "device=None",
    "RasterizeGLContext": "output_db=True mode='automatic' device=None",
    "set_log_level": "level",
    "get_log_level": "",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_names_and_defaults(name):
    parameters = inspect.signature(getattr(dr, name)).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in positional]
    assert " ".join(shown) == SIGNATURES[name]
    assert name in dr.__all__


def test_same_functions_as_the_package():
    for name in set(dr.__all__) & set(glraster.__all__):
        assert getattr(dr, name) is getattr(glraster, name)


def test_ops_has_the_same_names():
    assert dr_ops.__all__ == dr.__all__
    assert all(getattr(dr_ops, name) is getattr(dr, name) for name in dr.__all__)
    assert dr.__version__ == glraster.__version__


ALIAS = """
import importlib.machinery, sys, types
import glraster.torch
{before}
glraster.torch.alias({arguments})
glraster.torch.alias()
import nvdiffrast, nvdiffrast.torch, nvdiffrast.torch.ops as ops
import nvdiffrast.torch as dr
from nvdiffrast.torch import rasterize
assert dr is glraster.torch is nvdiffrast.torch and ops.rasterize is rasterize is glraster.rasterize
assert nvdiffrast.__version__ == glraster.__version__
try:
    import nvdiffrast.other
except ImportError:
    pass
else:
    raise AssertionError
"""
INSTALLED = """
class Finder:
    def find_spec(name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, None) if name == "nvdiffrast" else None
sys.meta_path.append(Finder)
"""
IMPORTED = "sys.modules['nvdiffrast'] = types.ModuleType('nvdiffrast')"


def run(before: str, arguments: str) -> str:
    """What alias() complains about in a process of its own."""
    program = ALIAS.format(before=before, arguments=arguments)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120).stderr


def test_alias():
    assert run("", "") == ""


@pytest.mark.parametrize("before", [INSTALLED, IMPORTED])
def test_alias_hides_nothing_silently(before):
    assert "RuntimeError: alias(): nvdiffrast is installed, and would be hidden: alias(force=True)" in run(before, "")
    assert run(before, "force=True") == ""


def test_log_levels():
    before = logging.getLogger("glraster").level
    try:
        for level, name in enumerate(("INFO", "WARNING", "ERROR", "CRITICAL")):
            dr.set_log_level(level)
            assert dr.get_log_level() == level
            assert logging.getLogger("glraster").getEffectiveLevel() == getattr(logging, name)
            assert logging.getLogger("glraster.interop").isEnabledFor(logging.WARNING) == (level <= 1)
        dr.set_log_level(np.int64(2))
        assert dr.get_log_level() == 2
        for level, error in {-1: ValueError, 4: ValueError, "info": TypeError, None: TypeError, 1.0: TypeError}.items():
            with pytest.raises(error, match=rf"set_log_level\(\): level must be 0, 1, 2 or 3, got {level!r}"):
                dr.set_log_level(level)
    finally:
        logging.getLogger("glraster").setLevel(before)


@pytest.fixture
def scene(glctx, device):
    """rast and rast_db of two views of a sphere, with positions and triangles."""
    pos, tri = (t.to(device) for t in sphere(1, num_views=2))
    return *dr.rasterize(glctx, pos, tri, resolution=[24, 32]), pos, tri


def test_attributes_are_shared_by_the_minibatch(scene):
    rast, rast_db, pos, tri = scene
    attr = torch.rand(pos.shape[1], 3, device=pos.device, requires_grad=True)
    expected = dr.interpolate(attr.expand(2, -1, -1).contiguous(), rast, tri, rast_db, diff_attrs="all")
    for shared in (attr, attr[None], attr[None, ...].contiguous()):
        for mine, theirs in zip(dr.interpolate(shared, rast, tri, rast_db, diff_attrs="all"), expected, strict=True):
            assert torch.equal(mine, theirs)
    mine = torch.autograd.grad(dr.interpolate(attr[None], rast, tri)[0].square().sum(), attr)[0]
    theirs = torch.autograd.grad(expected[0].square().sum(), attr)[0]
    torch.testing.assert_close(mine, theirs)


def test_flipped_rast(scene):
    rast, rast_db, pos, tri = scene
    attr = torch.rand(pos.shape[1], 3, device=pos.device)
    out, out_da = dr.interpolate(attr, rast, tri, rast_db, "all")
    for axes in ([1], [2], [1, 2], [0]):
        flipped, flipped_da = dr.interpolate(attr, rast.flip(axes), tri, rast_db.flip(axes), "all")
        assert torch.equal(flipped, out.flip(axes)) and torch.equal(flipped_da, out_da.flip(axes))
    # Upside down, antialias pairs the same neighbours: with positions turned over it gives the picture turned over.
    color = torch.rand_like(out)
    mirror = torch.tensor([1.0, -1, 1, 1], device=pos.device)
    turned = dr.antialias(color.flip([1]), rast.flip([1]), pos * mirror, tri)
    upright = dr.antialias(color, rast, pos, tri)
    assert not torch.equal(upright, color)
    torch.testing.assert_close(turned.flip([1]), upright, rtol=0, atol=1e-4)


def test_downscaled_rast(scene):
    rast, rast_db, pos, tri = scene
    attr = torch.rand(pos.shape[1], 3, device=pos.device)
    out, out_da = dr.interpolate(attr, rast, tri, rast_db, "all")
    small = torch.nn.functional.interpolate(rast.permute(0, 3, 1, 2), scale_factor=0.5, mode="nearest")
    small_db = torch.nn.functional.interpolate(rast_db.permute(0, 3, 1, 2), scale_factor=0.5, mode="nearest") * 2
    small, small_db = small.permute(0, 2, 3, 1), small_db.permute(0, 2, 3, 1)
    small_out, small_da = dr.interpolate(attr, small, tri, small_db, "all")
    assert torch.equal(small_out, out[:, ::2, ::2]) and torch.equal(small_da, 2 * out_da[:, ::2, ::2])


def test_rast_changed_in_place(scene):
    # Two meshes in one vertex buffer: ids of the second start after the first's.
    rast, _, pos, tri = scene
    V, T = pos.shape[1], len(tri)
    attr = torch.rand(2 * V, 3, device=pos.device)
    both = torch.cat([tri, tri + V])
    first = dr.interpolate(attr, rast, both)[0]
    color = torch.rand_like(first)
    positions = torch.cat([pos + torch.tensor([0.05, 0.05, 0, 0], device=pos.device), pos], 1)
    blended = dr.antialias(color, rast, positions, both)
    rast[..., 3][rast[..., 3] > 0] += T
    assert torch.equal(dr.interpolate(attr, rast, both)[0], dr.interpolate(attr[V:], rast - _offset(rast, T), tri)[0])
    assert not torch.equal(dr.interpolate(attr, rast, both)[0], first)
    moved = dr.antialias(color, rast, positions, both)
    assert not torch.equal(moved, blended)
    assert torch.equal(moved, dr.antialias(color, rast - _offset(rast, T), pos, tri))


def _offset(rast, count):
    return torch.nn.functional.pad((rast[..., 3:] > 0) * float(count), (3, 0))


def test_arguments_changed_in_place_between_calls(glctx, device):
    pos, tri = (t.to(device) for t in soup(0, 1, 8, behind_eye=0.0))
    before = dr.rasterize(glctx, pos, tri, (16, 16))[0]
    attr = torch.rand(24, 2, device=device)
    out = dr.interpolate(attr, before, tri)[0]
    pos[..., 0] += 0.5
    moved = dr.rasterize(glctx, pos, tri, (16, 16))[0]
    assert not torch.equal(before, moved)
    tri[:] = tri.roll(1, 0)
    renamed = dr.rasterize(glctx, pos, tri, (16, 16))[0]
    assert not torch.equal(moved, renamed)
    assert torch.equal(renamed, dr.rasterize(glctx, pos.clone(), tri.clone(), (16, 16))[0])
    assert not torch.equal(dr.interpolate(attr, before, tri)[0], out)
    attr += 1
    assert (dr.interpolate(attr, renamed, tri)[0][renamed[..., 3] > 0] >= 0.999).all()


def test_rast_db_without_diff_attrs(scene):
    rast, rast_db, pos, tri = scene
    for diff_attrs in (None, []):
        out, out_da = dr.interpolate(pos, rast, tri, rast_db=rast_db, diff_attrs=diff_attrs)
        assert out.shape == (2, 24, 32, 4) and out_da.shape == (2, 24, 32, 0)
    assert dr.interpolate(pos, rast, tri)[1].shape == (2, 24, 32, 0)


def test_triangles_behind_the_eye_are_culled_and_crossing_ones_clipped(glctx, device):
    corners = torch.tensor([[-1.0, -1, 0, 1], [1, -1, 0, 1], [-1, 1, 0, 1]], device=device)
    pos = torch.stack([corners, corners * torch.tensor([1.0, 1, 1, -1], device=device)])
    rast, _ = dr.rasterize(glctx, pos, triangles([0, 1, 2]).to(device), (16, 16))
    assert rast[0].any() and not rast[1].any()
    wall = torch.tensor([[[-0.5, -9, 0, 2], [-0.5, 9, 0, 2], [-0.5, 0, 0, -30]]])  # from w = 2 to behind the eye
    rast, _ = dr.rasterize(glctx, wall.to(device), triangles([0, 1, 2]).to(device), (16, 16))
    expected = reference.rasterize(wall, triangles([0, 1, 2]), (16, 16))
    assert torch.equal(rast[..., 3].cpu().long() - 1, expected) and 0 < (expected == 0).sum() < 256


@pytest.mark.parametrize("kind", ["list", "tuple", "numpy", "tensor", "size"])
def test_resolution_may_be_any_pair_of_integers(glctx, device, kind):
    make = {"list": list, "tuple": tuple, "numpy": np.array, "tensor": torch.tensor, "size": torch.Size}[kind]
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]], device=device)
    rast, rast_db = dr.rasterize(glctx, pos, triangles([0, 1, 2]).to(device), make([270, 480]))
    assert rast.shape == rast_db.shape == (1, 270, 480, 4) and (rast[..., 3] == 1).all()


@pytest.mark.parametrize("channels", [1, 3, 4, 9])
def test_antialias_with_positions_without_minibatch(glctx, device, channels):
    pos, tri = (t.to(device) for t in sphere(1))
    rast, _ = dr.rasterize(glctx, pos, tri, (20, 20))
    color = torch.rand(1, 20, 20, channels, device=device)
    flat = dr.antialias(color, rast, pos[0], tri)
    assert flat.shape == color.shape and not torch.equal(flat, color)
    assert torch.equal(flat, dr.antialias(color, rast, pos, tri))


def test_antialias_with_a_large_topology_that_changes_every_step(device):
    generator = torch.Generator().manual_seed(0)
    pos, sphere_tri = sphere(5)  # 20,480 triangles, and 40,000 more elsewhere
    extra = torch.randint(0, pos.shape[1], (40_000, 3), generator=generator).int()
    with glraster.RasterizeCudaContext(device) as glctx:
        for step in range(3):
            tri = torch.cat([sphere_tri, extra.roll(step, 0)[: 40_000 - step]]).to(device)
            leaf = pos.to(device, copy=True).requires_grad_()
            rast, _ = dr.rasterize(glctx, leaf, tri, (64, 64))
            color = dr.interpolate(leaf[..., :3].contiguous(), rast, tri)[0]
            dr.antialias(color, rast, leaf, tri).square().mean().backward()
            assert leaf.grad.isfinite().all() and leaf.grad.any()


class _RenderInBackward(torch.autograd.Function):
    """Squares its input; its backward pass differentiates a picture with operations of its own."""

    @staticmethod
    def forward(ctx, x, glctx, tri):
        ctx.save_for_backward(x)
        ctx.rest = glctx, tri
        return x.square()

    @staticmethod
    def backward(ctx, grad_out):
        (x,), (glctx, tri) = ctx.saved_tensors, ctx.rest
        with torch.enable_grad():
            pos = x.detach().requires_grad_()
            loss = _picture(glctx, pos, tri).square().sum()
            (gradient,) = torch.autograd.grad(loss, pos)
        return gradient, None, None


def _picture(glctx, pos, tri):
    rast, rast_db = dr.rasterize(glctx, pos, tri, (16, 16))
    color, derivatives = dr.interpolate(pos, rast, tri, rast_db, "all")
    return dr.antialias(torch.cat([color, derivatives], -1), rast, pos, tri)


def test_operations_inside_another_functions_backward(glctx, device):
    pos, tri = (t.to(device) for t in sphere(1))
    outer, plain = pos.clone().requires_grad_(), pos.clone().requires_grad_()
    _RenderInBackward.apply(outer, glctx, tri).sum().backward()
    _picture(glctx, plain, tri).square().sum().backward()
    torch.testing.assert_close(outer.grad, plain.grad)
    assert outer.grad.any()


def test_antialias_may_leave_the_range_of_its_input(device):
    # A white pixel of 3 x 3 between four black triangles, each of which comes to within 1/20 pixel of its centre.
    edge = torch.tensor([[-1 / 30, -9], [-1 / 30, 9], [-9, 1]])
    points = torch.cat([edge, -edge, edge.flip(1), -edge.flip(1)])
    pos = torch.nn.functional.pad(torch.nn.functional.pad(points, (0, 1)), (0, 1), value=1.0).to(device)
    rast = torch.zeros(1, 3, 3, 4, device=device)
    rast[0, 1, 0, 3], rast[0, 1, 2, 3], rast[0, 0, 1, 3], rast[0, 2, 1, 3] = 1, 2, 3, 4
    color = torch.zeros(1, 3, 3, 1, device=device)
    color[0, 1, 1] = 1
    out = dr.antialias(color, rast, pos, torch.arange(12, dtype=torch.int32, device=device).reshape(4, 3))
    assert float(out[0, 1, 1, 0]) == pytest.approx(1 - 4 * 0.45, abs=1e-5)
