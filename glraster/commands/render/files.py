"""The files of `glraster render`: PNG, EXR and MP4, each written whole or not at all."""

import contextlib
import functools
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ...shading import to_linear, to_srgb
from ...whole_files import whole

__all__ = ["FORMATS", "Film", "Look", "needed", "read_picture", "to_pixels", "write"]

FORMATS = ("png", "exr", "mp4")
_MOST = 65535  # what a pixel of 16 bits holds
_RUN_LENGTHS = 3  # zlib's strategy for images: as small, and quicker
_STEPS = 1 << 14  # of the table from linear to sRGB
_CHANNELS = {"color": "RGBA", "mask": "Y", "normals": "XYZ", "depth": "Z", "ids": ("id",), "uv": "uv"}  # of EXR files


class Look:
    """How outputs become pixels.

    Args:
        background: [3] sRGB values behind the mesh; None: nothing, and colours keep their opacity.
        depth_scale: what depths are multiplied by in PNG files.
    """

    def __init__(self, background: tuple[float, ...] | None, depth_scale: float):
        self.background, self.depth_scale = background, depth_scale


def needed(module: str) -> ModuleType:
    """Imports `module`, or says which of glraster's extras brings it.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RuntimeError(f"{module} is needed: pip install 'glraster[render]' ({error})") from error


def read_picture(path: str | os.PathLike) -> torch.Tensor:
    """Reads a picture: [h, w, 3], or [h, w, 4] if it has opacity, from 0 to 1, the bottom row first.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    with needed("PIL.Image").open(path) as picture:
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        pixels = torch.frombuffer(bytearray(picture.convert(mode).tobytes()), dtype=torch.uint8)
        return pixels.view(picture.height, picture.width, len(mode)).flip(0).float() / 255


def to_pixels(output: str, image: torch.Tensor, form: str, look: Look) -> np.ndarray:
    """Returns an output [H, W, C] as a file has it: the top row first, on the CPU.

    Raises:
        ValueError: numbers that the format cannot hold.
    """
    if form == "exr":
        kind = torch.int64 if output == "ids" else torch.float32
        return np.ascontiguousarray((image.to(kind) + (output == "ids")).flip(0).cpu().numpy())
    if output == "color":
        pixels = _colors(image, look.background)
    elif output == "mask":
        pixels = _bytes(image)
    elif output == "normals":
        pixels = _bytes((image + 1) / 2 * (image != 0).any(-1, keepdim=True))
    elif output == "uv":
        pixels = _bytes(torch.nn.functional.pad(image - image.floor(), (0, 1)))
    elif output == "depth":
        pixels = _words(image * look.depth_scale, "depths: a smaller --depth-scale, or --format exr")
    else:
        pixels = _words(image + 1, "numbers of triangles: --format exr")
    return np.ascontiguousarray(pixels.flip(0).cpu().numpy())


def _colors(image: torch.Tensor, background: tuple[float, ...] | None) -> torch.Tensor:
    """uint8 sRGB, of linear colours that are multiplied by their opacity. Only pixels with a mesh are computed."""
    seen = (image[..., 3] > 0).nonzero(as_tuple=True)
    color, alpha = image[seen].split([3, 1], dim=-1)
    if background is not None:
        behind = to_linear(torch.tensor(background)).to(color)
        pixels = _to_srgb(behind).expand(*image.shape[:2], 3).clone()
        pixels[seen] = _to_srgb(color + (1 - alpha) * behind)
        return pixels
    pixels = torch.zeros(image.shape, dtype=torch.uint8, device=image.device)
    pixels[seen] = torch.cat([_to_srgb(color / alpha), _bytes(alpha)], dim=-1)
    return pixels


def _to_srgb(linear: torch.Tensor) -> torch.Tensor:
    """uint8, from a table: powers are slow. In the dark the table's steps are 0.8 of a value."""
    return _table().to(linear.device)[(linear.clamp(0, 1) * (_STEPS - 1) + 0.5).int()]


@functools.cache
def _table() -> torch.Tensor:
    return _bytes(to_srgb(torch.linspace(0, 1, _STEPS, dtype=torch.float64)))


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def _words(values: torch.Tensor, cure: str) -> torch.Tensor:
    if values.max() > _MOST:
        raise ValueError(f"16 bits do not hold its {cure}")
    return (values + 0.5).clamp(min=0).to(torch.int32)


def write(path: Path, output: str, pixels: np.ndarray) -> None:
    """Writes a PNG or EXR file of what `to_pixels` returned.

    Raises:
        OSError: the disk is full, or may not be written.
    """
    with whole(path) as partial:
        if path.suffix == ".exr":
            _write_exr(partial, output, pixels)
        else:
            image = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            image = image.astype(np.uint16) if image.dtype == np.int32 else image
            needed("PIL.Image").fromarray(image).save(
                partial, format="png", compress_level=1, compress_type=_RUN_LENGTHS
            )


def _write_exr(path: Path, output: str, pixels: np.ndarray) -> None:
    exr = needed("OpenEXR")
    names = _CHANNELS[output]
    channels: dict[str, np.ndarray] = {}
    if output == "ids":
        channels["id"] = pixels[..., 0].astype(np.uint32)
    elif output == "color":
        channels["RGBA"] = pixels
    else:
        channels |= {name: np.ascontiguousarray(pixels[..., i]) for i, name in enumerate(names)}
    with exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, channels) as file:
        file.write(str(path))


class Film:
    """An MP4 file, which gets its name when it is closed without an error.

    Args:
        path: the file.
        size: (height, width) of the frames.
        fps: frames per second.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float):
        self._stack = contextlib.ExitStack()
        partial = self._stack.enter_context(whole(path))
        ffmpeg = needed("imageio_ffmpeg")
        options = {"codec": "libx264", "quality": None, "macro_block_size": 1, "ffmpeg_log_level": "error"}
        output = ["-preset", "veryfast", "-crf", "18", "-movflags", "+faststart"]
        even = ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2"]  # which the format demands
        self._writer: Any = ffmpeg.write_frames(
            str(partial), size[::-1], fps=fps, output_params=[*output, *even], **options
        )
        self._writer.send(None)

    def add(self, pixels: np.ndarray) -> None:
        """Adds a frame, uint8 [H, W, 1 or 3]."""
        self._writer.send(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))

    def __enter__(self) -> "Film":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self._writer.close()
        finally:
            self._stack.__exit__(kind, error, trace)
