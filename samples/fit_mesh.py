"""Fits a sphere to pictures of a mesh: silhouettes and shading pull its vertices into place.

    python samples/fit_mesh.py [--mesh bunny.obj] [--compile] [--out out/fit_mesh] [--view]

Pictures of the target from all around are drawn first; they are all that the fit sees. It starts from a coarse sphere,
which is refined twice on the way. Without --mesh the target is a procedural bear.

Expected: before.png, after.png and target.png, comparison.png with the three above one another, loss.png, and the mesh,
fitted.obj. The silhouettes of start, result and target are compared over views that the fit has not seen: their
intersection over union (IoU) ends above 0.98.
"""

import functools
import itertools
from pathlib import Path

import options
import pictures
import torch
from bear import bear as make_bear
from blending import by_antialias, by_edge_gradients

import glraster.torch as dr
from glraster import camera
from glraster import mesh as meshes

LIGHTS = torch.nn.functional.normalize(torch.tensor([[0.5, 0.7, 0.5], [-0.8, 0.2, 0.4], [0.2, -0.3, -0.9]]), dim=1)
COLORS = torch.tensor([[0.95, 0.75, 0.5], [0.15, 0.3, 0.55], [0.35, 0.15, 0.3]])
STAGES = ((2 / 7, 10.0), (2 / 7, 19.0), (3 / 7, 30.0))  # share of the iterations, smoothing; a refinement between two


def render(glctx, mesh, mvps, resolution, topology=None, blend=by_antialias):
    """Draws a mesh lit by three soft lights: [N, resolution, resolution, 4], coverage in the last channel."""
    pos = camera.transform(mesh.pos, mvps)
    rast, _ = dr.rasterize(glctx, pos, mesh.tri, (resolution, resolution))
    shade = ((mesh.vertex_normals() @ LIGHTS.T.to(pos) + 1) / 2) ** 2 @ COLORS.to(pos)
    image, _ = dr.interpolate(torch.nn.functional.pad(shade, (0, 1), value=1.0), rast, mesh.tri)
    return blend(image, rast, pos, mesh.tri, topology)


def refine(mesh: meshes.Mesh) -> meshes.Mesh:
    """Splits every triangle into four, then evens the vertices out within the surface."""
    finer = meshes.subdivide(mesh)
    topology = finer.topology
    for _ in range(20):
        step = meshes.neighbour_mean(finer.pos, topology) - finer.pos
        normals = finer.vertex_normals()
        tangential = step - normals * (step * normals).sum(1, keepdim=True)
        finer = finer.replace(pos=finer.pos + 0.5 * tangential)
    return finer


def silhouette_iou(glctx, mesh, target, mvps, resolution=256) -> float:
    """Mean intersection over union of the two meshes' silhouettes."""
    covered = []
    for shape in (mesh, target):
        pos = camera.transform(shape.pos, mvps)
        covered.append(dr.rasterize(glctx, pos, shape.tri, (resolution, resolution))[0][..., 3] > 0)
    both, either = covered[0] & covered[1], covered[0] | covered[1]
    return (both.sum((1, 2)) / either.sum((1, 2))).mean().item()


def picture_loss(glctx, mesh, mvps, truth, topology, blend=by_antialias) -> tuple[torch.Tensor, torch.Tensor]:
    """How far pictures of a mesh are from the true ones, and the pictures."""
    image = render(glctx, mesh, mvps, truth.shape[1], topology, blend)
    error = (image - truth).abs()
    both = truth[..., 3:] * image[..., 3:].detach()  # shading counts where both are
    return 0.5 * error[..., 3].mean() + (error[..., :3] * both).mean(), image


