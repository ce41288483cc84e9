"""Gradient sums on a GPU that come out the same on every run: fixed point, in two passes of one kernel
(common/order_free_sums.cuh)."""

import ctypes
from collections.abc import Callable

import torch

from .compiler import Kernel

__all__ = ["OrderFreeSums", "launch_order_free"]

_MAX_TARGETS = 32
_MEASURE, _SUM = 0, 1
_BLOCKS_PER_PROCESSOR = 64


class OrderFreeSums(ctypes.Structure):
    """Mirrors the struct of the same name."""

    _fields_ = [(name, ctypes.c_void_p * _MAX_TARGETS) for name in ("begin", "end", "largest", "sum")]
    _fields_ += [(name, ctypes.c_int64) for name in ("num_targets", "pass_", "kept_bits")]


def launch_order_free(
    launch: Callable[..., None],
    kernel: Kernel,
    count: int,
    parameters: bytes,
    adds_to: list[torch.Tensor],
    most_additions: int = 64,
) -> None:
    """Runs the deterministic variant of a kernel.

    Args:
        launch: `Gpu.launch`.
        kernel, count, parameters: its arguments.
        adds_to: every tensor that the kernel adds to, all zeros. They receive the sums; an element to which something
            was added that is not finite becomes NaN.
        most_additions: that one element of the kernel's outermost loop makes to one place.
    """
    targets = [tensor for tensor in adds_to if tensor.numel()]
    if len(targets) > _MAX_TARGETS:
        raise ValueError(f"{kernel.name} adds to {len(targets)} tensors, {_MAX_TARGETS} can be summed in fixed point")
    largest = [torch.zeros(t.numel(), dtype=torch.int64, device=t.device) for t in targets]
    total = [torch.zeros_like(bits) for bits in largest]
    sums = OrderFreeSums(num_targets=len(targets), kept_bits=62 - (count * most_additions).bit_length())
    for i, target in enumerate(targets):
        sums.begin[i], sums.end[i] = target.data_ptr(), target.data_ptr() + target.nbytes
        sums.largest[i], sums.sum[i] = largest[i].data_ptr(), total[i].data_ptr()
    for current in (_MEASURE, _SUM):
        sums.pass_ = current
        launch([(kernel.order_free, count, _BLOCKS_PER_PROCESSOR)], parameters, bytes(sums))
    for target, bits, units in zip(targets, largest, total, strict=True):
        target.copy_(_from_fixed_point(units, bits, sums.kept_bits).view_as(target))


def _from_fixed_point(units: torch.Tensor, largest: torch.Tensor, kept_bits: int) -> torch.Tensor:
    """Undoes the shift by `fixed_point_shift`, in two steps because one alone can leave the range of a double."""
    exponent = (largest >> 52) - 1023
    shift = exponent + (1 - kept_bits)
    half = shift // 2
    value = units.double() * _power_of_two(half) * _power_of_two(shift - half)
    return value.masked_fill(exponent == 1024, torch.nan)


def _power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """2 to the given int64 power, exactly, which pow() does not promise on a GPU."""
    return (exponent + 1023 << 52).view(torch.float64)
