"""benchmarks/cpu.py: its cases, tables, plot and page, of scenes that are nothing to a CPU."""

import csv
import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import glraster

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("benchmark_cpu", FOLDER / "cpu.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_cpu", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_tables_plot_and_page(benchmark, tmp_path, monkeypatch):
    base = benchmark.Scene(triangles=100, size=16, images=1, channels=2, threads=2)
    sweeps = {
        "triangles": [replace(base, triangles=n) for n in (400, 1600)],
        "size": [replace(base, size=n) for n in (8, 32)],
        "images": [replace(base, images=2)],
        "channels": [replace(base, channels=3)],
        "threads": [replace(base, threads=1)],
    }
    monkeypatch.setattr(benchmark, "BASE", base)
    monkeypatch.setattr(benchmark, "QUICK", sweeps)
    monkeypatch.setattr(benchmark, "copy_bandwidth", lambda repeats: 1e6)
    monkeypatch.setattr(benchmark, "contexts", lambda: {"software": glraster.RasterizeCudaContext("cpu")})
    monkeypatch.setattr(benchmark, "compare", lambda all_pairs, repeats: [("a lookup", "a peer", 2.0, 5.0)])
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- what benchmarks/cpu.py measured -->\nold\n<!-- end -->\nafter\n")
    threads = torch.get_num_threads()
    try:
        benchmark.main(["--quick", "--out", str(tmp_path / "out"), "--page", str(page)])
    finally:
        torch.set_num_threads(threads)
    with open(tmp_path / "out" / "operations.csv") as file:
        rows = list(csv.DictReader(file))
    operations = {row["operation"] for row in rows}
    assert {"rasterize, software", "texture backward", "antialias", "two layers, peeled"} <= operations
    assert len(rows) == len(operations) * 8
    assert all(abs(float(row["ratio"]) - float(row["ms"]) / float(row["floor_ms"])) < 1e-2 for row in rows)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("-->\nafter\n") and "old" not in text
    assert "| a lookup | a peer | 2.0 | 5.0 | 2.50 |" in text and "| render, forward and backward |" in text
    assert (tmp_path / "performance.png").stat().st_size > 10_000


def test_slope_is_of_the_largest_scenes(benchmark):
    def row(size, ms):
        return benchmark.Row("texture", 100, size, 1, 3, 2, ms, 1.0, 0.0)

    rows = [row(128, 5.0), row(512, 40.0), row(256, 10.0)]
    assert abs(benchmark.slope(rows, lambda row: row.scene.pixels) - 1) < 1e-12  # four times the pixels and the time


def test_peers_agree(benchmark):
    """Lookups compare their results with those of grid_sample before anything is timed."""
    peers = sys.modules["peers"]
    plane = torch.rand(1, 5, 7, 4), torch.rand(2, 6, 6, 2)
    volume = torch.rand(1, 3, 5, 7, 4), torch.rand(2, 6, 6, 3)
    for tex, points in (plane, volume):
        made = list(peers.lookups("a lookup", tex, points))
        assert [pair.work for pair in made] == ["a lookup, forward", "a lookup, forward and backward"]
        ours, theirs = (run() for run in (made[1].ours, made[1].theirs[0]))
        assert [grad.shape[0] for grad in ours] == [1, 2] and len(theirs) == 2


def test_silhouettes_by_hand(benchmark):
    """A front and a back that share a side, and one triangle alone."""
    peers = sys.modules["peers"]
    image = torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 1], [0, 1, 0, 1], [0.2, 0.2, 1, 1]])
    tri = torch.tensor([[0, 1, 2], [0, 1, 3], [3, 1, 0]], dtype=torch.int32)
    expected = torch.tensor([[False, True, True], [False, True, True], [False, False, False]])
    assert torch.equal(peers.silhouettes(image, tri), expected)
