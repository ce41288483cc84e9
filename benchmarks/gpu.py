"""Times every operation on a GPU, forward and backward, against the time that its bytes take to move.

    python benchmarks/gpu.py [--quick | --scenes 8,1024,20000 ...] [--kernels] [--repeats 20] [--out benchmarks/results]

The floor of an operation is the bytes of its inputs and outputs, each moved once, over the card's measured copy
bandwidth. Times are medians of what CUDA events measure on the GPU, while the CPU is kept ahead. Scenes are spheres of
1,000 to 10,000,000 triangles in images of 256^2 to 4096^2 pixels, minibatches of 1 to 64. Scenes that need more memory
than is free are left out before they begin (on a card of 141 GB: 64 x 4096^2), and so is what runs out of it all the
same. With --kernels also the time of every kernel that an operation starts, PyTorch's among them, as NVIDIA's profiling
interface sees it. Tables (CSV) and a plot (PNG) go to OUT/<card>/. Without a GPU it says so and ends.
"""

import argparse
import csv
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import torch
from operations import cases, flat_uv, sphere

import glraster

TRIANGLES = (1_000, 20_000, 100_000, 1_000_000, 10_000_000)
SIZES = (256, 512, 1024, 2048, 4096)
IMAGES = (1, 8, 64)
QUICK = [(8, 512, 20_000), (8, 1024, 20_000)]
# Memory that a scene takes at its peak, with all that is kept for the backward passes.
BYTES_PER_PIXEL, BYTES_PER_TRIANGLE = 256, 64  # in every image
BYTES_OF_TRIANGLE = 256  # once, the edge table included
AHEAD = 4_000_000  # clock cycles by which the CPU is kept ahead, about two milliseconds


Scene = tuple[int, int, int]  # images, size, triangles


@dataclass(frozen=True)
class KernelRow:
    """What one kernel takes of an operation: how often it is started, and for how long it runs in all."""

    operation: str
    images: int
    size: int
    triangles: int
    kernel: str
    starts: float
    microseconds: float


@dataclass(frozen=True)
class Row:
    """One measurement."""

    operation: str
    images: int
    size: int
    triangles: int
    ms: float
    floor_ms: float

    @property
    def ratio(self) -> float:
        return self.ms / self.floor_ms


