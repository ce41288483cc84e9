"""Finds light, thresholds and colours of a cel shader, whose hard steps have no derivative, from pictures.

    python samples/stochastic_cel.py [--max-iter 300] [--out out/stochastic_cel.png]

The fragment shader is cel.frag, beside this file: any GLSL does. A threshold matters only in the pixels that change
sides when it moves, and the two perturbed renders see just those.

Expected: the thresholds come within 0.05 of the truth, the light within 5 degrees; the picture shows the truth, the
start and the result.
"""

import math
from pathlib import Path

import numpy as np
import pictures
import torch
from bear import bear as make_bear
from options import make_opengl_parser, positive

from glraster import camera
from glraster import mesh as meshes
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer
from glraster.viewer.progress import new_bar

TRUTH = {
    "light": [0.5, 0.7, 0.5],
    "levels": [-0.1, 0.6],
    "shadow": [0.25, 0.12, 0.3],
    "middle": [0.75, 0.4, 0.25],
    "lit": [1.0, 0.85, 0.5],
}
START = {
    "light": [-0.2, 0.5, 0.8],
    "levels": [0.1, 0.35],
    "shadow": [0.4, 0.4, 0.4],
    "middle": [0.5, 0.5, 0.5],
    "lit": [0.6, 0.6, 0.6],
}
EPS = {"light": 0.03, "levels": 0.02}  # large enough that some pixels change sides


def optimizer_of(values: dict, mesh: meshes.Mesh, rate: float, decay: float, **options) -> StochasticOptimizer:
    params = [
        Parameter(name, value, "scene", eps=EPS.get(name, 1 / 64), lr=rate, decay=decay)
        for name, value in values.items()
    ]
    attributes = {"position": mesh.pos, "normal": mesh.vertex_normals()}
    scene = MeshScene(mesh.tri, attributes, fragment=Path(__file__).with_name("cel.frag"))
    return StochasticOptimizer(None, params, scene, **options)


def degrees_between(a: np.ndarray, b: list) -> float:
    a, b = np.ravel(a), np.array(b)
    return math.degrees(math.acos(min(1.0, a @ b / np.linalg.norm(a) / np.linalg.norm(b))))


def main() -> None:
    parser = make_opengl_parser(__doc__, out="out/stochastic_cel.png")
    parser.add_argument("--max-iter", type=positive, default=300)
    parser.add_argument("--resolution", type=positive, default=128)
    parser.add_argument("--pairs", type=positive, default=4, help="perturbations of each picture")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    size = (args.resolution, args.resolution)

    bear = make_bear(cells=40)
    mvps = camera.perspective() @ camera.look_at(3.2 * camera.directions(8))
    with optimizer_of(TRUTH, bear, 0, 0) as teacher:
        targets, truth = teacher.render(mvps, size), teacher.render(mvps[2:5], (256, 256))
    options = {"views": 2, "pairs": args.pairs, "seed": args.seed}
    with optimizer_of(START, bear, 0.02, 2 / args.max_iter, **options) as optimizer:
        optimizer.set_views(mvps, targets)
        start, before = optimizer.render(mvps[2:5], (256, 256)), optimizer.loss()
        with new_bar(range(1, args.max_iter + 1), desc="steps") as bar:
            for step in bar:
                optimizer.step()
                if step % 25 == 0:
                    bar.set_postfix(loss=f"{optimizer.loss():.5f}")
        found, after, result = optimizer.download(), optimizer.loss(), optimizer.render(mvps[2:5], (256, 256))
    rows = [torch.from_numpy(images[..., :3] + 0.93 * (1 - images[..., 3:])) for images in (truth, start, result)]
    pictures.save(args.out, pictures.grid(rows))
    print(f"loss {before:.5f} before, {after:.5f} after")
    error = np.abs(found["levels"] - TRUTH["levels"]).max()
    angle = degrees_between(found["light"], TRUTH["light"])
    print(f"largest error of a threshold: {error:.3f}; of the light: {angle:.1f} degrees; see {args.out}")


if __name__ == "__main__":
    main()
