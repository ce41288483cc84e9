"""The command line that all samples share: --device, --context, --out, --view."""

import argparse
import os
import tempfile

import glraster
from glraster import mesh
from glraster.commands.arguments import as_device
from glraster.viewer import Viewer


def make_parser(doc: str, out: str, context: str | None = "software") -> argparse.ArgumentParser:
    """Returns a parser with the common options; a sample adds its own.

    Args:
        doc: the sample's docstring, shown by --help.
        out: default of --out: a picture, or a folder for several files.
        context: default of --context; None leaves the choice to `glraster.context`.
    """
    parser = make_opengl_parser(doc, out)
    parser.add_argument(
        "--device", type=as_device, help="cpu, cuda or cuda:N (default: cuda where there is one, else cpu)"
    )
    default = context or "gl where available and not slower, else software"
    parser.add_argument(
        "--context", choices=["gl", "software"], default=context, help=f"rasterizer (default: {default})"
    )
    outputs = ["auto", "web", "window", "record"]
    views = "watch: in a browser, in a window (auto: what there is), or afterwards in an .mp4 file beside the results"
    parser.add_argument("--view", nargs="?", const="auto", default="off", choices=outputs, help=views)
    return parser


def make_opengl_parser(doc: str, out: str) -> argparse.ArgumentParser:
    """Returns a parser with --out alone, for samples that use OpenGL and neither PyTorch's devices nor a rasterizer."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    kind, what = (picture, "picture to write") if os.path.splitext(out)[1] else (folder, "folder for the results")
    parser.add_argument("--out", type=kind, default=out, help=f"{what} (default: {out})")
    return parser


def make_context(args: argparse.Namespace) -> glraster.RasterizeContext:
    """Opens the rasterizer that --context and --device ask for; its `.device` says where tensors belong."""
    backend = {"gl": "opengl", "software": "software", None: "auto"}[args.context]
    try:
        glctx = glraster.context(args.device, backend)
    except glraster.OpenGLError as error:
        raise SystemExit(f"error: {error}") from error
    if backend == "auto" and glctx.device.type == "cpu" and isinstance(glctx, glraster.SoftwareRasterizer):
        print("No OpenGL here (`glraster doctor` says why): using the software rasterizer.")
    return glctx


def make_viewer(args: argparse.Namespace) -> Viewer:
    """Opens the viewer that --view asks for."""
    name, suffix = os.path.splitext(args.out)
    film = f"{name}.mp4" if suffix else os.path.join(args.out, "view.mp4")
    try:
        return Viewer(args.view, path=film, title=os.path.basename(name))
    except RuntimeError as error:
        raise SystemExit(f"error: {error}") from error


def positive(text: str) -> int:
    """The `type=` of options that are whole numbers above zero."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def picture(name: str) -> str:
    """The `type=` of options that name a picture to write, where it can be written: its folder is made."""
    if not name.lower().endswith((".png", ".jpg", ".jpeg")):
        raise argparse.ArgumentTypeError(f"{name!r} is no picture: it must end in .png or .jpg")
    if os.path.isdir(name):
        raise argparse.ArgumentTypeError(f"{name!r} is a folder")
    folder(os.path.dirname(name) or ".")
    return name


def folder(name: str) -> str:
    """The `type=` of options that name a folder to write to: it is made, and tried, before minutes of work."""
    try:
        os.makedirs(name, exist_ok=True)
        with tempfile.TemporaryFile(dir=name):
            return name
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write to {name!r}: {error.strerror}") from error


def existing_file(name: str) -> str:
    """The `type=` of options that name a file to read."""
    if not os.path.isfile(name):
        raise argparse.ArgumentTypeError(f"there is no file {name!r}")
    return name


def mesh_file(name: str) -> mesh.Mesh:
    """The `type=` of options that name a mesh file: the mesh, moved and scaled into the unit sphere."""
    try:
        return mesh.load(name, normalize=True)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
