"""Measures gradients of visibility against central differences of supersampled images.

    python benchmarks/visibility.py [--size 256] [--mesh spot.obj] [--scenes icosphere] [--out visibility.csv]
    python benchmarks/visibility.py --facets

The loss is the mean of an image of one channel times a smooth weight. Its true derivative along a motion of the whole
scene or of one body is a central difference of images of 8 x 8 samples per pixel. The methods see one sample per
pixel; their derivatives are averages over 4 x 4 places of that sample within its pixel, as a fit sees them over many
pictures. Errors are in percent of the largest true derivative of the scene, so that motions which change nothing are
judged, too; each is the worst over cameras and colours.
"""

import argparse
import csv
import functools
from collections.abc import Iterator
from pathlib import Path

import torch
from visibility_scenes import CAMERAS, MOTIONS, Scene, facet_scenes, make_scenes, to_clip
from visibility_truth import Method, by, soft, true_derivative, true_vertex_gradient, vertex_gradients

import glraster

METHODS: dict[str, Method] = {
    "antialias": by(glraster.antialias),
    "edge_gradients": by(glraster.edge_gradients),
    "soft": soft,
}
CREASES: dict[str, Method] = {
    str(crease): by(functools.partial(glraster.edge_gradients, crease=crease)) for crease in (False, True, "flat")
}


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


def print_row(rows: list[dict], methods: list[str]) -> None:
    """The worst errors of a scene for each motion, method by method, as Markdown."""
    chosen = [[row for row in rows if row["motion"] == motion] for motion in MOTIONS]
    chosen.append([row for row in rows if row["color"] == "unit"])
    cells = [
        " / ".join(f"{max(error(row, m) for row in some):.1f}" for m in methods) if some else "" for some in chosen
    ]
    print(f"| {rows[0]['scene']} | {' | '.join(cells)} |", flush=True)


def print_cosines(glctx, scenes: list[Scene], size: int, vertices: int) -> None:
    """Between gradients of vertices and finite differences, over so many vertices that are seen."""
    print(f"\n| cosine with finite differences, {vertices} vertices | {' | '.join(METHODS)} |")
    print(f"|---|{'---:|' * len(METHODS)}")
    for scene in scenes:
        colors = torch.stack(list(scene.colors().values()), 1)
        found = {name: vertex_gradients(glctx, scene, CAMERAS[0], colors, size, m) for name, m in METHODS.items()}
        seen = torch.stack([g[k].abs().sum(1) for g in found.values() for k in range(colors.shape[1])]).amax(0) > 0
        chosen = seen.nonzero()[:, 0]
        chosen = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))[:vertices]]
        truth = torch.stack([true_vertex_gradient(glctx, scene, int(v), CAMERAS[0], colors, size) for v in chosen], 1)
        for k, color in enumerate(scene.colors()):
            cosines = [torch.cosine_similarity(g[k][chosen].flatten(), truth[k].flatten(), 0) for g in found.values()]
            print(f"| {scene.name}, {color} | {' | '.join(f'{c:.3f}' for c in cosines)} |", flush=True)


def print_facets(glctx, size: int) -> None:
    """The worst errors for each motion over the facets' mean size on the screen, for each value of `crease`."""
    motions = list(MOTIONS)[:3]
    print(f"| facets of, triangles | pixels in each | {' | '.join(motions)} |\n|---|{'---:|' * (1 + len(motions))}")
    for scene in facet_scenes():
        clip = to_clip(scene.vertices, CAMERAS[0])
        a, b, c = (clip[:, :2] / clip[:, 3:] * size / 2)[scene.tri.long()].unbind(1)
        area = 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
        rows = list(measure(glctx, scene, size, CREASES))
        chosen = [[row for row in rows if row["motion"] == motion] for motion in motions]
        cells = [" / ".join(f"{max(error(row, m) for row in some):.1f}" for m in CREASES) for some in chosen]
        print(f"| {scene.name} | {area[area > 0].mean():.1f} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="of the images, in pixels")
    parser.add_argument("--mesh", type=Path, help="a mesh file, for two more scenes")
    parser.add_argument("--scenes", default="", help="only those whose name has this in it")
    parser.add_argument("--vertices", type=int, default=0, help="of some scenes, whose own gradients are compared")
    parser.add_argument("--facets", action="store_true", help="only facets, over their size and values of crease")
    parser.add_argument("--out", type=Path, help="a CSV file for all numbers")
    args = parser.parse_args()
    rows = []
    with glraster.SoftwareRasterizer("cpu") as glctx:
        if args.facets:
            return print_facets(glctx, args.size)
        scenes = [scene for scene in make_scenes(args.mesh) if args.scenes in scene.name]
        print(f"Percent of the scene's largest derivative: {' / '.join(METHODS)}\n")
        print(f"| scene, triangles | {' | '.join(MOTIONS)} | unit colours |\n|---|{'---:|' * (len(MOTIONS) + 1)}")
        for scene in scenes:
            rows += measure(glctx, scene, args.size, METHODS)
            print_row([row for row in rows if row["scene"] == scene.name], list(METHODS))
        if args.vertices:
            few = [s for s in scenes if 300 < len(s.tri) < 6000 and not s.facets and not s.second.any()]
            print_cosines(glctx, few, args.size, args.vertices)
    if args.out:
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
