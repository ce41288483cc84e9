"""On a GPU: agreement with the CPU, streams, threads, graphs, determinism and memory. Skipped without one."""

import gc
import math
import threading

import pytest
import torch
from scenes import flat_soup, soup, sphere

import glraster
from glraster.cuda_kernels import cuda as cuda_kernels

SIZE = (120, 200)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def inputs(device: torch.device, seed: int = 0, images: int = 2) -> dict[str, torch.Tensor]:
    """A scene with triangles of all sizes, attributes, a texture, and what is to be painted."""
    generator = torch.Generator().manual_seed(seed)
    pos, tri = sphere(3, images)
    attr = torch.rand((pos.shape[1], 2), generator=generator) * 3
    tex = torch.rand((1, 64, 64, 3), generator=generator)
    target = torch.rand((images, *SIZE, 3), generator=generator)
    tensors = {"pos": pos, "tri": tri, "attr": attr, "tex": tex, "target": target}
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def render(context, pos, tri, attr, tex, target=None, topology=None) -> torch.Tensor:
    rast, rast_db = glraster.rasterize(context, pos, tri, SIZE)
    uv, uv_da = glraster.interpolate(attr, rast, tri, rast_db, "all")
    color = glraster.texture(tex, uv, uv_da, filter_mode="linear-mipmap-linear")
    return glraster.antialias(color, rast, pos, tri, topology_hash=topology)


def step(context, tensors: dict[str, torch.Tensor], topology=None) -> list[torch.Tensor]:
    """Image and gradients of one step of an optimization."""
    leaves = [tensors[name].detach().requires_grad_() for name in ("pos", "attr", "tex")]
    image = render(context, leaves[0], tensors["tri"], *leaves[1:], topology=topology)
    return [image.detach(), *torch.autograd.grad((image - tensors["target"]).square().sum(), leaves)]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], outputs: int = 1) -> None:
    """Outputs to 1e-5 of values of order one, gradients to 1e-4 of their largest element."""
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        limit = 1e-5 * max(1.0, float(b.abs().max())) if index < outputs else 1e-4 * float(b.abs().max())
        assert a.shape == b.shape and float((a.cpu() - b.cpu()).abs().max()) <= limit, index


def test_whole_step_agrees_with_cpu(cuda):
    expected = step(glraster.RasterizeCudaContext("cpu"), inputs(torch.device("cpu")))
    assert_close(step(glraster.RasterizeCudaContext(cuda), inputs(cuda)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (123, 301), (1024, 1024)], ids=str)
def test_rasterize_agrees_with_cpu(cuda, size, dtype):
    def run(device):
        pos, tri = soup(1, 3, 200)
        pos = pos.to(device, dtype).requires_grad_()
        rast, rast_db = glraster.rasterize(glraster.RasterizeCudaContext(device), pos, tri.to(device), size)
        weights = torch.linspace(-1, 1, rast.numel(), dtype=dtype, device=device).view_as(rast)
        (grad,) = torch.autograd.grad((rast * weights).sum() + 1e-3 * (rast_db * weights).sum(), pos)
        return [rast.detach(), rast_db.detach(), grad]

    found, expected = run(cuda), run(torch.device("cpu"))
    assert torch.equal(found[0][..., 3].cpu(), expected[0][..., 3])  # the same triangles, pixel by pixel
    assert_close(found, expected, outputs=2)


def test_ranges_and_culling_agree_with_cpu(cuda):
    pos, tri = sphere(3)
    ranges = torch.tensor([[0, 500], [100, 1000], [7, 0]], dtype=torch.int32)

    def run(device):
        context = glraster.RasterizeCudaContext(device)
        return glraster.rasterize(context, pos[0].to(device), tri.to(device), SIZE, ranges=ranges, cull="back")[0]

    assert torch.equal(run(cuda).cpu()[..., 3], run(torch.device("cpu"))[..., 3])


