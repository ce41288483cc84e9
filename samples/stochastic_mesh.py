"""Fits a sphere to pictures of a mesh with an optimizer that lives in OpenGL: silhouettes and shading, no derivatives.

    python samples/stochastic_mesh.py [--mesh bunny.obj] [--out out/stochastic_mesh]

Vertices are perturbed by a quarter of a pixel; whatever changes in a pixel is credited to the vertices of the triangle
that it shows, before and after, so that silhouettes need no special case. Gradients and steps are smoothed over the
mesh. Without --mesh the target is a procedural bear.

Expected: intersection over union (IoU) of the silhouettes above 0.96 over views that the fit has not seen, at most 2 %
of the edges folded by more than 60 degrees; start, result and target above one another in comparison.png; fitted.obj.
"""

import math
from pathlib import Path

import numpy as np
import pictures
import torch
from bear import bear as make_bear
from options import make_opengl_parser, mesh_file, positive

from glraster import camera
from glraster import mesh as meshes
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer
from glraster.viewer.progress import new_bar


def draw(mesh: meshes.Mesh, mvps: torch.Tensor, size: int) -> np.ndarray:
    """Returns [N, size, size, 4] pictures of a mesh: a colour for each direction it faces, and coverage."""
    parameter = Parameter("position", mesh.pos, "vertex")
    with StochasticOptimizer(None, [parameter], MeshScene(mesh.tri)) as drawer:
        return drawer.render(mvps, (size, size))


def iou(found: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean intersection over union of the silhouettes."""
    a, b = found[..., 3] > 0.5, truth[..., 3] > 0.5
    return float(((a & b).sum((1, 2)) / (a | b).sum((1, 2))).mean())


def folded(mesh: meshes.Mesh) -> float:
    """Returns the share of edges whose two triangles face directions more than 60 degrees apart."""
    (first, second), normals = mesh.topology.pairs[0].unbind(1), mesh.face_normals()
    return ((normals[first] * normals[second]).sum(1) < math.cos(math.radians(60))).float().mean().item()


def main() -> None:
    parser = make_opengl_parser(__doc__, out="out/stochastic_mesh")
    parser.add_argument("--mesh", type=mesh_file, help="target: any file that trimesh reads")
    parser.add_argument("--max-iter", type=positive, default=400)
    parser.add_argument("--pictures", type=positive, default=32, help="pictures of the target")
    parser.add_argument("--views", type=positive, default=8, help="pictures of each step")
    parser.add_argument("--resolution", type=positive, default=128)
    parser.add_argument("--subdivisions", type=int, default=4, help="of the sphere that it starts from (default: 4)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    out, size = Path(args.out), args.resolution

    target = args.mesh or make_bear(cells=48)
    mvps = camera.perspective() @ camera.look_at(3.2 * camera.directions(args.pictures))
    turned = camera.directions(16) @ camera.random_rotations(1, torch.Generator().manual_seed(args.seed))[0].T
    held_out = camera.perspective() @ camera.look_at(3.2 * turned)
    wanted = draw(target, held_out, size)

    start = meshes.icosphere(args.subdivisions)
    start = start.replace(pos=0.6 * start.pos)
    rate = {"lr": 0.06, "decay": 4 / args.max_iter}
    parameter = Parameter("position", start.pos, "vertex", eps="pixel", smoothness=4.0, **rate)
    with StochasticOptimizer(None, [parameter], MeshScene(start.tri), views=args.views, seed=args.seed) as optimizer:
        optimizer.set_views(mvps, draw(target, mvps, size))
        with new_bar(range(1, args.max_iter + 1), desc="steps") as bar:
            for step in bar:
                optimizer.step()
                if step % 50 == 0:
                    bar.set_postfix(IoU=f"{iou(optimizer.render(held_out, (size, size)), wanted):.3f}")
        mesh = start.replace(pos=torch.from_numpy(optimizer.download()["position"]))

    rows = [torch.from_numpy(draw(shape, held_out[:5], 256)[..., :3]) for shape in (start, mesh, target)]
    pictures.save(out / "comparison.png", pictures.grid(rows))
    meshes.save(out / "fitted.obj", mesh)
    before, after = (iou(draw(shape, held_out, size), wanted) for shape in (start, mesh))
    print(f"silhouette IoU over {len(held_out)} held-out views: {before:.4f} before, {after:.4f} after")
    print(f"edges folded by more than 60 degrees: {folded(mesh):.2%}; see {out}")


if __name__ == "__main__":
    main()
