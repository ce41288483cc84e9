"""Times the core operations on the CPU and prints them as ratios, all measured in turn within one run.

    python benchmarks/core.py [--repeats 15] [--threads 2]

The scene: a minibatch of 8 images of 512 x 512 pixels, each of a sphere of 20,736 triangles that covers a third.
"""

import argparse
import math
import statistics
import time

import torch

import glraster


def sphere(rings: int = 72, sectors: int = 144) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices [V, 3] of a unit sphere and its triangles [2 * rings * sectors, 3]."""
    polar, azimuth = torch.linspace(0, math.pi, rings + 1), torch.linspace(0, 2 * math.pi, sectors + 1)
    a, b = torch.meshgrid(polar, azimuth, indexing="ij")
    vertices = torch.stack([a.sin() * b.cos(), a.cos(), a.sin() * b.sin()], -1).reshape(-1, 3)
    cell = torch.arange(rings * sectors)
    corner = cell // sectors * (sectors + 1) + cell % sectors
    lower = torch.stack([corner, corner + 1, corner + sectors + 1], 1)
    upper = torch.stack([corner + 1, corner + sectors + 2, corner + sectors + 1], 1)
    return vertices, torch.cat([lower, upper]).int()


def scene(num_images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clip-space positions [N, V, 4] of the sphere, turned a little from image to image, and its triangles."""
    vertices, tri = sphere()
    pos = []
    for n in range(num_images):
        c, s = math.cos(0.3 * n), math.sin(0.3 * n)
        turned = vertices @ torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        scale = 0.65 * torch.tensor([1, 1, 0.5])
        pos.append(torch.cat([turned * scale, torch.ones(len(vertices), 1)], 1))
    return torch.stack(pos), tri


def median_times(cases: dict, repeats: int) -> dict[str, float]:
    """Median milliseconds of each case, the cases taking turns so that a drift of the machine meets them all."""
    times = {name: [] for name in cases}
    for _ in range(repeats + 2):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def peeling_times(context, pos: torch.Tensor, tri: torch.Tensor, size: int, repeats: int) -> dict[str, float]:
    """Median milliseconds of `rasterize` and of each depth-peeling layer, taking turns."""
    times = {name: [] for name in ("rasterize", "first layer", "second layer", "third layer")}

    def timed(name: str, run) -> None:
        start = time.perf_counter()
        run()
        times[name].append((time.perf_counter() - start) * 1e3)

    for _ in range(repeats + 2):
        timed("rasterize", lambda: glraster.rasterize(context, pos, tri, (size, size)))
        with glraster.DepthPeeler(context, pos, tri, (size, size)) as peeler:
            for name in list(times)[1:]:
                timed(name, peeler.rasterize_next_layer)
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def contexts() -> dict:
    found = {"software": glraster.RasterizeCudaContext("cpu")}
    try:
        found["OpenGL"] = glraster.RasterizeGLContext(device="cpu")
    except RuntimeError as error:
        print(f"no OpenGL context: {error}\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    N, size = 8, 512
    pos, tri = scene(N)
    pos.requires_grad_()
    attr = torch.rand(pos.shape[1], 3, requires_grad=True)
    software = glraster.RasterizeCudaContext("cpu")
    rast, rast_db = glraster.rasterize(software, pos, tri, (size, size))
    fixed = rast.detach()
    topology = glraster.antialias_construct_topology_hash(tri)
    color, _ = glraster.interpolate(attr, fixed, tri)
    smooth = glraster.antialias(color, fixed, pos, tri, topology)
    edges = glraster.edge_gradients(color, fixed, pos, tri, topology_hash=topology)
    grad3, grad4 = torch.rand(N, size, size, 3), torch.rand(N, size, size, 4)
    copies = [(tensor.detach(), torch.zeros_like(tensor)) for tensor in (fixed, attr, grad3)]

    def bwd(output, inputs, grad):
        return lambda: torch.autograd.grad(output, inputs, grad, retain_graph=True)

    def draw(context):
        return lambda: glraster.rasterize(context, pos.detach(), tri, (size, size))

    cases = {f"rasterize, {name}": draw(context) for name, context in contexts().items()}
    cases |= {
        "rasterize backward": bwd(rast, pos, grad4),
        "interpolate, 3 attributes": lambda: glraster.interpolate(attr.detach(), fixed, tri),
        "copy of its inputs and outputs": lambda: [target.copy_(source) for source, target in copies],
        "interpolate backward": bwd(color, attr, grad3),
        "antialias": lambda: glraster.antialias(color.detach(), fixed, pos.detach(), tri, topology),
        "antialias backward": bwd(smooth, [color, pos], grad3),
        "edge_gradients backward": bwd(edges, [color, pos], grad3),
        "topology hash": lambda: glraster.antialias_construct_topology_hash(tri),
    }
    covered = (fixed[..., 3] > 0).float().mean().item()
    print(f"{N} x {size} x {size}, {tri.shape[0]} triangles, {covered:.0%} covered, {args.threads} threads")
    times = median_times(cases, args.repeats)
    for name, ms in times.items():
        print(f"{name:34} {ms:8.2f} ms")
    if "rasterize, OpenGL" in times:
        print(f"{'software / OpenGL':34} {times['rasterize, software'] / times['rasterize, OpenGL']:8.2f}")
    ratio = times["interpolate, 3 attributes"] / times["copy of its inputs and outputs"]
    print(f"{'interpolate / copy':34} {ratio:8.2f}")
    ratio = times["edge_gradients backward"] / times["antialias backward"]
    print(f"{'edge_gradients / antialias':34} {ratio:8.2f}")
    for name, context in contexts().items():
        print(f"\nDepth peeling, {name}")
        times = peeling_times(context, pos.detach(), tri, size, args.repeats)
        for case, ms in times.items():
            print(f"{case:34} {ms:8.2f} ms {ms / times['rasterize']:8.2f} x rasterize")


if __name__ == "__main__":
    main()
