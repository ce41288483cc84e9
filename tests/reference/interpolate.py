"""Reference for interpolate: out = u A_0 + v A_1 + (1 - u - v) A_2, and its image-space derivatives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .rasterize import decode_id


def interpolate(
    attr: Tensor,
    rast: Tensor,
    tri: Tensor,
    rast_db: Tensor | None = None,
    diff_attrs: str | Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Interpolates vertex attributes over the pixels of rast.

    Args:
        attr: [V, A], [N, V, A] or [1, V, A] (broadcast over the minibatch).
        rast: [N, H, W, 4] = (u, v, z/w, id + 1). Ids past the end of tri count as no triangle.
        tri: vertex indices, integer [T, 3].
        rast_db: [N, H, W, 4] = (du/dX, du/dY, dv/dX, dv/dY); needed with diff_attrs.
        diff_attrs: 'all' or the indices of D attributes (negative ones count from the end).

    Returns:
        out [N, H, W, A] and out_da [N, H, W, 2 D] = (dA/dX, dA/dY) for each selected attribute, float64, zeros where
        there is no triangle. attr, rast (u and v only) and rast_db receive their true gradients.
    """
    attr, rast = attr.double(), rast.double()
    n, height, width, _ = rast.shape
    attr = attr.expand(n, *attr.shape[-2:])

    ids = decode_id(rast[..., 3])
    hit = (ids >= 0) & (ids < len(tri))
    image, row, column = hit.nonzero(as_tuple=True)
    where = (image, row, column)
    corners = attr[image[:, None], tri.long()[ids[where]]]  # [P, 3, A]
    u, v = rast[where][:, 0:1], rast[where][:, 1:2]
    a0, a1, a2 = corners.unbind(1)
    out = u * a0 + v * a1 + (1 - u - v) * a2

    selected = list(range(attr.shape[-1])) if isinstance(diff_attrs, str) else [int(i) for i in diff_attrs or []]
    out_da = rast.new_zeros((n, height, width, 2 * len(selected)))
    if selected:
        along_u, along_v = (a0 - a2)[:, selected], (a1 - a2)[:, selected]
        u_x, u_y, v_x, v_y = rast_db.double()[where].split(1, dim=-1)
        derivatives = torch.stack([u_x * along_u + v_x * along_v, u_y * along_u + v_y * along_v], dim=-1)
        out_da = out_da.index_put(where, derivatives.flatten(-2))
    return rast.new_zeros((n, height, width, attr.shape[-1])).index_put(where, out), out_da
