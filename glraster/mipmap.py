"""Mip stacks: a texture at half, quarter, ... of its size."""

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output

from .checks import FLOATS, check_tensor
from .operators import Operator

__all__ = [
    "MAX_SIDE",
    "MIP_FILTERS",
    "MipStack",
    "build_levels",
    "build_levels_bwd",
    "build_levels_jvp",
    "check_max_mip_level",
    "check_tex",
    "level_sizes",
    "texture_construct_mip",
]

MIP_FILTERS = ("box", "area")
MAX_SIDE = 2**24  # float32 counts texels exactly up to here

KERNELS = KernelFile("mipmap")


@dataclass(frozen=True, repr=False)
class MipStack:
    """The levels above one texture; made by `texture_construct_mip`."""

    levels: tuple[torch.Tensor, ...]  # levels 1..k
    tex_shape: torch.Size
    mip_filter: str

    def __repr__(self) -> str:
        shapes = [list(level.shape) for level in self.levels]
        return f"MipStack({shapes} of tex {list(self.tex_shape)}, mip_filter={self.mip_filter!r})"


def texture_construct_mip(
    tex: torch.Tensor, max_mip_level: int | None = None, cube_mode: bool = False, *, mip_filter: str = "box"
) -> MipStack:
    """Builds the mip stack of a texture, for `texture`.

    Args:
        tex: [N or 1, h, w, C], or [N or 1, 6, s, s, C] with `cube_mode`, float32 or float64.
        max_mip_level: the last level; None: down to 1 x 1.
        cube_mode: whether `tex` is a cube map.
        mip_filter: 'box': each level is the mean of 2 x 2 texels of the one before (of 2 where one side is 1). 'area':
            each texel is the mean of `tex` over the area that it covers, for sides of any size; level k has
            floor(side / 2^k) texels, at least one. The two agree where every side can be halved.

    Returns:
        An opaque stack of levels 1..k, valid while the contents of `tex` do.

    `tex` receives its gradients where the stack is used: `texture(tex, ..., mip=stack)` sends those of all levels to
    its own `tex`.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape or mode; with 'box', an odd side greater than 1 where a further level is needed.

    Source: Williams, "Pyramidal Parametrics", 1983; box filtering.
    """
    op = "texture_construct_mip"
    tex = check_tex(op, tex, cube_mode)
    max_mip_level = check_max_mip_level(op, max_mip_level)
    levels = build_levels(op, tex, max_mip_level, mip_filter)
    return MipStack(tuple(levels), tex.shape, mip_filter)


def check_tex(op: str, tex: object, cube_mode: bool) -> torch.Tensor:
    """Checks a texture and returns it."""
    need = "[N or 1, 6, s, s, C]" if cube_mode else "[N or 1, h, w, C]"
    shape = (None, 6, None, None, None) if cube_mode else (None,) * 4
    tex = check_tensor(op, "tex", tex, need, shapes=(shape,), dtypes=FLOATS)
    h, w = tex.shape[-3:-1]
    if (cube_mode and h != w) or not (0 < h <= MAX_SIDE and 0 < w <= MAX_SIDE):
        raise ValueError(f"{op}(): tex must be {need} with sides from 1 to {MAX_SIDE}, got {list(tex.shape)}")
    return tex


def check_max_mip_level(op: str, max_mip_level: SupportsIndex | None) -> int | None:
    """Returns max_mip_level as an int, or None for no limit."""
    if max_mip_level is None:
        return None
    try:
        level = operator.index(max_mip_level)
    except TypeError:
        kind = type(max_mip_level).__name__
        raise TypeError(f"{op}(): max_mip_level must be an integer or None, got {kind}") from None
    if level < 0:
        raise ValueError(f"{op}(): max_mip_level must be 0 or greater, got {level}")
    return level


def level_sizes(h: int, w: int, max_mip_level: int | None) -> list[tuple[int, int]]:
    """Height and width of every level, the base included: each side is halved, rounded down, and never below 1."""
    count = max(h, w).bit_length() if max_mip_level is None else min(max_mip_level + 1, max(h, w).bit_length())
    return [(max(h >> k, 1), max(w >> k, 1)) for k in range(count)]


