"""Draws the pictures of docs/concepts.md: what each operation makes, and what their order is for.

    python docs/concept_pictures.py [--out docs]

Expected: concepts_*.png, of bodies, a bear of glass and a chequered floor. Takes some seconds on a CPU.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import glraster
from glraster import camera, shading
from glraster import mesh as meshes

sys.path.insert(0, str(Path(__file__).parents[1] / "samples"))

from bear import bear  # noqa: E402 - a sample

GLCTX = glraster.SoftwareRasterizer("cpu")
SKY = torch.tensor([0.80, 0.87, 0.94])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: that of this file)")
    out = parser.parse_args().out
    for draw in (draw_buffers, draw_spaces, draw_footprints, draw_layers, draw_order, draw_gradients):
        path = out / f"concepts_{draw.__name__.removeprefix('draw_')}.png"
        draw().savefig(path, dpi=90)
        with Image.open(path) as picture:
            picture.convert("RGB").save(path, optimize=True)
        print(f"Wrote {path}, {path.stat().st_size // 1024} KB.")


def row(images: dict[str, torch.Tensor], columns: int | None = None, width: float = 1.75, **style) -> Figure:
    """A figure of images [H, W, 1 or 3], row 0 at the bottom, with words above each."""
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    height, across = next(iter(images.values())).shape[:2]
    words = 0.45 if any("\n" in name for name in images) else 0.3
    figure = Figure(figsize=(width * columns, rows * (width * height / across + words)), layout="constrained")
    for axes, (name, image) in zip(figure.subplots(rows, columns, squeeze=False).flat, images.items(), strict=True):
        show = image.detach().squeeze(-1).numpy()
        axes.imshow(show if show.ndim == 2 else show.clip(0, 1), origin="lower", interpolation="nearest", **style)
        axes.set_title(name, fontsize=8)
        axes.axis("off")
    return figure


def view(mesh, resolution: int, distance: float = 3.0):
    """Clip-space positions of a mesh, and its rast."""
    pos = camera.transform(mesh.pos, (camera.perspective(40.0) @ camera.orbit(25.0, 15.0, distance))[None])
    return pos, glraster.rasterize(GLCTX, pos, mesh.tri, (resolution, resolution))[0]


def shaded(mesh, rast) -> torch.Tensor:
    normal = meshes.normalized(glraster.interpolate(mesh.vertex_normals(), rast, mesh.tri)[0])
    light = shading.lambert(normal, torch.tensor([0.48, 0.6, 0.64]))
    return (0.35 + 0.65 * light) * torch.tensor([0.85, 0.62, 0.38])


def draw_buffers() -> Figure:
    """From ids to a picture; the last two are seen close."""
    ball, box = meshes.icosphere(2), meshes.cube()
    ball = ball.replace(pos=0.75 * ball.pos + torch.tensor([-0.55, 0.1, 0.3]))
    mesh, _ = meshes.merge([ball, box.replace(pos=0.5 * box.pos + torch.tensor([0.6, -0.15, 0.0]))])
    pos, rast = view(mesh, 210, distance=4.0)
    covered = glraster.mask(rast)
    color = torch.rand(len(mesh.tri), 3, generator=torch.Generator().manual_seed(1))
    ids = color[glraster.triangle_id(rast).clamp(min=0).long()] * covered + (1 - covered)
    uv = torch.nn.functional.pad(rast[..., :2], (0, 1)) * covered + (1 - covered)
    distance, _ = glraster.interpolate(pos[0, :, 3:], rast, mesh.tri)
    near, far = distance[covered > 0].min(), distance.max()
    depth = (0.9 - 0.8 * (distance - near) / (far - near)) * covered + (1 - covered)
    normal = (glraster.interpolate(mesh.vertex_normals(), rast, mesh.tri)[0] + 1) / 2 * covered + (1 - covered)
    image = shaded(mesh, rast) * covered + (1 - covered) * SKY
    steps = {
        "rasterize: triangle ids": ids,
        "barycentrics u, v": uv,
        "interpolate: distance": depth.expand(-1, -1, -1, 3),
        "interpolate: normals": normal,
    }
    for name, picture in (("shaded", image), ("antialias", glraster.antialias(image, rast, pos, mesh.tri))):
        close = picture[:, 22:57, 155:190].repeat_interleave(6, 1).repeat_interleave(6, 2)
        steps[f"{name}, seen close"] = torch.nn.functional.interpolate(close.movedim(3, 1), (210, 210)).movedim(1, 3)
    return row({name: picture[0] for name, picture in steps.items()}, columns=3, width=2.4)


def draw_spaces() -> Figure:
    """Clip space and the pixels of an image of 4 rows and 6 columns."""
    figure = Figure(figsize=(7.2, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    left.add_patch(_box((-1, -1), 2, 2))
    for end, name in (((1.45, 0), "x / w"), ((0, 1.45), "y / w")):
        left.annotate("", end, (0, 0), arrowprops={"color": "tab:red" if end[0] else "tab:green", "width": 1.5})
        left.text(*(1.08 * np.array(end)), name, ha="center", va="center", fontsize=9)
    for x, y in ((-1, -1), (1, 1)):
        left.text(x, y - 0.16 if y < 0 else y + 0.07, f"({x}, {y})", ha="center", fontsize=8)
    left.text(0.06, -0.5, "z / w: -1 near,\n1 far", fontsize=8)
    left.set(xlim=(-1.5, 1.8), ylim=(-1.4, 1.7), aspect="equal", title="clip space, divided by w")
    right.set(xlim=(-0.9, 6.6), ylim=(-0.9, 4.6), aspect="equal", title="image [1, 4, 6, C]")
    for y in range(4):
        for x in range(6):
            right.add_patch(_box((x, y), 1, 1))
            right.plot(x + 0.5, y + 0.5, ".", color="tab:blue", markersize=4)
    for y in range(4):
        right.text(-0.15, y + 0.5, f"row {y}", ha="right", va="center", fontsize=8)
    for x in range(6):
        right.text(x + 0.5, -0.35, f"{x}", ha="center", fontsize=8)
    right.text(3, 4.2, "samples at pixel centres: x / w = (2 column + 1) / width - 1", ha="center", fontsize=8)
    for axes in (left, right):
        axes.title.set_fontsize(9)
        axes.axis("off")
    return figure


def _box(corner, width, height) -> Rectangle:
    return Rectangle(corner, width, height, fill=False, edgecolor="0.5")


def draw_footprints() -> Figure:
    """A chequered floor: derivatives of texture coordinates, the mip level they choose, and what filters make of it."""
    square = torch.arange(256) // 32 % 2
    tex = (0.25 + 0.6 * (square[:, None] ^ square[None]).float())[None, ..., None]
    corners = [(-100, -1), (100, -1), (100, -200), (-100, -200)]
    pos = torch.tensor([[[x, -2.2, -z - 2.0, -z] for x, z in corners]])
    uv = torch.tensor([[x / 8, z / 8] for x, z in corners])
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    rast, rast_db = glraster.rasterize(GLCTX, pos, tri, (110, 150))
    at, at_da = glraster.interpolate(uv, rast, tri, rast_db, diff_attrs="all")
    covered = glraster.mask(rast)
    # Every level of one brightness: its lookup shows which level a pixel takes.
    levels = [torch.full((1, 256 >> k, 256 >> k, 1), k / 8) for k in range(9)]
    level = glraster.texture(levels[0], at, at_da, mip=levels[1:])
    per_pixel = at_da.norm(dim=-1, keepdim=True)
    pictures = {
        "uv, fraction": torch.nn.functional.pad(at % 1, (0, 1)),
        "size of uv_da, log": (per_pixel.clamp(min=1e-4).log10() / 4 + 1).expand(-1, -1, -1, 3),
        "mip level, 0 black to 8 white": level.expand(-1, -1, -1, 3),
    }
    for mode in ("linear", "linear-mipmap-linear", "anisotropic"):
        pictures[f"'{mode}'"] = glraster.texture(tex, at, at_da, filter_mode=mode).expand(-1, -1, -1, 3)
    return row({n: (p * covered + (1 - covered) * SKY)[0, :78] for n, p in pictures.items()}, columns=3, width=2.4)


def glass_layers(count: int, resolution: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Colours [H, W, 3] and opacities [H, W, 1] of a bear of glass with a ball in its belly, front to back."""
    ball = meshes.icosphere(3)
    whole, _ = meshes.merge([bear(40), ball.replace(pos=0.22 * ball.pos + torch.tensor([0.0, -0.2, 0.0]))])
    of_bear = (torch.arange(len(whole.pos)) < len(whole.pos) - len(ball.pos))[:, None]
    material = torch.where(of_bear, torch.tensor([0.95, 0.6, 0.2, 0.3]), torch.tensor([0.1, 0.3, 0.9, 0.8]))
    pos = camera.transform(whole.pos, (camera.perspective(40.0) @ camera.orbit(25.0, 15.0, 3.0))[None])
    colors, opacities = [], []
    with glraster.DepthPeeler(GLCTX, pos, whole.tri, (resolution, resolution)) as peeler:
        for _ in range(count):
            rast, _ = peeler.rasterize_next_layer()
            looks, _ = glraster.interpolate(material, rast, whole.tri)
            color, opacity = (looks[..., :3] * (0.5 + 0.5 * shaded(whole, rast) / 0.85), looks[..., 3:])
            both = glraster.antialias(torch.cat([color * opacity, opacity], -1), rast, pos, whole.tri)
            colors.append(both[0, ..., :3])
            opacities.append(both[0, ..., 3:])
    return colors, opacities


