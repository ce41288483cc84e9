"""The kernels' CUDA half, run by the emulated GPU (tests/emulation): no GPU is needed, and none is used."""

import ctypes
import sys

import emulation
import pytest
import torch
from scenes import soup, sphere

import glraster
from glraster.cuda_kernels import cuda, upload
from glraster.cuda_kernels.order_free_sums import OrderFreeSums
from glraster.interop.corners import order_corners
from glraster.interpolate import KERNELS
from glraster.soft import soft_rasterize

SIZES = [(24, 40), (17, 33), (1, 70), (5, 1)]  # whole warps, ragged rows, and rows shorter than a warp


@pytest.fixture
def on_emulated_gpu(emulation_folder, monkeypatch):
    """on_emulated_gpu(seed): CPU tensors are from now on worked on by an emulated GPU, which is returned."""

    def start(seed: int = 0) -> emulation.EmulatedGpu:
        gpu = emulation.EmulatedGpu(emulation_folder, seed)
        monkeypatch.setattr(cuda, "gpu", lambda index: gpu)
        for name, module in list(sys.modules.items()):
            if name.startswith("glraster.") and hasattr(module, "runs_on_gpu"):
                monkeypatch.setattr(module, "runs_on_gpu", lambda device: True)
        return gpu

    return start


def render(pos, tri, size, dtype=torch.float32, **raster_arguments) -> dict[str, torch.Tensor]:
    """Everything between positions and an antialiased image, and the gradients back."""
    generator = torch.Generator().manual_seed(0)
    pos = pos.to(dtype, copy=True).requires_grad_()
    attr = torch.rand((pos.shape[-2], 4), generator=generator, dtype=dtype).requires_grad_()
    context = glraster.RasterizeCudaContext("cpu")
    rast, rast_db = glraster.rasterize(context, pos, tri, size, **raster_arguments)
    out, out_da = glraster.interpolate(attr, rast, tri, rast_db, "all")
    image = glraster.antialias(glraster.edge_gradients(out, rast, pos, tri), rast, pos, tri)
    (image.square().sum() + 1e-3 * out_da.square().sum()).backward()
    names = {"rast": rast, "rast_db": rast_db, "out": out, "out_da": out_da, "image": image}
    return {n: t.detach() for n, t in names.items()} | {"grad_pos": pos.grad, "grad_attr": attr.grad}


def look_up(filter_mode: str, boundary_mode: str, C: int = 3) -> dict[str, torch.Tensor]:
    """A texture that several pixels share texels of, and its gradients."""
    generator = torch.Generator().manual_seed(1)
    D, shape = (3, (2, 6, 8, 8, C)) if boundary_mode == "cube" else (2, (2, 16, 8, C))
    tex = torch.rand(shape, generator=generator).requires_grad_()
    uv = torch.randn((2, 9, 11, D), generator=generator)
    uv[1] = 0.6 + 0.05 * torch.linspace(-1, 1, 11)[:, None] + torch.linspace(-0.3, 0.3, D)  # neighbours share texels
    uv.requires_grad_()
    uv_da = (0.1 * torch.randn((2, 9, 11, 2 * D), generator=generator)).requires_grad_()
    out = glraster.texture(tex, uv, uv_da, filter_mode=filter_mode, boundary_mode=boundary_mode)
    out.square().sum().backward()
    grads = {"grad_tex": tex.grad, "grad_uv": uv.grad, "grad_uv_da": uv_da.grad}
    return {"out": out.detach()} | {name: grad for name, grad in grads.items() if grad is not None}


