"""Turns a shape while sigma, then gamma grow: how edges fade and how what lies behind shines through.

    python samples/soft_turntable.py [--mesh spot.obj] [--frames 48] [--resolution 192] [--out out/soft_turntable]

Sigma is how wide edges fade, gamma how much nearer a triangle must be to hide another.

Expected: turntable.gif, an animation of two turns, and turntable.png with eight of its frames. In the first turn sigma
goes from 1e-7 (sharp edges) to 1e-3 and back, in the second gamma from 1e-5 to 1e-1: the shape becomes transparent.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as imageio
import options
import pictures
import torch
from bear import bear

from glraster import camera, mesh
from glraster.soft import soft_rasterize

SIGMAS, GAMMAS = (1e-7, 1e-3), (1e-5, 1e-1)


def swept(limits: tuple[float, float], phase: float) -> float:
    """From the first limit to the second and back as phase goes from 0 to 1, evenly on a logarithmic scale."""
    low, high = map(math.log, limits)
    return math.exp(low + (high - low) * (1 - math.cos(2 * math.pi * phase)) / 2)


def settings(frames: int) -> Iterator[tuple[float, float, float]]:
    """Azimuth in degrees, sigma and gamma of each frame."""
    for frame in range(frames):
        turn, phase = divmod(2 * frame / frames, 1)
        sigma = swept(SIGMAS, phase) if turn == 0 else SIGMAS[0]
        gamma = swept(GAMMAS, phase) if turn == 1 else GAMMAS[0]
        yield 360 * phase, sigma, gamma


def main() -> None:
    parser = options.make_parser(__doc__, out="out/soft_turntable")
    parser.add_argument("--mesh", type=options.existing_file, help="what turns (default: a procedural bear)")
    parser.add_argument("--frames", type=options.positive, default=48)
    parser.add_argument("--resolution", type=options.positive, default=192)
    args = parser.parse_args()
    device = options.make_context(args).device
    shape = mesh.load(args.mesh, normalize=True) if args.mesh else bear(40)
    shape = shape.to(device)
    colors, size = shape.vertex_normals() * 0.45 + 0.5, (args.resolution, args.resolution)
    frames = []
    with options.make_viewer(args) as viewer:
        for azimuth, sigma, gamma in viewer.loop(list(settings(args.frames)), desc="turning"):
            matrix = camera.perspective(45.0) @ camera.orbit(azimuth, 20.0, 3.0)
            clip = camera.transform(shape.pos, matrix[None].to(device))
            # The tighter near and far enclose the shape, the finer gamma tells depths apart.
            modes = {"sigma": sigma, "gamma": gamma, "near": 1.9, "far": 4.1, "background": 0.93}
            rgba, _ = soft_rasterize(clip, shape.tri, colors, size, **modes)
            image = 0.93 + rgba[..., 3:] * (rgba[..., :3] - 0.93)  # colour does not fade at edges, alpha does
            viewer.log(sigma=sigma, gamma=gamma)
            viewer.show(image=image)
            frames.append(image)
        rows = torch.cat(frames)[:: max(1, len(frames) // 8)][:8].split(4)
        pictures.save(Path(args.out) / "turntable.png", pictures.grid(list(rows)))
        film = [pictures.to_bytes(frame) for frame in torch.cat(frames)]
        imageio.imwrite(Path(args.out) / "turntable.gif", film, duration=1000 / 12, loop=0)
        print(f"Wrote {len(film)} frames to {args.out}.")
        viewer.wait()


if __name__ == "__main__":
    main()
