"""Neighbours in a mesh, and the preconditioner (I + lambda L)^-1 that smooths over them."""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import moderngl

    from .device import Device, Texels

__all__ = ["Neighbours", "Smoothing"]

_TOLERANCE = 1e-3  # how much of the error Chebyshev's iterations leave


class Neighbours:
    """The vertices that share an edge of the faces [F, n] with each of `rows` vertices.

    Attributes:
        buffers: NeighbourStarts and Neighbours.
        texels: the same for chebyshev.comp.
        largest_eigenvalue: a number that no eigenvalue of the graph Laplacian exceeds: the most neighbours that the two
            ends of an edge have together (Anderson and Morley 1985).
    """

    def __init__(self, device: "Device", faces: np.ndarray, rows: int):
        sides = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2).astype(np.int64)
        ends = np.concatenate([sides, sides[:, ::-1]])
        ends = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
        counts = np.bincount(ends[:, 0], minlength=rows)
        starts = np.concatenate([[0], np.cumsum(counts)])
        self.largest_eigenvalue = int(counts[ends].sum(1).max(initial=0))
        self.buffers = {
            "NeighbourStarts": device.buffer(starts.astype(np.int32)),
            "Neighbours": device.buffer(ends[:, 1].astype(np.int32)),
        }
        self.texels = {
            "neighbour_starts": device.texels(self.buffers["NeighbourStarts"], kind="i4"),
            "neighbours": device.texels(self.buffers["Neighbours"], kind="i4"),
        }


class Smoothing:
    """Solves (I + lambda L) x = b for vectors of one number per component of each vertex.

    Args:
        strength: lambda; L is the graph Laplacian.
    """

    def __init__(self, device: "Device", neighbours: Neighbours, strength: float, rows: int, components: int):
        self._device, self._neighbours, self._rows = device, neighbours, rows
        self._lambda = strength
        self._turns = []
        for _ in range(2):
            buffer = device.buffer(4 * rows * components)
            self._turns.append((buffer, device.texels(buffer, components)))
        self._program = device.compute("chebyshev.comp", f"SIZE {components}")
        # All eigenvalues of I + lambda L lie between 1 and this.
        largest = 1 + strength * max(1, neighbours.largest_eigenvalue)
        self._middle, self._spread = (largest + 1) / 2, (largest - 1) / (largest + 1)
        root = math.sqrt(largest)
        self.iterations = max(1, math.ceil(math.log(2 / _TOLERANCE) / math.log((root + 1) / (root - 1))))

    def solve(self, right: "Texels") -> "moderngl.Buffer":
        """The solution, in a buffer of its own that the next call uses again."""
        current, before = self._turns
        self._device.clear(current[0])
        self._device.clear(before[0])
        relaxation = 1.0
        for iteration in range(self.iterations):
            textures = self._neighbours.texels | {"right": right, "current": current[1], "before": before[1]}
            uniforms = {"rows": self._rows, "lambda": self._lambda, "relaxation": relaxation}
            uniforms["inverse_middle"] = 1 / self._middle
            self._program.run({"Next": before[0]}, self._rows, textures=textures, **uniforms)
            current, before = before, current
            square = self._spread**2
            relaxation = 1 / (1 - square / 2) if iteration == 0 else 1 / (1 - square * relaxation / 4)
        return current[0]
