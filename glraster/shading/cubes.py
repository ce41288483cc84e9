"""Directions of the texels of cube maps, and of samples around them."""

import math

import torch

from glraster.mesh import normalized

__all__ = ["around", "hammersley", "spherical", "texel_directions", "texel_solid_angles"]


def texel_directions(size: int) -> torch.Tensor:
    """Returns [6, size, size, 3]: the unit directions of a cube map's texels, float64."""
    t, s = torch.meshgrid(*[(2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1] * 2, indexing="ij")
    one = torch.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    return normalized(torch.stack([torch.stack(face, dim=-1) for face in faces]))


def texel_solid_angles(size: int) -> torch.Tensor:
    """Returns [6, size, size]: the solid angles of a cube map's texels, float64; their sum is 4 pi."""
    edge = 2 * torch.arange(size + 1, dtype=torch.float64) / size - 1
    t, s = torch.meshgrid(edge, edge, indexing="ij")
    corner = torch.atan2(s * t, (s * s + t * t + 1).sqrt())  # of the rectangle from the middle of the face
    face = corner[1:, 1:] - corner[1:, :-1] - corner[:-1, 1:] + corner[:-1, :-1]
    return face.expand(6, size, size)


def hammersley(count: int) -> torch.Tensor:
    """Returns [count, 2]: points evenly spread over the unit square, none on its border, float64."""
    index = torch.arange(count)
    reversed_bits = sum((index >> bit & 1).double() / 2 ** (bit + 1) for bit in range(max(1, count.bit_length())))
    return torch.stack([(index + 0.5) / count, reversed_bits + 0.5 / 2 ** max(1, count.bit_length())], dim=1)


def around(axis: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
    """Returns [..., S, 3]: vectors `local` [S, 3] about +Z, turned to be about each axis [..., 3]."""
    helper = torch.where(axis[..., 2:].abs() < 0.9, *torch.eye(3).to(axis)[[2, 0]])
    x = normalized(torch.linalg.cross(helper, axis))
    frame = torch.stack([x, torch.linalg.cross(axis, x), axis], dim=-2)  # rows
    return local.to(axis) @ frame


def spherical(cosine: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Returns unit vectors [..., 3] at an angle of the given cosine to +Z, `turn` of the way around it."""
    sine = (1 - cosine * cosine).clamp(min=0).sqrt()
    angle = 2 * math.pi * turn
    return torch.stack([sine * angle.cos(), sine * angle.sin(), cosine], dim=-1)