def gpu_ms(run: Callable[[], object], repeats: int) -> float:
    """Median milliseconds of a call on the GPU. A pause before each one keeps the CPU ahead, so that gaps between
    launches do not count."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(AHEAD)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def copy_bandwidth(device: torch.device, repeats: int) -> float:
    """Bytes per millisecond, read and written, of a copy far larger than the caches."""
    count = min(1 << 30, torch.cuda.mem_get_info(device)[0] // 4) // 4
    source = torch.rand(count, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / gpu_ms(lambda: target.copy_(source), repeats)


def kernels_of(run: Callable[[], object], repeats: int) -> list[tuple[str, float, float]]:
    """Every kernel of a call: its name, how often the call starts it, and microseconds in all."""
    run()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(repeats):
            run()
        torch.cuda.synchronize()
    found = [(e.key, e.count / repeats, e.self_device_time_total / repeats) for e in profiler.key_averages()]
    return sorted((each for each in found if each[2] > 0), key=lambda each: -each[2])


def measure(
    contexts: dict, scenes: list[Scene], repeats: int, device: torch.device, bandwidth: float, with_kernels: bool
) -> tuple[list[Row], list[KernelRow]]:
    """All cases of all scenes that fit."""
    rows, kernel_rows = [], []
    for images, size, triangles in scenes:
        if needed_bytes(images, size, triangles) > torch.cuda.mem_get_info(device)[0]:
            print(f"{images} x {size}^2, {triangles:,} triangles: left out, too large for this card")
            continue
        try:
            for case in cases(contexts, images, size, triangles, device):
                scene = case.operation, images, size, triangles
                rows.append(Row(*scene, gpu_ms(case.run, repeats), case.bytes / bandwidth))
                print(format_row(rows[-1]), flush=True)
                if with_kernels:
                    kernel_rows += [KernelRow(*scene, *found) for found in kernels_of(case.run, repeats)]
        except torch.OutOfMemoryError:
            print(f"{images} x {size}^2, {triangles:,} triangles: the rest is left out, out of memory")
        case = None  # it holds the tensors of its scene
        release(contexts)
    return rows, kernel_rows


def needed_bytes(images: int, size: int, triangles: int) -> int:
    return images * (size * size * BYTES_PER_PIXEL + triangles * BYTES_PER_TRIANGLE) + triangles * BYTES_OF_TRIANGLE


def release(contexts: dict) -> None:
    """Gives memory back for the next scene: also the framebuffer and the buffers of OpenGL."""
    if "OpenGL" in contexts:
        contexts["OpenGL"].shrink()
    torch.cuda.empty_cache()


def format_row(row: Row) -> str:
    scene = f"{row.images:3} x {row.size:4}^2 {row.triangles:9,}"
    return f"{row.operation:28} {scene} {row.ms:9.3f} ms, floor {row.floor_ms:8.3f} ms, ratio {row.ratio:6.2f}"


def render_step(context: glraster.RasterizeCudaContext, size: int, device: torch.device) -> Callable[[], object]:
    """Forward and backward of a textured, antialiased render of a sphere of 20,000 triangles."""
    pos, tri = sphere(20_000, 1, device)
    topology = glraster.antialias_construct_topology_hash(tri)
    leaves = [pos, torch.rand((1, 1024, 1024, 3), device=device)]
    attr, target = flat_uv(pos), torch.rand((1, size, size, 3), device=device)
    leaves = [leaf.requires_grad_() for leaf in leaves]

    def step():
        rast, _ = glraster.rasterize(context, leaves[0], tri, (size, size))
        color = glraster.texture(leaves[1], glraster.interpolate(attr, rast, tri)[0], filter_mode="linear")
        image = glraster.antialias(color, rast, leaves[0], tri, topology)
        return torch.autograd.grad((image - target).square().sum(), leaves)

    return step


def per_second(run: Callable[[], object], count: int, device: torch.device) -> float:
    """Calls per second, CPU and GPU together."""
    for _ in range(3):
        run()
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        run()
    torch.cuda.synchronize(device)
    return count / (time.perf_counter() - start)


def captured(step: Callable[[], object], device: torch.device) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def call_microseconds(run: Callable[[], object], device: torch.device, count: int = 100, rounds: int = 20) -> float:
    """Median time of the CPU for a call, the GPU's work not waited for."""
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        for _ in range(count):
            run()
        times.append((time.perf_counter() - start) / count * 1e6)
    return statistics.median(times)


def headlines(contexts: dict, device: torch.device, repeats: int) -> list[tuple[str, float, str, float | None]]:
    """What the project promises for a large card, if it does: (what, measured, unit, promised)."""
    context = contexts["software"]

    def draw(triangles, images, size):
        scene = sphere(triangles, images, device)
        return lambda: glraster.rasterize(context, *scene, (size, size))

    small = sphere(1_000, 1, device)
    attr = torch.rand((small[0].shape[1], 3), device=device)
    step = render_step(context, 1024, device)
    overhead = call_microseconds(
        lambda: glraster.interpolate(attr, glraster.rasterize(context, *small, (64, 64))[0], small[1]), device
    )
    found = [
        ("rasterize, 1,000,000 triangles, 2048^2", gpu_ms(draw(1_000_000, 1, 2048), repeats), "ms", 2.0),
        ("rasterize, 20,000 triangles, 8 x 512^2", gpu_ms(draw(20_000, 8, 512), repeats), "ms", 0.3),
        ("CPU time of rasterize + interpolate, 64^2", overhead, "us", 60.0),
        ("forward + backward, 1024^2", per_second(step, 500, device), "per second", 1500.0),
        ("the same in a graph", per_second(captured(step, device).replay, 500, device), "per second", 4000.0),
    ]
    if "OpenGL" in contexts:
        step = render_step(contexts["OpenGL"], 1024, device)
        found.append(("the same, OpenGL", per_second(step, 500, device), "per second", None))
    return found


