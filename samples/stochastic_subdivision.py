"""Finds a subdivision surface's control mesh and its textures from pictures.

    python samples/stochastic_subdivision.py [--size 256] [--out out/stochastic_subdivision]

A sheet of 3,200 triangles is subdivided twice by Loop's rules, to 51,200. Its control vertices and textures of colour,
roughness and normals (six numbers a texel) are perturbed in turns; each pixel's difference in loss goes to the texel
that it shows, or to the dozen control vertices that its triangle depends on.

Expected: the time of each pass is printed, and truth, start and result are in comparison.png. With --size 128
--resolution 128 --cells 10 --max-iter 200 the loss halves. With --size 1024 --resolution 512 --max-iter 24 there are
six million parameters, and a step takes about a second on software OpenGL.
"""

from pathlib import Path

import numpy as np
import pictures
import procedural
import torch
from options import make_opengl_parser, positive

from glraster import camera
from glraster import mesh as meshes
from glraster.stochastic import MeshScene, Parameter, StochasticOptimizer, loop_subdivision
from glraster.viewer.progress import new_bar

CELLS = 40


def sheet(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns a flat sheet [-1, 1]^2: positions [V, 3] and triangles [T, 3]."""
    y, x = np.mgrid[: cells + 1, : cells + 1].reshape(2, -1) * 2 / cells - 1
    corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).reshape(-1, 1)
    triangles = np.concatenate([corner + [0, 1, cells + 2], corner + [0, cells + 2, cells + 1]])
    return np.stack([x, y, 0 * x], 1), triangles


def truth(flat: np.ndarray, size: int, seed: int) -> dict[str, np.ndarray]:
    """Returns a wavy sheet and its textures."""
    x, y, _ = flat.T
    waves = 0.25 * np.sin(3 * x) * np.cos(4 * y) + 0.1 * np.cos(7 * x + 2 * y)
    planet = procedural.planet(size, seed).numpy()
    t, s = np.mgrid[:size, :size] / size
    bumps = 0.25 * np.stack([np.sin(60 * s), np.cos(50 * t)], -1)
    roughness = np.where((np.floor(12 * s) + np.floor(12 * t)) % 2, 0.35, 0.8)[..., None]
    return {"position": flat + np.outer(waves, [0, 0, 1]), "albedo": planet, "roughness": roughness, "bumps": bumps}


def optimizer_of(values: dict, surface, uv: np.ndarray, steps: int, **options) -> StochasticOptimizer:
    decay = 2 / steps
    params = [
        Parameter("position", values["position"], "control", lr=0.02, decay=decay, smoothness=4.0, group=1),
        Parameter("albedo", values["albedo"], "texel", eps=1 / 64, lr=0.05, decay=decay, low=0, high=1),
        Parameter("roughness", values["roughness"], "texel", eps=1 / 32, lr=0.05, decay=decay, low=0.05, high=1),
        Parameter("bumps", values["bumps"], "texel", eps=1 / 32, lr=0.03, decay=decay, low=-1, high=1),
    ]
    shader = Path(__file__).with_name("glossy.frag")
    scene = MeshScene(None, {"uv": uv}, fragment=shader, subdivision=surface)
    return StochasticOptimizer(None, params, scene, **options)


def main() -> None:
    parser = make_opengl_parser(__doc__, out="out/stochastic_subdivision")
    parser.add_argument("--size", type=positive, default=256, help="texels along a side (default: 256)")
    parser.add_argument("--resolution", type=positive, default=256, help="pixels along a side (default: 256)")
    parser.add_argument("--cells", type=positive, default=CELLS, help="of the control mesh along a side (default: 40)")
    parser.add_argument("--max-iter", type=positive, default=150)
    parser.add_argument("--pictures", type=positive, default=16)
    parser.add_argument("--views", type=positive, default=2, help="pictures of each step")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    picture = (args.resolution, args.resolution)

    flat, triangles = sheet(args.cells)
    surface = loop_subdivision(triangles, 2)
    uv = (surface.matrix @ flat)[:, :2] / 2 + 0.5
    wanted = truth(flat, args.size, args.seed)
    start = {"position": flat, "albedo": np.full_like(wanted["albedo"], 0.5)}
    start |= {"roughness": np.full_like(wanted["roughness"], 0.6), "bumps": np.zeros_like(wanted["bumps"])}
    eyes = camera.directions(4 * args.pictures)
    mvps = camera.perspective(45.0) @ camera.look_at(2.9 * eyes[eyes[:, 2] > 0.55][: args.pictures])
    with optimizer_of(wanted, surface, uv, 1, views=1) as teacher:
        targets, shown = teacher.render(mvps, picture)[..., :3], teacher.render(mvps[:3], (384, 384))

    timings: dict[str, float] = {}
    options = {"views": min(args.views, len(mvps)), "seed": args.seed}
    with optimizer_of(start, surface, uv, args.max_iter, **options) as optimizer:
        optimizer.set_views(mvps, targets)
        before, first = optimizer.loss(), optimizer.render(mvps[:3], (384, 384))
        with new_bar(range(1, args.max_iter + 1), desc="steps") as bar:
            for step in bar:
                optimizer.step(timings=timings)
                if step % 25 == 0:
                    bar.set_postfix(loss=f"{optimizer.loss():.5f}")
        after, result = optimizer.loss(), optimizer.render(mvps[:3], (384, 384))
        found = meshes.Mesh(
            torch.from_numpy(surface.matrix @ optimizer.download()["position"]).float(),
            torch.from_numpy(surface.triangles),
        )
    rows = [torch.from_numpy(images[..., :3]) for images in (shown, first, result)]
    pictures.save(Path(args.out) / "comparison.png", pictures.grid(rows))
    meshes.save(Path(args.out) / "surface.obj", found)
    numbers = sum(value.size for value in start.values())
    print(f"{len(triangles):,} control triangles, {len(surface.triangles):,} subdivided, {numbers:,} parameters")
    print("a step: " + ", ".join(f"{name} {1e3 * total / args.max_iter:.0f} ms" for name, total in timings.items()))
    print(f"loss {before:.5f} before, {after:.5f} after; see {args.out}")


if __name__ == "__main__":
    main()
