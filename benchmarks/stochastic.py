"""Times the steps of the stochastic optimizer against plain renders, and its fits against the analytic operators'.

    python benchmarks/stochastic.py [--repeats 10] [--fits]

Wall-clock time and the process's CPU time, the latter being what a busy machine changes least. "Two plain renders" are
the same pictures without perturbation, as many as a step renders, colours, ids and texture coordinates included.
--fits compares fits of the same pictures with those of PyTorch, through the analytic operators; takes minutes.
"""

import argparse
import math
import time
from functools import partial

import numpy as np
import scipy.spatial
import torch

import glraster
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer, loop_subdivision
from glraster.stochastic.views import chosen_views

QUAD = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])


def cameras(count: int, distance: float = 3.2, spread: float = math.pi) -> np.ndarray:
    """World-to-clip matrices [count, 4, 4] around the origin, at most `spread` away from +Z."""
    found = []
    for index in range(count):
        polar = spread * (index + 0.5) / count
        azimuth = index * math.pi * (3 - math.sqrt(5))
        ring = math.sin(polar)
        back = np.array([ring * math.cos(azimuth), ring * math.sin(azimuth), math.cos(polar)])
        right = np.cross([0, 1, 0.01], back)
        right /= np.linalg.norm(right)
        turn = np.stack([right, np.cross(back, right), back])
        view = np.eye(4)
        view[:3, :3], view[2, 3] = turn, -distance
        near, far = 0.1, 10.0
        projection = np.diag([2.7, 2.7, -(far + near) / (far - near), 0.0])
        projection[2, 3], projection[3, 2] = -2 * far * near / (far - near), -1
        found.append(projection @ view)
    return np.array(found)