@pytest.mark.parametrize("boundary_mode", ["wrap", "clamp", "zero", "cube"])
@pytest.mark.parametrize("filter_mode", ["nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear"])
def test_texture_agrees_with_cpu(cuda, filter_mode, boundary_mode):
    def run(device):
        generator = torch.Generator().manual_seed(2)
        D, shape = (3, (2, 6, 16, 16, 3)) if boundary_mode == "cube" else (2, (2, 32, 16, 3))
        tensors = [torch.rand(shape, generator=generator), torch.randn((2, 60, 70, D), generator=generator)]
        tensors.append(0.1 * torch.randn((2, 60, 70, 2 * D), generator=generator))
        tensors = [tensor.to(device).requires_grad_() for tensor in tensors]
        out = glraster.texture(*tensors, filter_mode=filter_mode, boundary_mode=boundary_mode)
        grads = torch.autograd.grad(out.square().sum(), tensors, allow_unused=True)
        return [out.detach(), *(grad for grad in grads if grad is not None)]

    assert_close(run(cuda), run(torch.device("cpu")))


def test_depth_peeling_agrees_with_cpu(cuda):
    def run(device):
        pos, tri = (tensor.to(device) for tensor in soup(2, 2, 100))
        with glraster.DepthPeeler(glraster.RasterizeCudaContext(device), pos, tri, SIZE) as peeler:
            return [peeler.rasterize_next_layer()[0][..., 3].cpu() for _ in range(4)]

    assert all(torch.equal(a, b) for a, b in zip(run(cuda), run(torch.device("cpu")), strict=True))


def test_views_at_odd_addresses(cuda):
    """Kernels read four channels at once; a contiguous view may begin anywhere."""
    tensors = inputs(cuda)
    expected = step(glraster.RasterizeCudaContext(cuda), tensors)

    def moved(tensor):
        flat = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=cuda)
        return flat[1:].view_as(tensor).copy_(tensor)

    odd = {name: moved(tensor) for name, tensor in tensors.items()}
    assert odd["pos"].data_ptr() % 16 and odd["pos"].is_contiguous()
    assert_close(step(glraster.RasterizeCudaContext(cuda), odd), expected)


def test_cpu_waits_for_nothing(cuda):
    """PyTorch raises where one of its operations would wait for the GPU."""
    tensors, context = inputs(cuda), glraster.RasterizeCudaContext(cuda)
    topology = glraster.antialias_construct_topology_hash(tensors["tri"])
    step(context, tensors, topology)
    ranges = torch.tensor([[0, 5], [3, 9]], dtype=torch.int32)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(context, tensors, topology)
        glraster.rasterize(context, tensors["pos"][0], tensors["tri"], SIZE, ranges=ranges)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_two_streams(cuda):
    context = glraster.RasterizeCudaContext(cuda)
    scenes = [inputs(cuda, seed) for seed in range(2)]
    expected = [step(context, scene) for scene in scenes]
    streams = [torch.cuda.Stream(cuda) for _ in scenes]
    found = [[], []]
    torch.cuda.synchronize(cuda)
    for _ in range(20):
        for results, scene, stream in zip(found, scenes, streams, strict=True):
            with torch.cuda.stream(stream):
                results.append(step(context, scene))
    torch.cuda.synchronize(cuda)
    for results, reference in zip(found, expected, strict=True):
        for result in results:
            assert torch.equal(result[0], reference[0])
            assert_close(result, reference)


