"""The strict mode: geometry that rasterization would skip becomes an error that names the first offender."""

import torch

from .facing import NO_AREA, find_unseen
from .scene import Scene

__all__ = ["validate_geometry", "validate_ranges"]


def validate_ranges(op: str, scene: Scene) -> None:
    """Raises ValueError for the first range outside of the triangles."""
    if scene.ranges is None:
        return
    T = scene.tri.shape[0]
    first, count = scene.ranges.long().unbind(1)
    outside = ((first < 0) | (count < 0) | (first + count > T)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"{op}(): ranges must lie within tri's {T} triangles, "
            f"got first {int(first[row])}, count {int(count[row])} in row {row}"
        )


def validate_geometry(op: str, scene: Scene) -> None:
    """Raises ValueError for the first vertex index out of range, position that is not finite, or zero-area triangle.

    Only what is drawn counts: triangles outside of all ranges and vertices of no triangle may be anything.
    """
    drawn = _drawn_triangles(scene)
    tri, num_vertices = scene.tri.long()[drawn], scene.pos.shape[-2]
    bad = ((tri < 0) | (tri >= num_vertices)).nonzero()
    if len(bad):
        t, corner = bad[0].tolist()
        index = int(tri[t, corner])
        raise ValueError(
            f"{op}(): tri must index pos's {num_vertices} vertices, got {index} in triangle {int(drawn[t])}"
        )
    if len(tri) == 0:
        return
    used = torch.zeros(num_vertices, dtype=torch.bool, device=tri.device).index_fill_(0, tri.flatten(), True)
    bad = ((~scene.pos.isfinite()).any(-1) & used).nonzero()
    if len(bad):
        where = bad[0].tolist()
        values = scene.pos[tuple(where)].tolist()
        raise ValueError(f"{op}(): pos must be finite, got {values} at vertex {where if len(where) > 1 else where[0]}")
    bad = (find_unseen(scene.pos, scene.tri[drawn]) == NO_AREA).nonzero()
    if len(bad):
        image = f" of image {int(bad[0][0])}" if bad.shape[1] > 1 else ""
        triangle = int(drawn[bad[0][-1]])
        raise ValueError(f"{op}(): triangles must have an area, got none in triangle {triangle}{image}")


def _drawn_triangles(scene: Scene) -> torch.Tensor:
    """Ids of the triangles that are drawn in some image, ascending."""
    ids = torch.arange(scene.tri.shape[0], device=scene.tri.device)
    if scene.ranges is None:
        return ids
    drawn = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for first, count in scene.ranges.tolist():
        drawn[first : first + count] = True
    return ids[drawn]
