"""Fits a volume of voxels to pictures of a mesh: colours and densities, without derivatives.

    python samples/stochastic_volume.py [--voxels 24] [--out out/stochastic_volume.png]

Each pixel's difference in loss goes to all voxels that its ray visits, dozens of them: what stochastic gradients are
least good at, and it still converges.

Expected: 18 dB of PSNR over held-out views at the default settings; the picture shows truth, start and result.
"""

import numpy as np
import pictures
import torch
from bear import bear as make_bear
from options import make_opengl_parser, positive
from stochastic_splats import psnr

from glraster import camera
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer, VolumeScene
from glraster.viewer.progress import new_bar


def main() -> None:
    parser = make_opengl_parser(__doc__, out="out/stochastic_volume.png")
    parser.add_argument("--voxels", type=positive, default=24, help="along a side")
    parser.add_argument("--max-iter", type=positive, default=300)
    parser.add_argument("--resolution", type=positive, default=48)
    parser.add_argument("--views", type=positive, default=8, help="pictures of each step")
    parser.add_argument("--pairs", type=positive, default=1, help="perturbations of each picture")
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

    start = np.full((args.voxels,) * 3 + (4,), 0.5)
    start[..., 3] = 0.3
    volume = Parameter("volume", start, "voxel", eps=0.05, lr=0.1, decay=3 / args.max_iter, low=0.0)
    options = {"views": args.views, "pairs": args.pairs, "seed": args.seed}
    with StochasticOptimizer(None, [volume], VolumeScene(), **options) as optimizer:
        optimizer.set_views(mvps, targets)
        before, first = psnr(optimizer.render(unseen, size), wanted), optimizer.render(unseen[:3], (256, 256))
        with new_bar(range(1, args.max_iter + 1), desc="steps") as bar:
            for step in bar:
                optimizer.step()
                if step % 25 == 0:
                    bar.set_postfix(PSNR=f"{psnr(optimizer.render(unseen, size), wanted):.1f} dB")
        after, result = psnr(optimizer.render(unseen, size), wanted), optimizer.render(unseen[:3], (256, 256))
    pictures.save(args.out, pictures.grid([torch.from_numpy(images[..., :3]) for images in (shown, first, result)]))
    print(f"PSNR over held-out views: {before:.2f} dB before, {after:.2f} dB after; see {args.out}")


if __name__ == "__main__":
    main()
