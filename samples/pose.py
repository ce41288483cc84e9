"""Recovers how a cube is turned from one picture of it: a greedy search first, then gradients.

    python samples/pose.py [--trials 20] [--resolution 96] [--max-iter 200] [--out out/pose.png]

The search draws many rotations in one batch, keeps the best, and goes on around it in ever smaller steps; gradients of
the difference between the pictures do the rest.

Expected: in at least 16 of 20 trials the rotation ends less than 1 degree from the true one, most of them less than
0.1 degrees. The picture has a column for each of the first 8 trials: the cube, what the search found, and what the
gradients made of that.
"""

import math

import camera
import meshes
import pictures
import torch
from options import make_context, make_parser, positive
from tqdm import trange

import glraster.torch as dr

CANDIDATES, ROUNDS = 64, 10  # of the search


def turn(vector: torch.Tensor) -> torch.Tensor:
    """Returns the [..., 3, 3] rotations about the axes `vector` [..., 3] by their lengths, in radians."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(cross)


def draw(glctx, cube, rotations, resolution):
    """Draws the cube, its corners in the colours of their places: [N, resolution, resolution, 3]."""
    view = camera.rigid(rotations, torch.tensor([0.0, 0.0, -5.5], device=rotations.device))
    pos = camera.transform(cube.positions, camera.perspective().to(rotations.device) @ view)
    rast, _ = dr.rasterize(glctx, pos, cube.triangles, (resolution, resolution))
    image, _ = dr.interpolate(cube.positions * 0.4 + 0.6, rast, cube.triangles)
    return dr.antialias(image, rast, pos, cube.triangles)


def search(glctx, cube, target, generator):
    """Returns the best rotation [3, 3] among random ones, then among ever smaller turns of the best so far."""
    candidates = camera.random_rotations(CANDIDATES, generator).to(target.device)
    lowest = math.inf
    for step in range(ROUNDS):
        losses = (draw(glctx, cube, candidates, target.shape[0]) - target).square().mean(dim=(1, 2, 3))
        if losses.min() < lowest:
            lowest, best = losses.min(), candidates[losses.argmin()]
        spread = 0.8 * 0.7**step
        candidates = turn(spread * torch.randn(CANDIDATES, 3, generator=generator).to(target.device)) @ best
    return best


def refine(glctx, cube, target, rotation, iterations):
    """Returns the rotation moved along the gradient of the difference between the pictures."""
    vector = torch.zeros(3, device=target.device, requires_grad=True)
    optimizer = torch.optim.Adam([vector], lr=0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / iterations))
    for _ in range(iterations):
        loss = (draw(glctx, cube, (turn(vector) @ rotation)[None], target.shape[0])[0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return (turn(vector) @ rotation).detach()


def degrees_between(a: torch.Tensor, b: torch.Tensor) -> float:
    return math.degrees(2 * math.asin(min(1.0, (a - b).norm().item() / math.sqrt(8))))


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
    progress = trange(args.trials, disable=None)
    for trial in progress:
        generator = torch.Generator().manual_seed(args.seed + trial)
        truth = camera.random_rotations(1, generator)[0].to(glctx.device)
        with torch.no_grad():
            target = draw(glctx, cube, truth[None], args.resolution)[0]
            found = search(glctx, cube, target, generator)
        refined = refine(glctx, cube, target, found, args.max_iter)
        errors.append(degrees_between(refined, truth))
        columns.append(torch.stack([truth, found, refined]))
        progress.write(
            f"seed {args.seed + trial}: search {degrees_between(found, truth):6.2f}, gradients {errors[-1]:.4f} degrees"
        )
    print(f"under 1 degree: {sum(error < 1 for error in errors)} of {args.trials}")
    rows = torch.stack(columns[:8], dim=1)
    with torch.no_grad():
        pictures.save(args.out, pictures.grid([draw(glctx, cube, row, 160) for row in rows]))


if __name__ == "__main__":
    main()
