"""Times every operation on the CPU, forward and backward, and a whole render, against the time its bytes take to move.

    python benchmarks/cpu.py [--quick] [--repeats 7] [--out benchmarks/results/cpu] [--page docs/performance.md]

The floor of an operation is the bytes of its inputs and outputs, each moved once, over the measured bandwidth of a copy
on as many threads. Scenes are spheres; one quantity at a time goes from small to large: triangles, the images' sides,
images, channels, threads. Times are medians, memory is what an operation takes at its peak beside what it was given.
Other libraries, where they can be imported, take turns with ours. Tables (CSV) and plots (PNG) go to OUT; --page writes
them into docs/performance.md as well. --quick takes less than two minutes.
"""

import argparse
import csv
import math
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import torch
from core import contexts, median_times
from operations import Case, cases, flat_uv, nbytes, sphere
from peers import Pair, pairs, textured_render
from performance_page import write_page

import glraster

CPU = torch.device("cpu")
BYTES_PER_PIXEL, BYTES_PER_TRIANGLE = 320, 512  # that a scene takes at its peak, of an image and once
SECONDS_PER_CASE = 0.5  # after which a case is not repeated again


@dataclass(frozen=True)
class Scene:
    """What is drawn, and with how many threads."""

    triangles: int = 20_000
    size: int = 512
    images: int = 8
    channels: int = 3
    threads: int = 2

    @property
    def pixels(self) -> int:
        return self.images * self.size * self.size


