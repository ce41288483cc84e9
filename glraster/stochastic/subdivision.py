"""Subdivision surfaces after Loop and after Catmull and Clark, as a matrix from control vertices to the fine mesh's."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .parameters import to_array

if TYPE_CHECKING:
    import moderngl
    import scipy.sparse

    from .device import Device

__all__ = ["Subdivision", "catmull_clark_subdivision", "loop_subdivision"]


class Subdivision:
    """A subdivided mesh: vertices = matrix @ control vertices.

    Attributes:
        control: [F, 3 or 4], the triangles or quads of the control mesh.
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
    return _subdivided("loop_subdivision(): triangles", triangles, 3, levels, num_controls, _loop_level)


def catmull_clark_subdivision(quads: object, levels: int = 1, num_controls: int | None = None) -> Subdivision:
    """Subdivides a control mesh of quads by Catmull and Clark's rules: four quads for each, `levels` times.

    Boundaries are the same cubic B-splines as Loop's. The fine quads are split into two triangles each.

    Args:
        quads: [F, 4] integers. An edge may have one or two quads.
        levels: how often.
        num_controls: control vertices; None: as many as the quads use.

    Raises:
        ValueError: an edge has more than two quads, or an argument is not as above.

    Source: Catmull, Clark, "Recursively Generated B-Spline Surfaces on Arbitrary Topological Meshes" (1978).
    """
    surface = _subdivided("catmull_clark_subdivision(): quads", quads, 4, levels, num_controls, _catmull_clark_level)
    surface.triangles = surface.triangles[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    return surface


def _subdivided(
    what: str, faces: object, corners: int, levels: int, num_controls: int | None, level: Callable
) -> Subdivision:
    """Subdivides `levels` times; `triangles` of the result are the fine faces [.., corners]."""
    import scipy.sparse

    control = to_array(what, faces, np.int32)
    if control.ndim != 2 or control.shape[1] != corners or len(control) == 0 or control.min() < 0:
        name = "T" if corners == 3 else "F"
        raise ValueError(f"{what} must be [{name}, {corners}], not empty, got {list(control.shape)}")
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= 8:
        raise ValueError(f"{what.partition(':')[0]}: levels must be 1 to 8, got {levels!r}")
    used = int(control.max()) + 1
    if num_controls is not None and num_controls < used:
        raise ValueError(f"{what.partition(':')[0]}: num_controls must be at least {used}, got {num_controls!r}")
    current, count = control, used if num_controls is None else num_controls
    matrix = scipy.sparse.identity(count, format="csr")
    for _ in range(levels):
        weights, current = level(_Edges(what, current, count))
        matrix = (weights.matrix(count) @ matrix).tocsr()
        count = matrix.shape[0]
    matrix.sort_indices()
    return Subdivision(control, current.astype(np.int32), matrix)


class _Edges:
    """The edges of a mesh.

    Attributes:
        faces: [F, n].
        count: how many vertices there are.
        ends: [E, 2], each edge once.
        of_face: [F, n], the edge from each corner to the next.
        border: [E], whether it has one face only.
        valence: [V], edges at each vertex.
        on_border: [V].
    """

    def __init__(self, what: str, faces: np.ndarray, count: int):
        self.faces, self.count = faces, count
        sides = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
        self.ends, of_face, uses = np.unique(np.sort(sides, 1), axis=0, return_inverse=True, return_counts=True)
        self.of_face = of_face.reshape(faces.shape)
        if uses.max() > 2:
            a, b = self.ends[uses.argmax()]
            op, _, kind = what.partition(" ")
            raise ValueError(f"{op} edge {a}-{b} has {uses.max()} {kind}, and at most two are allowed")
        self.border = uses == 1
        self.valence = np.bincount(self.ends.ravel(), minlength=count)
        self.on_border = np.zeros(count, bool)
        self.on_border[self.ends[self.border].ravel()] = True

    def both_ways(self, chosen=slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """Start and end of the chosen edges, in both directions."""
        starts, ends = np.concatenate([self.ends[chosen], self.ends[chosen][:, ::-1]]).T
        return starts, ends


class _Weights:
    """The entries of a sparse matrix; those of one place add up."""

    def __init__(self):
        self._rows, self._columns, self._values = [], [], []

    def add(self, row: np.ndarray, column: np.ndarray, value) -> None:
        self._rows.append(row)
        self._columns.append(column)
        self._values.append(np.broadcast_to(value, row.shape))

    def add_border(self, edges: _Edges) -> None:
        """The old vertices on the border: the cubic B-spline's rule; where borders meet otherwise, they stay."""
        starts, ends = edges.both_ways(edges.border)
        simple = np.bincount(starts, minlength=edges.count) == 2
        self.add(starts, ends, np.where(simple, 1 / 8, 0)[starts])
        vertices = np.flatnonzero(edges.on_border)
        self.add(vertices, vertices, np.where(simple, 3 / 4, 1)[vertices])

    def matrix(self, columns: int) -> "scipy.sparse.csr_matrix":
        import scipy.sparse

        rows = np.concatenate(self._rows)
        places = rows, np.concatenate(self._columns)
        matrix = scipy.sparse.csr_matrix((np.concatenate(self._values), places), (rows.max() + 1, columns))
        matrix.eliminate_zeros()
        return matrix


def _loop_level(edges: _Edges) -> tuple[_Weights, np.ndarray]:
    """One level: the weights of the old vertices and of one on each edge, and the triangles."""
    weights, number = _Weights(), edges.count + np.arange(len(edges.ends))
    for end in (0, 1):
        weights.add(number, edges.ends[:, end], np.where(edges.border, 1 / 2, 3 / 8))
    opposite = np.roll(edges.faces, 1, 1)
    weights.add(
        number[edges.of_face].ravel(), opposite.ravel(), np.where(edges.border, 0, 1 / 8)[edges.of_face].ravel()
    )
    weights.add_border(edges)
    n = np.maximum(edges.valence, 1)
    beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / n) / 4) ** 2) / n
    beta = np.where(edges.on_border | (edges.valence == 0), 0, beta)
    starts, ends = edges.both_ways()
    weights.add(starts, ends, beta[starts])
    inside = np.flatnonzero(~edges.on_border)
    weights.add(inside, inside, (1 - edges.valence * beta)[inside])
    a, b, c = edges.faces.T
    ab, bc, ca = number[edges.of_face].T
    finer = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    return weights, np.concatenate([np.stack(corners, 1) for corners in finer])


