"""The options of `glraster render`, and which of them go together."""

import argparse
import math
import os

import torch

from ..arguments import as_color, as_count, as_device, as_number, as_positive, as_resolution
from .files import FORMATS
from .picture import OUTPUTS

__all__ = ["add_arguments", "check"]

_EPILOG = """Images go to OUT/MESH/OUTPUT/VIEW.png (or .exr), films to OUT/MESH/OUTPUT.mp4; OUT/MESH/transforms.json
says where cameras around a mesh were. Files that are there already are left as they are: the same command again goes
on where it was interrupted. The exit code is 1 if a mesh could not be rendered, which is then reported while
the others go on, and 2 if the command line makes no sense."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `glraster render`."""
    parser.epilog = _EPILOG
    parser.add_argument("meshes", nargs="+", metavar="mesh", help="files that trimesh reads: GLB, OBJ, PLY, STL, ...")
    parser.add_argument("--out", default="renders", metavar="FOLDER", help="where to (default: renders)")
    _add_cameras(parser.add_argument_group("cameras"))
    _add_pictures(parser.add_argument_group("pictures"))
    work = parser.add_argument_group("the work")
    work.add_argument("--overwrite", action="store_true", help="make files anew that are there already")
    shard = "the i-th of n parts of the work, i from 0: for job arrays, each of which has all other options alike"
    work.add_argument("--shard", type=_shard, default=(0, 1), metavar="I/N", help=shard)
    cores = os.cpu_count() or 1
    jobs = f"images drawn and written at a time (default: {cores})"
    work.add_argument("--jobs", type=as_count, default=cores, help=jobs)
    work.add_argument("--device", type=as_device, help="cpu, cuda or cuda:N (default: cuda where there is one)")
    contexts = ["auto", "gl", "software"]
    context = "rasterizer (default: software; auto: as glraster.context() chooses)"
    work.add_argument("--context", choices=contexts, default="software", help=context)


def _add_cameras(group: argparse._ArgumentGroup) -> None:
    cameras = "a transforms.json (NeRF, instant-ngp, nerfstudio) or a folder of COLMAP's, instead of cameras around"
    group.add_argument("--cameras", metavar="PATH", help=cameras)
    group.add_argument("--views", type=as_count, default=36, help="cameras around each mesh (default: 36)")
    around = "in a circle, or evenly spread over a sphere (default: turntable)"
    group.add_argument("--around", choices=["turntable", "sphere"], default="turntable", help=around)
    elevation = "degrees above the horizon, with turntable (default: 20)"
    group.add_argument("--elevation", type=_elevation, default=20.0, help=elevation)
    group.add_argument("--fov", type=_angle, default=40.0, help="vertical angle of view in degrees (default: 40)")
    group.add_argument("--up", choices=["x", "y", "z"], default="y", help="the axis that points up (default: y)")
    normalize = "move and scale each mesh to touch the unit sphere from inside, for a camera file made for that"
    group.add_argument("--normalize", action="store_true", help=normalize)


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    resolution = "pixels: 512, or 640x480, width first (default: 512, or what the camera file says)"
    group.add_argument("--resolution", type=as_resolution, metavar="SIZE", help=resolution)
    outputs = f"of {', '.join(OUTPUTS)}; several with commas (default: color)"
    group.add_argument("--outputs", type=_outputs, default=["color"], metavar="LIST", help=outputs)
    group.add_argument("--format", choices=FORMATS, default="png", help="of the files (default: png)")
    ssaa = "samples of the colour along each side of a pixel, beyond antialiased silhouettes (default: 1)"
    group.add_argument("--ssaa", type=as_count, default=1, help=ssaa)
    background = "R,G,B from 0 to 1 (default: none, PNG files are transparent there; white in films)"
    group.add_argument("--background", type=as_color, metavar="COLOR", help=background)
    light = "a lamp in this direction instead of the default one; may be given several times"
    group.add_argument("--light", type=_direction, action="append", default=[], metavar="X,Y,Z", help=light)
    environment = "a panorama (EXR, HDR or a picture) that the light comes from, instead of a sky and a lamp"
    group.add_argument("--environment", metavar="PICTURE", help=environment)
    texture = "a picture for meshes whose files name none, but have texture coordinates"
    group.add_argument("--texture", metavar="PICTURE", help=texture)
    group.add_argument("--flat", action="store_true", help="each triangle has its own normal")
    scale = "depths times this are the numbers in PNG files, 65535 at most (default: 1000)"
    group.add_argument("--depth-scale", type=as_positive, default=1000.0, metavar="NUMBER", help=scale)
    group.add_argument("--fps", type=as_positive, default=30.0, help="frames per second of films (default: 30)")


def check(options: argparse.Namespace) -> None:
    """Completes the options.

    Raises:
        ValueError: some of them do not go together, or name a file that is not there.
    """
    if options.format == "mp4":
        if unfit := sorted({"depth", "ids"} & set(options.outputs)):
            raise ValueError(f"--format mp4 cannot hold {' and '.join(unfit)}: use png or exr")
        options.background = options.background or (1.0, 1.0, 1.0)
    if options.environment is not None and options.light:
        raise ValueError("--environment and --light exclude each other")
    if options.texture is not None and not os.path.isfile(options.texture):
        raise ValueError(f"there is no picture {options.texture!r}")
    if options.device is None:
        options.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _outputs(text: str) -> list[str]:
    outputs = [word.strip() for word in text.split(",")]
    if unknown := [word for word in outputs if word not in OUTPUTS]:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(OUTPUTS)}, got {', '.join(unknown)!r}")
    return list(dict.fromkeys(outputs))


def _shard(text: str) -> tuple[int, int]:
    try:
        index, count = (int(word) for word in text.split("/"))
    except ValueError:
        index, count = 0, 0
    if not 0 <= index < count:
        raise argparse.ArgumentTypeError(f"must be I/N with I from 0 to N - 1, got {text!r}")
    return index, count


def _direction(text: str) -> tuple[float, ...]:
    numbers = [as_number(word) for word in text.split(",")]
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or not any(numbers):
        raise argparse.ArgumentTypeError(f"must be three numbers X,Y,Z, not all zero, got {text!r}")
    return tuple(numbers)


def _angle(text: str) -> float:
    if not 0 < (angle := as_number(text)) < 180:
        raise argparse.ArgumentTypeError(f"must be more than 0 and less than 180 degrees, got {text!r}")
    return angle


def _elevation(text: str) -> float:
    if not -90 <= (angle := as_number(text)) <= 90:
        raise argparse.ArgumentTypeError(f"must be from -90 to 90 degrees, got {text!r}")
    return angle
