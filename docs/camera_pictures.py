"""Draws the picture of docs/camera.md: the axes of each convention's camera, and of its image.

    python docs/camera_pictures.py [--out docs]

One camera in each row, the same in all, with the point that it sees; what differs is what the numbers count from.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

# Axes of the camera in OpenGL's terms (right, up, backwards), and of the image: origin, and where x and y point.
CONVENTIONS = {
    "OpenGL, glraster,\nBlender and NeRF": (np.diag([1, 1, 1]), (0, 0), (1, 1), "clip space: -1 to 1, (0, 0) amid"),
    "OpenCV and COLMAP": (np.diag([1, -1, -1]), (-1, 1), (1, -1), "pixels from the top left"),
    "PyTorch3D": (np.diag([-1, 1, -1]), (0, 0), (-1, 1), "1 is half the shorter side"),
}
COLORS = ("tab:red", "tab:green", "tab:blue")


def draw_camera(axes, rotation: np.ndarray, title: str) -> None:
    """The pyramid of what is seen, and arrows along the camera's X, Y and Z. Plotted with Y up."""

    def plotted(points):
        x, y, z = np.asarray(points, dtype=float).T
        return x, -z, y

    corners = 0.9 * np.array([[-1, -0.7, -2], [1, -0.7, -2], [1, 0.7, -2], [-1, 0.7, -2], [-1, -0.7, -2]])
    axes.plot(*plotted(corners), color="0.5", linewidth=1)
    for corner in corners[:4]:
        axes.plot(*plotted([np.zeros(3), corner]), color="0.7", linewidth=1)
    axes.plot(*plotted([[-0.15, 0.68, -1.8], [0, 0.85, -1.8], [0.15, 0.68, -1.8]]), color="0.5")  # this side up
    for name, direction, color in zip("XYZ", rotation, COLORS, strict=True):
        axes.quiver(*plotted([np.zeros(3)]), *plotted([direction]), color=color, linewidth=2, arrow_length_ratio=0.2)
        axes.text(*(float(c[0]) for c in plotted([1.2 * direction])), name, color=color, weight="bold", ha="center")
    axes.set(xlim=(-1.1, 1.1), ylim=(-0.8, 1.8), zlim=(-1.1, 1.1), title=title)
    axes.set_box_aspect((2.2, 2.6, 2.2), zoom=1.15)
    axes.view_init(elev=22, azim=-62)
    axes.set_axis_off()


def draw_image(axes, origin, ends, words: str) -> None:
    """The image from the camera's side, with its axes."""
    axes.plot([-1, 1, 1, -1, -1], [-0.7, -0.7, 0.7, 0.7, -0.7], color="0.5")
    start = np.array(origin) * (1, 0.7)
    for index, (name, color) in enumerate(zip("xy", COLORS[:2], strict=True)):
        step = np.zeros(2)
        step[index] = 0.6 * ends[index]
        axes.annotate("", start + step, start, arrowprops={"color": color, "width": 1.5, "headwidth": 8})
        axes.text(*(start + 1.25 * step), name, color=color, weight="bold", ha="center", va="center")
    axes.set(xlim=(-1.3, 1.3), ylim=(-1, 1), aspect="equal")
    axes.set_title(words, fontsize=9)
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder (default: that of this file)")
    args = parser.parse_args()
    figure = Figure(figsize=(9, 5.8))
    for column, (name, (rotation, origin, ends, words)) in enumerate(CONVENTIONS.items()):
        draw_camera(figure.add_axes((column / 3, 0.38, 0.33, 0.52), projection="3d"), rotation, name)
        draw_image(figure.add_axes((column / 3 + 0.02, 0.02, 0.29, 0.34)), origin, ends, words)
    figure.savefig(args.out / "camera_conventions.png", dpi=80)
    print(f"Wrote {args.out / 'camera_conventions.png'}.")


if __name__ == "__main__":
    main()
