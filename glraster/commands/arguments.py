"""The `type=` of options that several commands have: what a word of the command line means, or why it is none."""

import argparse
import math

import torch

__all__ = ["color", "count", "device", "number", "positive"]


def color(text: str) -> tuple[float, ...]:
    """R,G,B from 0 to 1."""
    numbers = [number(word) for word in text.split(",")]
    if len(numbers) != 3 or not all(0 <= value <= 1 for value in numbers):
        raise argparse.ArgumentTypeError(f"must be three numbers from 0 to 1, R,G,B, got {text!r}")
    return tuple(numbers)


def count(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text!r}")
    return int(text)


def positive(text: str) -> float:
    """A number above zero."""
    if not 0 < (value := number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number greater than 0, got {text!r}")
    return value


def number(text: str) -> float:
    """A number, or NaN, which no range holds."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def device(text: str) -> torch.device:
    """A device of PyTorch's that this machine has."""
    try:
        found = torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a device") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("PyTorch sees no CUDA device")
    return found
