"""Finds a mesh from pictures, its triangles changing with its shape: remeshing beside fixed topology, in equal time.

    python samples/remesh_fit.py [--mesh spot.obj] [--seconds 60] [--out out/remesh_fit]

Both fits see the same pictures, take the same steps (large steps: Nicolet et al. 2021) and have the same time. One
keeps the triangles of the sphere that it starts from. The other remeshes it all along: edges are split, collapsed and
flipped towards a length that shrinks from step to step, so that triangles go where the surface grows, and the
optimizer's moments go with the vertices. Without --mesh the target is a procedural bear.

Prints chamfer distances to the target (mean squared distances of points to the nearest of the other surface, both ways)
and how many edges go through triangles. comparison.png shows start, fixed topology, remeshing and target;
remeshed.obj and fixed.obj are the meshes.
"""

import math
import time
from pathlib import Path

import pictures
import torch
from bear import bear
from options import make_context, make_parser, make_viewer, mesh_file, positive

import glraster as dr
from glraster import camera, losses, shading
from glraster import mesh as meshes

LIGHTS = torch.nn.functional.normalize(torch.tensor([[0.5, 0.7, 0.5], [-0.8, 0.2, 0.4], [0.2, -0.3, -0.9]]), dim=1)
LONGEST, SHORTEST = 0.16, 0.045  # wanted lengths of edges at the start and the end; the target's radius is 1
EVERY = 8  # steps from one remeshing to the next
POINTS = 100000  # of the chamfer distance


def draw(glctx, pos, tri, matrices, resolution):
    """Draws a surface in the colours of three lights, and its coverage: [N, resolution, resolution, 4]."""
    normals = meshes.vertex_normals(pos, tri)
    lit = [shading.lambert(normals, light.to(pos)) for light in LIGHTS]
    attributes = torch.cat([*lit, torch.ones_like(lit[0])], dim=1)
    clip = camera.transform(pos, matrices)
    rast, _ = dr.rasterize(glctx, clip, tri, (resolution, resolution))
    image, _ = dr.interpolate(attributes, rast, tri)
    return dr.antialias(image, rast, clip, tri)


def fit(glctx, mesh, matrices, truth, args, remeshing, viewer) -> meshes.Mesh:
    """Moves a sphere's vertices for so many seconds, with or without remeshing."""
    generator = torch.Generator().manual_seed(args.seed)
    smooth = meshes.LargeSteps(mesh.topology, strength=args.strength)
    unknowns = smooth.to_unknowns(mesh.pos).requires_grad_()
    optimizer = meshes.UniformAdam([unknowns], lr=args.rate)
    begin, step = time.perf_counter(), 0
    while (gone := (time.perf_counter() - begin) / args.seconds) < 1 and step < args.max_iter:
        gone = max(gone, step / args.max_iter)
        if remeshing and step and step % EVERY == 0 and gone < 0.9:
            length = LONGEST * (SHORTEST / LONGEST) ** min(1.0, gone / 0.6)
            found = meshes.remesh(smooth.to_positions(unknowns).detach(), mesh.tri, length, relax=0.1)
            mesh = mesh.replace(pos=found.pos, tri=found.tri)
            smooth = meshes.LargeSteps(mesh.topology, strength=args.strength)
            moved = smooth.to_unknowns(found.pos)
            share = len(unknowns) / len(moved)  # of a vertex in the loss: the more there are, the less each counts
            unknowns = meshes.carry_state(optimizer, unknowns, moved, found.weights)
            optimizer.state[unknowns]["first"] *= share
            optimizer.state[unknowns]["second"] *= share**2
        chosen = torch.randperm(len(matrices), generator=generator)[: args.batch].to(truth.device)
        optimizer.param_groups[0]["lr"] = args.rate * 0.1**gone
        pos = smooth.to_positions(unknowns)
        image = draw(glctx, pos, mesh.tri, matrices[chosen], truth.shape[1])
        loss = (image - truth[chosen]).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        viewer.log(loss=loss)
        viewer.mesh(pos, mesh.tri)
        step += 1
    print(f"{'remeshing' if remeshing else 'fixed':10} {step:5} steps, {len(mesh.tri):6,} triangles, ", end="")
    return mesh.replace(pos=smooth.to_positions(unknowns).detach())


def report(mesh, target) -> float:
    """Prints how far a mesh is from the target, and returns it."""
    generator = torch.Generator().manual_seed(0)
    clouds = [meshes.sample_points(shape.pos, shape.tri, POINTS, generator)[0] for shape in (mesh, target)]
    distance = losses.chamfer_distance(*clouds).item()
    crossings = len(meshes.self_intersections(mesh.pos, mesh.tri))
    print(f"chamfer {distance:.3e} (root {math.sqrt(distance):.4f}), {crossings} edges through triangles", flush=True)
    return distance


def main() -> None:
    parser = make_parser(__doc__, out="out/remesh_fit")
    parser.add_argument("--mesh", type=mesh_file, help="target: any mesh file (default: a procedural bear)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two fits")
    parser.add_argument("--max-iter", type=positive, default=100000, help="the most steps of each, whatever the time")
    parser.add_argument("--views", type=positive, default=16, help="pictures of the target")
    parser.add_argument("--batch", type=positive, default=4, help="pictures per step")
    parser.add_argument("--resolution", type=positive, default=512)
    parser.add_argument("--subdivisions", type=positive, default=4, help="of the sphere of fixed topology (default: 4)")
    parser.add_argument("--strength", type=float, default=20.0, help="of the smoothing, lambda")
    parser.add_argument("--rate", type=float, default=0.08, help="learning rate at the start")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the pictures")
    args = parser.parse_args()
    glctx = make_context(args)
    device = glctx.device
    target = (args.mesh or bear()).to(device)
    matrices = (camera.perspective() @ camera.look_at(3 * camera.directions(args.views))).to(device)
    with torch.no_grad():
        truth = torch.cat([draw(glctx, target.pos, target.tri, m[None], args.resolution) for m in matrices])
    rows, distances, out = [], {}, Path(args.out)
    with make_viewer(args) as viewer:
        for name, subdivisions in (("fixed", args.subdivisions), ("remeshed", 3)):
            start = meshes.icosphere(subdivisions).to(device)
            start = start.replace(pos=0.6 * start.pos)
            mesh = fit(glctx, start, matrices, truth, args, name == "remeshed", viewer)
            distances[name] = report(mesh, target)
            meshes.save(out / f"{name}.obj", mesh)
            rows.append(mesh)
    with torch.no_grad():
        shown = camera.perspective() @ camera.orbit(torch.tensor([20.0, 110, 200, 290]), 20.0, 3.0)
        images = [draw(glctx, m.pos, m.tri, shown.to(device), 768)[..., :3] for m in (start, *rows, target)]
    pictures.save(out / "comparison.png", pictures.grid([pictures.shrink(image, 2) for image in images]))
    print(
        f"chamfer distance with remeshing: {distances['remeshed'] / distances['fixed']:.2f} of that without; see {out}"
    )


if __name__ == "__main__":
    main()
