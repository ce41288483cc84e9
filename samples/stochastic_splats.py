"""Fits Gaussian splats to pictures of a mesh: places, sizes, colours and opacities, without derivatives.

    python samples/stochastic_splats.py [--splats 512] [--out out/stochastic_splats.png]

All splats are perturbed at once, drawn in order of depth with either sign, and each pixel's difference in loss goes to
every splat over it: many per pixel, so that there is more noise than for a surface.

Expected: 20 dB of PSNR over held-out views at the default settings, 9 dB more than at the start; the picture shows
truth, start and result.
"""

import math

import numpy as np
import pictures
import torch
from bear import bear as make_bear
from options import make_opengl_parser, positive

from glraster import camera
from glraster.stochastic import MeshScene, Parameter, SplatScene, StochasticOptimizer
from glraster.viewer.progress import new_bar


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    return -10 * math.log10(np.square(found - truth).mean())


def main() -> None:
    parser = make_opengl_parser(__doc__, out="out/stochastic_splats.png")
    parser.add_argument("--splats", type=positive, default=512)
    parser.add_argument("--max-iter", type=positive, default=400)
    parser.add_argument("--resolution", type=positive, default=64)
    parser.add_argument("--views", type=positive, default=8, help="pictures of each step")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    size = (args.resolution, args.resolution)

    bear = make_bear(cells=40)
    views = [
        camera.perspective() @ camera.look_at(3.2 * eyes)
        for eyes in (camera.directions(32), camera.directions(5).flip(1))
    ]
    mvps, unseen = views
    target = Parameter("position", bear.pos, "vertex")
    with StochasticOptimizer(None, [target], MeshScene(bear.tri)) as teacher:
        targets, wanted = teacher.render(mvps, size), teacher.render(unseen, size)
        shown = teacher.render(unseen[:3], (256, 256))

    rng, decay = np.random.default_rng(args.seed), 3 / args.max_iter
    directions = rng.normal(size=(args.splats, 3))
    places = 0.7 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    spread = 1.4 / math.sqrt(args.splats)
    params = [
        Parameter("mean", places, "primitive", eps=0.02, lr=0.02, decay=decay),
        Parameter("scale", np.full((args.splats, 3), spread), "primitive", eps=0.005, lr=0.003, decay=decay, low=0.01),
        Parameter("rgb", np.full((args.splats, 3), 0.5), "primitive", eps=0.02, lr=0.03, decay=decay, low=0, high=1),
        Parameter(
            "opacity", np.full((args.splats, 1), 0.5), "primitive", eps=0.02, lr=0.03, decay=decay, low=0.02, high=1
        ),
    ]
    with StochasticOptimizer(None, params, SplatScene(), views=args.views, seed=args.seed) as optimizer:
        optimizer.set_views(mvps, targets)
        before, start = psnr(optimizer.render(unseen, size), wanted), optimizer.render(unseen[:3], (256, 256))
        with new_bar(range(1, args.max_iter + 1), desc="steps") as bar:
            for step in bar:
                optimizer.step()
                if step % 50 == 0:
                    bar.set_postfix(PSNR=f"{psnr(optimizer.render(unseen, size), wanted):.1f} dB")
        after, result = psnr(optimizer.render(unseen, size), wanted), optimizer.render(unseen[:3], (256, 256))
    pictures.save(args.out, pictures.grid([torch.from_numpy(images[..., :3]) for images in (shown, start, result)]))
    print(f"PSNR over held-out views: {before:.2f} dB before, {after:.2f} dB after; see {args.out}")


if __name__ == "__main__":
    main()
