"""Recovers how a cube is turned from one picture of it: a greedy search first, then gradients.

    python samples/pose.py [--trials 20] [--resolution 64] [--max-iter 100] [--out out/pose.png]

The search draws many rotations in one batch, keeps the best, and goes on around it in ever smaller steps; gradients of
the difference between the pictures do the rest.

Expected: the search ends within 2 degrees of the true rotation, the gradients within 0.01. The picture has a column
for each of the first 8 trials: the cube, what the search found, and what the gradients made of that.
"""

import pictures
import torch
from options import make_context, make_parser, make_viewer, positive
from tqdm import tqdm

import glraster.torch as dr
from glraster import camera
from glraster import mesh as meshes


def draw(glctx, cube, rotations, resolution):
    """Draws the cube, its corners in the colours of their places: [N, resolution, resolution, 3]."""
    view = camera.rigid(rotations, torch.tensor([0.0, 0.0, -5.5], device=rotations.device))
    pos = camera.transform(cube.pos, camera.perspective().to(rotations.device) @ view)
    rast, _ = dr.rasterize(glctx, pos, cube.tri, (resolution, resolution))
    image, _ = dr.interpolate(cube.pos * 0.4 + 0.6, rast, cube.tri)
    return dr.antialias(image, rast, pos, cube.tri)


def search(glctx, cube, target, generator, candidates=64, rounds=10):
    """Returns the best rotation [3, 3] among random ones, then among ever smaller turns of the best so far."""
    found = camera.random_rotations(candidates, generator).to(target.device)
    for step in range(rounds):
        losses = (draw(glctx, cube, found, target.shape[0]) - target).square().mean(dim=(1, 2, 3))
        best = found[losses.argmin()]
        turns = 0.8 * 0.7**step * torch.randn(candidates, 3, generator=generator).to(target.device)
        turns[0] = 0  # keeps the best itself
        found = camera.rotations(turns) @ best
    return best


def refine(glctx, cube, target, rotation, iterations):
    """Returns the rotation moved along the gradient of the difference between the pictures."""
    vector = torch.zeros(3, device=target.device, requires_grad=True)
    optimizer = torch.optim.Adam([vector], lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / iterations))
    for _ in range(iterations):
        image = draw(glctx, cube, (camera.rotations(vector) @ rotation)[None], target.shape[0])[0]
        optimizer.zero_grad()
        (image - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    return (camera.rotations(vector) @ rotation).detach()


def main() -> None:
    parser = make_parser(__doc__, out="out/pose.png", context=None)
    parser.add_argument("--trials", type=positive, default=20, help="cubes to find (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the first trial; the next has the next (default: 0)")
    parser.add_argument("--resolution", type=positive, default=64, help="of the pictures, in pixels (default: 64)")
    parser.add_argument("--max-iter", type=positive, default=100, help="gradient steps (default: 100)")
    args = parser.parse_args()
    glctx = make_context(args)
    cube = meshes.cube().to(glctx.device)
    errors, columns = [], []
    viewer = make_viewer(args)
    for seed in viewer.loop(range(args.seed, args.seed + args.trials)):
        generator = torch.Generator().manual_seed(seed)
        truth = camera.random_rotations(1, generator)[0].to(glctx.device)
        with torch.no_grad():
            target = draw(glctx, cube, truth[None], args.resolution)[0]
            found = search(glctx, cube, target, generator)
        refined = refine(glctx, cube, target, found, args.max_iter)
        before, after = (camera.degrees_between(rotation, truth) for rotation in (found, refined))
        tqdm.write(f"seed {seed}: search {before:6.2f}, gradients {after:.4f} degrees")
        errors.append(after)
        columns.append(torch.stack([truth, found, refined]))
        viewer.log(degrees=after)
        with torch.no_grad():
            viewer.show(trial=draw(glctx, cube, columns[-1], 256))
    print(f"under 1 degree: {sum(error < 1 for error in errors)} of {args.trials}")
    with torch.no_grad():
        rows = [draw(glctx, cube, row, 160) for row in torch.stack(columns[:8], dim=1)]
    pictures.save(args.out, pictures.grid(rows))
    print(f"Wrote {args.out}.")
    viewer.wait()


if __name__ == "__main__":
    main()