def build_levels(op: str, tex: torch.Tensor, max_mip_level: int | None, mip_filter: str) -> list[torch.Tensor]:
    """Levels 1..k of a checked texture, which pass no gradients to it."""
    h, w = tex.shape[-3:-1]
    sizes = level_sizes(h, w, max_mip_level)
    if mip_filter == "box":
        _check_halving(op, sizes)
    elif mip_filter not in MIP_FILTERS:
        raise ValueError(f"{op}(): mip_filter must be one of {MIP_FILTERS}, got {mip_filter!r}")
    return list(_mipmap(tex.detach(), len(sizes) - 1)) if len(sizes) > 1 else []


def _forward(tex, num_levels):
    levels = [tex, *_fake(tex, num_levels)]
    steps = zip(levels[1:], _steps(tex.shape, len(levels)), strict=True)
    calls = [(count, {"fine": levels[at], "coarse": level, **numbers}) for level, (at, _, count, numbers) in steps]
    KERNELS.launch_each("mipmap_fwd", calls)
    return levels[1:]


def _fake(tex, num_levels):
    sizes = level_sizes(*tex.shape[-3:-1], num_levels)[1:]
    return [new_output(tex, *tex.shape[:-3], *size, tex.shape[-1]) for size in sizes]


def build_levels_jvp(tangent_tex: torch.Tensor, num_levels: int) -> list[torch.Tensor]:
    """d levels / d tex along a tangent of tex: they are linear in it, so these are its own levels 1..num_levels."""
    return list(_mipmap(tangent_tex, num_levels)) if num_levels else []


def build_levels_bwd(grad_levels: list[torch.Tensor]) -> None:
    """d levels / d tex: adds the gradients of levels 1..k to that of level 0, in place, through all levels."""
    steps = zip(grad_levels[:0:-1], reversed(_steps(grad_levels[0].shape, len(grad_levels))), strict=True)
    calls: list[tuple[int, dict[str, Any]]] = [
        (count, {"grad_fine": grad_levels[at], "grad_coarse": grad, **numbers})
        for grad, (at, count, _, numbers) in steps
    ]
    KERNELS.launch_each("mipmap_bwd", calls)


@functools.lru_cache
def _steps(tex_shape: torch.Size, num_levels: int) -> list[tuple[int, int, int, dict[str, int]]]:
    """For each level above the base: from which one it is computed, the texels of that one and its own, and the numbers
    that kernels take."""
    h, w = tex_shape[-3:-1]
    sizes, M, steps = level_sizes(h, w, num_levels - 1), tex_shape[:-3].numel(), []
    for k in range(1, num_levels):
        at = _source(sizes, k)
        (h_fine, w_fine), (h, w) = sizes[at], sizes[k]
        numbers = {"M": M, "h": h, "w": w, "h_fine": h_fine, "w_fine": w_fine, "C": tex_shape[-1]}
        numbers["halved"] = int(h_fine in (2 * h, 1) and w_fine in (2 * w, 1))
        steps.append((at, M * h_fine * w_fine, M * h * w, numbers))
    return steps


def _source(sizes: Sequence[tuple[int, ...]], k: int) -> int:
    """From which level k is computed: the last one whose texels it unites whole, else the base, of which any cut is
    exact."""
    h, w = sizes[k]
    return next((i for i in range(k - 1, 0, -1) if sizes[i][0] % h == 0 and sizes[i][1] % w == 0), 0)


def _check_halving(op: str, sizes: list[tuple[int, int]]) -> None:
    for k, (h, w) in enumerate(sizes[:-1]):
        if (h > 1 and h % 2) or (w > 1 and w % 2):
            rows = "\n".join(f"{i:7d} {height:8d} {width:8d}" for i, (height, width) in enumerate(sizes[: k + 1]))
            raise ValueError(
                f"{op}(): tex must have sides that can be halved down to 1, got {sizes[0][0]} x {sizes[0][1]}:\n"
                f"  level   height    width\n{rows}   (odd)\n"
                f"set max_mip_level={k} to stop there, or mip_filter='area', which takes any size"
            )


_mipmap = Operator("mipmap(Tensor tex, int num_levels) -> Tensor[]", _forward, _fake)