def draw_layers() -> Figure:
    """Depth peeling: single layers, and the first few blended."""
    colors, opacities = glass_layers(6, 144)
    pictures = {f"layer {k + 1}": colors[k] + (1 - opacities[k]) for k in (0, 1, 2)}
    blended, passing, done = torch.zeros_like(colors[0]), torch.ones_like(opacities[0]), {}
    for number, (color, opacity) in enumerate(zip(colors, opacities, strict=True), start=1):
        blended, passing = blended + passing * color, passing * (1 - opacity)
        if number in (2, 6):
            done[f"the first {number} blended"] = blended + passing
    return row(pictures | done, columns=5, width=1.6)


def draw_order() -> Figure:
    """Where the background comes in, seen close."""
    mesh = meshes.cube()
    pos, rast = view(mesh, 72, distance=5.5)
    covered, image = glraster.mask(rast), shaded(mesh, rast)
    blend = glraster.antialias
    over = image * covered + (1 - covered) * SKY
    rgba = blend(torch.cat([image * covered, covered], -1), rast, pos, mesh.tri)
    pictures = {
        "background first, then antialias": blend(over, rast, pos, mesh.tri),
        "colour and coverage antialiased,\nthen rgb + (1 - a) background": rgba[..., :3] + (1 - rgba[..., 3:]) * SKY,
        "wrong: mask after antialias": blend(over, rast, pos, mesh.tri) * covered + (1 - covered) * SKY,
        "wrong: antialiased over black,\nthen a mask": blend(image, rast, pos, mesh.tri) * covered
        + (1 - covered) * SKY,
    }
    return row({name: picture[0, 8:32, 10:34] for name, picture in pictures.items()}, width=2.0)


