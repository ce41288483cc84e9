"""The command line that all samples share: --device, --context, --out."""

import argparse

import torch

from glraster.torch import RasterizeCudaContext, RasterizeGLContext


def make_parser(doc: str, out: str, context: str | None = "software") -> argparse.ArgumentParser:
    """Returns a parser with the common options; a sample adds its own.

    Args:
        doc: the sample's docstring, shown by --help.
        out: default of --out.
        context: default of --context; None means gl where OpenGL is to be had, else software.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", type=_device, help="cpu, cuda or cuda:N (default: cuda where there is one, else cpu)"
    )
    default = context or "gl where available, else software"
    parser.add_argument(
        "--context", choices=["gl", "software"], default=context, help=f"rasterizer (default: {default})"
    )
    parser.add_argument("--out", default=out, help=f"where the results go (default: {out})")
    return parser


def make_context(args: argparse.Namespace) -> RasterizeGLContext | RasterizeCudaContext:
    """Opens the rasterizer that --context and --device ask for; its `.device` says where tensors belong."""
    if args.context != "software":
        try:
            return RasterizeGLContext(device=args.device)
        except RuntimeError as error:
            if args.context == "gl":
                raise SystemExit(f"error: {error}") from error
            print(f"No OpenGL here ({error}): using the software rasterizer.")
    return RasterizeCudaContext(device=args.device)


def positive(text: str) -> int:
    """The `type=` of options that are whole numbers above zero."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{name!r} is not a device") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("PyTorch sees no CUDA device")
    return device
