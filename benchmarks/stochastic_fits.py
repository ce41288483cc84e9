"""Fits of the stochastic optimizer against fits of the same pictures with the analytic operators, at equal time.

    python benchmarks/stochastic_fits.py [--texture-seconds 15] [--mesh-seconds 10] [--clock cpu]

Both have Adam, the same views in each step, and a learning rate that falls with the part of the time that has passed.
Prints the quality after a quarter, half and all of the time: PSNR over the texels seen, or intersection over union of
the silhouettes. Looking at the result does not count. On a machine that is busy otherwise, --clock cpu is fairer.
"""

import argparse
import itertools
import math
import time

import numpy as np
import torch
from stochastic import QUAD, TRIANGLES, cameras, sphere

import glraster
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer
from glraster.stochastic.views import chosen_views

END = math.exp(-4)  # of the learning rate, as a part of where it starts


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def run(name: str, step, quality, seconds: float, clock: str) -> None:
    """Takes steps for so many seconds of a clock.

    Args:
        step: takes one, given by what factor the learning rate has fallen; returns when it is done.
        quality: of the result.
    """
    now, passed = CLOCKS[clock], 0.0
    steps, reached = 0, ""
    for mark in (0.25, 0.5, 1.0):
        while passed < mark * seconds:
            before = now()
            step(END ** (passed / seconds))
            passed += now() - before
            steps += 1
        reached += f"{quality():9.3f}"
    print(f"{name:24}{reached} after 1/4, 1/2, all of {passed:6.2f} s ({clock}): {steps:4d} steps", flush=True)


def fit_texture(size: int, seconds: float, clock: str, views: int = 2) -> None:
    """A texture [size, size, 3] on a quad, from grey, from 16 pictures of as many pixels."""
    y, x = np.mgrid[:size, :size] * (256 / size) / 256
    truth = (0.5 + 0.4 * np.stack([np.sin(20 * x), np.cos(31 * y), np.sin(25 * (x + y))], -1)).astype(np.float32)
    mvps = cameras(16, 2.7, 0.5)
    scene = MeshScene(TRIANGLES, {"position": QUAD, "uv": (QUAD[:, :2] + 1) / 2}, fragment="albedo")
    with StochasticOptimizer(None, [Parameter("albedo", truth, "texel")], scene, views=1) as teacher:
        targets = teacher.render(mvps, (size, size))[..., :3]

    def psnr(found: np.ndarray) -> float:
        seen = (found != 0.5).any(-1)
        return -10 * math.log10(np.square(found - truth)[seen].mean())

    start = Parameter("albedo", np.full_like(truth, 0.5), "texel", lr=0.1)
    with StochasticOptimizer(None, [start], scene, views=views) as optimizer:
        optimizer.set_views(mvps, targets)
        step = stepper(optimizer)
        run("texture, stochastic", step, lambda: psnr(optimizer.download()["albedo"]), seconds, clock)

    context, tri = glraster.RasterizeCudaContext("cpu"), torch.from_numpy(TRIANGLES).int()
    corners = torch.nn.functional.pad(torch.from_numpy(QUAD), (0, 1), value=1.0)
    clip = (corners @ torch.from_numpy(mvps).float().mT).contiguous()
    wanted, uv = torch.from_numpy(targets), torch.from_numpy((QUAD[:, :2] + 1) / 2)
    tex = torch.full((1, size, size, 3), 0.5, requires_grad=True)

    def loss(chosen: torch.Tensor) -> torch.Tensor:
        rast, _ = glraster.rasterize(context, clip[chosen], tri, (size, size))
        at, _ = glraster.interpolate(uv, rast, tri)
        image = glraster.texture(tex, at, filter_mode="nearest", boundary_mode="clamp") * (rast[..., 3:] > 0)
        return (image - wanted[chosen]).square().sum()

    step = analytic_stepper(tex, 0.1, loss, views)
    run("texture, analytic", step, lambda: psnr(tex.detach()[0].numpy()), seconds, clock)


def stepper(optimizer: StochasticOptimizer):
    """Steps whose learning rate falls; timings= waits for OpenGL."""
    rates = [parameter.lr for parameter in optimizer.parameters]

    def step(factor: float) -> None:
        for parameter, rate in zip(optimizer.parameters, rates, strict=True):
            parameter.lr = rate * factor
        optimizer.step(timings={})

    return step