def draw_gradients() -> Figure:
    """How the picture of a triangle changes as it moves to the right: what each way of drawing tells."""
    corners = torch.tensor([[[-0.7, -0.6, 0, 1], [0.5, -0.7, 0, 1], [0.0, 0.7, 0, 1]]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    color = torch.tensor([[0.9], [0.5], [0.7]])

    def hard(shift, blend=True):
        pos = corners + torch.nn.functional.pad(shift[None], (0, 3))
        rast, _ = glraster.rasterize(GLCTX, pos, tri, (48, 48))
        image, _ = glraster.interpolate(color, rast, tri)
        return glraster.antialias(image, rast, pos, tri) if blend else image

    def soft(shift):
        pos = corners + torch.nn.functional.pad(shift[None], (0, 3))
        rgba, _ = glraster.soft_rasterize(pos, tri, color, (48, 48), sigma=1e-2, near=0.5, far=1.5)
        return rgba[..., :1] * rgba[..., 1:]

    at, along = torch.zeros(1), torch.ones(1)
    step = 1e-2
    changes = {
        "rasterize, interpolate": torch.func.jvp(lambda s: hard(s, False), (at,), (along,))[1],
        "and antialias,\nor edge_gradients": torch.func.jvp(hard, (at,), (along,))[1],
        "soft_rasterize, sigma 0.01": (soft(at + step) - soft(at - step)) / (2 * step),
    }
    figure = row({"the picture": hard(at)[0]} | {n: c[0] for n, c in changes.items()}, width=1.9)
    for axes, change in zip(figure.axes[1:], changes.values(), strict=True):
        (image,) = axes.images
        limit = float(change.abs().max())
        image.set(cmap="RdBu", clim=(-limit, limit))
    figure.axes[0].images[0].set(cmap="gray", clim=(0, 1))
    return figure


if __name__ == "__main__":
    main()
