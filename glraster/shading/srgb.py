"""Between the colours of pictures, sRGB, and linear ones, which light can be added and multiplied in."""

import torch

__all__ = ["to_linear", "to_srgb"]

_DARK_SRGB, _DARK = 0.04045, 0.0031308  # below these the curve is a line, of slope
_SLOPE = 12.92


def to_linear(color: torch.Tensor) -> torch.Tensor:
    """Returns the linear values of sRGB ones, from 0 to 1, of any shape. Differentiable.

    Source: IEC 61966-2-1.
    """
    bent = ((color.clamp(min=_DARK_SRGB) + 0.055) / 1.055) ** 2.4
    return torch.where(color <= _DARK_SRGB, color / _SLOPE, bent)


def to_srgb(color: torch.Tensor) -> torch.Tensor:
    """Returns the sRGB values of linear ones, the inverse of `to_linear`. Differentiable, at zero as well."""
    bent = 1.055 * color.clamp(min=_DARK) ** (1 / 2.4) - 0.055
    return torch.where(color <= _DARK, color * _SLOPE, bent)
