"""On a GPU: streams, threads, graphs, determinism, memory and OpenGL. Skipped without one."""

import gc
import math
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
import torch
from cuda_scene import SIZE, assert_close, inputs, step
from scenes import flat_soup, soup, sphere

import glraster
from glraster.cuda_kernels import cuda as cuda_kernels


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


def test_captured_graph_keeps_what_came_from_the_cpu(cuda):
    """Ranges and attribute indices are in the graph, not in memory that others may have by the time of a replay."""
    context, tensors = glraster.RasterizeCudaContext(cuda), inputs(cuda)
    ranges = torch.tensor([[0, 500], [100, 900], [7, 0]], dtype=torch.int32)

    def run(ranges, diff_attrs):
        rast, rast_db = glraster.rasterize(context, tensors["pos"][0], tensors["tri"], SIZE, ranges=ranges)
        return rast, *glraster.interpolate(tensors["attr"], rast, tensors["tri"], rast_db, diff_attrs)

    expected = run(ranges, [1])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(ranges, [1])
    for _ in range(10):
        run(ranges.flip(0), [0])
        torch.full((1000,), -1).pin_memory().to(cuda, non_blocking=True)
    graph.replay()
    torch.cuda.synchronize(cuda)
    assert all(torch.equal(a, b) for a, b in zip(captured, expected, strict=True))


def test_captured_deterministic_step(cuda, deterministic):
    context, tensors = glraster.RasterizeCudaContext(cuda), inputs(cuda)
    topology = glraster.antialias_construct_topology_hash(tensors["tri"])
    expected = step(context, tensors, topology)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(context, tensors, topology)
    for _ in range(3):
        graph.replay()
        torch.cuda.synchronize(cuda)
        assert all(torch.equal(a, b) for a, b in zip(captured, expected, strict=True))


@pytest.mark.parametrize("kind", [glraster.RasterizeCudaContext, glraster.RasterizeGLContext])
def test_a_failed_call_leaves_the_context_usable(cuda, request, kind):
    if kind is glraster.RasterizeGLContext:
        request.getfixturevalue("gl_available")
    tensors = inputs(cuda)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context = kind(device=cuda)
    expected = glraster.rasterize(context, tensors["pos"], tensors["tri"], SIZE)[0]
    with pytest.raises(torch.OutOfMemoryError):
        glraster.rasterize(context, tensors["pos"], tensors["tri"], (1 << 20, 1 << 20))
    assert torch.equal(glraster.rasterize(context, tensors["pos"], tensors["tri"], SIZE)[0], expected)
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_sanitizer(cuda, compute_sanitizer, tool):
    """A small set of every operation; each tensor is an allocation of its own, so that no overrun stays inside one."""
    # cuda-bindings asks the driver for functions that it may lack, which is no error of a kernel.
    quiet = ["--report-api-errors", "no"] if tool == "memcheck" else []
    command = [compute_sanitizer, "--tool", tool, *quiet, "--error-exitcode", "1", sys.executable]
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    script = Path(__file__).with_name("sanitized.py")
    done = subprocess.run([*command, str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "all ran" in done.stdout, done.stdout[-4000:] + done.stderr[-4000:]


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


def assert_memory_is_constant(run, device) -> None:
    """10,000 calls leave no memory behind, PyTorch's or the driver's.

    Others that use the GPU as well may take more of it for a while; what a leak takes is missing each time.
    """

    def memory_after(count: int) -> tuple[int, int]:
        for _ in range(count):
            run()
        gc.collect()
        torch.cuda.synchronize(device)
        return torch.cuda.memory_allocated(device), torch.cuda.mem_get_info(device)[0]

    allocated, free = memory_after(100)
    for _ in range(5):
        after, free_after = memory_after(10_000)
        assert after == allocated
        if free - free_after < 16 << 20:
            return
        free = free_after
    raise AssertionError("each 10,000 calls took at least 16 MiB of the driver's memory")


def test_memory_is_constant(cuda):
    pos, tri = (tensor.to(cuda) for tensor in soup(4, 1, 50))
    context = glraster.RasterizeCudaContext(cuda)

    def run():
        rast, _ = glraster.rasterize(context, pos.requires_grad_(), tri, (32, 32))
        torch.autograd.grad(glraster.interpolate(pos, rast, tri)[0].sum(), pos)

    assert_memory_is_constant(run, cuda)


def test_memory_of_opengl_is_constant(cuda, gl_available):
    pos, tri = (tensor.to(cuda) for tensor in soup(4, 1, 50))
    context = glraster.RasterizeGLContext(device=cuda)
    assert_memory_is_constant(lambda: glraster.rasterize(context, pos, tri, (32, 32)), cuda)
    context.close()


def test_opengl_agrees_with_software(cuda, cuda_glctx):
    """The same triangles but for pixels on edges."""
    software = glraster.RasterizeCudaContext(cuda)
    ranges = torch.tensor([[0, 100], [50, 250], [7, 0]], dtype=torch.int32)
    for pos, tri, ranged in [(*sphere(4, 3), None), (*soup(5, 4, 300), None), (*soup(5, 1, 300), ranges)]:
        scene = (pos if ranged is None else pos[0]).to(cuda), tri.to(cuda)
        for size in [(64, 64), (333, 517), (1024, 1024), (64, 64)]:
            a, b = (glraster.rasterize(c, *scene, size, ranges=ranged)[0] for c in (cuda_glctx, software))
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
