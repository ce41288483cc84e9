"""Kinds of values that options of several commands have."""

import argparse
import math

import torch

__all__ = ["as_color", "as_count", "as_device", "as_number", "as_positive", "as_resolution"]


def as_resolution(text: str) -> tuple[int, int]:
    """(height, width)."""
    try:
        sizes = [int(word) for word in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"must be a size or WIDTHxHEIGHT, in pixels, got {text!r}")
    return sizes[-1], sizes[0]


def as_color(text: str) -> tuple[float, ...]:
    """R,G,B from 0 to 1."""
    numbers = [as_number(word) for word in text.split(",")]
    if len(numbers) != 3 or not all(0 <= number <= 1 for number in numbers):
        raise argparse.ArgumentTypeError(f"must be three numbers from 0 to 1, R,G,B, got {text!r}")
    return tuple(numbers)


def as_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, got {text!r}")
    return int(text)


def as_positive(text: str) -> float:
    if not 0 < (number := as_number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number greater than 0, got {text!r}")
    return number


def as_number(text: str) -> float:
    """A number, or NaN, which no range holds."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def as_device(text: str) -> torch.device:
    try:
        device = torch.device(text)
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a device") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("PyTorch sees no CUDA device")
    return device
