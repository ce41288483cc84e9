"""Checks of arguments, in one order for every operation: type, device, dtype, rank, sizes."""

import os
from collections.abc import Sequence
from typing import TypedDict

import torch

__all__ = ["FLOATS", "Same", "check_same", "check_tensor", "validating"]

FLOATS = (torch.float32, torch.float64)


class Same(TypedDict):
    """What `check_tensor` is told of a tensor that must be of the dtype and on the device of another."""

    dtypes: tuple[torch.dtype, ...]
    device: torch.device


def validating(validate: bool | None) -> bool:
    """Whether skips of bad geometry are to be errors: the argument if given, else the variable GLRASTER_VALIDATE."""
    return os.environ.get("GLRASTER_VALIDATE", "0") not in ("", "0") if validate is None else validate


def check_tensor(
    op: str,
    name: str,
    value: object,
    need: str | None = None,
    *,
    shapes: Sequence[tuple[int | None, ...]],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device | None = None,
) -> torch.Tensor:
    """Returns `value`, a tensor, or raises an error that says what `op` needs and what came.

    Under `torch.autocast`, a tensor of half precision where float32 is accepted is returned in float32, as PyTorch's
    own operations do that need the precision.

    Args:
        op: the operation, as the user calls it.
        name: the argument.
        need: the shape that the argument must have, in words: "[N, V, 4]"; None: `shapes[0]`.
        shapes: the accepted shapes; None stands for any size.
        dtypes: the accepted dtypes.
        device: where it must be; None: anywhere.

    Raises:
        TypeError: not a tensor, or of another dtype.
        ValueError: on another device, or of another shape.
    """
    error: type[Exception]
    if isinstance(value, torch.Tensor):  # the order of the checks is also that of the errors
        if value.layout is not torch.strided:
            error = TypeError
        elif device is not None and value.device != device:
            error = ValueError
        elif value.dtype not in dtypes:
            if _autocast(value, dtypes):
                return check_tensor(op, name, value.float(), need, shapes=shapes, dtypes=dtypes, device=device)
            error = TypeError
        else:
            sizes = value.shape
            for shape in shapes:
                if len(sizes) == len(shape):
                    for size, want in zip(sizes, shape, strict=True):
                        if want is not None and want != size:
                            break
                    else:
                        return value
            error = ValueError
    else:
        error = TypeError
    raise error(_words(op, name, value, need or str(list(shapes[0])), dtypes, device))


def _autocast(value: torch.Tensor, dtypes: tuple[torch.dtype, ...]) -> bool:
    """Whether `value` is to be computed in float32."""
    half = value.dtype in (torch.float16, torch.bfloat16) and torch.float32 in dtypes
    return half and torch.is_autocast_enabled(value.device.type)


def _words(op, name, value, need, dtypes, device) -> str:
    """What is wrong. Put together only now: that takes longer than the checks."""
    where = f" on {device}" if device is not None else ""
    must = f"{' or '.join(str(dtype).removeprefix('torch.') for dtype in dtypes)} {need}{where}"
    if not isinstance(value, torch.Tensor):
        cure = ": use torch.from_numpy()" if type(value).__name__ == "ndarray" else ""
        return f"{op}(): {name} must be a tensor, {must}, got {type(value).__name__}{cure}"
    got = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)} on {value.device}"
    layout = "" if value.layout == torch.strided else f" ({value.layout})"
    converts = not layout and value.dtype.is_floating_point == dtypes[0].is_floating_point
    cure = f": use {name}.to({dtypes[0]})" if converts and value.dtype not in dtypes else ""
    return f"{op}(): {name} must be {must}, got {got}{layout}{cure}"


def check_same(op: str, what: str, **sizes: int) -> None:
    """Raises ValueError unless the given sizes are equal; keywords name where each size comes from."""
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} in {name}" for name, size in sizes.items())
        raise ValueError(f"{op}(): {what} must agree, got {listed}")
