"""On a GPU: every operation agrees with the CPU, outputs to 1e-5 and gradients to 1e-4. Skipped without one."""

import pytest
import torch
from cuda_scene import SIZE, assert_close, inputs, step
from scenes import soup, sphere

import glraster

CPU = torch.device("cpu")
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def assert_agrees(cuda: torch.device, run) -> None:
    """run(device) returns outputs (a list) and what has gradients (a list), all made on the CPU and then moved."""

    def results(device):
        outputs, leaves = run(device)
        weights = torch.Generator().manual_seed(9)
        total = sum((out * torch.randn(out.shape, generator=weights).to(out)).sum() for out in outputs)
        grads = torch.autograd.grad(total, leaves, allow_unused=True)
        return [out.detach() for out in outputs], [None if grad is None else grad.cpu() for grad in grads]

    (found, found_grads), (expected, expected_grads) = results(cuda), results(CPU)
    assert [grad is None for grad in found_grads] == [grad is None for grad in expected_grads]
    assert_close(found, expected, outputs=len(expected))
    pairs = [(a, b) for a, b in zip(found_grads, expected_grads, strict=True) if b is not None]
    assert pairs and any(float(b.abs().max()) > 0 for _, b in pairs)
    assert_close([a for a, _ in pairs], [b for _, b in pairs], outputs=0)


def random_leaves(device, dtype, *shapes, scale: float = 1.0, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [scale * torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return [tensor.to(device, dtype).requires_grad_() for tensor in made]


def test_whole_step(cuda):
    expected = step(glraster.RasterizeCudaContext("cpu"), inputs(CPU))
    assert_close(step(glraster.RasterizeCudaContext(cuda), inputs(cuda)), expected)


@DTYPES
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (123, 301), (1024, 1024)], ids=str)
def test_rasterize(cuda, size, dtype):
    ids = []

    def run(device):
        pos, tri = soup(1, 3, 200)
        pos = pos.to(device, dtype).requires_grad_()
        rast, rast_db = glraster.rasterize(glraster.RasterizeCudaContext(device), pos, tri.to(device), size)
        ids.append(rast[..., 3].detach().cpu())
        return [rast[..., :3], 1e-3 * rast_db], [pos]

    assert_agrees(cuda, run)
    assert torch.equal(*ids)  # the same triangles, pixel by pixel


@pytest.mark.parametrize("cull", ["none", "back", "front"])
def test_ranges_and_culling(cuda, cull):
    pos, tri = sphere(3)
    ranges = torch.tensor([[0, 500], [100, 1000], [7, 0]], dtype=torch.int32).repeat(100, 1)

    def run(device):
        context = glraster.RasterizeCudaContext(device)
        return glraster.rasterize(context, pos[0].to(device), tri.to(device), (40, 30), ranges=ranges, cull=cull)[0]

    assert torch.equal(run(cuda).cpu(), run(CPU))


@DTYPES
@pytest.mark.parametrize("diff_attrs", [None, "all", [1, -1]], ids=str)
@pytest.mark.parametrize("shape", ["V", "1V", "NV"])
def test_interpolate(cuda, shape, diff_attrs, dtype):
    def run(device):
        pos, tri = soup(2, 3, 100)
        tri, context = tri.to(device), glraster.RasterizeCudaContext(device)
        rast, rast_db = glraster.rasterize(context, pos.to(device, dtype), tri, SIZE)
        rast, rast_db = (tensor.detach().requires_grad_() for tensor in (rast, rast_db))
        sizes = {"V": (300, 5), "1V": (1, 300, 5), "NV": (3, 300, 5)}[shape]
        (attr,) = random_leaves(device, dtype, sizes)
        out, out_da = glraster.interpolate(attr, rast, tri, rast_db, diff_attrs)
        return ([out] if diff_attrs is None else [out, out_da]), [attr, rast, rast_db]

    assert_agrees(cuda, run)


@DTYPES
@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize(
    "filter_mode", ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic"]
)
def test_texture(cuda, filter_mode, boundary_mode, dtype):
    def run(device):
        D, shape = (3, (2, 6, 16, 16, 3)) if boundary_mode == "cube" else (2, (2, 32, 16, 3))
        tex, uv = random_leaves(device, dtype, shape, (2, 60, 70, D))
        (uv_da,) = random_leaves(device, dtype, (2, 60, 70, 2 * D), scale=0.1, seed=1)
        out = glraster.texture(tex, uv, uv_da, filter_mode=filter_mode, boundary_mode=boundary_mode)
        return [out], [tex, uv, uv_da]

    assert_agrees(cuda, run)


@pytest.mark.parametrize("channels", [1, 4, 7])
@pytest.mark.parametrize("levels", ["own", "area", "bias"])
def test_texture_levels(cuda, levels, channels):
    """Levels given by the caller, sides that cannot be halved, and a level that comes from mip_level_bias alone."""

    def run(device):
        sides = (12, 20) if levels == "area" else (16, 32)
        tex, coarse, uv = random_leaves(
            device, torch.float32, (1, *sides, channels), (1, 8, 16, channels), (2, 60, 70, 2)
        )
        (bias,) = random_leaves(device, torch.float32, (2, 60, 70))
        arguments = {"own": {"mip": [coarse]}, "area": {"mip_filter": "area"}, "bias": {}}[levels]
        out = glraster.texture(tex, uv, mip_level_bias=bias, filter_mode="linear-mipmap-linear", **arguments)
        return [out], [tex, coarse, uv, bias]

    assert_agrees(cuda, run)


@DTYPES
@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero"])
@pytest.mark.parametrize("filter_mode", ["nearest", "linear"])
def test_texture3d(cuda, filter_mode, boundary_mode, dtype):
    def run(device):
        tex, uvw = random_leaves(device, dtype, (2, 5, 6, 7, 3), (2, 60, 70, 3))
        return [glraster.texture3d(tex, uvw, filter_mode, boundary_mode)], [tex, uvw]

    assert_agrees(cuda, run)


@DTYPES
@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("shared", [True, False], ids=["one pos", "pos per image"])
def test_antialias(cuda, shared, channels, dtype):
    def run(device):
        pos, tri = sphere(3, 1 if shared else 3)
        pos, tri = pos.to(device, dtype).requires_grad_(), tri.to(device)
        rast, _ = glraster.rasterize(glraster.RasterizeCudaContext(device), pos.detach(), tri, SIZE)
        (color,) = random_leaves(device, dtype, (*rast.shape[:3], channels))
        return [glraster.antialias(color, rast, pos, tri, pos_gradient_boost=2.0)], [color, pos]

    assert_agrees(cuda, run)


def test_depth_peeling(cuda):
    def run(device):
        pos, tri = soup(2, 2, 100)
        pos, tri = pos.to(device).requires_grad_(), tri.to(device)
        with glraster.DepthPeeler(glraster.RasterizeCudaContext(device), pos, tri, SIZE) as peeler:
            return [peeler.rasterize_next_layer()[0] for _ in range(4)], [pos]

    assert_agrees(cuda, run)
