"""One order for the vertices of triangles that coincide, so that OpenGL gives them equal depths to the last bit."""

from typing import Any

import torch

from glraster.cuda_kernels.launcher import KernelFile

__all__ = ["order_corners"]

KERNELS = KernelFile("corners")


def order_corners(pos: torch.Tensor, tri: torch.Tensor, keep_facing: bool) -> torch.Tensor:
    """Returns `tri` with the vertices of each triangle in ascending order of their positions (x, then y, z, w).

    Args:
        pos: clip-space positions of one image, [V, 4]. One order serves a whole minibatch, whose images share `tri`.
        tri: [T, 3] int32. Triangles with an index out of range stay as they are.
        keep_facing: only rotate the vertices, until the least comes first.
    """
    ordered = torch.empty_like(tri)
    # On a CPU a triangle takes 7 ns: it takes many of them to be worth waking a second thread for.
    work = -(-tri.shape[0] // 32) if pos.device.type == "cpu" else tri.shape[0]
    V, T = pos.shape[0], tri.shape[0]
    fields: dict[str, Any] = {"pos": pos, "tri": tri, "ordered": ordered, "V": V, "num_triangles": T}
    KERNELS.launch("corners_order", work, **fields, keep_facing=keep_facing)
    return ordered
