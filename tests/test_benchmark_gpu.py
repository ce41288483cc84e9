"""benchmarks/gpu.py: what it does without a GPU, and its cases, tables and plot with a clock that is not real."""

import csv
import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio.v3 import imread

import glraster

PATH = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_gpu", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(PATH.parent)
    monkeypatch.setitem(sys.modules, "benchmark_gpu", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_without_gpu(no_gpu, tmp_path):
    done = subprocess.run([sys.executable, str(PATH), "--out", str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "no CUDA device\n") and not list(tmp_path.iterdir())


def test_sphere(benchmark):
    pos, tri = benchmark.sphere(1000, 2, torch.device("cpu"))
    assert abs(len(tri) - 1000) < 50 and pos.shape == (2, int(tri.max()) + 1, 4)
    rast, _ = glraster.rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, (64, 64))
    covered = (rast[..., 3] > 0).float().mean((1, 2))
    assert ((covered > 0.31) & (covered < 0.35)).all()  # a disk of radius 0.65 among -1 to 1: pi / 4 * 0.65^2


def test_cases_and_floors(benchmark):
    contexts = {"software": glraster.RasterizeCudaContext("cpu")}
    found = {case.operation: case for case in benchmark.cases(contexts, 2, 32, 1000, torch.device("cpu"))}
    assert list(found) == [
        "rasterize, software",
        "rasterize backward",
        "interpolate, derivatives",
        "interpolate",
        "interpolate backward",
        "texture",
        "texture backward",
        "texture, mipmapped",
        "texture, mipmapped, backward",
        "antialias, topology",
        "antialias",
        "antialias backward",
        "edge_gradients backward",
    ]
    for case in found.values():
        case.run()
    pos, tri = benchmark.sphere(1000, 2, torch.device("cpu"))
    pixels, vertices = 2 * 32 * 32, pos.shape[1]
    assert found["rasterize, software"].bytes == pos.nbytes + tri.nbytes + pixels * 32
    assert found["interpolate"].bytes == vertices * 12 + tri.nbytes + pixels * (16 + 12)
    assert found["texture"].bytes == pixels * (8 + 12) + 1024 * 1024 * 12
    assert found["antialias"].bytes == pixels * (12 + 16 + 12)


def test_scenes_that_fit(benchmark, monkeypatch):
    """Of the whole sweep an H200 draws everything but minibatches of 64 at 4096^2; what runs out of memory is left."""
    free = int(139e9)
    sweep = itertools.product(benchmark.TRIANGLES, benchmark.SIZES, benchmark.IMAGES)
    left_out = {(size, images) for t, size, images in sweep if benchmark.needed_bytes(images, size, t) > free}
    assert left_out == {(4096, 64)}

    def run_out():
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    monkeypatch.setattr(benchmark, "gpu_ms", lambda run, repeats: run())
    Case = sys.modules["operations"].Case
    made = [Case("one", lambda: 2.0, 8), Case("two", run_out, 8)]
    monkeypatch.setattr(benchmark, "cases", lambda *_: iter(made))
    rows, _ = benchmark.measure({}, [(1, 32, 1000), (1, 64, 1000)], 1, torch.device("cpu"), 4.0, False)
    assert [(row.operation, row.size, row.ms, row.floor_ms) for row in rows] == [("one", 32, 2, 2), ("one", 64, 2, 2)]


def test_tables_and_plot(benchmark, tmp_path):
    rows = [
        benchmark.Row(operation, 8, size, 20_000, 2.0 * size, float(size))
        for operation in ("texture", "texture backward")
        for size in (512, 1024)
    ]
    kernel_rows = [benchmark.KernelRow("rasterize", 1, 32, 1000, "rasterize_tiles_f32", 1.0, 7.5)]
    calls, promised = [("a call", 9.5)], [("a promise", 1.5, "ms", 2.0)]
    benchmark.save(rows, kernel_rows, calls, promised, "Card", 4e9, tmp_path / "Card")
    with open(tmp_path / "Card" / "operations.csv") as file:
        table = list(csv.reader(file))
    assert table[0][-2:] == ["floor_ms", "ratio"] and table[1] == [
        "texture",
        "8",
        "512",
        "20000",
        "1024.0",
        "512.0",
        "2.000",
    ]
    assert (tmp_path / "Card" / "calls.csv").read_text().splitlines() == ["operation,microseconds", "a call,9.5"]
    assert (tmp_path / "Card" / "headlines.csv").read_text().splitlines()[1] == "a promise,1.5,ms,2.0"
    assert np.ptp(imread(tmp_path / "Card" / "operations.png")[..., 0]) > 200
