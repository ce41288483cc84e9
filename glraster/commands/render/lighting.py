"""The light of `glraster render`: what a diffuse surface sends on, by its normal."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...shading import harmonics_irradiance, lambert, panorama_to_cube, project_environment, to_linear
from .files import needed

__all__ = ["Lighting"]

_SKY, _GROUND = 0.6, 0.2  # radiance from above and from below
_ROWS = 256  # of a panorama, enough for light that is this smooth
_LIGHT = 0.5  # of --light: what a surface that faces it receives, over pi


class Lighting:
    """Light from all around, smooth, and from lamps far away.

    Args:
        coefficients: [9, 3], of the radiance around in spherical harmonics, linear RGB, with +Y up.
        lamps: [L, 3], unit vectors towards lamps.
        up: 'x', 'y' or 'z', the axis that points up in the world: x, y and z change places in their turn.
    """

    def __init__(self, coefficients: torch.Tensor, lamps: torch.Tensor, up: str = "y"):
        self._coefficients, self._lamps, self._places = coefficients, lamps, "yzx".index(up)

    @classmethod
    def studio(cls, lamps: Sequence[tuple[float, ...]], up: str = "y") -> "Lighting":
        """A bright sky over a dark ground, and lamps in some directions; by default one obliquely from above."""
        coefficients = torch.zeros(9, 3)
        coefficients[0] = (_SKY + _GROUND) / 2 * math.sqrt(4 * math.pi)
        coefficients[1] = (_SKY - _GROUND) / 2 * math.sqrt(4 * math.pi / 3)
        directions = torch.tensor(lamps) if lamps else torch.tensor([[0.5, 0.8, 0.6]]).roll("yzx".index(up), 1)
        return cls(coefficients, torch.nn.functional.normalize(directions, dim=1), up)

    @classmethod
    def environment(cls, path: str, up: str = "y") -> "Lighting":
        """What a panorama shows, with its middle at +Z: EXR or HDR (linear), or another picture (sRGB).

        Raises:
            ValueError, OSError: the file cannot be read.
            RuntimeError: a package is missing.
        """
        panorama = torch.from_numpy(_read(path)).flip(0)
        if len(panorama) > _ROWS:  # none of the texels between is left out, however bright it is
            rows = torch.nn.functional.adaptive_avg_pool2d(panorama.movedim(2, 0), (_ROWS, 2 * _ROWS))
            panorama = rows.movedim(0, 2).contiguous()
        return cls(project_environment(panorama_to_cube(panorama)), torch.zeros(0, 3), up)

    def irradiance(self, normals: torch.Tensor) -> torch.Tensor:
        """[..., 3], what unit normals [..., 3] receive, over pi: white in even light of 1 becomes 1."""
        around = harmonics_irradiance(normals.roll(-self._places, -1), self._coefficients.to(normals)).clamp(min=0)
        return around + _LIGHT * sum(lambert(normals, lamp) for lamp in self._lamps.to(normals))


def _read(path: str) -> np.ndarray:
    """float32 [H, W, 3], linear, the top row first."""
    if not Path(path).is_file():
        raise ValueError(f"there is no environment {path!r}")
    name, reader = _READERS.get(Path(path).suffix.lower(), ("PIL.Image", _read_picture))
    package = needed(name)
    try:
        pixels = np.ascontiguousarray(reader(package, path), dtype=np.float32)
    except Exception as error:  # every package has its own
        raise ValueError(f"{path} cannot be read as an environment: {error}") from error
    if not np.isfinite(pixels).all():
        raise ValueError(f"{path} cannot be an environment: it holds numbers that are not finite")
    return pixels


def _read_exr(openexr: Any, path: str) -> np.ndarray:
    with openexr.File(path) as file:
        channels = file.channels()
        return (channels.get("RGB") or channels["RGBA"]).pixels[..., :3]


def _read_hdr(cv2: Any, path: str) -> np.ndarray:
    blue_green_red = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if blue_green_red is None:
        raise ValueError("it is no picture")
    return blue_green_red[..., ::-1]


def _read_picture(pillow: Any, path: str) -> np.ndarray:
    with pillow.open(path) as picture:
        return to_linear(torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255).numpy()


_READERS = {".exr": ("OpenEXR", _read_exr), ".hdr": ("cv2", _read_hdr)}