def analytic_stepper(unknown: torch.Tensor, rate: float, loss, views: int):
    """Steps of PyTorch's Adam with the same views, out of 16 or as many as there are."""
    adam, numbers = torch.optim.Adam([unknown], lr=rate), itertools.count()

    def step(factor: float) -> None:
        adam.param_groups[0]["lr"] = rate * factor
        adam.zero_grad()
        loss(torch.from_numpy(chosen_views(0, next(numbers), views, 16)).long()).backward()
        adam.step()

    return step


def fit_silhouettes(seconds: float, clock: str, size: int = 64, levels: int = 3, views: int = 8) -> None:
    """A sphere becomes an egg with a dent, from 16 silhouettes; smoothed over the mesh with lambda = 4."""
    positions, triangles = sphere(levels)
    x, y, z = positions.T
    dent = np.exp(-8 * ((x - 1) ** 2 + y**2 + z**2))
    wanted = 0.9 * positions * (1 + 0.3 * y - 0.35 * dent)[:, None]
    mvps = cameras(16)
    scene = MeshScene(triangles, {"rgb": np.ones_like(positions)}, fragment="vertex_color")
    with StochasticOptimizer(None, [Parameter("position", wanted, "vertex")], scene) as teacher:
        targets = teacher.render(mvps, (size, size))[..., :1]

    def iou(images: np.ndarray) -> float:
        a, b = images[..., 0] > 0.5, targets[..., 0] > 0.5
        return (a & b).sum() / (a | b).sum()

    start = Parameter("position", 0.6 * positions, "vertex", lr=0.06, smoothness=4.0)
    with StochasticOptimizer(None, [start], scene, views=views) as optimizer:
        optimizer.set_views(mvps, targets)
        step = stepper(optimizer)
        run("silhouettes, stochastic", step, lambda: iou(optimizer.render(mvps, (size, size))), seconds, clock)

    context, tri = glraster.RasterizeCudaContext("cpu"), torch.from_numpy(triangles).int()
    smooth = smoothing_inverse(triangles, len(positions))
    matrices, truth = torch.from_numpy(mvps).float(), torch.from_numpy(targets)
    unknown = torch.linalg.solve(smooth, torch.from_numpy(0.6 * positions)).requires_grad_()
    white = torch.ones(len(positions), 1)

    def draw(chosen: torch.Tensor) -> torch.Tensor:
        clip = torch.nn.functional.pad(smooth @ unknown, (0, 1), value=1.0) @ matrices[chosen].mT
        rast, _ = glraster.rasterize(context, clip, tri, (size, size))
        image, _ = glraster.interpolate(white, rast, tri)
        return glraster.antialias(image, rast, clip, tri)

    def found() -> float:
        with torch.no_grad():
            return iou(draw(torch.arange(16)).numpy())

    step = analytic_stepper(unknown, 0.03, lambda chosen: (draw(chosen) - truth[chosen]).square().sum(), views)
    run("silhouettes, analytic", step, found, seconds, clock)


def smoothing_inverse(triangles: np.ndarray, count: int, strength: float = 4.0) -> torch.Tensor:
    """(I + lambda L)^-1, dense: affordable for a few thousand vertices."""
    ends = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    a, b = torch.from_numpy(ends).long().T
    laplacian = torch.zeros(count, count)
    laplacian[a, b] = laplacian[b, a] = -1.0
    return torch.linalg.inv(torch.eye(count) + strength * (laplacian - torch.diag(laplacian.sum(1))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="texels along a side of the texture (default: 1024)")
    parser.add_argument("--texture-seconds", type=float, default=15.0)
    parser.add_argument("--mesh-seconds", type=float, default=10.0)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="what the seconds are of (default: wall)")
    args = parser.parse_args()
    if args.texture_seconds > 0:
        fit_texture(args.size, args.texture_seconds, args.clock)
    if args.mesh_seconds > 0:
        fit_silhouettes(args.mesh_seconds, args.clock)


if __name__ == "__main__":
    main()
