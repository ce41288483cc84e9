"""Reference for the table of neighbouring sides: a dictionary of edges."""

import torch
from torch import Tensor

_INT32_MAX = 2**31 - 1


def neighbours(tri: Tensor) -> Tensor:
    """Which side lies on the same edge as each side of each triangle.

    Args:
        tri: [T, 3] vertex indices. Side i goes from vertex i to the next, and has the code 3 t + i.

    Returns:
        int64 [T, 3]: the code of the one other side with another opposite vertex; -1 if there is none, -2 - code if
        more than two sides lie on the edge.
    """
    table = torch.full(tri.shape, -1, dtype=torch.int64)
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for t, triangle in enumerate(tri.tolist()):
        if any(not 0 <= vertex < _INT32_MAX for vertex in triangle):
            continue
        for i in range(3):
            a, b, opposite = (triangle[(i + k) % 3] for k in range(3))
            if a != b:
                edges.setdefault((min(a, b), max(a, b)), []).append((opposite, 3 * t + i))
    for sides in edges.values():
        remembered = sorted({opposite for opposite, _ in sides})[:2]
        for own, code in sides:
            others = [vertex for vertex in remembered if vertex != own]
            if others:
                found = min(side for opposite, side in sides if opposite == others[0])
                table.view(-1)[code] = found if len(sides) == 2 else -2 - found
    return table
