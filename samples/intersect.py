"""Finds from one picture how deep a ball is sunk into a plate.

    python samples/intersect.py [--resolution 128] [--max-iter 150] [--out out/intersect.png]

Seen from above, a ball whose centre lies below the plate has no silhouette: its outline is the circle in which the two
bodies intersect, and there is no edge of any triangle that antialias could blend. `edge_gradients` finds the boundary
from the two surfaces themselves.

Expected: with antialias alone the ball stays where it is, 0.25 off; with edge_gradients it ends within 0.003 of its
true depth. The picture shows the start, what either has found, and the target.
"""

import pictures
import torch
from blending import by_antialias, by_edge_gradients
from options import make_context, make_parser, make_viewer, positive

import glraster.torch as dr
from glraster import camera
from glraster import mesh as meshes

TRUE_DEPTH, START = 0.25, 0.5  # of the ball's centre below the plate; its radius is 0.8


def draw(glctx, scene, depth, resolution, blend):
    """The plate and the ball, each in one colour, from above: [1, resolution, resolution, 3]."""
    plate, ball, mvp = scene
    sunk = 0.8 * ball.pos - depth * torch.tensor([0.0, 0.0, 1.0], device=mvp.device)
    pos = camera.transform(torch.cat([plate.pos, sunk]), mvp)
    tri = torch.cat([plate.tri, ball.tri + len(plate.pos)])
    rast, _ = dr.rasterize(glctx, pos, tri, (resolution, resolution))
    first = torch.arange(pos.shape[1], device=mvp.device)[:, None] < len(plate.pos)
    colors = torch.where(first, *torch.tensor([[0.25, 0.35, 0.45], [0.9, 0.6, 0.2]], device=mvp.device))
    image, _ = dr.interpolate(colors, rast, tri)
    return blend(image, rast, pos, tri)


def find_depth(glctx, scene, target, iterations, blend, viewer) -> torch.Tensor:
    """The depth at which the picture looks most like the target, by gradient descent."""
    depth = torch.tensor(START, device=target.device, requires_grad=True)
    optimizer = torch.optim.Adam([depth], lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.02 ** (1 / iterations))
    for _ in viewer.loop(range(iterations)):
        image = draw(glctx, scene, depth, target.shape[1], blend)
        loss = (image - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        viewer.log(depth=depth)
        viewer.show(image=image)
    return depth.detach()


def main() -> None:
    parser = make_parser(__doc__, out="out/intersect.png", context=None)
    parser.add_argument("--resolution", type=positive, default=128, help="of the picture, in pixels (default: 128)")
    parser.add_argument("--max-iter", type=positive, default=150, help="gradient steps (default: 150)")
    args = parser.parse_args()
    glctx = make_context(args)
    corners = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    plate = meshes.Mesh(corners, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)).to(glctx.device)
    mvp = camera.perspective() @ camera.look_at(torch.tensor([[0.3, 0.2, 3.2]]))
    scene = plate, meshes.icosphere(4).to(glctx.device), mvp.to(glctx.device)
    with torch.no_grad():
        target = draw(glctx, scene, torch.tensor(TRUE_DEPTH, device=glctx.device), args.resolution, by_edge_gradients)
    depths = [torch.tensor(START, device=glctx.device)]
    with make_viewer(args) as viewer:
        for name, blend in (("antialias", by_antialias), ("edge_gradients", by_edge_gradients)):
            depths.append(find_depth(glctx, scene, target, args.max_iter, blend, viewer))
            print(f"{name}: found {depths[-1]:.4f}, off by {abs(depths[-1] - TRUE_DEPTH):.4f}")
        with torch.no_grad():
            images = [draw(glctx, scene, d, 256, by_edge_gradients) for d in (*depths, depths[0] * 0 + TRUE_DEPTH)]
        pictures.save(args.out, pictures.grid([torch.cat(images)]))
        print(f"Wrote {args.out}.")
        viewer.wait()


if __name__ == "__main__":
    main()
