"""Subdivision surfaces after Loop, as a matrix from control vertices to those of the fine mesh."""

from typing import TYPE_CHECKING

import numpy as np

from .parameters import to_array

if TYPE_CHECKING:
    import moderngl
    import scipy.sparse

    from .device import Device

__all__ = ["Subdivision", "loop_subdivision"]


class Subdivision:
    """A subdivided mesh: vertices = matrix @ control vertices.

    Attributes:
        control: [K', 3], the triangles of the control mesh.
        triangles: [T, 3], those of the fine mesh.
        matrix: sparse [V, K] (scipy, CSR); its rows sum to one. It subdivides other attributes of the vertices too.
    """

    def __init__(self, control: np.ndarray, triangles: np.ndarray, matrix: "scipy.sparse.csr_matrix"):
        self.control, self.triangles, self.matrix = control, triangles, matrix
        self.num_vertices, self.num_controls = matrix.shape

    def buffers(self, device: "Device") -> "dict[str, moderngl.Buffer]":
        """What refine.comp reads."""
        return {
            "WeightStarts": device.buffer(self.matrix.indptr.astype(np.int32)),
            "Columns": device.buffer(self.matrix.indices.astype(np.int32)),
            "Weights": device.buffer(self.matrix.data.astype(np.float32)),
        }

    def controls_of_triangles(self) -> tuple[np.ndarray, np.ndarray]:
        """The control vertices that each fine triangle depends on: where its list starts, and the lists."""
        of_vertex = np.split(self.matrix.indices, self.matrix.indptr[1:-1])
        lists = [np.unique(np.concatenate([of_vertex[v] for v in triangle])) for triangle in self.triangles]
        return np.concatenate([[0], np.cumsum([len(rows) for rows in lists])]), np.concatenate(lists)


def loop_subdivision(triangles: object, levels: int = 1, num_controls: int | None = None) -> Subdivision:
    """Subdivides a control mesh by Loop's rules, boundaries included: four triangles for each, `levels` times.

    Args:
        triangles: [T, 3] integers. An edge may have one or two triangles.
        levels: how often.
        num_controls: control vertices; None: as many as the triangles use.

    Raises:
        ValueError: an edge has more than two triangles, or an argument is not as above.

    Source: Loop, "Smooth Subdivision Surfaces Based on Triangles" (1987).
    """
    import scipy.sparse

    control = to_array("loop_subdivision(): triangles", triangles, np.int32)
    if control.ndim != 2 or control.shape[1] != 3 or len(control) == 0 or control.min() < 0:
        raise ValueError(f"loop_subdivision(): triangles must be [T, 3], not empty, got {list(control.shape)}")
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= 8:
        raise ValueError(f"loop_subdivision(): levels must be 1 to 8, got {levels!r}")
    current, count = control, num_controls or int(control.max()) + 1
    matrix = scipy.sparse.identity(count, format="csr")
    for _ in range(levels):
        step, current = _subdivided(current, count)
        matrix, count = (step @ matrix).tocsr(), step.shape[0]
    matrix.sort_indices()
    return Subdivision(control, current.astype(np.int32), matrix)


def _subdivided(triangles: np.ndarray, count: int) -> "tuple[scipy.sparse.csr_matrix, np.ndarray]":
    """The matrix of one level, [count + edges, count], and its triangles."""
    import scipy.sparse

    corners = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    opposite = triangles[:, [2, 0, 1]].ravel()
    edges, edge_of, sides = np.unique(np.sort(corners, 1), axis=0, return_inverse=True, return_counts=True)
    edge_of = edge_of.ravel()
    if sides.max() > 2:
        a, b = edges[sides.argmax()]
        raise ValueError(f"loop_subdivision(): edge {a}-{b} has {sides.max()} triangles, and at most two are allowed")
    border = sides == 1
    on_border = np.zeros(count, bool)
    on_border[edges[border].ravel()] = True

    rows, columns, weights = [], [], []

    def add(row, column, weight) -> None:
        rows.append(row)
        columns.append(column)
        weights.append(np.broadcast_to(weight, np.shape(row)))

    # New vertices, on the edges.
    number = count + np.arange(len(edges))
    for end in (0, 1):
        add(number, edges[:, end], np.where(border, 1 / 2, 3 / 8))
    add(number[edge_of], opposite, np.where(border[edge_of], 0, 1 / 8))
    # Old vertices.
    starts, ends = np.concatenate([edges, edges[:, ::-1]]).T
    valence = np.bincount(starts, minlength=count)
    n = np.maximum(valence, 1)
    beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / n) / 4) ** 2) / n
    inside = np.where(on_border | (valence == 0), 0, beta)
    add(starts, ends, inside[starts])
    border_starts, border_ends = np.concatenate([edges[border], edges[border][:, ::-1]]).T
    border_valence = np.bincount(border_starts, minlength=count)
    part = np.where(border_valence == 2, 1 / 8, 0)  # where borders meet otherwise, the vertex stays
    add(border_starts, border_ends, part[border_starts])
    own = np.where(on_border, np.where(border_valence == 2, 3 / 4, 1), 1 - valence * inside)
    add(np.arange(count), np.arange(count), own)

    shape = (count + len(edges), count)
    entries = np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))
    matrix = scipy.sparse.csr_matrix(entries, shape)
    matrix.eliminate_zeros()
    ab, bc, ca = (count + edge_of).reshape(-1, 3).T
    a, b, c = triangles.T
    finer = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return matrix, np.concatenate([np.stack(corner, 1) for corner in finer])
