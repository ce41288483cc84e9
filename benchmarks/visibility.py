"""Measures gradients of visibility against central differences of supersampled images.

    python benchmarks/visibility.py [--size 256] [--mesh spot.obj] [--scenes icosphere] [--out visibility.csv]

The loss is the mean of an image of one channel times a smooth weight. Its true derivative along a motion of the whole
scene or of one body is a central difference of images of 8 x 8 samples per pixel. The methods see one sample per
pixel; their derivatives are averages over 4 x 4 places of that sample within its pixel, as a fit sees them over many
pictures. Errors are in percent of the largest true derivative of the scene, so that motions which change nothing are
judged, too; each is the worst over cameras and colours.
"""

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from visibility_scenes import CAMERAS, Scene, make_scenes, to_clip

import glraster

Method = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
METHODS: dict[str, Method] = {
    "antialias": glraster.antialias,
    "edge_gradients": glraster.edge_gradients,
}
SAMPLES = 8  # of the truth, along each axis of a pixel
PLACES = 4  # of the sample that the methods see
STEP = 0.5  # of central differences, in pixels, for a velocity of one


def weight(size: int) -> torch.Tensor:
    """What the loss multiplies the image with, [size, size]."""
    f = (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1
    return 1 + 0.5 * torch.sin(2.1 * f + 0.3)[None] + 0.5 * torch.cos(1.7 * f - 0.4)[:, None]


def draw(glctx, scene: Scene, pos: torch.Tensor, colors: torch.Tensor, size: int, method: Method | None = None):
    """Images [N, size, size, C] of vertex colours [V, C], at positions [N, V, 4]."""
    rast, _ = glraster.rasterize(glctx, pos, scene.tri, (size, size), grad_db=False)
    image, _ = glraster.interpolate(colors.to(pos), rast, scene.tri)
    return image if method is None else method(image, rast, pos, scene.tri)


def supersampled(glctx, scene: Scene, vertices: torch.Tensor, camera: str, colors: torch.Tensor, size: int):
    """The image [size, size, C] of so many samples per pixel."""
    with torch.no_grad():
        image = draw(glctx, scene, to_clip(vertices, camera)[None].float(), colors, SAMPLES * size)[0]
    return image.reshape(size, SAMPLES, size, SAMPLES, -1).mean((1, 3), dtype=torch.float64)


def true_derivative(glctx, scene: Scene, velocity: torch.Tensor, camera: str, colors: torch.Tensor, size: int):
    """Of the loss of each colour, [C]."""
    step = STEP * 2 / size
    ahead, behind = (
        supersampled(glctx, scene, scene.vertices + s * step * velocity, camera, colors, size) for s in (1, -1)
    )
    return ((ahead - behind) * weight(size)[..., None]).mean((0, 1)) / (2 * step)


def places(pos: torch.Tensor, size: int) -> torch.Tensor:
    """Positions [V, 4] moved so that pixel centres see other places of their pixels: [PLACES^2, V, 4]."""
    offset = ((torch.arange(PLACES) + 0.5) / PLACES - 0.5) * 2 / size
    offset = torch.cartesian_prod(offset, offset).to(pos)
    return torch.cat([pos[None, :, :2] + offset[:, None] * pos[:, 3:], pos[None, :, 2:].expand(len(offset), -1, -1)], 2)


def vertex_gradients(
    glctx, scene: Scene, camera: str, colors: torch.Tensor, size: int, method: Method
) -> list[torch.Tensor]:
    """The method's gradient of the loss of each colour with respect to vertices, [V, 3], mean over the places."""
    vertices = scene.vertices.clone().requires_grad_()
    pos = places(to_clip(vertices, camera), size).float()
    found = []
    for k in range(colors.shape[1]):
        image = draw(glctx, scene, pos, colors[:, k : k + 1], size, method)
        loss = (image[..., 0] * weight(size).float()).mean()
        found.append(torch.autograd.grad(loss, vertices, retain_graph=True)[0])
    return found


def measure(glctx, scene: Scene, size: int, methods: dict[str, Method]) -> Iterator[dict]:
    """Rows of camera, color, motion, the truth, and what each method says."""
    colors = torch.stack(list(scene.colors().values()), 1)
    for camera in CAMERAS:
        truths = {
            name: true_derivative(glctx, scene, velocity, camera, colors, size)
            for name, velocity in scene.motions().items()
        }
        gradients = {name: vertex_gradients(glctx, scene, camera, colors, size, m) for name, m in methods.items()}
        for k, color in enumerate(scene.colors()):
            largest = max(abs(truth[k].item()) for truth in truths.values())
            for motion, velocity in scene.motions().items():
                row = {"scene": scene.name, "camera": camera, "color": color, "motion": motion, "largest": largest}
                row["truth"] = truths[motion][k].item()
                yield row | {name: (found[k] * velocity).sum().item() for name, found in gradients.items()}


def error(row: dict, method: str) -> float:
    """In percent of the scene's largest derivative."""
    return 100 * abs(row[method] - row["truth"]) / row["largest"]


def print_table(rows: list[dict], methods: list[str]) -> None:
    """One line per scene: the worst errors of each motion, method by method, as Markdown."""
    motions = list(dict.fromkeys(row["motion"] for row in rows))
    print(f"| scene, triangles | {' | '.join(motions)} | unit colours |\n|---|{'---:|' * (len(motions) + 1)}")
    for scene in dict.fromkeys(row["scene"] for row in rows):
        mine = [row for row in rows if row["scene"] == scene]
        cells = []
        for chosen in [[r for r in mine if r["motion"] == m] for m in motions] + [
            [r for r in mine if r["color"] == "unit"]
        ]:
            worst = [max((error(row, method) for row in chosen), default=None) for method in methods]
            cells.append("" if worst[0] is None else " / ".join(f"{w:.1f}" for w in worst))
        print(f"| {scene} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="of the images, in pixels")
    parser.add_argument("--mesh", type=Path, help="a mesh file, for two more scenes")
    parser.add_argument("--scenes", default="", help="only those whose name has this in it")
    parser.add_argument("--out", type=Path, help="a CSV file for all numbers")
    args = parser.parse_args()
    rows = []
    with glraster.SoftwareRasterizer("cpu") as glctx:
        for scene in make_scenes(args.mesh):
            if args.scenes in scene.name:
                rows += measure(glctx, scene, args.size, METHODS)
                print(".", end="", flush=True)
    print(f"\nPercent of the scene's largest derivative: {' / '.join(METHODS)}\n")
    print_table(rows, list(METHODS))
    if args.out:
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