def sphere(levels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A unit sphere, an icosahedron subdivided: positions [V, 3] and triangles [20 * 4^levels, 3]."""
    golden = (1 + math.sqrt(5)) / 2
    corners = [np.roll([0, a, b * golden], turn) for turn in range(3) for a in (-1, 1) for b in (-1, 1)]
    hull = scipy.spatial.ConvexHull(corners)
    edges = np.diff(hull.points[hull.simplices], axis=1)
    outward = (np.cross(edges[:, 0], edges[:, 1]) * hull.equations[:, :3]).sum(1)
    triangles = np.where(outward[:, None] > 0, hull.simplices, hull.simplices[:, ::-1])
    surface = loop_subdivision(triangles, levels)
    positions = surface.matrix @ np.array(corners)
    return (positions / np.linalg.norm(positions, axis=1, keepdims=True)).astype(np.float32), surface.triangles


def timed(run, repeats: int) -> tuple[float, float]:
    """Wall-clock and CPU milliseconds: the least of several runs, after two more."""
    walls, cpus = [], []
    for _ in range(repeats + 2):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(1e3 * (time.perf_counter() - wall))
        cpus.append(1e3 * (time.process_time() - cpu))
    return min(walls[2:]), min(cpus[2:])


def mesh_case(size: int, views: int) -> StochasticOptimizer:
    positions, triangles = sphere()
    parameter = Parameter("position", 0.8 * positions, "vertex", lr=1e-4, smoothness=4.0)
    optimizer = StochasticOptimizer(None, [parameter], MeshScene(triangles), views=views)
    mvps = cameras(views)
    optimizer.set_views(mvps, optimizer.render(mvps, (size, size)))
    return optimizer


def texture_case(size: int, views: int) -> StochasticOptimizer:
    parameter = Parameter("albedo", np.full((size, size, 3), 0.5), "texel", lr=1e-4)
    scene = MeshScene(TRIANGLES, {"position": QUAD, "uv": (QUAD[:, :2] + 1) / 2}, fragment="albedo")
    optimizer = StochasticOptimizer(None, [parameter], scene, views=views)
    mvps = cameras(views, 2.7, 0.5)
    optimizer.set_views(mvps, np.random.default_rng(0).uniform(size=(views, size, size, 3)))
    return optimizer


def step_times(name: str, optimizer: StochasticOptimizer, pixels: int, texels: bool, repeats: int) -> None:
    """Prints the time of a step, of two plain renders, and what the step may cost."""
    views, device, scene = optimizer._required_views(), optimizer._device, optimizer.scene

    def step():
        optimizer.step()
        device.gl.finish()

    def plain():  # both signs' pictures, drawn without perturbing, crediting or stepping
        scene.draw(frame)
        device.gl.finish()

    timings: dict[str, float] = {}
    with device:
        frame = optimizer._frame(2, views.count, (views.height, views.width), views.cameras)
        frame.choose(chosen_views(0, 0, views.count, views.count))
        optimizer.step()
        wall, cpu = timed(step, repeats)
        plain_wall, plain_cpu = timed(plain, repeats)
    for _ in range(repeats):
        optimizer.step(timings=timings)
    limit = 2.5 * plain_wall + (35 + 20e-6 * pixels * views.count if texels else 25)
    passes = ", ".join(f"{key} {1e3 * value / repeats:.0f}" for key, value in timings.items())
    print(f"{name:36} {wall:8.1f} {plain_wall:8.1f} {limit:8.1f}   {cpu:8.1f} {plain_cpu:8.1f}   {passes}")
    optimizer.close()


def fit_texture(size: int = 256, steps: int = 60) -> None:
    """The same texture from the same pictures: seconds and steps to 30 dB, here and with autograd."""
    y, x = np.mgrid[:size, :size] / size
    truth = (0.5 + 0.4 * np.stack([np.sin(20 * x), np.cos(31 * y), np.sin(25 * (x + y))], -1)).astype(np.float32)
    mvps = cameras(16, 2.7, 0.5)
    scene = MeshScene(TRIANGLES, {"position": QUAD, "uv": (QUAD[:, :2] + 1) / 2}, fragment="albedo")
    with StochasticOptimizer(None, [Parameter("albedo", truth, "texel")], scene, views=1) as teacher:
        targets = teacher.render(mvps, (size, size))[..., :3]

    def psnr(found):
        return -10 * math.log10(np.square(found - truth).mean())

    start = Parameter("albedo", np.full_like(truth, 0.5), "texel", lr=0.1, decay=4 / steps)
    with StochasticOptimizer(None, [start], scene, views=4) as optimizer:
        optimizer.set_views(mvps, targets)
        step = partial(optimizer.step, timings={})  # waits for OpenGL
        _until("texture, stochastic", step, lambda: psnr(optimizer.download()["albedo"]), 30, 2 * steps)

    context, tri = glraster.RasterizeCudaContext("cpu"), torch.from_numpy(TRIANGLES).int()
    corners = torch.nn.functional.pad(torch.from_numpy(QUAD), (0, 1), value=1.0)
    clip = (corners @ torch.from_numpy(mvps).float().mT).contiguous()
    wanted, uv = torch.from_numpy(targets), torch.from_numpy((QUAD[:, :2] + 1) / 2)
    tex = torch.full((1, size, size, 3), 0.5, requires_grad=True)
    adam = torch.optim.Adam([tex], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(adam, math.exp(-4 / steps))
    step_of = iter(range(10**6))

    def analytic():
        chosen = torch.from_numpy(chosen_views(0, next(step_of), 4, 16)).long()
        rast, _ = glraster.rasterize(context, clip[chosen], tri, (size, size))
        at, _ = glraster.interpolate(uv, rast, tri)
        image = glraster.texture(tex, at, filter_mode="nearest", boundary_mode="clamp") * (rast[..., 3:] > 0)
        adam.zero_grad()
        (image - wanted[chosen]).square().sum().backward()
        adam.step()
        schedule.step()

    _until("texture, analytic", analytic, lambda: psnr(tex.detach()[0].numpy()), 30, 2 * steps)


def fit_mesh(steps: int = 300, size: int = 96) -> None:
    """A sphere becomes an egg with a dent, from silhouettes and shading: seconds and steps to an IoU of 0.97."""
    positions, triangles = sphere(3)
    x, y, z = positions.T
    wanted = 0.9 * positions * (1 + 0.3 * y - 0.35 * np.exp(-8 * ((x - 1) ** 2 + y**2 + z**2)))[:, None]
    mvps = cameras(16)
    with StochasticOptimizer(None, [Parameter("position", wanted, "vertex")], MeshScene(triangles)) as teacher:
        targets = teacher.render(mvps, (size, size))

    def iou(images):
        a, b = images[..., 3] > 0.5, targets[..., 3] > 0.5
        return (a & b).sum() / (a | b).sum()

    start = Parameter("position", 0.6 * positions, "vertex", lr=0.03, decay=3 / steps, smoothness=4.0)
    with StochasticOptimizer(None, [start], MeshScene(triangles), views=8) as optimizer:
        optimizer.set_views(mvps, targets)
        step = partial(optimizer.step, timings={})
        _until("mesh, stochastic", step, lambda: iou(optimizer.render(mvps, (size, size))), 0.97, steps)

    context, tri = glraster.RasterizeCudaContext("cpu"), torch.from_numpy(triangles).int()
    ends = np.unique(np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), 1), axis=0)
    a, b = torch.from_numpy(ends).long().T
    laplacian = torch.zeros(len(positions), len(positions))
    laplacian[a, b] = laplacian[b, a] = -1.0
    smooth = torch.linalg.inv(torch.eye(len(positions)) + 4.0 * (laplacian - torch.diag(laplacian.sum(1))))
    matrices, truth = torch.from_numpy(mvps).float(), torch.from_numpy(targets)
    unknown = torch.linalg.solve(smooth, torch.from_numpy(0.6 * positions)).requires_grad_()
    adam = torch.optim.Adam([unknown], lr=0.03)
    step_of = iter(range(10**6))

    def draw(chosen):
        position = smooth @ unknown
        clip = torch.nn.functional.pad(position, (0, 1), value=1.0) @ matrices[chosen].mT
        corners = position[tri.long()]
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        color = 0.5 + 0.4 * torch.nn.functional.normalize(normals, dim=1)
        color = torch.nn.functional.pad(color, (0, 1), value=1.0).repeat_interleave(3, 0)
        rast, _ = glraster.rasterize(context, clip, tri, (size, size))
        flat = torch.arange(3 * len(tri), dtype=torch.int32).reshape(-1, 3)
        image, _ = glraster.interpolate(color, rast, flat)
        return glraster.antialias(image, rast, clip, tri)

    def analytic():
        chosen = torch.from_numpy(chosen_views(0, next(step_of), 8, 16)).long()
        adam.zero_grad()
        (draw(chosen) - truth[chosen]).square().sum().backward()
        adam.step()

    def found():
        with torch.no_grad():
            return iou(draw(torch.arange(16)).numpy())

    _until("mesh, analytic", analytic, found, 0.97, steps)


def _until(name: str, step, quality, wanted: float, most: int) -> None:
    """Prints after how many steps and seconds a quality is reached; looking at it does not count."""
    wall = cpu = 0.0
    for count in range(1, most + 1):
        wall_before, cpu_before = time.perf_counter(), time.process_time()
        step()
        wall, cpu = wall + time.perf_counter() - wall_before, cpu + time.process_time() - cpu_before
        if count % 5 == 0:
            reached = quality()
            if reached >= wanted:
                break
    print(f"{name:24} {reached:8.3f} after {count:4d} steps, {wall:7.2f} s, CPU {cpu:7.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--fits", action="store_true", help="compare fits instead of steps")
    args = parser.parse_args()
    if args.fits:
        fit_texture()
        fit_mesh()
        return
    print(f"{'ms':36} {'step':>8} {'2 plain':>8} {'limit':>8}   {'CPU step':>8} {'2 plain':>8}   passes")
    for size, views in ((128, 8), (128, 32), (256, 32)):
        name = f"mesh, {views} views of {size} x {size}"
        step_times(name, mesh_case(size, views), size * size, False, args.repeats)
    for size, views in ((256, 4), (1024, 1), (1024, 2)):
        name = f"texture {size} x {size}, {views} views"
        step_times(name, texture_case(size, views), size * size, True, args.repeats)


if __name__ == "__main__":
    main()
