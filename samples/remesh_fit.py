"""Finds a mesh from pictures, its triangles changing with its shape: remeshing beside fixed topology, in equal time.

    python samples/remesh_fit.py [--mesh spot.obj] [--seconds 60] [--out out/remesh_fit]

Both fits start from a sphere, see the same pictures and have the same time (of the processor, so that other programs do
not count). One keeps its triangles, and takes large steps (Nicolet et al. 2021). The other is a
`glraster.mesh.AdaptiveMesh`: its edges are long where the surface is on its way, and short where it has arrived, and
triangles come where it grows. Without --mesh the target is a procedural bear.

Expected, for spot.obj: chamfer distances to the target (mean squared distances of points to the nearest of the other
surface, both ways) of 5.7e-4 with fixed topology, where the sphere folds behind the head, and of 1.6e-5 with remeshing;
no edge of the latter goes through a triangle, 941 of the former do. comparison.png shows start, fixed topology,
remeshing and target; remeshed.obj and fixed.obj are the meshes.
"""

import time
from pathlib import Path

import options
import pictures
import torch
from bear import bear
from fit_mesh import render, show

from glraster import camera, losses
from glraster import mesh as meshes

EVERY = 4  # steps from one remeshing to the next


class FixedMesh:
    """A mesh that keeps its triangles, to be moved like an `AdaptiveMesh`."""

    def __init__(self, mesh: meshes.Mesh, lr: float, strength: float = 20.0):
        self.lr, self.tri, self._smooth = lr, mesh.tri, meshes.LargeSteps(mesh.topology, strength=strength)
        self._unknowns = self._smooth.to_unknowns(mesh.pos).requires_grad_()
        self._optimizer = meshes.UniformAdam([self._unknowns], lr=lr)
        self.pos = self._smooth.to_positions(self._unknowns)

    def step(self) -> None:
        self._optimizer.param_groups[0]["lr"] = self.lr
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.pos = self._smooth.to_positions(self._unknowns)

    def remesh(self) -> None:
        pass


def fit(glctx, surface, matrices, truth, args, viewer) -> meshes.Mesh:
    """Moves a surface for so many seconds."""
    generator, rate = torch.Generator().manual_seed(args.seed), surface.lr
    begin, step = time.process_time(), 0
    while (gone := max((time.process_time() - begin) / args.seconds, step / args.max_iter)) < 1:
        chosen = torch.randperm(len(matrices), generator=generator)[: args.batch].to(truth.device)
        image = render(glctx, meshes.Mesh(surface.pos, surface.tri), matrices[chosen], truth.shape[1])
        loss = (image - truth[chosen]).abs().mean()
        loss.backward()
        surface.lr = rate * 0.1**gone
        surface.step()
        step += 1
        if step % EVERY == 0:
            surface.remesh()
        viewer.log(loss=loss)
        viewer.mesh(surface.pos, surface.tri)
    print(f"{step:5} steps, {len(surface.tri):6,} triangles, ", end="")
    return meshes.Mesh(surface.pos.detach(), surface.tri)


def report(mesh, target, points) -> float:
    """Prints how far a mesh is from the target, and returns it."""
    generator = torch.Generator().manual_seed(0)
    clouds = [meshes.sample_points(shape.pos, shape.tri, points, generator)[0] for shape in (mesh, target)]
    distance = losses.chamfer_distance(*clouds).item()
    crossings = len(meshes.self_intersections(mesh.pos, mesh.tri))
    print(f"chamfer distance {distance:.2e}, {crossings} edges through triangles", flush=True)
    return distance


def main() -> None:
    parser = options.make_parser(__doc__, out="out/remesh_fit")
    parser.add_argument("--mesh", type=options.mesh_file, help="target: any mesh file (default: a procedural bear)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two fits")
    parser.add_argument("--max-iter", type=options.positive, default=100000, help="the most steps, whatever the time")
    parser.add_argument("--views", type=options.positive, default=16, help="pictures of the target")
    parser.add_argument("--batch", type=options.positive, default=4, help="pictures per step")
    parser.add_argument("--resolution", type=options.positive, default=512)
    parser.add_argument("--points", type=options.positive, default=300000, help="of the chamfer distance")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the pictures")
    args = parser.parse_args()
    glctx = options.make_context(args)
    target = (args.mesh or bear()).to(glctx.device)
    matrices = (camera.perspective() @ camera.look_at(3 * camera.directions(args.views))).to(glctx.device)
    with torch.no_grad():
        truth = torch.cat([render(glctx, target, matrix[None], args.resolution) for matrix in matrices])
    sphere = [meshes.icosphere(levels).to(glctx.device) for levels in (4, 3)]
    start, coarse = (ball.replace(pos=0.6 * ball.pos) for ball in sphere)
    surfaces = {
        "fixed": FixedMesh(start, lr=0.08),
        "remeshed": meshes.AdaptiveMesh(coarse, shortest=0.04, longest=0.15),
    }
    rows, distances, out = [start], [], Path(args.out)
    with options.make_viewer(args) as viewer:
        for name, surface in surfaces.items():
            rows.append(fit(glctx, surface, matrices, truth, args, viewer))
            print(f"{name}: ", end="")
            distances.append(report(rows[-1], target, args.points))
            meshes.save(out / f"{name}.obj", rows[-1])
    shown = (camera.perspective() @ camera.orbit(torch.tensor([20.0, 110, 200, 290]), 20.0, 3.0)).to(glctx.device)
    pictures.save(out / "comparison.png", pictures.grid([show(glctx, mesh, shown) for mesh in (*rows, target)]))
    print(f"chamfer distance with remeshing: {distances[1] / distances[0]:.2f} of that without; see {out}")


if __name__ == "__main__":
    main()
