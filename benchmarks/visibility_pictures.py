"""Draws gradients of visibility beside finite differences, for docs/visibility.md.

    python benchmarks/visibility_pictures.py [--out docs]

visibility_pixels.png: how pixels change as a scene moves, red up and blue down. visibility_vertices.png: the gradient
of the area of a sphere's picture with respect to its vertices. Both are averages over 16 places of the sample within
its pixel; finite differences are those of images of 8 x 8 samples per pixel.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from visibility import METHODS
from visibility_scenes import Scene, make_scenes, to_clip
from visibility_truth import STEP, places, soft, supersampled, true_vertex_gradient, vertex_gradients

import glraster

SIZE, VERTEX_SIZE = 72, 256
# Scene, motion, colour.
ROWS = [
    ("icosphere, 80", "scale", "smooth"),
    ("icosphere, 20,480", "scale", "smooth"),
    ("box through ball, fine, 69,632", "body z", "bodies"),
    ("facets of a box, 12", "turn", "facets"),
]


def true_change(glctx, scene: Scene, velocity: torch.Tensor, colors: torch.Tensor) -> torch.Tensor:
    """Of every pixel, [SIZE, SIZE], by central differences."""
    step = STEP * 2 / SIZE
    ahead, behind = (
        supersampled(glctx, scene, scene.vertices + s * step * velocity, "perspective", colors, SIZE) for s in (1, -1)
    )
    return ((ahead - behind) / (2 * step))[..., 0]


def change(glctx, scene: Scene, velocity: torch.Tensor, colors: torch.Tensor, method) -> torch.Tensor:
    """Of every pixel, [SIZE, SIZE], as a method has it: in forward mode, of soft pictures by central differences."""

    def image(vertices):
        pos = places(to_clip(vertices, "perspective"), SIZE)
        return method(glctx, scene, pos, colors, SIZE).mean(0)[..., 0]

    if method is soft:
        step = STEP * 2 / SIZE
        return (image(scene.vertices + step * velocity) - image(scene.vertices - step * velocity)) / (2 * step)
    return torch.func.jvp(image, (scene.vertices,), (velocity,))[1]


def draw_pixels(glctx, scenes: dict[str, Scene], path: Path) -> None:
    columns = ["image", "finite differences", *METHODS]
    figure = Figure(figsize=(2 * len(columns), 2.15 * len(ROWS)), layout="constrained")
    for axes, (name, motion, color) in zip(figure.subplots(len(ROWS), len(columns)), ROWS, strict=True):
        scene = scenes[name]
        colors, velocity = scene.colors()[color][:, None], scene.motions()[motion]
        panels = [supersampled(glctx, scene, scene.vertices, "perspective", colors, SIZE)[..., 0]]
        panels.append(true_change(glctx, scene, velocity, colors))
        panels += [change(glctx, scene, velocity, colors, method) for method in METHODS.values()]
        limit = float(panels[1].abs().max())
        for axis, panel, column in zip(axes, panels, columns, strict=True):
            gray = column == "image"
            axis.imshow(
                panel.numpy(),
                "gray" if gray else "seismic",
                origin="lower",
                vmin=0 if gray else -limit,
                vmax=1 if gray else limit,
            )
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{name}: {motion}" if gray else column, fontsize=7)
    figure.savefig(path, dpi=100)


def draw_vertices(glctx, scene: Scene, path: Path) -> None:
    colors = scene.colors()["unit"][:, None]
    seen = (
        vertex_gradients(glctx, scene, "perspective", colors, VERTEX_SIZE, METHODS["edge_gradients"])[0].abs().sum(1)
        > 0
    )
    truth = torch.zeros_like(scene.vertices)
    for vertex in seen.nonzero()[:, 0].tolist():
        truth[vertex] = true_vertex_gradient(glctx, scene, vertex, "perspective", colors, VERTEX_SIZE)[0]
    panels = {"finite differences": truth}
    panels |= {n: vertex_gradients(glctx, scene, "perspective", colors, VERTEX_SIZE, m)[0] for n, m in METHODS.items()}
    clip = to_clip(scene.vertices, "perspective")
    point = (clip[:, :2] / clip[:, 3:]).numpy()
    figure = Figure(figsize=(2.6 * len(panels), 2.8), layout="constrained")
    scale = 5 * float(truth[:, :2].norm(dim=1).max())
    near = scene.tri.numpy()[(scene.vertices[scene.tri.long()].mean(1)[:, 2] > 0.1).numpy()]
    for axis, (name, gradient) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        cosine = torch.cosine_similarity(gradient[seen].flatten(), truth[seen].flatten(), 0)
        axis.triplot(*point.T, near, color="0.85", linewidth=0.5)
        axis.quiver(*point[seen].T, *gradient[seen, :2].numpy().T, scale=scale, width=0.008, color="tab:red")
        axis.set(xticks=[], yticks=[], aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
        axis.set_title(name if name == "finite differences" else f"{name}: cosine {cosine:.3f}", fontsize=8)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs")
    args = parser.parse_args()
    scenes = {scene.name: scene for scene in make_scenes()}
    with glraster.SoftwareRasterizer("cpu") as glctx:
        draw_pixels(glctx, scenes, args.out / "visibility_pixels.png")
        draw_vertices(glctx, scenes["icosphere, 320"], args.out / "visibility_vertices.png")


if __name__ == "__main__":
    main()
