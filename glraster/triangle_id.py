"""What channel 3 of `rast` says: which triangle each pixel shows, and whether it shows one."""

import torch

from .checks import FLOATS, check_tensor

__all__ = ["as_rast", "coded", "mask", "triangle_id"]

_LARGEST_VALUE = 2**24  # larger ones, which float32 cannot count, are stored as the float of bit pattern _BITS + value
_BITS = 0x4A800000


def triangle_id(rast: torch.Tensor) -> torch.Tensor:
    """The exact triangle id of every pixel, for any number of triangles.

    Args:
        rast: [N, H, W, 4] float32 or float64 from `rasterize` or `DepthPeeler`.

    Returns:
        [N, H, W] int32: rows of `tri`; -1 where there is no triangle. Without gradients.

    Raises:
        TypeError, ValueError: rast is something else.
    """
    value = _checked("triangle_id", rast)[..., 3].detach()
    shown = value.where(value > 0, 0)  # also where it is NaN
    if rast.dtype == torch.float64:
        return shown.where(shown < 2**31, 0).int() - 1
    large = shown.contiguous().view(torch.int32) - _BITS
    return torch.where(shown <= _LARGEST_VALUE, shown.clamp(max=_LARGEST_VALUE).int(), large) - 1


def coded(triangle: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns integers as channel 3 of a `rast` of this dtype has them: what `triangle_id` reads; -1 is nothing."""
    value = triangle.int() + 1
    if dtype == torch.float64:
        return value.double()
    return torch.where(value <= _LARGEST_VALUE, value.float(), (value + _BITS).view(torch.float32))


def as_rast(triangle: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns points of a surface as `rasterize` has those of pixels, for `interpolate` and others.

    Args:
        triangle: [...] integers, -1 for nothing.
        weights: [..., 3], barycentrics, float32 or float64.

    Returns:
        [..., 4] of the dtype of `weights`; zeros where there is nothing. Gradients reach `weights`.
    """
    u, v, _ = weights.unbind(-1)
    rast = torch.stack([u, v, torch.zeros_like(u), coded(triangle, weights.dtype)], dim=-1)
    return rast.where((triangle >= 0)[..., None], 0)


def mask(rast: torch.Tensor) -> torch.Tensor:
    """Where there is a triangle: to multiply images with, to antialias, or as an alpha channel.

    Args:
        rast: [N, H, W, 4] float32 or float64 from `rasterize` or `DepthPeeler`.

    Returns:
        [N, H, W, 1] of the dtype of `rast`: 1 where there is a triangle, else 0. Without gradients; `antialias` of it
        has them. `mask(rast) > 0` is a bool mask for `torch.where`.

    Raises:
        TypeError, ValueError: rast is something else.
    """
    rast = _checked("mask", rast)
    return (rast[..., 3:] > 0).to(rast.dtype)


def _checked(op: str, rast: torch.Tensor) -> torch.Tensor:
    return check_tensor(op, "rast", rast, "[N, H, W, 4]", shapes=((None, None, None, 4),), dtypes=FLOATS)
