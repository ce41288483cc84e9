"""Finds the shape and the colours of a cube from tiny pictures of it.

    python samples/cube.py [--resolution 16] [--max-iter 1000] [--seed 0] [--out out/cube]

Each iteration draws the true cube and the current guess from a few random sides, in pictures of 4 x 4 to 16 x 16
pixels, and moves the guess's corners and colours to make the two alike. What the pictures tell of the shape comes
mostly through `antialias`, which blends the pixels along the edges.

Expected: the mean distance of the corners from their places, in a cube with sides of length 2, starts near 0.48. It
ends below 0.001 at resolution 16 and near 0.05 at resolution 4. cube.png shows, from the top, the start, the result,
the truth, and the truth in as few pixels as the pictures had.
"""

from pathlib import Path

import pictures
import torch
from options import make_context, make_parser, make_viewer, positive
from tqdm import tqdm

import glraster.torch as dr
from glraster import camera
from glraster import mesh as meshes


def draw(glctx, mvp, corners, colors, tri, resolution):
    """Draws a cube of corners [8, 3] and colours [8, 3] for matrices [N, 4, 4]: [N, resolution, resolution, 3]."""
    pos = camera.transform(corners, mvp)
    rast, _ = dr.rasterize(glctx, pos, tri, (resolution, resolution))
    image, _ = dr.interpolate(colors, rast, tri)
    return dr.antialias(image, rast, pos, tri)


def random_views(count, generator, device, distance=3.5):
    view = camera.rigid(camera.random_rotations(count, generator), torch.tensor([0.0, 0.0, -distance]))
    return (camera.perspective(fov_degrees=45) @ view).to(device)


def main() -> None:
    parser = make_parser(__doc__, out="out/cube")
    parser.add_argument("--resolution", type=positive, default=16, help="of the pictures, in pixels (default: 16)")
    parser.add_argument("--max-iter", type=positive, default=1000, help="iterations (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the start and the views (default: 0)")
    args = parser.parse_args()
    glctx = make_context(args)
    generator = torch.Generator().manual_seed(args.seed)

    cube = meshes.cube().to(glctx.device)
    target, tri = cube.pos, cube.tri
    target_colors = 0.6 + 0.4 * target
    start = (target.cpu() + torch.rand(8, 3, generator=generator) - 0.5).to(glctx.device)
    start_colors = torch.rand(8, 3, generator=generator).to(glctx.device)
    corners, colors = (tensor.clone().requires_grad_() for tensor in (start, start_colors))
    optimizer = torch.optim.Adam([corners, colors], lr=0.02, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.02 ** (i / args.max_iter))

    def report(iteration):
        distance = (corners - target).norm(dim=1).mean().item()
        tqdm.write(f"iteration {iteration:5d}   mean corner distance {distance:.4f}")

    report(0)
    viewer = make_viewer(args)
    for iteration in viewer.loop(range(1, args.max_iter + 1)):
        mvp = random_views(8, generator, glctx.device)
        truth = draw(glctx, mvp, target, target_colors, tri, args.resolution)
        guess = draw(glctx, mvp, corners, colors, tri, args.resolution)
        loss = (truth - guess).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        viewer.log(loss=loss)
        viewer.show(guess=guess, truth=truth)
        if iteration % 100 == 0 or iteration == args.max_iter:
            report(iteration)

    mvp = random_views(5, generator, glctx.device, distance=5.5)
    with torch.no_grad():
        first = draw(glctx, mvp, start, start_colors, tri, 256)
        found = draw(glctx, mvp, corners, colors, tri, 256)
        truth = draw(glctx, mvp, target, target_colors, tri, 256)
        given = draw(glctx, mvp, target, target_colors, tri, args.resolution)
    path = Path(args.out) / "cube.png"
    pictures.save(path, pictures.grid([first, found, truth, pictures.enlarge(given, 256)]))
    print(f"Wrote {path}.")
    viewer.wait()


if __name__ == "__main__":
    main()
