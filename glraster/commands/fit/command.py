"""`glraster fit`: its options, and the way from the files of cameras to those of the mesh."""

import argparse
import dataclasses
import importlib
import os
import sys
import tempfile
from pathlib import Path

import torch

import glraster

from ...fit import LIGHTING, Photos, Settings, comparison, fit_mesh, read_photos, save_whole
from ...viewer import Viewer
from ..arguments import as_color, as_count, as_device, as_positive
from .report import Report

__all__ = ["add_arguments", "run"]

_EPILOG = """OUT gets mesh.glb (or mesh.obj, its material and its texture), report.json and report.txt with the
likeness to the photos that were held out, comparison.png with some of these, and state.pt, from which --resume goes on.
The exit code is 2 if the command line or the photos make no sense."""
_INTERRUPTED = 130  # the exit code of what SIGINT ends
_NEEDED = {"PIL": "Pillow", "scipy": "scipy", "trimesh": "trimesh", "xatlas": "xatlas"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `glraster fit`."""
    parser.epilog = _EPILOG
    cameras = "a transforms.json, or a folder with one, or of a NeRF data set, or of COLMAP's"
    parser.add_argument("cameras", help=cameras)
    parser.add_argument("--out", default="fit", metavar="FOLDER", help="where to (default: fit)")
    _add_photos(parser.add_argument_group("photos"))
    _add_fit(parser.add_argument_group("the fit"))
    work = parser.add_argument_group("the work")
    begin = work.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on where the same command was interrupted")
    begin.add_argument("--overwrite", action="store_true", help="begin anew where there is a fit already")
    outputs = ["auto", "web", "window", "record"]
    view = "watch: in a browser, in a window (auto: what there is), or afterwards in OUT/view.mp4"
    work.add_argument("--view", nargs="?", const="auto", default="off", choices=outputs, help=view)
    work.add_argument("--device", type=as_device, help="cpu, cuda or cuda:N (default: cuda where there is one)")
    context = "rasterizer (default: software; auto: as glraster.context() chooses)"
    work.add_argument("--context", choices=["auto", "gl", "software"], default="software", help=context)


def _add_photos(group: argparse._ArgumentGroup) -> None:
    images = "the folder of the photos (default: where the camera file says; of COLMAP's, images beside it)"
    group.add_argument("--images", metavar="FOLDER", help=images)
    masks = "pictures of the photos' names, white where the object is (default: the photos' opacity, if they have any)"
    group.add_argument("--masks", metavar="FOLDER", help=masks)
    hold_out = "every so many photos one is held out; 0: none (default: 8; of NeRF data sets, those to test)"
    group.add_argument("--hold-out", type=_number_or_none, default=8, metavar="N", help=hold_out)
    resolution = "pixels along the longer side, larger photos are reduced (default: 512)"
    group.add_argument("--resolution", type=as_count, default=512, metavar="PIXELS", help=resolution)
    background = "R,G,B from 0 to 1, behind the object, in photos without opacity and masks (default: their borders')"
    group.add_argument("--background", type=as_color, metavar="COLOR", help=background)


def _add_fit(group: argparse._ArgumentGroup) -> None:
    default = Settings()
    form = "of the mesh (default: glb)"
    group.add_argument("--format", choices=["glb", "obj"], default="glb", help=form)
    lighting = (
        "sh: find the light, too, in spherical harmonics of order 2, and leave it out of the texture; "
        f"none: the texture is as the photos show the object (default: {default.lighting})"
    )
    group.add_argument("--lighting", choices=LIGHTING, default=default.lighting, help=lighting)
    numbers = {
        "geometry-steps": "steps that find the shape",
        "texture-steps": "steps that find the texture and refine the shape",
        "batch": "photos that a step looks at",
        "triangles": "of the mesh, about",
        "texture-size": "texels along a side of the texture",
    }
    for name, what in numbers.items():
        value = getattr(default, name.replace("-", "_"))
        group.add_argument(f"--{name}", type=as_count, default=value, metavar="N", help=f"{what} (default: {value})")
    smooth = f"how far a vertex takes its neighbours along (default: {default.smoothness:g})"
    group.add_argument("--smoothness", type=as_positive, default=default.smoothness, metavar="NUMBER", help=smooth)
    group.add_argument("--seed", type=int, default=default.seed, help="of the order of the photos (default: 0)")


def run(options: argparse.Namespace) -> int:
    """Fits a mesh and writes it; returns 2 if the command line or the photos make no sense."""
    out = Path(options.out)
    try:
        _check(options, out)
        photos, held_out = read_photos(
            options.cameras,
            images=options.images,
            masks=options.masks,
            resolution=options.resolution,
            hold_out=options.hold_out,
            background=options.background,
        )
        names = [field.name for field in dataclasses.fields(Settings)]
        settings = Settings(**{name: getattr(options, name) for name in names})
        where = options.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with glraster.context(where, {"gl": "opengl"}.get(options.context, options.context)) as glctx:
            _fit(options, out, photos, held_out, settings, glctx)
    except KeyboardInterrupt:
        print("interrupted: --resume goes on from here", file=sys.stderr)
        return _INTERRUPTED
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _fit(options, out: Path, photos: Photos, held_out: Photos, settings: Settings, glctx) -> None:
    with Viewer(options.view, path=out / "view.mp4", title="glraster fit") as viewer:
        fitted = fit_mesh(
            photos, settings, glctx=glctx, viewer=viewer, checkpoint=out / "state.pt", resume=options.resume
        )
        save_whole(out / f"mesh.{options.format}", fitted.mesh)
        report = Report.of(fitted, photos, held_out, settings, glctx)
        report.write(out, comparison(fitted, held_out if len(held_out) else photos, glctx))
        print(report.text(), end="")
        viewer.wait()


def _check(options: argparse.Namespace, out: Path) -> None:
    """Finds what would be in the way at the end: a folder that cannot be written, packages that are missing.

    Raises:
        OSError, RuntimeError, ValueError: what it is.
    """
    for module, package in _NEEDED.items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise RuntimeError(f"{package} is needed: pip install 'glraster[fit]' ({error})") from error
    try:
        os.makedirs(out, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"cannot write to {options.out!r}: {error.strerror}") from error
    if (out / "state.pt").exists() and not options.resume and not options.overwrite:
        raise ValueError(f"{options.out!r} holds a fit: --resume goes on with it, --overwrite begins anew")


def _number_or_none(text: str) -> int:
    return 0 if text == "0" else as_count(text)
