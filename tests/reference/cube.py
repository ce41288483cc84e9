"""Reference for cube map addressing: directions to faces, and filtering that crosses the edges between faces."""

import torch
from torch import Tensor

# (axis, sign) of the major axis, of sc and of tc, per face: +x, -x, +y, -y, +z, -z.
FACES = (
    ((0, 1), (2, -1), (1, -1)),
    ((0, -1), (2, 1), (1, -1)),
    ((1, 1), (0, 1), (2, 1)),
    ((1, -1), (0, 1), (2, -1)),
    ((2, 1), (0, 1), (1, -1)),
    ((2, -1), (0, -1), (1, -1)),
)


def to_face(direction: Tensor, direction_da: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Maps nonzero finite directions to a face and (s, t) in [0, 1].

    Args:
        direction: [..., 3].
        direction_da: (x_X, x_Y, y_X, y_Y, z_X, z_Y), [..., 6].

    Returns:
        face int64 [...]; (s, t) [..., 2]; (ds/dX, ds/dY, dt/dX, dt/dY) [..., 4] by the quotient rule, None without
        direction_da. Both arguments receive gradients.
    """
    x, y, z = direction.detach().abs().unbind(-1)
    axis = torch.where((z > x) & (z > y), 2, torch.where(y > x, 1, 0))
    negative = direction.detach().gather(-1, axis[..., None])[..., 0] < 0
    face = 2 * axis + negative

    table = torch.tensor(FACES)[face]  # [..., 3, 2]
    axes, signs = table.unbind(-1)
    major, sc, tc = (direction.gather(-1, axes) * signs).unbind(-1)
    minor = torch.stack([sc, tc], dim=-1)
    st = (minor / major[..., None] + 1) / 2
    if direction_da is None:
        return face, st, None
    per_axis = direction_da.unflatten(-1, (3, 2))
    rotated = per_axis.gather(-2, axes[..., None].expand(*axes.shape, 2)) * signs[..., None]
    major_da, minor_da = rotated[..., :1, :], rotated[..., 1:, :]
    quotient = (minor_da * major[..., None, None] - minor[..., None] * major_da) / major[..., None, None] ** 2
    return face, st, quotient.flatten(-2) / 2


def sample_cube(tex: Tensor, face: Tensor, st: Tensor, nearest: bool) -> Tensor:
    """Samples tex [N or 1, 6, s, s, C] at st [N, H, W, 2] of a face [N, H, W]: [N, H, W, C]."""
    size = tex.shape[2]
    tex = tex.expand(len(face), *tex.shape[1:])
    image = torch.arange(len(tex))[:, None, None]
    if nearest:
        column, row = (st.detach() * size).floor().long().clamp(0, size - 1).unbind(-1)
        return tex[image, face, row, column]

    position = st * size - 0.5
    first = position.detach().floor()
    fraction = position - first
    weights, values, missing = [], [], []
    for step_t in (0, 1):
        for step_s in (0, 1):
            along_s = fraction[..., 0] if step_s else 1 - fraction[..., 0]
            along_t = fraction[..., 1] if step_t else 1 - fraction[..., 1]
            column, row = first[..., 0].long() + step_s, first[..., 1].long() + step_t
            outside_s, outside_t = (column < 0) | (column >= size), (row < 0) | (row >= size)
            weights.append(along_s * along_t)
            values.append(tex[(image, *cross_edge(face, row, column, size))])
            missing.append(outside_s & outside_t)
    weight, value = torch.stack(weights)[..., None], torch.stack(values)
    corner = torch.stack(missing)[..., None]
    present = torch.where(corner, 0.0, value)
    mean_of_others = present.sum(dim=0) / 3
    return (weight * torch.where(corner, mean_of_others, present)).sum(dim=0)


def cross_edge(face: Tensor, row: Tensor, column: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """(face, row, column) of a texel that may lie one step outside one side of its face.

    The texel's centre, extended onto the plane of its face, is projected to the cube again. It falls into the border
    row of the neighbouring face: texel j along the edge lands at (j + 1) size / (size + 1), whose floor is j, and the
    step outside lands within the last texel. Corners (outside both sides) give some valid texel.
    """
    sc, tc = ((2 * index.double() + 1) / size - 1 for index in (column, row))
    table = torch.tensor(FACES)[face]
    axes, signs = table.unbind(-1)
    local = torch.stack([torch.ones_like(sc), sc, tc], dim=-1) * signs
    direction = torch.zeros_like(local).scatter(-1, axes, local)
    new_face, st, _ = to_face(direction)
    new_column, new_row = (st * size).floor().long().clamp(0, size - 1).unbind(-1)
    return new_face, new_row, new_column
