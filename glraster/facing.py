"""Triangles that draw nothing: broken ones, those without area, and faces seen edge-on."""

from typing import Any

import torch

from glraster.cuda_kernels.launcher import KernelFile

__all__ = ["BROKEN", "EDGE_ON", "NO_AREA", "drop_unseen", "find_unseen"]

EDGE_ON, NO_AREA, BROKEN = 1, 2, 3
KERNELS = KernelFile("facing")


def find_unseen(pos: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    """Finds the triangles that no context draws.

    Args:
        pos: clip-space positions, [N, V, 4] or [V, 4].
        tri: [T, 3] int32.

    Returns:
        int32 [N, T] or [T]: NO_AREA where det(x, y, w) is zero, exactly; EDGE_ON where a face's is zero to within the
        rounding of its corners; BROKEN with an index out of range or a position that is not finite; else 0.
    """
    unseen = torch.empty((*pos.shape[:-2], tri.shape[0]), dtype=torch.int32, device=pos.device)
    N, T = 1 if pos.ndim == 2 else pos.shape[0], tri.shape[0]
    fields: dict[str, Any] = {"pos": pos, "tri": tri, "unseen": unseen, "N": N, "V": pos.shape[-2], "num_triangles": T}
    KERNELS.launch("facing_find", unseen.numel(), **fields)
    return unseen


def drop_unseen(
    pos: torch.Tensor, tri: torch.Tensor, ordered: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Keeps OpenGL, which takes float32 and rounds corners before it looks at areas, from drawing what is not seen.

    Args:
        pos, tri: as in `find_unseen`.
        ordered: [T, 3], `tri` with the vertices of triangles in another order.

    Returns:
        `pos` in float32, finite; `ordered` with one vertex three times where a triangle is seen in no image; and bool
        [N, T], where triangles are to be dropped that other images show; None: nowhere.
    """
    unseen = find_unseen(pos, tri) > 0
    if pos.dtype != torch.float32:
        pos = pos.float()
        unseen |= find_unseen(pos, tri) == BROKEN
    if unseen.device.type == "cpu" and not unseen.any():  # a GPU is not asked: the answer would have to be waited for
        return pos, ordered, None
    pos = torch.where(pos.isfinite(), pos, 0)
    everywhere = unseen if unseen.ndim == 1 else unseen.all(0)
    ordered = torch.where(everywhere[:, None], 0, ordered)
    if unseen.ndim == 1 or len(unseen) == 1:
        return pos, ordered, None
    sometimes = unseen & ~everywhere
    return pos, ordered, sometimes if bool(sometimes.any()) else None
