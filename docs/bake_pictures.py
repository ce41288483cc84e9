"""Draws the picture of docs/bake.md: a sphere of which a part is unknown, filled in its layout and along its surface.

python docs/bake_pictures.py [--out docs]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import glraster
from glraster import bake, camera, mesh

SIZE = 512  # texels, and pixels


def drawn(glctx, ball: mesh.Mesh, texture: torch.Tensor) -> np.ndarray:
    """The sphere in even light, [SIZE, SIZE, 3], the top row first."""
    matrix = camera.perspective(30.0) @ camera.orbit(0.0, 20.0, 4.2)
    rast, _ = glraster.rasterize(glctx, camera.transform(ball.pos, matrix[None]), ball.tri, (SIZE, SIZE))
    uv, _ = glraster.interpolate(ball.uv, rast, ball.uv_tri)
    image = torch.where(rast[..., 3:] > 0, glraster.texture(texture, uv, filter_mode="linear"), 1.0)
    return image[0].flip(0).clamp(0, 1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: that of this file)")
    args = parser.parse_args()
    glctx = glraster.context("cpu", "software")
    ball = mesh.unwrap(mesh.icosphere(4), resolution=SIZE)
    texels = bake.texels(glctx, ball, SIZE)
    pos = texels.positions
    texture = 0.5 + 0.5 * (5 * pos + torch.tensor([0.0, 1, 2])).sin()
    hole = ((pos - torch.tensor([0.1, 0.3, 0.95])).norm(dim=-1) < 0.75) & texels.covered
    known = texels.covered & ~hole
    texture = texture.where(known[..., None], 0.5)
    columns = {
        "known": texture,
        "filled in the layout alone": bake.fill(texture, known),
        "filled along the surface": bake.fill(texture, known, texels),
    }
    figure = Figure(figsize=(10.5, 7.2), layout="constrained")
    for axes, (name, tex) in zip(figure.subplots(2, 3).T, columns.items(), strict=True):
        axes[0].imshow(drawn(glctx, ball, tex))
        axes[1].imshow(tex[0].flip(0).clamp(0, 1).numpy())
        axes[0].set_title(name)
        for each in axes:
            each.axis("off")
    figure.savefig(args.out / "bake.png", dpi=80)
    print(f"Wrote {args.out / 'bake.png'}.")


if __name__ == "__main__":
    main()