def _catmull_clark_level(edges: _Edges) -> tuple[_Weights, np.ndarray]:
    """One level: the weights of the old vertices, of one on each edge and of one in each face, and the quads."""
    weights, faces = _Weights(), edges.faces
    on_edge = edges.count + np.arange(len(edges.ends))
    in_face = edges.count + len(edges.ends) + np.arange(len(faces))
    for corner in range(4):
        weights.add(in_face, faces[:, corner], 1 / 4)
    # On edges: the mean of its ends and of the centres of its two faces.
    for end in (0, 1):
        weights.add(on_edge, edges.ends[:, end], np.where(edges.border, 1 / 2, 1 / 4))
    part = np.where(edges.border, 0, 1 / 16)[edges.of_face]
    for corner in range(4):
        weights.add(on_edge[edges.of_face].ravel(), np.repeat(faces[:, corner], 4), part.ravel())
    # Old vertices: (mean of the faces' centres + 2 x mean of the edges' middles + (n - 3) x itself) / n.
    weights.add_border(edges)
    n = np.maximum(edges.valence, 1)
    for corner in range(4):
        inside = ~edges.on_border[faces]
        of_face = np.where(inside, 1 / (4 * n[faces] ** 2), 0)
        weights.add(faces.ravel(), np.repeat(faces[:, corner], 4), of_face.ravel())
    starts, ends = edges.both_ways()
    weights.add(starts, ends, np.where(edges.on_border, 0, 1 / n**2)[starts])
    inside = np.flatnonzero(~edges.on_border)
    weights.add(inside, inside, np.where(edges.valence > 0, (n - 2) / n, 1)[inside])
    ab, bc, cd, da = on_edge[edges.of_face].T
    a, b, c, d = faces.T
    finer = [(a, ab, in_face, da), (b, bc, in_face, ab), (c, cd, in_face, bc), (d, da, in_face, cd)]
    return weights, np.concatenate([np.stack(corners, 1) for corners in finer])
