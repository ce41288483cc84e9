"""Finds a texture from pictures of it with an optimizer that lives in OpenGL: no autograd, no CUDA.

    python samples/stochastic_texture.py [--object quad|globe] [--texture picture.png] [--out out/stochastic_texture]

The texture of a quad, or of a globe, is perturbed by random signs; each pixel's difference in loss is credited to the
texel that it shows. From grey, a few pictures of each step are all that it sees.

Expected: 30 dB of PSNR over the texels seen after 50 steps (quad, 3.1 million numbers), and a picture that shows the
truth above the result. With --object globe --size 256 --resolution 512 --pictures 32 --views 4 --max-iter 300: 30 dB
after 170 steps.
"""

import math
from pathlib import Path

import numpy as np
import pictures
import procedural
import torch
from earth import load_texture
from options import existing_file, make_opengl_parser, positive

from glraster import camera
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer
from glraster.viewer.progress import new_bar

DISTANCE = 2.6
FLAT = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])


def scene(shape: str) -> MeshScene:
    """Returns the object, unlit."""
    if shape == "quad":
        attributes = {"position": FLAT, "uv": (FLAT[:, :2] + 1) / 2}
        return MeshScene([[0, 1, 2], [0, 2, 3]], attributes, fragment="albedo")
    mesh, uv = procedural.globe()
    return MeshScene(mesh.tri, {"position": mesh.pos, "uv": uv}, fragment="albedo")


def cameras(shape: str, count: int, generator: torch.Generator) -> torch.Tensor:
    """Returns [count, 4, 4] views: of the globe from all around, of the quad from in front, so that it fills them."""
    if shape == "globe":
        return camera.perspective(48.0) @ camera.look_at(DISTANCE * camera.directions(count))
    tilt, turn = torch.rand(2, count, generator=generator)
    tilt, turn = 0.7 * tilt, 2 * math.pi * turn
    eyes = torch.stack([tilt.sin() * turn.cos(), tilt.sin() * turn.sin(), tilt.cos()], dim=1)
    return camera.perspective(math.degrees(2 * math.atan(1 / DISTANCE))) @ camera.look_at(DISTANCE * eyes)


def psnr(found: np.ndarray, truth: np.ndarray) -> float:
    return -10 * math.log10(np.square(found - truth).mean())


def main() -> None:
    parser = make_opengl_parser(__doc__, out="out/stochastic_texture")
    parser.add_argument("--object", choices=["quad", "globe"], default="quad")
    parser.add_argument("--texture", type=existing_file, help="a picture to use instead of a made-up planet")
    parser.add_argument("--size", type=positive, default=1024, help="texels along a side (default: 1024)")
    parser.add_argument("--resolution", type=positive, help="pixels along a side (default: as many as texels)")
    parser.add_argument("--pictures", type=positive, default=16, help="pictures to learn from (default: 16)")
    parser.add_argument("--views", type=positive, default=2, help="pictures of each step (default: 2)")
    parser.add_argument("--max-iter", type=positive, default=100, help="steps (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    resolution = args.resolution or args.size

    planet = load_texture(args.texture, args.size) if args.texture else procedural.planet(args.size, args.seed)
    truth = planet.numpy()
    mvps = cameras(args.object, args.pictures, torch.Generator().manual_seed(args.seed))
    with StochasticOptimizer(None, [Parameter("albedo", truth, "texel")], scene(args.object), views=1) as teacher:
        targets = teacher.render(mvps, (resolution, resolution))[..., :3]

    guess = Parameter("albedo", np.full_like(truth, 0.5), "texel", lr=0.1, decay=4 / args.max_iter, low=0, high=1)
    with StochasticOptimizer(None, [guess], scene(args.object), views=args.views, seed=args.seed) as optimizer:
        optimizer.set_views(mvps, targets)
        with new_bar(range(1, args.max_iter + 1), desc="steps") as bar:
            for step in bar:
                optimizer.step()
                if step % 10 == 0 or step == args.max_iter:
                    found = optimizer.download()["albedo"]
                    seen = (found != 0.5).any(-1)
                    bar.set_postfix(PSNR=f"{psnr(found[seen], truth[seen]):.1f} dB", seen=f"{seen.mean():.0%}")
        shown = torch.from_numpy(optimizer.render(mvps[:1], (512, 512))[..., :3])

    name = Path(args.out) / "stochastic_texture.png"
    every = max(1, args.size // 512)
    small = [torch.from_numpy(image)[None, ::every, ::every] for image in (truth, found)]
    pictures.save(name, pictures.grid(small))
    pictures.save(Path(args.out) / "view.png", shown[0])
    texels = f"{args.size} x {args.size} texels, {seen.mean():.0%} of them seen"
    print(
        f"PSNR of the texture {psnr(found[seen], truth[seen]):.2f} dB after {args.max_iter} steps; {texels}; see {name}"
    )


if __name__ == "__main__":
    main()
