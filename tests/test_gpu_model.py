"""benchmarks/gpu_model.py: its arithmetic by hand, on a listing that is given, and a run where there is nvcc."""

import importlib.util
import sys
from pathlib import Path

import pytest

from glraster.cuda_kernels.compile_check import KernelUse
from glraster.cuda_kernels.machine_code import CompiledKernel, outer_loop

PATH = Path(__file__).parents[1] / "benchmarks" / "gpu_model.py"
LISTING = """
/*0000*/ MOV R1, c[0x0][0x28] ;
.L_x_0:
/*0010*/ LDG.E R0, [R2] ;
/*0020*/ DADD R2, R2, R4 ;
.L_x_1:
/*0030*/ IADD3 R4, R4, R5, RZ ;
/*0040*/ RED.E.MIN.64 [R2], R6 ;
/*0050*/ RED.E.MIN.64 [R4], R6 ;
/*0060*/ @!P1 BRA `(.L_x_1) ;
/*0070*/ @P2 BRA `(.L_x_0) ;
/*0080*/ EXIT ;
"""


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_gpu_model", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_gpu_model", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_instructions_of_an_element(benchmark):
    kernel = CompiledKernel(KernelUse("some_f32", 40, 0, 0), LISTING)
    assert outer_loop(LISTING).place == 1 and kernel.count("RED") == 2
    assert benchmark.executed(kernel, 0) == (7, 1)
    assert benchmark.executed(kernel, 10) == (3 + 10 * 4 / 2, 1)  # two samples in one turn of four instructions


def test_occupancy(benchmark):
    card = benchmark.CARDS["RTX-4090"]
    assert benchmark.occupancy_of(card, 40, 0) == 1
    assert benchmark.occupancy_of(card, 128, 0) == 16 / 48  # 65,536 registers for blocks of 128 threads
    assert benchmark.occupancy_of(card, 40, 24 * 1024) == 4 * 4 / 48


def test_times_by_hand(benchmark):
    """A kernel of few instructions is as fast as its bytes; where these are few, as the slowest of what is left."""
    card, use = benchmark.CARDS["RTX-4090"], KernelUse("some_f32", 40, 0, 0)
    kernel = CompiledKernel(use, LISTING.replace("DADD", "IADD"))
    doubles = CompiledKernel(use, LISTING.replace("/*0020*/", 7 * "/*0011*/ DADD ;\n" + "/*0020*/"))  # eight of them
    few, many = (benchmark.Work("some", "some", 32_000_000, size) for size in (1_000_000, 1_000_000_000))
    clocks = 128 * 2520  # of all multiprocessors, in a microsecond
    row = benchmark.model(card, many, kernel)
    assert row.limit == "bytes" and row.time == row.floor == pytest.approx(1e9 / (1008e3 * 0.9))
    row = benchmark.model(card, few, kernel)
    assert row.limit == "waiting" and row.time == pytest.approx(1e6 / 48 * 1800 / clocks)
    row = benchmark.model(card, few, doubles)
    assert row.limit == "double precision" and row.time == pytest.approx(1e6 * 8 * 16 / clocks)
    assert "some" in benchmark.table("a card", [row]) and "double precision" in benchmark.table("a card", [row])


def test_without_nvcc(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(benchmark.shutil, "which", lambda name: None)
    assert benchmark.main([]) == 2 and "needs nvcc and nvdisasm" in capsys.readouterr().out


@pytest.mark.slow
def test_runs(benchmark, nvdisasm, capsys):
    assert benchmark.main(["--cards", "H200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [work.kernel for work in benchmark.WORK]