def assert_agree(found: dict, expected: dict) -> None:
    """Results are equal to the last bit, gradients to rounding: their sums have another order."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if name.startswith("grad_"):
            eps = torch.finfo(tensor.dtype).eps
            assert (found[name] - tensor).abs().max() <= 32 * eps * tensor.abs().max(), name
        else:
            assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_render_equals_host(on_emulated_gpu, size, dtype):
    scene = soup(0, 2, 40)
    expected = render(*scene, size, dtype)
    gpu = on_emulated_gpu()
    assert_agree(render(*scene, size, dtype), expected)
    needed = {"rasterize_left", "rasterize_tiles", "barycentrics_bwd", "antialias_bwd", "edge_gradients_bwd"}
    assert needed <= set(gpu.launched)


def test_launches(on_emulated_gpu):
    """One launch after the other is most of what a small image costs."""
    gpu = on_emulated_gpu()
    pos, tri = sphere(1)
    rast, _ = glraster.rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, (24, 40))
    glraster.interpolate(torch.rand(pos.shape[1], 3), rast, tri)
    visible = ["rasterize_vertices", "rasterize_triangles", "rasterize_left", "rasterize_tiles"]
    assert gpu.launched == [*visible, "barycentrics_fwd", "interpolate_fwd"]


def test_quads_equal_host(on_emulated_gpu):
    """Blocks of which all pixels see one triangle add their sums together; an image ends in the middle of a block."""
    corners = torch.tensor([[-1.0, -1, 0.1, 1], [1, -1, 0.2, 1], [-1, 1, 0.3, 1], [1, 1, -0.2, 1]])
    pos, tri = torch.stack([corners, 2 * corners]), torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
    expected = render(pos, tri, (41, 90))
    on_emulated_gpu()
    assert_agree(render(pos, tri, (41, 90)), expected)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_depth_equals_host(on_emulated_gpu, size):
    def render() -> dict[str, torch.Tensor]:
        pos = soup(0, 2, 40)[0].requires_grad_()
        context = glraster.RasterizeCudaContext("cpu")
        rast, _ = glraster.rasterize(context, pos, soup(0, 2, 40)[1], size, grad_depth=True)
        rast[..., 2].square().sum().backward()
        return {"rast": rast.detach(), "grad_pos": pos.grad}

    expected = render()
    gpu = on_emulated_gpu()
    assert_agree(render(), expected)
    assert "depth_bwd" in gpu.launched


def test_ranges_equal_host(on_emulated_gpu):
    pos, tri = sphere(1)
    ranges = torch.tensor([[0, 20], [10, 70], [3, 0]], dtype=torch.int32)
    expected = render(pos[0], tri, (24, 40), ranges=ranges)
    on_emulated_gpu()
    assert_agree(render(pos[0], tri, (24, 40), ranges=ranges), expected)


def test_depth_peeling_equals_host(on_emulated_gpu):
    def layers():
        with glraster.DepthPeeler(glraster.RasterizeCudaContext("cpu"), *soup(2, 2, 30), (24, 40)) as peeler:
            return [peeler.rasterize_next_layer()[0] for _ in range(3)]

    expected = layers()
    on_emulated_gpu()
    assert all(torch.equal(a, b) for a, b in zip(layers(), expected, strict=True))


@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize(
    "filter_mode", ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic"]
)
@pytest.mark.parametrize("C", [3, 4])
def test_texture_equals_host(on_emulated_gpu, filter_mode, boundary_mode, C):
    expected = look_up(filter_mode, boundary_mode, C)
    on_emulated_gpu()
    assert_agree(look_up(filter_mode, boundary_mode, C), expected)


@pytest.mark.parametrize("boundary_mode", ["wrap", "zero"])
@pytest.mark.parametrize("filter_mode", ["nearest", "linear", "linear-mipmap-linear"])
@pytest.mark.parametrize("C", [1, 3, 4, 8])
def test_background_that_reads_one_texel_equals_host(on_emulated_gpu, filter_mode, boundary_mode, C):
    """Warps whose pixels all read the same texels add them up for as long as they do, and so do blocks."""
    generator = torch.Generator().manual_seed(2)
    tex, uv = torch.rand((2, 16, 8, C), generator=generator), torch.zeros((2, 67, 90, 2))
    uv[:, 20:40, 10:70] = torch.rand((2, 20, 60, 2), generator=generator)
    uv[1, 50:] = torch.tensor([0.3, 0.7])
    uv_da = torch.full((2, 67, 90, 4), 0.02)
    uv_da[1, 55:] = 0.3

    def results(dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [tensor.to(dtype, copy=True).requires_grad_() for tensor in (tex, uv)]
        out = glraster.texture(*leaves, uv_da.to(dtype), filter_mode=filter_mode, boundary_mode=boundary_mode)
        grads = torch.autograd.grad(out.square().sum(), leaves, allow_unused=True)
        return [tensor.detach().double() for tensor in (out, *grads) if tensor is not None]

    expected = results(torch.float64)  # of thousands of float32 numbers, sums differ in the fifth digit
    on_emulated_gpu()
    for found, reference in zip(results(torch.float32), expected, strict=True):
        assert (found - reference).abs().max() <= 2e-5 * reference.abs().max()


def test_volumes_and_anisotropy_equal_host(on_emulated_gpu):
    def look_up() -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(4)
        tex, volume = (torch.rand(shape, generator=generator) for shape in ((1, 16, 16, 3), (1, 4, 5, 6, 2)))
        uv, uv_da, uvw = (torch.randn((2, 9, 11, D), generator=generator) for D in (2, 4, 3))
        leaves = [tensor.requires_grad_() for tensor in (tex, uv, uv_da.mul_(0.1), volume, uvw)]
        out = glraster.texture(*leaves[:3], filter_mode="anisotropic"), glraster.texture3d(*leaves[3:])
        grads = torch.autograd.grad(out[0].square().sum() + out[1].square().sum(), leaves)
        return {"texture": out[0].detach(), "texture3d": out[1].detach()} | {
            f"grad_{index}": grad for index, grad in enumerate(grads)
        }

    expected = look_up()
    gpu = on_emulated_gpu()
    assert_agree(look_up(), expected)
    assert {"texture_mipmap_bwd", "texture3d_bwd"} <= set(gpu.launched)


@pytest.mark.parametrize("kind", ["colors", "texture", "silhouette"])
def test_soft_rasterization_equals_host(on_emulated_gpu, kind):
    pos, tri = sphere(1, 2)
    generator = torch.Generator().manual_seed(0)
    attr, texture = (torch.rand(shape, generator=generator) for shape in ((pos.shape[1], 2), (1, 4, 4, 3)))
    tensors = [pos, *([] if kind == "silhouette" else [attr]), *([texture] if kind == "texture" else [])]

    def render() -> dict[str, torch.Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        last = {"texture": leaves[2]} if kind == "texture" else {}
        attr = None if kind == "silhouette" else leaves[1]
        out, aux = soft_rasterize(leaves[0], tri, attr, (19, 23), sigma=1e-3, **last)
        grads = torch.autograd.grad(out.square().sum(), leaves)
        found = {"out": out.detach()} | {f"grad_{k}": grad for k, grad in enumerate(grads)}
        return found if aux is None else found | aux._asdict()

    expected = render()
    gpu = on_emulated_gpu()
    found = render()
    assert {"soft_boxes", "soft_entries", "soft_fwd", "soft_bwd", "soft_gather_pos"} <= set(gpu.launched)
    assert_agree(found, expected)


@pytest.mark.parametrize("count", [0, 1, 256, 257, 600])
def test_integers_arrive(on_emulated_gpu, count):
    numbers = torch.arange(count) * (1 << 40) - 7
    gpu, out = on_emulated_gpu(), torch.zeros(count, dtype=torch.int64)
    upload.upload(numbers, out)
    assert torch.equal(out, numbers) and len(gpu.launched) == -(-count // 256)


def test_order_changes_sums_but_not_results(on_emulated_gpu):
    scene, found = soup(3, 2, 40), []
    for seed in range(4):
        on_emulated_gpu(seed)
        found.append(render(*scene, (24, 40), torch.float64))
    for other in found[1:]:
        assert_agree(other, found[0])
    assert any(not torch.equal(other["grad_pos"], found[0]["grad_pos"]) for other in found[1:])


def test_deterministic_sums(on_emulated_gpu, deterministic):
    scene = soup(3, 2, 40)
    expected = render(*scene, (24, 40), torch.float64), look_up("linear-mipmap-linear", "wrap")
    found = []
    for seed in range(4):
        on_emulated_gpu(seed)
        found.append((render(*scene, (24, 40), torch.float64), look_up("linear-mipmap-linear", "wrap")))
    for images, texels in found[1:]:
        assert all(torch.equal(images[name], tensor) for name, tensor in found[0][0].items())
        assert all(torch.equal(texels[name], tensor) for name, tensor in found[0][1].items())
    for name in ("grad_pos", "grad_attr"):
        error = (found[0][0][name] - expected[0][name]).abs().max() / expected[0][name].abs().max()
        assert 0 < error < 1e-9, name  # fixed point, and accurate
    assert_agree(found[0][1], expected[1])


def test_deterministic_sums_of_many_samples(on_emulated_gpu, deterministic):
    """1024 samples a pixel, each with its four corners in the only texel there is: the sum must not run over."""
    tex = torch.zeros((1, 1, 1, 1), requires_grad=True)
    uv, uv_da = torch.full((1, 4, 4, 2), 0.5), torch.zeros((1, 4, 4, 4))
    uv_da[..., 0], uv_da[..., 3] = 4096.0, 1.0
    on_emulated_gpu()
    out = glraster.texture(tex, uv, uv_da, filter_mode="anisotropic", max_anisotropy=1024)
    out.sum().backward()
    assert abs(float(tex.grad) - 16) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_fixed_point_by_hand(on_emulated_gpu, deterministic, dtype):
    """Sums of given values per attribute: pixel i shows triangle i of one vertex three times and adds u = 1, v = 0."""
    tiny, huge = torch.finfo(dtype).tiny, torch.finfo(dtype).max / 8
    values = torch.tensor(
        [
            [1.0, 0.25, -3.0, 4.0],  # exact
            [0, 0, 0, 0],
            [tiny, tiny, -tiny, 5 * tiny],
            [huge, huge, -huge, huge],
            [1e20, 1.0, -1e20, 0],  # 1 is lost beside 1e20, as in any sum of this precision
            [1.0, torch.inf, 0, 0],
            [torch.nan, 1.0, 0, 0],
        ],
        dtype=dtype,
    )
    expected = torch.tensor([2.25, 0, 6 * tiny, 2 * huge, 0, torch.nan, torch.nan], dtype=dtype)
    rast = torch.zeros((1, 1, 4, 4), dtype=dtype)
    rast[..., 0], rast[..., 3] = 1, 1
    tri, attr = torch.zeros((1, 3), dtype=torch.int32), torch.zeros((1, 7), dtype=dtype)
    tri[0, 1] = tri[0, 2] = 1  # vertex 0 receives u = 1, vertex 1 the zeros of v and w
    attr, grad_out = torch.zeros((2, 7), dtype=dtype), values.T.contiguous()
    grad_attr = torch.zeros_like(attr, dtype=torch.float64)
    tensors = {"attr": attr, "rast": rast, "tri": tri, "grad_out": grad_out, "grad_attr": grad_attr}
    numbers = {"N": 1, "H": 1, "W": 4, "V": 2, "A": 7, "num_triangles": 1, "num_diff_attrs": 0, "attr_stride": 0}
    on_emulated_gpu()
    KERNELS.launch("interpolate_bwd", 4, **tensors, **numbers)
    torch.testing.assert_close(grad_attr[0], expected.double(), rtol=1e-9, atol=0, equal_nan=True)


@pytest.mark.parametrize("C", [1, 5])
@pytest.mark.parametrize("scene", ["closed", "behind the eye", "soup"])
def test_antialias_equals_host(on_emulated_gpu, scene, C):
    """The host leaves out inner edges early and goes by rows; a GPU looks at every pair, in any order."""
    pos, tri = soup(1, 2, 60) if scene == "soup" else sphere(2, 2)
    if scene == "behind the eye":
        pos[..., 3] += 3 * pos[..., 2]
    rast, _ = glraster.rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, (41, 50))
    generator = torch.Generator().manual_seed(0)
    color, grad = (torch.rand((2, 41, 50, C), generator=generator) for _ in range(2))
    moved = torch.rand(pos.shape, generator=generator)

    def results() -> dict[str, torch.Tensor]:
        leaves = color.clone().requires_grad_(), pos.clone().requires_grad_()
        out = glraster.antialias(leaves[0], rast, leaves[1], tri)
        grads = torch.autograd.grad(out, leaves, grad)
        along = [torch.func.jvp(lambda c, p: glraster.antialias(c, rast, p, tri), (color, pos), (grad, moved))[1]]
        along += [torch.func.jvp(lambda p: glraster.antialias(color, rast, p, tri), (pos,), (moved,))[1]]
        assert not torch.equal(out, color)
        return dict(
            zip(["out", "grad_color", "grad_pos", "jvp", "jvp_of_pos"], [out.detach(), *grads, *along], strict=True)
        )

    expected = results()
    gpu = on_emulated_gpu(3)
    found = results()
    assert torch.equal(found["grad_color"], expected["grad_color"])
    assert_agree(found, expected)
    assert {"antialias_find", "antialias_fwd", "antialias_bwd", "antialias_jvp"} <= set(gpu.launched)


def test_topology_equals_host(on_emulated_gpu):
    tri = torch.randint(-1, 40, (600, 3), generator=torch.Generator().manual_seed(0)).int()
    tri[::7, 0], tri[300:] = 2, tri[300:] * 1000
    expected = glraster.antialias_construct_topology_hash(tri).neighbours
    gpu = on_emulated_gpu()
    assert torch.equal(glraster.antialias_construct_topology_hash(tri).neighbours, expected)
    assert gpu.launched == ["topology_keys", "topology_match"] and (expected < -1).any() and (expected >= 0).any()


@pytest.mark.parametrize("keep_facing", [False, True])
def test_corners_equal_host(on_emulated_gpu, keep_facing):
    pos, tri = soup(3, 1, 100)
    pos[0, ::2, 0], tri[7, 1] = 0.5, -1
    expected = order_corners(pos[0], tri, keep_facing)
    gpu = on_emulated_gpu()
    assert torch.equal(order_corners(pos[0], tri, keep_facing), expected) and "corners_order" in gpu.launched


def test_unnamed_target_is_refused(emulation_folder):
    """A deterministic launch that adds to a tensor it does not name would lose the additions: it stops instead."""
    script = f"""
