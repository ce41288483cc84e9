"""The light of `glraster render`: what a diffuse surface sends on, by its normal."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .files import needed, to_linear

__all__ = ["Lighting"]

_SKY, _GROUND = 0.6, 0.2  # radiance from above and from below
_LIGHT = 0.5  # of --light: what a surface that faces it receives, over pi


class Lighting:
    """Light from all around, smooth, and from lamps far away.

    Args:
        coefficients: [9, 3], of the radiance in real spherical harmonics up to degree 2, linear RGB.
        lamps: [L, 3], unit vectors towards lamps.

    Source: Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps", 2001.
    """

    def __init__(self, coefficients: torch.Tensor, lamps: torch.Tensor):
        self._coefficients, self._lamps = coefficients.double(), lamps.double()

    @classmethod
    def studio(cls, up: str, lamps: Sequence[tuple[float, ...]]) -> "Lighting":
        """A bright sky over a dark ground, and lamps; by default one obliquely from above.

        Args:
            up: 'x', 'y' or 'z'.
            lamps: directions towards them, of any length.
        """
        coefficients = torch.zeros(9, 3)
        coefficients[0] = (_SKY + _GROUND) / 2 * math.sqrt(4 * math.pi)
        coefficients["yzx".index(up) + 1] = (_SKY - _GROUND) / 2 * math.sqrt(4 * math.pi / 3)
        default = torch.tensor([0.5, 0.8, 0.6]).roll("yzx".index(up))
        directions = torch.tensor(lamps) if lamps else default[None]
        return cls(coefficients, torch.nn.functional.normalize(directions, dim=1))

    @classmethod
    def environment(cls, path: str, up: str) -> "Lighting":
        """What a panorama shows: EXR or HDR (linear), or another picture (sRGB), twice as wide as high.

        Its middle is seen along -Z with +Y up; with another axis up, x, y and z change places in their turn.

        Raises:
            ValueError, OSError: the file cannot be read.
            RuntimeError: a package is missing.
        """
        radiance = torch.from_numpy(_read(path)).double()
        height, width, _ = radiance.shape
        polar = (torch.arange(height, dtype=torch.float64) + 0.5) * (math.pi / height)  # from +Y
        azimuth = (torch.arange(width, dtype=torch.float64) + 0.5) * (2 * math.pi / width) - math.pi  # from -Z to +X
        a, b = torch.meshgrid(polar, azimuth, indexing="ij")
        directions = torch.stack([a.sin() * b.sin(), a.cos(), -a.sin() * b.cos()], dim=-1).roll("yzx".index(up), -1)
        edges = (torch.arange(height + 1, dtype=torch.float64) * (math.pi / height)).cos()
        areas = (edges[:-1] - edges[1:])[:, None] * (2 * math.pi / width)
        coefficients = torch.einsum("hwk,hwc->kc", harmonics(directions), radiance * areas[..., None])
        return cls(coefficients, torch.zeros(0, 3))

    def irradiance(self, normals: torch.Tensor) -> torch.Tensor:
        """[..., 3], what unit normals [..., 3] receive, over pi: white in even light of 1 becomes 1."""
        cosine = torch.tensor([1.0] + [2 / 3] * 3 + [1 / 4] * 5, dtype=torch.float64)  # transfer by degree, over pi
        weighted = (self._coefficients * cosine[:, None]).to(normals)
        around = (harmonics(normals) @ weighted).clamp(min=0)
        return around + _LIGHT * (normals @ self._lamps.to(normals).T).clamp(min=0).sum(-1, keepdim=True)


def harmonics(directions: torch.Tensor) -> torch.Tensor:
    """[..., 9]: the real spherical harmonics up to degree 2 of unit vectors [..., 3]."""
    x, y, z = directions.unbind(-1)
    basis = [math.sqrt(1 / (4 * math.pi)) * torch.ones_like(x)]
    basis += [math.sqrt(3 / (4 * math.pi)) * value for value in (y, z, x)]
    basis += [math.sqrt(15 / (4 * math.pi)) * value for value in (x * y, y * z)]
    basis += [math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1)]
    basis += [math.sqrt(15 / (4 * math.pi)) * x * z, math.sqrt(15 / (16 * math.pi)) * (x * x - y * y)]
    return torch.stack(basis, dim=-1)


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
