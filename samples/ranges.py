"""Draws a minibatch of different meshes in one call, and finds a colour for each from pictures of them.

    python samples/ranges.py [--max-iter 60] [--out out/ranges.png]

A bear, a ball, a cube and a sheet are put into one list of triangles; `ranges` tells `rasterize` which of them belong
to which image. Each mesh has a camera of its own. The colours of all meshes are optimized at once.

Expected: the largest error of a colour falls below 0.01. The picture has the start above, the result in the middle, and
the truth below.
"""

import pictures
import torch
from bear import bear
from options import make_context, make_parser, make_viewer, positive

import glraster as dr
from glraster import camera, shading
from glraster import mesh as meshes


def draw(glctx, whole, ranges, of_mesh, matrices, colors, resolution):
    """Draws N meshes of `whole` in colours [N, 3]: [N, resolution, resolution, 4], coverage in the last channel."""
    pos = torch.nn.functional.pad(whole.pos, (0, 1), value=1.0)
    clip = (matrices[of_mesh] @ pos[..., None])[..., 0]  # [V, 4]: each vertex by the camera of its mesh
    rast, _ = dr.rasterize(glctx, clip, whole.tri, (resolution, resolution), ranges)
    light = torch.tensor([0.48, 0.6, 0.64]).to(pos)
    attributes = torch.cat([0.3 + 0.7 * shading.lambert(whole.vertex_normals(), light), pos[:, 3:]], dim=1)
    lit, covered = dr.interpolate(attributes, rast, whole.tri)[0].split(1, dim=-1)
    image = torch.cat([lit * colors[:, None, None], covered], dim=-1)
    return dr.antialias(image, rast, clip, whole.tri)


def main() -> None:
    parser = make_parser(__doc__, out="out/ranges.png")
    parser.add_argument("--max-iter", type=positive, default=60, help="iterations (default: 60)")
    parser.add_argument("--resolution", type=positive, default=192, help="of the pictures, in pixels (default: 192)")
    args = parser.parse_args()
    glctx = make_context(args)
    several = [bear(40), meshes.icosphere(3), meshes.cube(), meshes.grid(8, 8)]
    whole, ranges = meshes.merge([mesh.to(glctx.device) for mesh in several])
    numbers = torch.arange(len(several))
    of_mesh = numbers.repeat_interleave(torch.tensor([len(mesh.pos) for mesh in several])).to(glctx.device)
    views = camera.orbit(torch.tensor([20.0, 0, 35, -30]), 20.0, torch.tensor([3.2, 3.4, 5.5, 4.0]))
    matrices = (camera.perspective() @ views).to(glctx.device)
    true = torch.tensor([[0.6, 0.4, 0.2], [0.9, 0.3, 0.3], [0.2, 0.6, 0.9], [0.4, 0.8, 0.3]], device=glctx.device)
    colors = torch.full_like(true, 0.5).requires_grad_()
    optimizer = torch.optim.Adam([colors], lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / args.max_iter))
    with torch.no_grad():
        truth = draw(glctx, whole, ranges, of_mesh, matrices, true, args.resolution)
        rows = [draw(glctx, whole, ranges, of_mesh, matrices, colors, args.resolution)]
    with make_viewer(args) as viewer:
        for _ in viewer.loop(range(args.max_iter)):
            image = draw(glctx, whole, ranges, of_mesh, matrices, colors, args.resolution)
            optimizer.zero_grad()
            loss = (image - truth).square().sum() / truth[..., 3].sum()
            loss.backward()
            optimizer.step()
            schedule.step()
            viewer.log(loss=loss)
            viewer.show(image=image, truth=truth)
        rows += [image.detach(), truth]
        pictures.save(args.out, pictures.grid([row[..., :3] + (1 - row[..., 3:]) for row in rows]))
        before, after = ((found - true).abs().max().item() for found in (torch.full_like(true, 0.5), colors))
        print(f"largest error of a colour: {before:.4f} before, {after:.4f} after; see {args.out}")
        viewer.wait()


if __name__ == "__main__":
    main()
