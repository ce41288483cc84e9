"""What soft rasterization's kernels promise: vector instructions, the same bits on every run, little memory."""

import re
import subprocess

import pytest
import torch
from scenes import sphere

from glraster.cuda_kernels.host import host_library
from glraster.cuda_kernels.sources import FOLDER
from glraster.soft import soft_rasterize

HEADER = FOLDER / "common" / "soft_blend.cuh"
COMMON = "const SoftSettings<float>& s, const SoftTriangle<float>& t, const SoftColors<float>& c, int32_t n"
INSTANCES = """
void forward_{0}({1}, const SoftPixels<float>& at) {{ blend_group<EUCLIDEAN, {0}>(s, t, c, n, n, n, n, at); }}
void backward_{0}({1}, const SoftPixelsGrad<float>& at, float* sum) {{
  blend_group_bwd<EUCLIDEAN, {0}>(s, t, c, n, n, n, n, at, sum);
}}
"""


def test_loops_over_pixels_are_vectorized(tmp_path):
    """By the compiler's report: scalar code takes several times as long."""
    program = tmp_path / "instances.cpp"
    program.write_text(f'#include "{HEADER}"' + "".join(INSTANCES.format(b, COMMON) for b in ("SOFTMAX", "NO_COLOR")))
    _, *command = host_library().glr_built_from().decode().split()
    command += ["-O3", "-fopt-info-vec-optimized", "-c", str(program), "-o", str(tmp_path / "instances.o")]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    lines = HEADER.read_text().splitlines()
    loops = [number for number, line in enumerate(lines, 2) if line.strip() == "GLR_SIMD"]
    assert len(loops) == 6
    for first in loops:  # the report names the loop, or one of the first statements in it
        places = "|".join(f"soft_blend.cuh:{line}:" for line in range(first, first + 6))
        vectorized = re.findall(rf"(?:{places})\d+: optimized: loop vectorized", report)
        assert vectorized, f"soft_blend.cuh:{first}: {lines[first - 1]}"


@pytest.fixture
def threads():
    """Sets how many there are."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def render(device, textured=False):
    """An image of a sphere, and gradients."""
    pos, tri = sphere(3, 2)
    generator = torch.Generator().manual_seed(0)
    leaves = [pos, torch.rand(pos.shape[1], 2, generator=generator), torch.rand(1, 8, 8, 3, generator=generator)]
    leaves = [leaf.to(device).requires_grad_() for leaf in leaves[: 2 + textured]]
    texture = leaves[2] if textured else None
    out, aux = soft_rasterize(*leaves[:1], tri.to(device), leaves[1], (90, 100), texture=texture, sigma=1e-3)
    return out.detach(), *aux, *torch.autograd.grad(out.square().sum(), leaves)


def test_the_same_bits_whatever_the_threads(device, threads):
    threads(1)
    expected = render(device)
    for count in (2, 2, 3):
        threads(count)
        assert all(map(torch.equal, render(device), expected))


def test_textures_have_the_same_bits_on_request(device, threads, deterministic):
    threads(2)
    expected = render(device, textured=True)
    for _ in range(2):
        assert all(map(torch.equal, render(device, textured=True), expected))


def test_one_gradient_for_all_threads_equals_copies(device, threads, monkeypatch):
    threads(2)
    expected = render(device, textured=True)
    monkeypatch.setattr("glraster.soft_operator._MOST_COPIES", 0)
    for mine, theirs in zip(render(device, textured=True), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_every_element_of_the_outputs_is_written(device, deterministic):
    # In this mode PyTorch fills new memory with NaN, or the largest integer.
    assert torch.utils.deterministic.fill_uninitialized_memory
    out, depth, triangle, *grads = render(device)
    assert all(tensor.isfinite().all() for tensor in (out, depth, *grads)) and triangle.max() < 1280
