"""Checks of arguments, in one order for every operation: type, device, dtype, rank, sizes."""

import os

import torch

__all__ = ["check_tensor", "check_same", "validating", "FLOATS"]

FLOATS = (torch.float32, torch.float64)


def validating(validate: bool | None) -> bool:
    """Whether skips of bad geometry are to be errors: the argument if given, else the variable GLRASTER_VALIDATE."""
    return os.environ.get("GLRASTER_VALIDATE", "0") not in ("", "0") if validate is None else validate


def check_tensor(
    op: str,
    name: str,
    value: object,
    need: str,
    *,
    shapes: list[tuple[int | None, ...]],
    dtypes: tuple[torch.dtype, ...],
    device: torch.device | None = None,
) -> torch.Tensor:
    """Returns `value`, a tensor, or raises an error that says what `op` needs and what came.

    Args:
        op: the operation, as the user calls it.
        name: the argument.
        need: what the argument must be, in words: "int32 [T, 3]".
        shapes: the accepted shapes; None stands for any size.
        dtypes: the accepted dtypes.
        device: where it must be; None: anywhere.

    Raises:
        TypeError: not a tensor, or of another dtype.
        ValueError: on another device, or of another shape.
    """
    where = f" on {device}" if device is not None else ""
    if not isinstance(value, torch.Tensor):
        cure = ": use torch.from_numpy()" if type(value).__name__ == "ndarray" else ""
        raise TypeError(f"{op}(): {name} must be a tensor, {need}{where}, got {type(value).__name__}{cure}")
    error = _first_error(value, shapes, dtypes, device)
    if error is not None:  # the words are put together only now: they take longer than the checks
        got = f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)} on {value.device}"
        layout = "" if value.layout == torch.strided else f" ({value.layout})"
        converts = not layout and value.dtype.is_floating_point == dtypes[0].is_floating_point
        cure = f": use {name}.to({dtypes[0]})" if converts and value.dtype not in dtypes else ""
        raise error(f"{op}(): {name} must be {need}{where}, got {got}{layout}{cure}")
    return value


def _first_error(value, shapes, dtypes, device) -> type[Exception] | None:
    if value.layout != torch.strided:
        return TypeError
    if device is not None and value.device != device:
        return ValueError
    if value.dtype not in dtypes:
        return TypeError
    for shape in shapes:
        if _fits(value.shape, shape):
            return None
    return ValueError


def _fits(sizes: torch.Size, shape: tuple[int | None, ...]) -> bool:
    if len(sizes) != len(shape):
        return False
    for size, want in zip(sizes, shape, strict=True):  # noqa: SIM110 - every call comes here, and all() takes longer
        if want is not None and want != size:
            return False
    return True


def check_same(op: str, what: str, **sizes: int) -> None:
    """Raises ValueError unless the given sizes are equal; keywords name where each size comes from."""
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{size} in {name}" for name, size in sizes.items())
        raise ValueError(f"{op}(): {what} must agree, got {listed}")
