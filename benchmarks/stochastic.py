"""Times the steps of the stochastic optimizer against plain renders; stochastic_fits.py compares fits.

    python benchmarks/stochastic.py [--repeats 10]

Wall-clock time and the process's CPU time, the latter being what a busy machine changes least. "Two plain renders" are
the same pictures without perturbation, as many as a step renders, colours, ids and texture coordinates included.
"""

import argparse
import math
import time

import numpy as np
import scipy.spatial

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    print(f"{'ms':36} {'step':>8} {'2 plain':>8} {'limit':>8}   {'CPU step':>8} {'2 plain':>8}   passes")
    for size, views in ((128, 8), (128, 32), (256, 32)):
        name = f"mesh, {views} views of {size} x {size}"
        step_times(name, mesh_case(size, views), size * size, False, args.repeats)
    for size, views in ((256, 4), (1024, 1), (1024, 2)):
        name = f"texture {size} x {size}, {views} views"
        step_times(name, texture_case(size, views), size * size, True, args.repeats)


if __name__ == "__main__":
    main()
