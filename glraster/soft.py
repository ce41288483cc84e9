"""Soft rasterization: all triangles near a pixel are blended, so that coverage itself has gradients."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from .checks import FLOATS, Same, check_same, check_tensor
from .mipmap import MAX_SIDE
from .rasterize import _check_resolution
from .soft_operator import ALPHA_AGGREGATES, DISTANCES, RGB_AGGREGATES, render

__all__ = ["SoftAux", "soft_rasterize"]

DEPTHS = {"w": (1.0, 100.0), "z": (-1.0, 1.0)}  # and their default ranges
GRADS = ("full", "frozen")
SMALLEST = 1e-20  # of sigma and gamma, whose inverses are float32


class SoftAux(NamedTuple):
    """What a pixel's centre sees, as a hard rasterizer would: neither has gradients.

    Attributes:
        depth: [N, H, W], of the nearest triangle that covers the centre; `far` where there is none.
        triangle: [N, H, W] int32, its id; -1 where there is none.
    """

    depth: torch.Tensor
    triangle: torch.Tensor


def soft_rasterize(
    pos: torch.Tensor,
    tri: torch.Tensor,
    attr: torch.Tensor | None,
    resolution: Sequence[int],
    *,
    sigma: float = 1e-5,
    gamma: float = 1e-4,
    eps: float = 1e-3,
    near: float | None = None,
    far: float | None = None,
    background: float | Sequence[float] = 0.0,
    dist: str = "euclidean",
    dist_eps: float = 1e-4,
    agg_rgb: str = "softmax",
    agg_alpha: str = "prod",
    double_sided: bool = True,
    texture: torch.Tensor | None = None,
    attr_tri: torch.Tensor | None = None,
    ranges: torch.Tensor | None = None,
    depth: str = "w",
    grad: str = "full",
    validate: bool | None = None,
) -> tuple[torch.Tensor, SoftAux | None]:
    """Renders triangles whose edges fade over a distance of sqrt(sigma), blended by depth.

    Distances are in units of half the image's height. A triangle covers a pixel by D = sigmoid(d^2 / sigma) inside and
    1 - that outside, d the distance of the pixel's centre to its boundary; outside it counts only where D > `dist_eps`.
    Alpha is 1 - prod (1 - D). Colour is the mean of the triangles' colours with weights D exp(zhat / gamma), where
    zhat = (far - depth) / (far - near), and of the background with weight exp(eps / gamma).

    Args:
        pos: clip-space positions, float32 or float64: [N, V, 4], or [V, 4] with `ranges`.
        tri: [T, 3] int32 vertex indices.
        attr: colours of the vertices, [V, C], [1, V, C] (both shared by all images) or [N, V, C]; with `texture`, its
            coordinates, C = 2. None: alpha alone, in about half the time.
        resolution: (height, width) in pixels.
        sigma: how wide edges fade; 1e-20 or more.
        gamma: how much farther triangles shine through; 1e-20 or more.
        eps: zhat of the background.
        near, far: the range of depths that have colour; by default 1 and 100, with depth='z' -1 and 1.
        background: one colour for all channels, or C.
        dist: 'euclidean'; 'barycentric', where d is the least barycentric coordinate; 'hard', D = 1 inside, else 0.
        dist_eps: between 0 and 0.5.
        agg_rgb: 'softmax', or 'hard': the colour of the nearest triangle that covers the pixel's centre.
        agg_alpha: 'prod'; 'sum', the mean of D over the image's triangles; 'hard', whether one covers the centre.
        double_sided: whether triangles that are clockwise on the screen have a colour; they always have alpha.
        texture: [N or 1, h, w, C], looked up as `texture()` does with filter_mode='linear' and boundary_mode='wrap'.
        attr_tri: [T, 3] int32 indices into `attr`, for seams where the surface has none; `tri` by default.
        ranges: [N, 2] int32 on the CPU: each image's first triangle and number of triangles. Needed with [V, 4]
            positions, ignored otherwise.
        depth: 'w', the distance along the view of a perspective camera; 'z', z/w, also for orthographic ones.
        grad: 'full'; 'frozen' leaves out how depth and colour move within a triangle, as the paper does.
        validate: raise an error where a triangle has no area, a bad index or a position that is not finite. None: the
            variable GLRASTER_VALIDATE decides.

    Returns:
        rgba: [N, H, W, C + 1], colour and alpha; [N, H, W, 1] without `attr`.
        aux: the nearest triangle of every pixel; None without `attr` (with [V, 0] attributes it is there).

    Gradients reach `pos` (x, y and w; z with depth='z'), `attr` and `texture`. None flow through hard choices:
    dist='hard', agg_rgb='hard' and agg_alpha='hard' choose which triangles count. They are the same on every run, those
    of `texture` under `torch.use_deterministic_algorithms(True)`.

    Triangles with a bad index, a position that is not finite or a corner at w <= near / 100 (depth='z': w <= 0) are
    skipped. Those without area have alpha alone, and nothing with another `dist` than 'euclidean'.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape, device, resolution, range, number or mode; with `validate`, the first bad triangle.

    Source: Liu, Li, Chen and Li, "Soft Rasterizer", ICCV 2019.
    """
    op = "soft_rasterize"
    modes = {
        "dist": (dist, DISTANCES),
        "agg_rgb": (agg_rgb, RGB_AGGREGATES),
        "agg_alpha": (agg_alpha, ALPHA_AGGREGATES),
    }
    for name, (mode, known) in (modes | {"depth": (depth, DEPTHS), "grad": (grad, GRADS)}).items():
        if mode not in known:
            raise ValueError(f"{op}(): {name} must be one of {tuple(known)}, got {mode!r}")
    pos, tri, attr, attr_tri, texture, ranges = _check_tensors(op, pos, tri, attr, attr_tri, texture, ranges)
    height, width = _check_resolution(op, resolution)
    if max(height, width) > MAX_SIDE:
        raise ValueError(f"{op}(): resolution must be at most {MAX_SIDE} along each side, got ({height}, {width})")
    near, far = (limit if limit is not None else d for limit, d in zip((near, far), DEPTHS[depth], strict=True))
    numbers = {"sigma": sigma, "gamma": gamma, "eps": eps, "near": near, "far": far, "dist_eps": dist_eps}
    _check_numbers(op, numbers, depth)
    channels = 0 if attr is None else (attr if texture is None else texture).shape[-1]
    color = _check_background(op, background, channels)
    modes_and_flags = dist, agg_rgb, agg_alpha, depth, bool(double_sided), grad == "full", validate
    tensors = pos, tri, attr, attr_tri, texture, ranges
    rgba, depths, triangle, _ = render(*tensors, height, width, color, *map(float, numbers.values()), *modes_and_flags)
    return rgba, None if attr is None else SoftAux(depths.detach(), triangle)


def _check_tensors(op, pos, tri, attr, attr_tri, texture, ranges):
    need, shapes = "[N, V, 4] (with ranges [V, 4])", ((None, None, 4), (None, 4))
    pos = check_tensor(op, "pos", pos, need, shapes=shapes, dtypes=FLOATS)
    same: Same = {"dtypes": (pos.dtype,), "device": pos.device}
    indices: dict[str, Any] = {"shapes": ((None, 3),), "dtypes": (torch.int32,)}
    tri = check_tensor(op, "tri", tri, "[T, 3]", **indices, device=pos.device)
    if pos.ndim == 3:
        ranges = None
    elif ranges is None:
        raise ValueError(f"{op}(): pos of shape [V, 4] needs ranges, int32 [N, 2] on cpu, got None")
    else:
        one: dict[str, Any] = {"shapes": ((None, 2),), "dtypes": (torch.int32,), "device": torch.device("cpu")}
        ranges = check_tensor(op, "ranges", ranges, "[N, 2]", **one)
    num_images = {"pos" if ranges is None else "ranges": pos.shape[0] if ranges is None else ranges.shape[0]}
    if attr is None:
        if texture is not None:
            raise ValueError(f"{op}(): texture needs attr, its coordinates [V, 2] at the vertices, got None")
        return pos, tri, None, None, None, ranges
    need, shapes = "[V, C], [1, V, C] or [N, V, C]", ((None, None), (None, None, None))
    if texture is not None:
        need, shapes = need.replace("C", "2") + " with a texture", ((None, 2), (None, None, 2))
    attr = check_tensor(op, "attr", attr, need, shapes=shapes, **same)
    if attr.ndim == 3 and attr.shape[0] != 1:
        check_same(op, "the minibatch", attr=attr.shape[0], **num_images)
    if attr_tri is not None:
        attr_tri = check_tensor(op, "attr_tri", attr_tri, "[T, 3]", **indices, device=pos.device)
        check_same(op, "the number of triangles", attr_tri=attr_tri.shape[0], tri=tri.shape[0])
    elif attr.shape[-2] != pos.shape[-2]:
        check_same(op, "the number of vertices", attr=attr.shape[-2], pos=pos.shape[-2])
    if texture is not None:
        need = "[N or 1, h, w, C]"
        texture = check_tensor(op, "texture", texture, need, shapes=((None,) * 4,), **same)
        if not all(0 < side <= MAX_SIDE for side in texture.shape[1:3]):
            got = list(texture.shape)
            raise ValueError(f"{op}(): texture must be {need} with sides from 1 to {MAX_SIDE}, got {got}")
        if texture.shape[0] != 1:
            check_same(op, "the minibatch", texture=texture.shape[0], **num_images)
    return pos, tri, attr, tri if attr_tri is None else attr_tri, texture, ranges


def _check_numbers(op: str, numbers: dict[str, float], depth: str) -> None:
    for name, number in numbers.items():
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            raise TypeError(f"{op}(): {name} must be a number, got {type(number).__name__}")
        if not math.isfinite(number):
            raise ValueError(f"{op}(): {name} must be finite, got {number}")
    for name in ("sigma", "gamma"):
        if numbers[name] < SMALLEST:
            raise ValueError(f"{op}(): {name} must be at least {SMALLEST}, got {numbers[name]}")
    if not 0 < numbers["dist_eps"] < 0.5:
        raise ValueError(f"{op}(): dist_eps must lie between 0 and 0.5, got {numbers['dist_eps']}")
    near, far = numbers["near"], numbers["far"]
    if not (near < far and (near > 0 or depth == "z")):
        need = "0 < near < far" if depth == "w" else "near < far"
        raise ValueError(f"{op}(): near and far must be {need}, got {near} and {far}")


def _check_background(op: str, background: float | Sequence[float], channels: int) -> list[float]:
    if isinstance(background, (int, float)):
        return [float(background)] * channels
    try:
        color = [float(value) for value in background]
    except (TypeError, ValueError):
        raise TypeError(f"{op}(): background must be a number or {channels} of them, got {background!r}") from None
    if len(color) != channels:
        raise ValueError(f"{op}(): background must be a number or {channels} of them, got {len(color)}")
    return color
