"""A scene of medium size, contexts, and a clock for cases that take turns."""

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


def contexts() -> dict:
    found = {"software": glraster.RasterizeCudaContext("cpu")}
    try:
        found["OpenGL"] = glraster.RasterizeGLContext(device="cpu")
    except RuntimeError as error:
        print(f"no OpenGL context: {error}\n")
    return found
