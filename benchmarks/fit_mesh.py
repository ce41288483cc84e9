"""Fits spheres of 642 to 40,962 vertices to pictures of a mesh, as samples/fit_mesh.py does, by each way of getting
gradients of visibility, and prints how well the silhouettes fit and how long it took.

    python benchmarks/fit_mesh.py [--levels 3 4 5 6] [--max-iter 300]
"""

import argparse
import functools
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import torch

import glraster
from glraster import camera
from glraster import mesh as meshes

sys.path.insert(0, str(Path(__file__).parents[1] / "samples"))

import fit_mesh
from bear import bear
from blending import by_antialias, by_edge_gradients

SMOOTHING = {3: 10.0, 4: 19.0, 5: 30.0, 6: 48.0}  # by the sphere's subdivisions


def only_edge_gradients(image, rast, pos, tri, topology):
    """No smooth edges."""
    return glraster.edge_gradients(image, rast, pos, tri, topology_hash=topology)


def sum_of_both(image, rast, pos, tri, topology):
    image = glraster.edge_gradients(image, rast, pos, tri, topology_hash=topology)
    return glraster.antialias(image, rast, pos, tri, topology)


METHODS = {
    "antialias": by_antialias,
    "edge_gradients": only_edge_gradients,
    "antialias of edge_gradients": by_edge_gradients,
    "sum of both": sum_of_both,
}


def fit(glctx, blend, level: int, max_iter: int, views: int, resolution: int) -> tuple[float, float, int]:
    """Intersection over union over views that the fit has not seen, milliseconds per iteration, vertices."""
    generator = torch.Generator().manual_seed(0)
    target = bear()
    mvps = camera.perspective() @ camera.look_at(3 * camera.directions(views))
    unseen = camera.directions(16) @ camera.random_rotations(1, generator)[0].T
    unseen = camera.perspective() @ camera.look_at(3 * unseen)
    with torch.no_grad():
        truth = torch.cat([fit_mesh.render(glctx, target, mvp[None], resolution) for mvp in mvps])
    start = meshes.icosphere(level)
    mesh = start.replace(pos=0.6 * start.pos)
    nobody = SimpleNamespace(log=lambda **_: None, show=lambda **_: None, mesh=lambda *_: None)
    arguments = (SMOOTHING[level], iter(range(max_iter)), max_iter, mvps, truth, 6, generator, nobody)
    begin = time.perf_counter()
    mesh = fit_mesh.fit_stage(glctx, functools.partial(fit_mesh.picture_loss, blend=blend), mesh, *arguments)
    seconds = time.perf_counter() - begin
    return fit_mesh.silhouette_iou(glctx, mesh, target, unseen), 1e3 * seconds / max_iter, len(mesh.pos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 4, 5, 6], choices=SMOOTHING)
    parser.add_argument("--max-iter", type=int, default=300)
    parser.add_argument("--views", type=int, default=48)
    parser.add_argument("--resolution", type=int, default=192)
    args = parser.parse_args()
    print(f"| vertices | {' | '.join(METHODS)} |\n|---:|{'---:|' * len(METHODS)}")
    with glraster.SoftwareRasterizer("cpu") as glctx:
        for level in args.levels:
            cells = []
            for method in METHODS.values():
                iou, ms, vertices = fit(glctx, method, level, args.max_iter, args.views, args.resolution)
                cells.append(f"{iou:.4f}, {ms:.0f} ms")
            print(f"| {vertices:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
