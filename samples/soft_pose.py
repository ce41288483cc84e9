"""Finds how a cube is turned from one picture, by descent: with a hard rasterizer, and with soft ones.

    python samples/soft_pose.py [--trials 64] [--turned 60] [--max-iter 100] [--resolution 32] [--out out/soft_pose]

Descent alone, no search, from starts that are 60 degrees off about a random axis. Where the picture must change much
before it resembles the target more, descent stays. Edges that fade far (a large sigma) let it see farther, and miss the
end; annealed from large to small they do both.

Expected: a table of how many trials end within 5 degrees: 19 of 64 with the hard rasterizer (rasterize, interpolate,
antialias), 36 with a fixed sigma, 43 with an annealed one; 15 and 44 of the first and last with `--seed 1`. success.png
plots the share against the tolerance, and trials.png the first trials: starts, one row of ends for each way, truth.
"""

import math
from pathlib import Path

import options
import pictures
import torch
from matplotlib.figure import Figure

import glraster
from glraster import camera, mesh
from glraster.soft import soft_rasterize

COLORS = torch.tensor(
    [[0.9, 0.2, 0.2], [0.2, 0.8, 0.3], [0.2, 0.3, 0.9], [0.9, 0.8, 0.2], [0.8, 0.3, 0.8], [0.3, 0.8, 0.8]]
)
SIGMA, GAMMA = (1e-2, 1e-4), (1e-1, 1e-2)  # at the start and at the end of annealing
FIXED = 0.5  # where between them, on a logarithmic scale, the fixed ones lie


def between(limits: tuple[float, float], progress: float) -> float:
    return limits[0] ** (1 - progress) * limits[1] ** progress


class Cube:
    """A cube with a colour on each face, in front of a camera."""

    def __init__(self, glctx, resolution: int):
        self.glctx, self.size, device = glctx, (resolution, resolution), glctx.device
        self.shape, self.colors = mesh.cube().to(device), COLORS.to(device)
        self.faces = (torch.arange(12, dtype=torch.int32, device=device) // 2)[:, None].expand(12, 3).contiguous()

    def clip(self, rotations: torch.Tensor) -> torch.Tensor:
        view = camera.rigid(rotations, torch.tensor([0.0, 0.0, -5.5], device=rotations.device))
        return camera.transform(self.shape.pos, camera.perspective(40.0).to(view) @ view)

    def hard(self, rotations: torch.Tensor, progress: float = 0.0) -> torch.Tensor:
        """Pictures [N, H, W, 3], black outside of the cube."""
        pos = self.clip(rotations)
        rast, _ = glraster.rasterize(self.glctx, pos, self.shape.tri, self.size)
        color, _ = glraster.interpolate(self.colors, rast, self.faces)
        return glraster.antialias(color, rast, pos, self.shape.tri)

    def soft(self, rotations: torch.Tensor, progress: float) -> torch.Tensor:
        modes = {"sigma": between(SIGMA, progress), "gamma": between(GAMMA, progress), "near": 3.0, "far": 8.0}
        tri = self.shape.tri
        rgba, _ = soft_rasterize(self.clip(rotations), tri, self.colors, self.size, attr_tri=self.faces, **modes)
        # Softmax's colour ends some way outside of the cube, where it fades into nothing; alpha tells the true edge.
        return rgba[..., :3] * (1 - progress + progress * rgba[..., 3:])

    def fixed(self, rotations: torch.Tensor, progress: float) -> torch.Tensor:
        return self.soft(rotations, FIXED)


def descend(draw, starts: torch.Tensor, target: torch.Tensor, iterations: int, steps) -> torch.Tensor:
    """Returns the rotations [N, 3, 3] to which gradient descent leads; all trials at once, each for itself."""
    vectors = torch.zeros(len(starts), 3, device=starts.device, requires_grad=True)
    optimizer = torch.optim.Adam([vectors], lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 0.02 ** max(0.0, 2 * k / iterations - 1))
    for k in range(iterations):
        optimizer.zero_grad()
        (draw(camera.rotations(vectors) @ starts, k / iterations) - target).square().sum().backward()
        optimizer.step()
        schedule.step()
        next(steps)
    return (camera.rotations(vectors) @ starts).detach()


def report(out: Path, found: dict[str, list[float]], rows: list[torch.Tensor]) -> None:
    """Prints the table, draws the plot and saves the pictures."""
    axes = (figure := Figure(figsize=(6, 4), layout="constrained")).subplots()
    for name, errors in found.items():
        within = sum(error < 5 for error in errors)
        print(
            f"{name:28} {within:3d} of {len(errors)} within 5 degrees, median {sorted(errors)[len(errors) // 2]:6.1f}"
        )
        axes.plot(sorted(errors), [(k + 1) / len(errors) for k in range(len(errors))], label=name)
    axes.set(xscale="log", xlim=(0.05, 180), ylim=(0, 1), xlabel="error in degrees", ylabel="share of trials below")
    axes.legend()
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "success.png", dpi=120)
    pictures.save(out / "trials.png", pictures.grid([row[:8].detach() for row in rows]))


def main() -> None:
    parser = options.make_parser(__doc__, out="out/soft_pose")
    parser.add_argument("--trials", type=options.positive, default=64)
    parser.add_argument("--turned", type=float, default=60.0, help="degrees from start to truth (default: 60)")
    parser.add_argument("--max-iter", type=options.positive, default=100)
    parser.add_argument("--resolution", type=options.positive, default=32)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cube = Cube(options.make_context(args), args.resolution)
    generator = torch.Generator().manual_seed(args.seed)
    truth = camera.random_rotations(args.trials, generator).to(cube.colors)
    axes = torch.nn.functional.normalize(torch.randn(args.trials, 3, generator=generator), dim=-1)
    starts = camera.rotations(math.radians(args.turned) * axes).to(truth) @ truth
    target, found, ends = cube.hard(truth), {}, {}
    ways = {
        "hard": cube.hard,
        f"soft, sigma {between(SIGMA, FIXED):.0e}": cube.fixed,
        "soft, sigma annealed": cube.soft,
    }
    with options.make_viewer(args) as viewer:
        steps = iter(viewer.loop(range(len(ways) * args.max_iter + 1), desc="descending"))
        for name, draw in ways.items():
            ends[name] = descend(draw, starts, target, args.max_iter, steps)
            found[name] = [camera.degrees_between(*pair) for pair in zip(ends[name], truth, strict=True)]
            viewer.show(ends=cube.hard(ends[name][:4]))
        report(Path(args.out), found, [cube.hard(r) for r in (starts, *ends.values())] + [target])
        print(f"See {args.out}.")
        viewer.wait()


if __name__ == "__main__":
    main()
