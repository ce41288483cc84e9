"""Small lists of integers on the device of a kernel that reads them."""

from collections.abc import Sequence

import torch

from .launcher import KernelFile

__all__ = ["to_device", "upload"]

_MOST_VALUES = 256  # in one launch

UPLOAD = KernelFile("upload")


def to_device(numbers: torch.Tensor | Sequence[int], device: torch.device) -> torch.Tensor:
    """Integers from the CPU as an int64 tensor on `device`. On a GPU nothing waits, and a graph may capture it."""
    numbers = torch.as_tensor(numbers, dtype=torch.int64, device="cpu")
    if device.type == "cpu":
        return numbers
    out = torch.empty(numbers.shape, dtype=torch.int64, device=device)
    upload(numbers, out)
    return out


def upload(numbers: torch.Tensor, out: torch.Tensor) -> None:
    """Writes integers from the CPU to `out`, int64 of the same shape and contiguous, by way of kernel parameters."""
    values, begin = numbers.flatten().tolist(), out.flatten()
    for start in range(0, len(values), _MOST_VALUES):
        part = values[start : start + _MOST_VALUES]
        UPLOAD.launch("upload_integers", len(part), out=begin[start:], value=part, num_values=len(part))