BASE = Scene()
SWEEPS = {
    "triangles": [replace(BASE, triangles=n) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "size": [replace(BASE, images=1, size=n) for n in (128, 256, 512, 1024, 2048, 4096)],
    "images": [replace(BASE, images=n) for n in (1, 2, 4, 16, 32)],
    "channels": [replace(BASE, channels=n) for n in (1, 2, 4, 8, 16, 32)],
    "threads": [replace(BASE, threads=1)],
}
QUICK = {
    "triangles": [replace(BASE, images=1, triangles=n) for n in (1_000, 100_000)],
    "size": [replace(BASE, images=1, size=n) for n in (256, 1024)],
    "images": [replace(BASE, images=2)],
    "channels": [replace(BASE, images=1, channels=8)],
    "threads": [replace(BASE, threads=1)],
}


@dataclass(frozen=True)
class Row:
    """One measurement."""

    operation: str
    triangles: int
    size: int
    images: int
    channels: int
    threads: int
    ms: float
    floor_ms: float
    peak_mib: float  # NaN where the system does not say

    @property
    def ratio(self) -> float:
        return self.ms / self.floor_ms

    @property
    def scene(self) -> Scene:
        return Scene(self.triangles, self.size, self.images, self.channels, self.threads)


def median_ms(run: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of a call; of few where it takes long."""
    times: list[float] = []
    run()
    while len(times) < 3 or (len(times) < repeats and sum(times) < SECONDS_PER_CASE * 1e3):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def peak_mib(run: Callable[[], object]) -> float:
    """Memory that a call takes at its peak beside what the process holds already."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = status_kib("VmRSS")
        run()
        return max(0, status_kib("VmHWM") - before) / 1024
    except OSError:
        return math.nan


def status_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def copy_bandwidth(repeats: int) -> float:
    """Bytes per millisecond, read and written, of a copy far larger than the caches."""
    source = torch.rand(1 << 25)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_ms(lambda: target.copy_(source), repeats)


def every_case(drawn_by: dict, scene: Scene) -> Iterator[Case]:
    """The operations, a second layer, and a whole render with its gradients."""
    yield from cases(drawn_by, scene.images, scene.size, scene.triangles, CPU, scene.channels)
    pos, tri = sphere(scene.triangles, scene.images, CPU)
    context, resolution = drawn_by["software"], (scene.size, scene.size)

    def second_layer():
        with glraster.DepthPeeler(context, pos, tri, resolution) as peeler:
            return [peeler.rasterize_next_layer() for _ in range(2)]

    image = 4 * scene.pixels  # bytes of one number a pixel
    yield Case("two layers, peeled", second_layer, 2 * nbytes(pos, tri) + 16 * image)
    tex = torch.rand(1, 1024, 1024, scene.channels)
    render = textured_render(context, pos, tri, flat_uv(pos), tex, scene.size)
    # Forward: positions, rast, uv, colors read and written; backward: the gradients of the same.
    moved = 4 * nbytes(pos, tex) + 2 * image * (2 * 4 + 2 * 2 + 3 * scene.channels)
    yield Case("render, forward and backward", render, moved)


def measure(sweeps: dict[str, list[Scene]], drawn_by: dict, repeats: int) -> list[Row]:
    """All cases of the base scene and of every sweep that fits into memory."""
    rows, bandwidths = [], {}
    for scene in dict.fromkeys([BASE, *(scene for sweep in sweeps.values() for scene in sweep)]):  # each once
        needed = scene.pixels * (BYTES_PER_PIXEL + 16 * scene.channels) + scene.triangles * BYTES_PER_TRIANGLE
        if needed > available_bytes():
            print(f"{scene}: left out, too large for this machine")
            continue
        torch.set_num_threads(scene.threads)
        if scene.threads not in bandwidths:
            bandwidths[scene.threads] = copy_bandwidth(repeats)
            print(f"a copy on {scene.threads} threads moves {bandwidths[scene.threads] * 1e-6:.1f} GB/s")
        for case in every_case(drawn_by, scene):
            floor = case.bytes / bandwidths[scene.threads]
            peak = peak_mib(case.run)
            rows.append(Row(case.operation, *astuple(scene), median_ms(case.run, repeats), floor, peak))
            print(format_row(rows[-1]), flush=True)
    return rows


def available_bytes() -> float:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    except OSError:
        return math.inf


def format_row(row: Row) -> str:
    scene = f"{row.images:2} x {row.size:4}^2 {row.triangles:9,} triangles, {row.channels:2} channels"
    scene += f", {row.threads} threads"
    return f"{row.operation:30} {scene} {row.ms:9.2f} ms, {row.ratio:6.2f} x floor, {row.peak_mib:8.1f} MiB"


def slope(rows: list[Row], quantity: Callable[[Row], int]) -> float:
    """The exponent with which time grows from the second largest quantity to the largest: 1 is linear growth."""
    a, b = sorted(rows, key=quantity)[-2:]
    return math.log(b.ms / a.ms) / math.log(quantity(b) / quantity(a))


def slopes(rows: list[Row], sweeps: dict[str, list[Scene]]) -> list[tuple[str, float, float]]:
    """Of every operation: the exponents over pixels, from the sweep of sizes, and over triangles."""
    found = []
    for operation in dict.fromkeys(row.operation for row in rows):
        of = {name: [r for r in rows if r.operation == operation and r.scene in sweeps[name]] for name in sweeps}
        if min(len(of["size"]), len(of["triangles"])) >= 2:
            over_pixels = slope(of["size"], lambda row: row.scene.pixels)
            found.append((operation, over_pixels, slope(of["triangles"], lambda row: row.triangles)))
    return found


def compare(all_pairs: Iterator[Pair], repeats: int) -> list[tuple[str, str, float, float]]:
    """Work, peer, our milliseconds and the peer's."""
    found = []
    for pair in all_pairs:
        timed = {"ours": pair.ours} | {str(i): run for i, run in enumerate(pair.theirs)}
        times = median_times(timed, repeats)
        found.append((pair.work, pair.peer, times.pop("ours"), min(times.values())))
        work, peer, ours, theirs = found[-1]
        print(f"{work:44} {ours:9.2f} ms, {peer} {theirs:9.2f} ms: {theirs / ours:.2f} times as long", flush=True)
    return found


def machine() -> str:
    """Processor, cores, PyTorch, commit."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    except (OSError, StopIteration):
        name = platform.machine()
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip() or glraster.__version__
    level = torch.backends.cpu.get_cpu_capability()
    return f"{torch.get_num_threads()} cores of {name} ({level}), PyTorch {torch.__version__}, commit {commit}"


def save(rows: list[Row], grown: list, compared: list, out: Path) -> None:
    """Writes the tables."""
    out.mkdir(parents=True, exist_ok=True)
    head = [*(field.name for field in fields(Row)), "ratio"]
    tables = {
        "operations": (head, [[*astuple(row), f"{row.ratio:.3f}"] for row in rows]),
        "slopes": (["operation", "over_pixels", "over_triangles"], grown),
        "peers": (["work", "peer", "ms", "peer_ms"], compared),
    }
    for name, (columns, lines) in tables.items():
        with open(out / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([columns, *lines])


def plot(rows: list[Row], sweeps: dict[str, list[Scene]], path: Path) -> None:
    """Time over pixels and over triangles, in logarithms: linear growth is the slope of the gray lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(13, 6), sharey=True)
    quantities = {
        "size": ("pixels", lambda row: row.scene.pixels),
        "triangles": ("triangles", lambda row: row.triangles),
    }
    for axes, (name, (label, quantity)) in zip(panels, quantities.items(), strict=True):
        chosen = [row for row in rows if row.scene in sweeps[name]]
        for index, operation in enumerate(dict.fromkeys(row.operation for row in chosen)):
            line = sorted((quantity(row), row.ms) for row in chosen if row.operation == operation)
            style = {
                "linestyle": "--" if "backward" in operation else "-",
                "marker": "o",
                "color": plt.get_cmap("tab20").colors[index % 20],
            }
            axes.loglog(*zip(*line, strict=True), label=operation, **style)
        ends = [f(quantity(row) for row in chosen) for f in (min, max)]
        for start in (0.01, 0.1, 1):
            axes.loglog(ends, [start, start * ends[1] / ends[0]], ":", color="gray", linewidth=0.8)
        axes.set(xlabel=label, ylabel="ms")
    panels[1].legend(fontsize=8, bbox_to_anchor=(1.02, 1))
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few scenes and few repeats")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cpu")
    parser.add_argument("--page", type=Path, help="a page into which the tables and the plot are written")
    args = parser.parse_args(arguments)
    sweeps, repeats = (QUICK, min(args.repeats, 3)) if args.quick else (SWEEPS, args.repeats)
    where, drawn_by = machine(), contexts()
    print(where)
    rows = measure(sweeps, drawn_by, repeats)
    grown = slopes(rows, sweeps)
    torch.set_num_threads(BASE.threads)
    compared = compare(pairs(drawn_by, 2 if args.quick else BASE.images, BASE.size), repeats)
    save(rows, grown, compared, args.out)
    plot(rows, sweeps, args.out / "operations.png")
    if args.page:
        command = "python benchmarks/cpu.py" + " --quick" * args.quick
        write_page(args.page, command, where, rows, BASE, grown, compared)
        plot(rows, sweeps, args.page.with_suffix(".png"))


if __name__ == "__main__":
    main()
