"""Equal results on every run and for any number of threads; nothing left unwritten; no more memory than promised."""

from pathlib import Path

import pytest
import torch
from scenes import soup, sphere, triangles

import glraster
from glraster import antialias, edge_gradients, interpolate, rasterize

SIZE = (90, 100)  # enough pixels for several threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def inputs(device, dtype=torch.float32):
    """Views of a sphere in front of and among other triangles, and random attributes and colours."""
    pos, tri = sphere(4, num_views=2)  # enough triangles for several threads
    clutter, more = soup(0, 2, 200)
    pos, tri = torch.cat([pos, clutter], 1), torch.cat([tri, more + pos.shape[1]])
    generator = torch.Generator().manual_seed(0)
    attr = torch.rand((pos.shape[1], 5), generator=generator)
    color = torch.rand((2, *SIZE, 3), generator=generator)
    return [t.to(device, dtype) for t in (pos, attr, color)] + [tri.to(device)]


def render(glctx, pos, attr, color, tri):
    """Outputs of all operations, and gradients of a smooth loss over them."""
    leaves = [t.clone().requires_grad_() for t in (pos, attr, color)]
    rast, rast_db = rasterize(glctx, leaves[0], tri, SIZE)
    out, out_da = interpolate(leaves[1], rast, tri, rast_db, "all")
    image = edge_gradients(leaves[2] + out[..., :3], rast, leaves[0], tri)
    smooth = antialias(image, rast, leaves[0], tri)
    outputs = [rast, rast_db, out, out_da, smooth]
    loss = sum((o * torch.linspace(0.5, 2, o.shape[2], device=o.device)[:, None]).square().mean() for o in outputs)
    return [o.detach() for o in outputs], list(torch.autograd.grad(loss, leaves))


def assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b) and a.isfinite().all()


def test_forward_is_the_same_on_every_run(glctx, device, two_threads):
    arguments = inputs(device)
    expected, _ = render(glctx, *arguments)
    for _ in range(3):
        assert_equal(render(glctx, *arguments)[0], expected)


def test_backward_is_the_same_on_every_run_on_request(glctx, device, two_threads, deterministic):
    arguments = inputs(device)
    expected = render(glctx, *arguments)
    for _ in range(3):
        outputs, gradients = render(glctx, *arguments)
        assert_equal(outputs, expected[0])
        assert_equal(gradients, expected[1])


def test_deterministic_sums_equal_the_others(glctx, device, two_threads):
    arguments = inputs(device, torch.float64)
    outputs, gradients = render(glctx, *arguments)
    torch.use_deterministic_algorithms(True)
    try:
        others, other_gradients = render(glctx, *arguments)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_equal(outputs, others)
    for a, b in zip(gradients, other_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


def test_number_of_threads_does_not_matter(glctx, device, two_threads):
    arguments = inputs(device, torch.float64)
    outputs, gradients = render(glctx, *arguments)
    for threads in (1, 3):
        torch.set_num_threads(threads)
        others, other_gradients = render(glctx, *arguments)
        assert torch.get_num_threads() == threads
        assert_equal(outputs, others)
        for a, b in zip(gradients, other_gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))


def test_topology_is_the_same_on_every_run(device, two_threads):
    tri = torch.randint(0, 300, (20_000, 3), generator=torch.Generator().manual_seed(0)).int().to(device)
    pos, _, color, _ = inputs(device)
    with glraster.RasterizeCudaContext(device) as glctx:
        rast, _ = rasterize(glctx, pos, tri % 600, SIZE)
    expected = antialias(color, rast, pos, tri)
    for _ in range(3):
        assert torch.equal(antialias(color, rast, pos, tri), expected)


def test_every_element_of_the_outputs_is_written(glctx, device, deterministic):
    # In this mode PyTorch fills new memory with NaN, or the largest integer.
    assert torch.utils.deterministic.fill_uninitialized_memory
    arguments = inputs(device)
    for outputs in render(glctx, *arguments):
        assert all(output.isfinite().all() for output in outputs)
    bad = arguments[-1].clone()
    bad[::3] = -1
    bad[1::3] = 10**6
    for outputs in render(glctx, *arguments[:-1], bad):
        assert all(output.isfinite().all() for output in outputs)


def _memory(field: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at most since the mark was reset."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _largest_growth(work) -> int:
    work()  # once before, so that libraries are loaded
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _memory("VmRSS")
    kept = work()
    growth = _memory("VmHWM") - before
    del kept
    return growth


@pytest.mark.own_process
def test_memory():
    H = W = 1600
    pixels, allowance = H * W, 8 << 20  # less than one more buffer of four bytes per pixel
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]]).requires_grad_()
    tri = triangles([0, 1, 2])
    with glraster.RasterizeCudaContext("cpu") as glctx:
        assert _largest_growth(lambda: rasterize(glctx, pos, tri, (H, W))) < (32 + 8) * pixels + allowance
        rast, rast_db = rasterize(glctx, pos, tri, (H, W))
    attr = torch.rand(3, 2, requires_grad=True)
    assert _largest_growth(lambda: interpolate(attr, rast, tri, rast_db, "all")) < 24 * pixels + allowance
    out, out_da = interpolate(attr, rast, tri, rast_db, "all")
    g, g_da, g_rast = torch.ones_like(out), torch.ones_like(out_da), torch.ones_like(rast)

    def grad(outputs, leaves, grads):
        return torch.autograd.grad(outputs, leaves, grads, retain_graph=True)

    assert _largest_growth(lambda: grad([out, out_da], [rast, rast_db], [g, g_da])) < 32 * pixels + allowance
    assert _largest_growth(lambda: grad([rast], [pos], [g_rast])) < allowance
    out, out_da = interpolate(attr, rast.detach(), tri, rast_db.detach(), "all")
    assert _largest_growth(lambda: grad([out, out_da], [attr], [g, g_da])) < allowance
    color = torch.rand(1, H, W, 3, requires_grad=True)
    smooth = antialias(color, rast.detach(), pos, tri)
    assert _largest_growth(lambda: antialias(color, rast.detach(), pos, tri)) < 12 * pixels + allowance
    assert _largest_growth(lambda: grad([smooth], [color, pos], [color.detach()])) < 12 * pixels + allowance
    image = edge_gradients(color, rast.detach(), pos, tri)
    assert _largest_growth(lambda: edge_gradients(color, rast.detach(), pos, tri)) < allowance
    assert _largest_growth(lambda: grad([image], [color, pos], [color.detach()])) < allowance
