"""Finds pose and shape of a mesh whose triangles are smaller than a pixel, from silhouettes.

    python samples/finemesh.py [--resolution 64] [--max-iter 200] [--out out/finemesh.png]

A bear of some 30,000 triangles is turned, moved and stretched; three small pictures of its silhouette are all that the
search for the nine numbers sees. `antialias` looks for silhouettes among the edges of the very triangles that pixels
show: of triangles this small it hardly ever finds one, and its gradients are faint and point anywhere.

Expected: with antialias the mean distance between vertices where they are and where they ought to be hardly shrinks;
with edge_gradients it shrinks to a tenth and less. The picture has a row for each: before, after, and the target.
"""

import pictures
import torch
from bear import bear
from blending import by_antialias, by_edge_gradients
from options import make_context, make_parser, make_viewer, positive

import glraster.torch as dr
from glraster import camera

TRUTH = torch.tensor([0.25, -0.3, 0.2, 0.08, -0.06, 0.1, 0.15, -0.1, 0.1])  # turn, move, logarithm of stretch


def placed(mesh, numbers) -> torch.Tensor:
    """The mesh's vertices, stretched, turned and moved."""
    turn, move, stretch = numbers.split(3)
    return (mesh.pos * stretch.exp()) @ camera.rotations(turn).mT + move


def draw(glctx, mesh, numbers, mvps, resolution, blend, topology):
    """Silhouettes from every camera: [N, resolution, resolution, 1]."""
    pos = camera.transform(placed(mesh, numbers), mvps)
    rast, _ = dr.rasterize(glctx, pos, mesh.tri, (resolution, resolution))
    return blend((rast[..., 3:] > 0).float(), rast, pos, mesh.tri, topology)


def search(glctx, mesh, mvps, target, iterations, blend, topology, viewer) -> torch.Tensor:
    """The nine numbers, by gradient descent from zeros."""
    numbers = torch.zeros(9, device=target.device, requires_grad=True)
    optimizer = torch.optim.Adam([numbers], lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.02 ** (1 / iterations))
    for _ in viewer.loop(range(iterations)):
        image = draw(glctx, mesh, numbers, mvps, target.shape[1], blend, topology)
        loss = (image - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        viewer.log(loss=loss)
        viewer.show(image=image)
    return numbers.detach()


def main() -> None:
    parser = make_parser(__doc__, out="out/finemesh.png", context=None)
    parser.add_argument("--resolution", type=positive, default=64, help="of the pictures, in pixels (default: 64)")
    parser.add_argument("--max-iter", type=positive, default=200, help="gradient steps (default: 200)")
    args = parser.parse_args()
    glctx = make_context(args)
    mesh, truth = bear().to(glctx.device), TRUTH.to(glctx.device)
    topology = dr.antialias_construct_topology_hash(mesh.tri)
    eyes = torch.tensor([[0.5, 0.4, 3.5], [3.2, 0.8, -0.6], [-0.8, 3.1, 0.6]])
    mvps = (camera.perspective() @ camera.look_at(eyes)).to(glctx.device)
    small = glctx, mesh, truth, mvps
    with torch.no_grad():
        target = draw(*small, args.resolution, by_edge_gradients, topology)
    rows = []
    with make_viewer(args) as viewer:
        for name, blend in (("antialias", by_antialias), ("edge_gradients", by_edge_gradients)):
            found = search(glctx, mesh, mvps, target, args.max_iter, blend, topology, viewer)
            before, after = ((placed(mesh, n) - placed(mesh, truth)).norm(dim=1).mean() for n in (0 * found, found))
            print(f"{name}: mean distance of vertices {before:.4f} before, {after:.4f} after")
            with torch.no_grad():
                shown = [draw(glctx, mesh, n, mvps[:1], 192, blend, topology) for n in (0 * found, found, truth)]
            rows.append(torch.cat(shown))
        pictures.save(args.out, pictures.grid(rows))
        print(f"Wrote {args.out}.")
        viewer.wait()


if __name__ == "__main__":
    main()
