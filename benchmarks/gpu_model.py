"""A model, not a measurement: how long kernels should take on GPUs, from their machine code. Needs nvcc, and no GPU.

    python benchmarks/gpu_model.py [--cards RTX-4090 H200 RTX-5090]

For every card it compiles the kernels, disassembles them (pip install nvidia-cuda-nvdisasm), and prints what a thread
does for one element (a pixel or a triangle): instructions, those at the rate of double precision among them, registers;
how many of the threads that a multiprocessor can hold find room; the bytes that must move; and two times: modelled, and
that of a copy of as many bytes. The scene is 8 images of 512^2 pixels with a sphere of 20,736 triangles over three
quarters of each, 3 channels, and a texture of 1024^2.

A kernel takes as long as the slowest of four things: issuing its instructions, its arithmetic in double precision,
moving its bytes, and waiting for memory with the threads that find room. Counted are the instructions of the longest
loop, each once, also those that are jumped over: divergence, conflicts of atomic additions and launches are not in it.
The times are good to +-50 %. Kernels whose work depends on what they meet (pairs of pixels, clipped triangles) are left
out.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from glraster.cuda_kernels.compile_check import Job
from glraster.cuda_kernels.machine_code import CompiledKernel, compile_job, double_rate, find_nvdisasm, outer_loop
from glraster.cuda_kernels.sources import FOLDER

IMAGES, SIZE, TRIANGLES, VERTICES = 8, 512, 20_736, 10_585
PIXELS = IMAGES * SIZE * SIZE
SAMPLES = 38  # of a triangle's box: it covers half of them
TEXTURE = 1024 * 1024 * 3 * 4  # bytes
LOOKUP = (("TEXTURE_BOUNDARY", "WRAP"), ("TEXTURE_CHANNELS", 3), ("TEXTURE_ANISOTROPIC", 0), ("TEXEL_INDEX", "int32_t"))
THREE = (("INTERPOLATE_ATTRIBUTES", 3), ("INTERPOLATE_DERIVATIVES", 0))

WARP, BLOCK = 32, 128  # threads
ISSUED = 0.7  # of the instructions that could be issued, those that are
MOVED = 0.9  # of the memory's bandwidth, what a copy reaches
WAIT = 3 * 600  # clock cycles: an id, the triangle's corners, what lies there


@dataclass(frozen=True)
class Card:
    """What its data sheet says.

    Attributes:
        architecture: of its machine code.
        processors: multiprocessors, with four schedulers each.
        clock: GHz, boosted.
        bandwidth: of its memory, GB/s.
        double_lanes: additions in double precision per clock and multiprocessor.
        warps: that a multiprocessor can hold.
    """

    architecture: str
    processors: int
    clock: float
    bandwidth: float
    double_lanes: int
    warps: int
    registers: int = 65_536
    shared: int = 100 * 1024


CARDS = {
    "RTX-3090": Card("sm_86", 82, 1.70, 936, 2, 48),
    "RTX-4090": Card("sm_89", 128, 2.52, 1008, 2, 48),
    "H200": Card("sm_90", 132, 1.98, 4800, 64, 64, shared=227 * 1024),
    "RTX-5090": Card("sm_120", 170, 2.41, 1792, 2, 48),
}


@dataclass(frozen=True)
class Work:
    """A launch: of which kernel, over how many elements, and the bytes that it must read and write.

    Attributes:
        samples: how often, on average, an element goes through the step of the loop that touches memory.
    """

    stem: str
    kernel: str
    elements: int
    bytes: int
    constants: tuple = ()
    samples: int = 0


def per_pixel(*, read: int, written: int) -> int:
    return PIXELS * (read + written)


_mesh = TRIANGLES * 12 + IMAGES * VERTICES * 16
_sums = IMAGES * VERTICES * 32
WORK = [
    Work("rasterize", "rasterize_vertices", IMAGES * VERTICES, IMAGES * VERTICES * 32),
    Work("rasterize", "rasterize_triangles", IMAGES * TRIANGLES, _mesh * 2 + PIXELS * 3 // 4 * 16, samples=SAMPLES),
    Work("barycentrics", "barycentrics_fwd", PIXELS, _mesh + per_pixel(read=8, written=32)),
    Work("barycentrics", "barycentrics_bwd", PIXELS, _mesh + _sums + per_pixel(read=8 + 32, written=0)),
    Work("interpolate", "interpolate_fwd", PIXELS, _mesh + per_pixel(read=16, written=12), THREE),
    Work("interpolate", "interpolate_bwd", PIXELS, _mesh + _sums + per_pixel(read=16 + 12, written=16), THREE),
    Work("texture", "texture_linear_fwd", PIXELS, TEXTURE + per_pixel(read=8, written=12), LOOKUP),
    Work("texture", "texture_linear_bwd", PIXELS, 2 * TEXTURE + per_pixel(read=8 + 12, written=8), LOOKUP),
    Work("texture", "texture_mipmap_fwd", PIXELS, TEXTURE * 4 // 3 + per_pixel(read=24, written=12), LOOKUP),
    Work("texture", "texture_mipmap_bwd", PIXELS, TEXTURE * 8 // 3 + per_pixel(read=24 + 12, written=24), LOOKUP),
    Work("antialias", "antialias_find", PIXELS, per_pixel(read=16, written=0)),
]


@dataclass(frozen=True)
class Row:
    """What the model says about a kernel on a card; times in microseconds."""

    kernel: str
    instructions: float
    double: float
    registers: int
    occupancy: float
    megabytes: float
    limit: str
    time: float
    floor: float


def occupancy_of(card: Card, registers: int, shared: int) -> float:
    """Of the threads that a multiprocessor can hold, those for which there are registers and shared memory."""
    warps = BLOCK // WARP
    blocks = card.registers // (-(-registers // 8) * 8 * WARP * warps)
    if shared:
        blocks = min(blocks, card.shared // (shared + 1024))  # of which the system takes 1 KiB a block
    return min(card.warps, blocks * warps) / card.warps


def executed(kernel: CompiledKernel, samples: int) -> tuple[float, float]:
    """The instructions for one element, and those at the rate of double precision among them."""
    loop = outer_loop(kernel.listing)
    total, double = float(len(loop.instructions)), float(double_rate(loop.instructions))
    inner = [i for i in kernel.loops if samples and i.count("RED|ATOM")]
    if inner:  # unrolled: several samples in one turn
        total -= sum(len(i.instructions) for i in inner)
        total += samples * min(len(i.instructions) / i.count("RED|ATOM") for i in inner)
    return total, double


def model(card: Card, work: Work, kernel: CompiledKernel) -> Row:
    instructions, double = executed(kernel, work.samples)
    occupancy = occupancy_of(card, kernel.use.registers, kernel.use.shared)
    warps, clocks = work.elements / WARP, card.processors * card.clock * 1e3  # clocks: of all, per microsecond
    floor = work.bytes / (card.bandwidth * 1e3 * MOVED)
    times = {
        "instructions": warps * instructions / (4 * ISSUED * clocks),
        "double precision": warps * double * WARP / card.double_lanes / clocks,
        "bytes": floor,
        "waiting": warps / (card.warps * occupancy) * WAIT / clocks,
    }
    limit = max(times, key=lambda name: times[name])
    registers, megabytes = kernel.use.registers, work.bytes * 1e-6
    return Row(work.kernel, instructions, double, registers, occupancy, megabytes, limit, times[limit], floor)


def rows_for(card: Card, nvdisasm: str) -> Iterable[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for stem in dict.fromkeys(work.stem for work in WORK):
            works = [work for work in WORK if work.stem == stem]
            names = tuple(work.kernel for work in works)
            job = Job(FOLDER / f"{stem}.cu", card.architecture, works[0].constants, kernels=names)
            compiled = compile_job(job, nvdisasm, Path(folder))
            yield from (model(card, work, compiled[work.kernel]) for work in works)


def table(name: str, rows: Iterable[Row]) -> str:
    head = f"{'modelled for ' + name:<28}{'instr.':>7}{'double':>7}{'reg.':>6}{'occ.':>6}{'MB':>8}{'us':>8}{'floor':>8}"
    lines = [f"{head}  limited by"]
    for r in rows:
        counts = f"{r.kernel:<28}{r.instructions:>7.0f}{r.double:>7.0f}{r.registers:>6}{r.occupancy:>6.0%}"
        lines.append(f"{counts}{r.megabytes:>8.1f}{r.time:>8.1f}{r.floor:>8.1f}  {r.limit}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", nargs="+", choices=CARDS, default=["RTX-4090", "H200", "RTX-5090"])
    cards = parser.parse_args(arguments).cards
    nvdisasm = find_nvdisasm()
    if shutil.which("nvcc") is None or nvdisasm is None:
        print("the model needs nvcc and nvdisasm (pip install nvidia-cuda-nvdisasm)")
        return 2
    for name in cards:
        print(table(name, rows_for(CARDS[name], nvdisasm)), end="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
