"""How far corners may lie outside of the view: clipping far edges rounds, and the triangle may miss what it covers."""

import torch

from .scene import Scene
from .validate import _drawn_triangles

__all__ = ["check_reach"]


def check_reach(op: str, scene: Scene, reach: float) -> None:
    """Raises ValueError for the first triangle across the view with more than one corner beyond `reach` times the view.

    One corner may lie anywhere, also on the plane through the eye. Triangles must have passed `validate_geometry`.
    """
    drawn = _drawn_triangles(scene)
    if len(drawn) == 0:
        return
    x, y, _, w = scene.pos.double()[..., scene.tri.long()[drawn], :].unbind(-1)  # each [..., T, 3]
    far = torch.maximum(x.abs(), y.abs()) > reach * w.abs()
    outside = [(side > w).all(-1) for side in (x, -x, y, -y)]
    bad = ((far.sum(-1) > 1) & ~torch.stack(outside).any(0)).nonzero()
    if len(bad):
        image = f" of image {int(bad[0][0])}" if bad.shape[1] > 1 else ""
        raise ValueError(
            f"{op}(): corners must lie within {reach:.0e} times the view, of which this rasterizer is sure, "
            f"got more than one beyond in triangle {int(drawn[bad[0][-1]])}{image}"
        )
