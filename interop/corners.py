"""One order for the vertices of triangles that coincide, so that OpenGL gives them equal depths to the last bit."""

import torch

from glraster.cuda_kernels.launcher import launch, params_type, pointer

__all__ = ["order_corners"]

CornersParams = params_type("CornersParams", "pos tri ordered", "V num_triangles keep_facing")


def order_corners(pos: torch.Tensor, tri: torch.Tensor, keep_facing: bool) -> torch.Tensor:
    """Returns `tri` with the vertices of each triangle in ascending order of their positions (x, then y, z, w).

    Args:
        pos: clip-space positions of one image, [V, 4]. One order serves a whole minibatch, whose images share `tri`.
        tri: [T, 3] int32. Triangles with an index out of range stay as they are.
        keep_facing: only rotate the vertices, until the least comes first.
    """
    ordered = torch.empty_like(tri)
    tensors = {"pos": pos, "tri": tri, "ordered": ordered}
    params = CornersParams(
        **{name: pointer(tensor) for name, tensor in tensors.items()},
        V=pos.shape[0],
        num_triangles=tri.shape[0],
        keep_facing=keep_facing,
    )
    # On a CPU a triangle takes 7 ns: it takes many of them to be worth waking a second thread for.
    work = -(-tri.shape[0] // 32) if pos.device.type == "cpu" else tri.shape[0]
    launch("corners_order", params, work, pos.dtype, pos.device)
    return ordered
