"""Times `rasterize` forward on the CPU, software against OpenGL, from few triangles to many, and prints a table.

    python benchmarks/rasterize.py [--repeats 9] [--threads 2] [--scenes NAME ...]

Both contexts take turns within one run: the ratio is what to look at. "visibility" is the part of the software
rasterizer's time that finds out which triangle each pixel sees; the rest are barycentrics, depths and derivatives.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from core import contexts, scene, sphere

import glraster
from glraster.rasterize import make_scene

Mesh = tuple[torch.Tensor, torch.Tensor]


def ball(rings: int, sectors: int) -> Mesh:
    """One sphere that covers a third of the view: [1, V, 4] and [2 * rings * sectors, 3]."""
    vertices, tri = sphere(rings, sectors)
    pos = torch.cat([vertices * 0.65 * torch.tensor([1, 1, 0.5]), torch.ones(len(vertices), 1)], 1)
    return pos[None], tri


def large_triangles(count: int) -> Mesh:
    """Triangles of random corners in the view and a little beyond: [1, 3 * count, 4] and [count, 3]."""
    generator = torch.Generator().manual_seed(0)
    pos = torch.cat([torch.rand(3 * count, 3, generator=generator) * 2.4 - 1.2, torch.ones(3 * count, 1)], 1)
    pos[:, 2] *= 0.75
    return pos[None], torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3)


SCENES: dict[str, tuple[int, Callable[[], Mesh]]] = {
    "minibatch": (512, lambda: scene(8)),
    "1k small": (256, lambda: ball(20, 32)),
    "1k": (1024, lambda: ball(20, 32)),
    "20k": (1024, lambda: ball(80, 128)),
    "328k": (1024, lambda: ball(320, 512)),
    "large": (2048, lambda: large_triangles(1024)),
    "1M": (2048, lambda: ball(500, 1000)),
}


def median_times(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median milliseconds; all cases take turns, so that a drift of the machine meets them all."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats + 2):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = contexts()
    print(f"{args.threads} threads; milliseconds")
    print(f"{'scene':10} {'images':>6} {'size':>6} {'triangles':>9}  {'software':>9} {'visibility':>10}", end="")
    print(f" {'OpenGL':>8} {'software / OpenGL':>18}" if "OpenGL" in found else "")
    for name in args.scenes:
        size, make = SCENES[name]
        pos, tri = make()

        def draw(context, pos=pos, tri=tri, size=size):
            return lambda: glraster.rasterize(context, pos, tri, (size, size))

        checked = make_scene("rasterize", found["software"], pos, tri, (size, size), None, "none")[1]
        cases = {kind: draw(context) for kind, context in found.items()}
        cases["visibility"] = lambda checked=checked: found["software"].find_visible(checked)
        ms = median_times(cases, args.repeats)
        line = f"{name:10} {len(pos):6} {size:6} {len(tri):9}  {ms['software']:9.2f} {ms['visibility']:10.2f}"
        print(line + (f" {ms['OpenGL']:8.1f} {ms['software'] / ms['OpenGL']:18.2f}" if "OpenGL" in ms else ""))


if __name__ == "__main__":
    main()
