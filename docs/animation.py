"""Draws the animation of the README: samples/fit_mesh.py at work, a sphere that becomes the mesh of the pictures.

    python docs/animation.py [--out docs/fit_mesh.webp]

Expected: an animation of the fit on the left and the target on the right, both slowly turning. Takes a minute or two.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

import glraster
from glraster import camera
from glraster.mesh import Mesh
from glraster.viewer import Viewer

sys.path.insert(0, str(Path(__file__).parents[1] / "samples"))

import fit_mesh  # noqa: E402 - a sample
import options  # noqa: E402 - of the samples
import pictures  # noqa: E402 - of the samples
from bear import bear  # noqa: E402 - of the samples

SIZE, FRAMES, LAST = 220, 44, 12  # pixels; frames of the fit, and of its end


class Recorder(Viewer):
    """A viewer that keeps the meshes it is shown."""

    def __init__(self):
        super().__init__("off")
        self.shown: list[Mesh] = []

    def mesh(self, vertices, faces, **_) -> None:
        self.shown.append(Mesh(vertices.detach(), faces))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "fit_mesh.webp")
    args = parser.parse_args()
    recorder = Recorder()
    options.make_viewer = lambda _: recorder
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["fit_mesh.py", "--device", "cpu", "--max-iter", "700", "--out", folder]
        fit_mesh.main()
    # Early steps move most, and get most frames.
    times = torch.linspace(0, 1, FRAMES).pow(2.5) * (len(recorder.shown) - 1)
    found = [recorder.shown[int(time)] for time in times] + [recorder.shown[-1]] * LAST
    glctx, target, frames = glraster.SoftwareRasterizer("cpu"), bear(), []
    for number, shape in enumerate(found):
        turn = 30 * torch.sin(torch.tensor(6.2832 * number / len(found)))
        view = (camera.perspective(36.0) @ camera.orbit(turn, 15.0, 3.2))[None]
        both = torch.cat([fit_mesh.show(glctx, mesh, view, SIZE) for mesh in (shape, target)])
        frames.append(Image.fromarray(pictures.to_bytes(pictures.grid([both], gap=2))))
    frames[0].save(args.out, save_all=True, append_images=frames[1:], duration=90, loop=0, quality=55, method=6)
    print(f"Wrote {len(frames)} frames to {args.out}, {args.out.stat().st_size // 1024} KB.")


if __name__ == "__main__":
    main()
