"""Numbers logged over iterations."""

import threading
from typing import Any, SupportsFloat

import numpy as np
import torch

__all__ = ["Plots"]

MOST_POINTS = 2000  # of a curve; then every other one goes


class Plots:
    """Curves by name. A number on a GPU is read only when a curve is drawn, so that the loop does not wait for it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._curves: dict[str, tuple[list[float], list[SupportsFloat]]] = {}
        self._strides: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def append(self, name: str, iteration: int | None, value: Any) -> None:
        """Adds a point; without an iteration the points count themselves.

        Raises:
            TypeError, ValueError: the value is not one number.
        """
        if isinstance(value, torch.Tensor):
            if value.numel() != 1:
                raise ValueError(f"log(): {name} must be one number, got a tensor {list(value.shape)}")
            value = _OnGpu(value) if value.is_cuda else float(value.detach())
        else:
            try:
                value = float(value)
            except (TypeError, ValueError) as error:
                raise TypeError(f"log(): {name} must be one number, got {type(value).__name__}") from error
        with self._lock:
            xs, ys = self._curves.setdefault(name, ([], []))
            count = self._counts[name] = self._counts.get(name, -1) + 1
            stride = self._strides.setdefault(name, 1)
            at = float(count if iteration is None else iteration)
            if xs and (count - 1) % stride:  # the newest always stands at the end
                xs[-1], ys[-1] = at, value
            else:
                xs.append(at)
                ys.append(value)
            if len(xs) > MOST_POINTS:
                del xs[1:-1:2], ys[1:-1:2]
                self._strides[name] = 2 * stride

    def names(self) -> list[str]:
        """In the order of their first points."""
        with self._lock:
            return list(self._curves)

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Iterations and values, float64 [K] each; empty for a name that was never logged."""
        with self._lock:
            xs, ys = (list(points) for points in self._curves.get(name, ([], [])))
        return np.array(xs), np.array([float(y) for y in ys])

    def newest(self) -> dict[str, float]:
        """The last value of every curve."""
        with self._lock:
            last = {name: ys[-1] for name, (_, ys) in self._curves.items()}
        return {name: float(value) for name, value in last.items()}


class _OnGpu:
    """A number on a GPU, read once."""

    def __init__(self, tensor: torch.Tensor):
        self._value: torch.Tensor | float = tensor.detach().reshape(()).clone()

    def __float__(self) -> float:
        if not isinstance(self._value, float):
            self._value = float(self._value)
        return self._value