def fit_stage(glctx, loss_of, mesh, smoothing, steps, iterations, mvps, truth, batch, generator, viewer) -> meshes.Mesh:
    """Moves the vertices of a mesh with fixed topology, in so many of the loop's steps."""
    smooth, topology = meshes.LargeSteps(mesh.tri, strength=smoothing), dr.antialias_construct_topology_hash(mesh.tri)
    unknowns = smooth.to_unknowns(mesh.pos).requires_grad_()
    optimizer = meshes.UniformAdam([unknowns], lr=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.1 ** (i / iterations))
    for _ in itertools.islice(steps, iterations):
        chosen = torch.randperm(len(mvps), generator=generator)[:batch]
        guess = mesh.replace(pos=smooth.to_positions(unknowns))
        wanted = truth[chosen]
        loss, image = loss_of(glctx, guess, mvps[chosen], wanted, topology)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        viewer.log(loss=loss)
        viewer.show(image=image[:4], target=wanted[:4])
        viewer.mesh(guess.pos, guess.tri)
    return mesh.replace(pos=smooth.to_positions(unknowns).detach())


def show(glctx, mesh, mvps, size=384) -> torch.Tensor:
    with torch.no_grad():
        image = pictures.shrink(render(glctx, mesh, mvps, 2 * size), 2)
    return image[..., :3] + (1 - image[..., 3:]) * 0.93  # on light grey


def report(glctx, args, start, mesh, target, held_out, losses) -> None:
    """Writes the pictures and the mesh, and prints how well it fits."""
    out = Path(args.out)
    rows = {
        name: show(glctx, shape, held_out[:5])
        for name, shape in (("before", start), ("after", mesh), ("target", target))
    }
    for name, row in rows.items():
        pictures.save(out / f"{name}.png", pictures.grid([row]))
    pictures.save(out / "comparison.png", pictures.grid(list(rows.values())))
    pictures.save_curve(out / "loss.png", losses, "loss")
    meshes.save(out / "fitted.obj", mesh)
    before, after = (silhouette_iou(glctx, shape, target, held_out) for shape in (start, mesh))
    print(f"silhouette IoU over {len(held_out)} held-out views: {before:.4f} before, {after:.4f} after; see {out}")


def fit(glctx, args, viewer) -> None:
    """Fits a sphere to pictures of the target."""
    device, generator = glctx.device, torch.Generator().manual_seed(args.seed)

    target = (args.mesh or make_bear()).to(device)
    mvps = (camera.perspective() @ camera.look_at(3 * camera.directions(args.views))).to(device)
    unseen = camera.directions(16) @ camera.random_rotations(1, generator)[0].T
    held_out = (camera.perspective() @ camera.look_at(3 * unseen)).to(device)
    with torch.no_grad():
        truth = torch.cat([render(glctx, target, mvp[None], args.resolution) for mvp in mvps])

    start = meshes.icosphere(3).to(device)
    start = mesh = start.replace(pos=0.6 * start.pos)
    loss_of = torch.compile(picture_loss, fullgraph=True) if args.compile else picture_loss
    steps, done = viewer.loop(range(args.max_iter), desc="fitting"), 0
    for stage, (share, smoothing) in enumerate(STAGES):
        last = stage == len(STAGES) - 1
        count = args.max_iter - done if last else round(share * args.max_iter)
        mesh = refine(mesh) if stage else mesh
        blend = by_edge_gradients if stage else by_antialias  # once triangles are a few pixels wide
        loss = functools.partial(loss_of, blend=blend)
        mesh = fit_stage(glctx, loss, mesh, smoothing, steps, count, mvps, truth, args.batch, generator, viewer)
        done += count
    next(steps, None)  # the last step is done, too
    report(glctx, args, start, mesh, target, held_out, viewer.plots.curve("loss")[1])


def main() -> None:
    parser = options.make_parser(__doc__, out="out/fit_mesh")
    mesh = "target: any file that trimesh reads (default: a procedural bear)"
    parser.add_argument("--mesh", type=options.mesh_file, help=mesh)
    parser.add_argument("--max-iter", type=options.positive, default=1500)
    parser.add_argument("--views", type=options.positive, default=48, help="pictures of the target")
    parser.add_argument("--batch", type=options.positive, default=6, help="pictures per iteration")
    parser.add_argument("--resolution", type=options.positive, default=192)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="compile what a step computes, with torch.compile")
    args = parser.parse_args()
    glctx = options.make_context(args)
    with options.make_viewer(args) as viewer:
        fit(glctx, args, viewer)
        viewer.wait()


if __name__ == "__main__":
    main()
