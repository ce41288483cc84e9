"""Times the backward pass of edge_gradients against that of antialias, on the CPU, the two taking turns.

    python benchmarks/visibility_cost.py [--repeats 15] [--threads 1 2]

Scenes are spheres with white noise for a texture, as in benchmarks/cpu.py, and with smooth colours. Ratios are those of
the shortest times.
"""

import argparse
import time

import torch
from operations import backward, flat_uv, sphere

import glraster

SCENES = [(8, 512, 20_000), (1, 1024, 1_280), (1, 1024, 20_480), (1, 1024, 327_680)]  # images, side, triangles


def cases(context, images: int, size: int, triangles: int, noise: bool) -> dict:
    """Backward passes by name."""
    pos, tri = sphere(triangles, images, torch.device("cpu"))
    rast, _ = glraster.rasterize(context, pos, tri, (size, size))
    if noise:
        uv, _ = glraster.interpolate(flat_uv(pos), rast, tri)
        color = glraster.texture(torch.rand(1, 1024, 1024, 3), uv, filter_mode="linear")
    else:
        color, _ = glraster.interpolate(0.5 + 0.4 * torch.sin(3 * pos[0, :, :3] + 1), rast, tri)
    leaves = [color.requires_grad_(), pos.requires_grad_()]
    topology = glraster.antialias_construct_topology_hash(tri)
    smooth = glraster.antialias(color, rast, pos, tri, topology)
    grad = smooth.detach().clone()
    found = {"antialias": backward(smooth, leaves, grad)}
    for crease in (False, True, "flat"):
        edges = glraster.edge_gradients(color, rast, pos, tri, topology_hash=topology, crease=crease)
        found[f"crease={crease!r}"] = backward(edges, leaves, grad)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    context = glraster.SoftwareRasterizer("cpu")
    for noise in (True, False):
        for scene in SCENES:
            runs = cases(context, *scene, noise)
            for threads in args.threads:
                torch.set_num_threads(threads)
                times: dict[str, list[float]] = {name: [] for name in runs}
                for _ in range(args.repeats + 1):
                    for name, run in runs.items():
                        start = time.perf_counter()
                        run()
                        times[name].append(time.perf_counter() - start)
                best = {name: min(some[1:]) * 1e3 for name, some in times.items()}
                ratios = ", ".join(f"{n} {best[n] / best['antialias']:.2f}" for n in list(runs)[1:])
                where = f"{'noise' if noise else 'smooth'}, {scene[0]} x {scene[1]}^2, {scene[2]:,} triangles"
                print(f"{where}, {threads} threads: antialias {best['antialias']:.1f} ms; {ratios}", flush=True)


if __name__ == "__main__":
    main()