def test_two_threads(cuda):
    context = glraster.RasterizeCudaContext(cuda)
    scenes = [inputs(cuda, seed) for seed in range(2)]
    expected, failures = [step(context, scene) for scene in scenes], []

    def run(scene, reference):
        try:
            with torch.cuda.stream(torch.cuda.Stream(cuda)):
                torch.cuda.current_stream().wait_stream(torch.cuda.default_stream(cuda))
                for _ in range(20):
                    result = step(context, scene)
                    torch.cuda.current_stream().synchronize()
                    assert torch.equal(result[0], reference[0])
                    assert_close(result, reference)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=pair) for pair in zip(scenes, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


@pytest.mark.parametrize("loaded_before", [True, False])
def test_captured_graph(cuda, loaded_before):
    """Forward and backward in one graph, replayed on other inputs; the kernels may even be loaded during capture."""
    context, tensors = glraster.RasterizeCudaContext(cuda), inputs(cuda)
    topology = glraster.antialias_construct_topology_hash(tensors["tri"])
    side = torch.cuda.Stream(cuda)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(context, tensors, topology)
    torch.cuda.current_stream().wait_stream(side)
    if not loaded_before:
        cuda_kernels.gpu(cuda.index)._functions.clear()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(context, tensors, topology)
    for angle in (0.0, 0.3, 1.0):
        turned = inputs(cuda)["pos"] @ torch.diag(torch.tensor([math.cos(angle), 1.0, 1.0, 1.0], device=cuda))
        tensors["pos"].copy_(turned)
        tensors["tex"].mul_(0.9)
        graph.replay()
        torch.cuda.synchronize(cuda)
        assert_close(captured, step(context, tensors, topology))


def test_opengl_refuses_capture(cuda, cuda_glctx):
    tensors = inputs(cuda)
    with pytest.raises(RuntimeError, match="cannot be captured"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        glraster.rasterize(cuda_glctx, tensors["pos"], tensors["tri"], SIZE)


def test_deterministic(cuda, deterministic):
    context, tensors = glraster.RasterizeCudaContext(cuda), inputs(cuda)
    first = step(context, tensors)
    for _ in range(10):
        assert all(torch.equal(a, b) for a, b in zip(step(context, tensors), first, strict=True))
    assert_close(first, step(glraster.RasterizeCudaContext("cpu"), inputs(torch.device("cpu"))))


def memory_after(count: int, run, device) -> tuple[int, int]:
    """Bytes that PyTorch has given out, and that the driver has, after `count` calls."""
    for _ in range(count):
        run()
    gc.collect()
    torch.cuda.synchronize(device)
    return torch.cuda.memory_allocated(device), torch.cuda.mem_get_info(device)[0]


def test_memory_is_constant(cuda):
    pos, tri = (tensor.to(cuda) for tensor in soup(4, 1, 50))
    context = glraster.RasterizeCudaContext(cuda)

    def run():
        rast, _ = glraster.rasterize(context, pos.requires_grad_(), tri, (32, 32))
        torch.autograd.grad(glraster.interpolate(pos, rast, tri)[0].sum(), pos)

    allocated, free = memory_after(100, run, cuda)
    after, free_after = memory_after(10_000, run, cuda)
    assert after == allocated and free - free_after < 16 << 20  # others may use the GPU as well


def test_memory_of_opengl_is_constant(cuda, gl_available):
    pos, tri = (tensor.to(cuda) for tensor in soup(4, 1, 50))
    context = glraster.RasterizeGLContext(device=cuda)
    allocated, free = memory_after(100, lambda: glraster.rasterize(context, pos, tri, (32, 32)), cuda)
    after, free_after = memory_after(10_000, lambda: glraster.rasterize(context, pos, tri, (32, 32)), cuda)
    assert after == allocated and free - free_after < 16 << 20
    context.close()


def test_opengl_agrees_with_software(cuda, cuda_glctx):
    """The same triangles but for pixels on edges."""
    software = glraster.RasterizeCudaContext(cuda)
    for pos, tri in [sphere(4, 3), soup(5, 4, 300)]:
        scene = pos.to(cuda), tri.to(cuda)
        for size in [(64, 64), (333, 517), (1024, 1024), (64, 64)]:
            a, b = (glraster.rasterize(c, *scene, size)[0] for c in (cuda_glctx, software))
            same = a[..., 3] == b[..., 3]
            assert same.float().mean() > 0.999
            assert (a - b)[same].abs().max() == 0  # one kernel computes the rest for both


def test_opengl_peels_as_the_software_does(cuda, cuda_glctx):
    pos, tri = (tensor.to(cuda) for tensor in flat_soup(2, 2, 100))

    def layers(context):
        with glraster.DepthPeeler(context, pos, torch.cat([tri, tri[:, [0, 2, 1]]]), SIZE) as peeler:
            return torch.stack([peeler.rasterize_next_layer()[0][..., 3] for _ in range(4)])

    assert (layers(cuda_glctx) == layers(glraster.RasterizeCudaContext(cuda))).float().mean() > 0.999


def test_opengl_skips_broken_geometry(cuda, gl_available):
    pos, tri = soup(6, 2, 60)
    pos[0, 7, 0], pos[1, 11, 3] = torch.nan, torch.inf
    tri[5, 1], tri[9, 2] = -1, 10**6
    context = glraster.RasterizeGLContext(device=cuda)
    rast = glraster.rasterize(context, pos.to(cuda), tri.to(cuda), SIZE)[0].cpu()
    expected = glraster.rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, SIZE)[0]
    assert rast.isfinite().all() and (rast[..., 3] == expected[..., 3]).float().mean() > 0.999
    context.close()


def test_every_gpu(cuda):
    expected = step(glraster.RasterizeCudaContext("cpu"), inputs(torch.device("cpu")))
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        assert_close(step(glraster.RasterizeCudaContext(device), inputs(device)), expected)