import emulation, torch
from pathlib import Path
from glraster.cuda_kernels import cuda, launcher
from glraster.interpolate import KERNELS
from glraster.soft import soft_rasterize
gpu = emulation.EmulatedGpu(Path({str(emulation_folder)!r}))
cuda.gpu, launcher.runs_on_gpu = lambda index: gpu, lambda device: True
rast, tri, rest = torch.ones((1, 1, 1, 4)), torch.zeros((1, 3), dtype=torch.int32), torch.ones((1, 1))
torch.use_deterministic_algorithms(True)
KERNELS.adds_to = ("grad_rast",)  # a mistake: it is grad_attr
KERNELS.launch("interpolate_bwd", 1, attr=rest, rast=rast, tri=tri, grad_out=rest, grad_attr=rest.double(),
    grad_rast=torch.zeros_like(rast), N=1, H=1, W=1, V=1, A=1, num_triangles=1, num_diff_attrs=0, attr_stride=0)
"""
    done = emulation.run_python(script)
    assert done.returncode < 0 and "__trap()" in done.stderr


def test_sizes_of_structs():
    assert ctypes.sizeof(OrderFreeSums) == 32 * 4 * 8 + 3 * 8


@pytest.mark.parametrize("filter_mode", ["nearest", "linear", "linear-mipmap-linear"])
@pytest.mark.parametrize("request_deterministic", [False, True], ids=["atomic", "deterministic"])
def test_small_textures_are_summed_in_double(on_emulated_gpu, filter_mode, request_deterministic):
    """Many pixels of unlike size on few texels: running sums of float32 would lose the small ones."""
    size, gradients = (1, 80, 70), torch.full((1, 80, 70, 4), 1e-8)
    gradients[:, 0, 0] = 1.0
    tex, bias = torch.zeros((1, 2, 2, 4), requires_grad=True), torch.full(size, 0.5)
    on_emulated_gpu()
    torch.use_deterministic_algorithms(request_deterministic)
    try:
        uv = torch.full((*size, 2), 0.25)
        glraster.texture(tex, uv, None, bias if "mipmap" in filter_mode else None, filter_mode=filter_mode).backward(
            gradients
        )
    finally:
        torch.use_deterministic_algorithms(False)
    found = tex.grad.double().sum((0, 1, 2)) - 1
    torch.testing.assert_close(found, torch.full((4,), 5599e-8, dtype=torch.float64), rtol=0, atol=2e-7)