def call_times(contexts: dict, device: torch.device) -> list[tuple[str, float]]:
    """Microseconds of the CPU for one call of every operation, on a scene that is nothing to the GPU."""
    return [(case.operation, call_microseconds(case.run, device)) for case in cases(contexts, 1, 64, 1000, device)]


def write_table(path: Path, head: list[str], rows: Iterable[Iterable]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def save(
    rows: list[Row],
    kernel_rows: list[KernelRow],
    calls: list[tuple],
    promised: list[tuple],
    card: str,
    bandwidth: float,
    out: Path,
) -> None:
    """Writes the tables and the plot."""
    out.mkdir(parents=True, exist_ok=True)
    head = [*(field.name for field in fields(Row)), "ratio"]
    write_table(out / "operations.csv", head, ([*astuple(row), f"{row.ratio:.3f}"] for row in rows))
    if kernel_rows:
        write_table(out / "kernels.csv", [field.name for field in fields(KernelRow)], map(astuple, kernel_rows))
    write_table(out / "calls.csv", ["operation", "microseconds"], calls)
    write_table(out / "headlines.csv", ["what", "measured", "unit", "promised"], promised)
    plot(rows, f"{card}, {bandwidth * 1e-9:.2f} TB/s copied", out / "operations.png")


def plot(rows: list[Row], title: str, path: Path) -> None:
    """Time against floor: points on the diagonal move their bytes as fast as a copy."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 7))
    axes.set_prop_cycle(color=plt.get_cmap("tab20").colors)
    for operation in dict.fromkeys(row.operation for row in rows):
        chosen = [row for row in rows if row.operation == operation]
        style = {"marker": "x" if "backward" in operation else "o", "linestyle": "", "alpha": 0.7, "label": operation}
        axes.loglog([row.floor_ms for row in chosen], [row.ms for row in chosen], **style)
    limits = min(row.floor_ms for row in rows), max(row.floor_ms for row in rows)
    for factor, line in ((1, "-"), (2, "--"), (4, ":")):
        axes.loglog(limits, [factor * limit for limit in limits], line, color="gray", label=f"{factor} x floor")
    axes.set(xlabel="floor [ms]", ylabel="time [ms]", title=title)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def gpu_contexts(device: torch.device) -> dict:
    contexts = {"software": glraster.RasterizeCudaContext(device)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        opengl = glraster.RasterizeGLContext(device=device)
    if opengl.egl_device == "none":
        print(*(warning.message for warning in caught), sep="\n")
    else:
        contexts["OpenGL"] = opengl
    return contexts


def scene_of(text: str) -> Scene:
    images, size, triangles = map(int, text.split(","))
    return images, size, triangles


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two scenes instead of all")
    parser.add_argument("--scenes", type=scene_of, nargs="+", help="images,size,triangles of scenes instead of all")
    parser.add_argument("--kernels", action="store_true", help="also the time of every kernel")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no CUDA device")
        return
    device = torch.device("cuda", torch.cuda.current_device())
    card, bandwidth = torch.cuda.get_device_name(device), copy_bandwidth(device, args.repeats)
    print(f"{card}: a copy moves {bandwidth * 1e-9:.2f} TB/s")
    contexts = gpu_contexts(device)
    promised, calls = headlines(contexts, device, args.repeats), call_times(contexts, device)
    for what, measured, unit, limit in promised:
        print(f"{what:44} {measured:10.3f} {unit}" + (f" (promised: {limit:g})" if limit is not None else ""))
    for operation, microseconds in calls:
        print(f"{operation:44} {microseconds:10.3f} us of the CPU for a call")
    every = [(images, size, triangles) for triangles in TRIANGLES for size in SIZES for images in IMAGES]
    scenes = args.scenes or (QUICK if args.quick else every)
    rows, kernel_rows = measure(contexts, scenes, args.repeats, device, bandwidth, args.kernels)
    save(rows, kernel_rows, calls, promised, card, bandwidth, args.out / re.sub(r"\W+", "-", card))


if __name__ == "__main__":
    main()
