"""Normals, tangents, areas and points of a surface; all differentiable in the positions."""

import torch

__all__ = ["face_normals", "normalized", "sample_points", "tangents", "vertex_normals"]


def face_normals(pos: torch.Tensor, tri: torch.Tensor, *, unit: bool = True) -> torch.Tensor:
    """Returns the normals of triangles, out of the side from which their corners run counter-clockwise.

    Args:
        pos: [..., V, 3].
        tri: [T, 3] integers.
        unit: whether of length one; else of twice the triangle's area.

    Returns:
        [..., T, 3]; zero, without a gradient, for a triangle without area.
    """
    a, b, c = pos[..., tri.long(), :].unbind(-2)
    normals = torch.linalg.cross(b - a, c - a)
    return normalized(normals) if unit else normals


def vertex_normals(pos: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    """Returns [..., V, 3] unit normals, the area-weighted mean of the triangles around; zero where there are none."""
    normals = torch.zeros_like(pos)
    of_triangle = face_normals(pos, tri, unit=False)
    for corner in tri.long().unbind(1):
        normals = normals.index_add(-2, corner, of_triangle)
    return normalized(normals)


def tangents(pos: torch.Tensor, tri: torch.Tensor, uv: torch.Tensor, uv_tri: torch.Tensor) -> torch.Tensor:
    """Returns the tangents of a surface along its texture's s, for normal maps.

    They belong to texture coordinates, not to vertices: interpolate them with `uv_tri`. The bitangent is
    `w * cross(normal, tangent)`.

    Args:
        pos: [V, 3].
        tri: [T, 3] integers.
        uv: [U, 2] texture coordinates.
        uv_tri: [T, 3] integers: the triangles' corners among the coordinates.

    Returns:
        [U, 4]: a unit vector, perpendicular to the vertex normal, and w: 1, or -1 where the texture is mirrored. Zeros
        where the texture is squeezed to a line. Gradients reach `pos` and `uv`.

    Source: Lengyel, "Computing Tangent Space Basis Vectors for an Arbitrary Mesh" (2001).
    """
    tri, uv_tri = tri.long(), uv_tri.long()
    a, b, c = pos[tri].unbind(1)
    s, t, r = uv[uv_tri].unbind(1)
    (ds1, dt1), (ds2, dt2) = (t - s).unbind(1), (r - s).unbind(1)
    mirrored = torch.sign(ds1 * dt2 - ds2 * dt1)[:, None]  # the texture's area; its size would only weigh triangles
    along_s = mirrored * ((b - a) * dt2[:, None] - (c - a) * dt1[:, None])
    normals = vertex_normals(pos, tri)
    sums = pos.new_zeros(len(uv), 7)
    for corner, uv_corner in zip(tri.unbind(1), uv_tri.unbind(1), strict=True):
        sums = sums.index_add(0, uv_corner, torch.cat([along_s, normals[corner], mirrored], dim=1))
    normal = normalized(sums[:, 3:6])
    tangent = normalized(sums[:, :3] - normal * (sums[:, :3] * normal).sum(1, keepdim=True))
    handed = torch.where(sums[:, 6:] < 0, -1.0, 1.0) * (tangent != 0).any(1, keepdim=True)
    return torch.cat([tangent, handed.to(pos)], dim=1)


def sample_points(
    pos: torch.Tensor, tri: torch.Tensor, count: int, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draws points from a surface, evenly by area.

    Args:
        pos: [V, 3].
        tri: [T, 3] integers.
        count: P, how many.
        generator: of random numbers, on the CPU.

    Returns:
        points: [P, 3]; gradients reach `pos`, with the points fixed within their triangles.
        triangle: [P] int64, which triangle each is from.
        weights: [P, 3], its barycentrics there.

    Raises:
        ValueError: the surface has no area.
    """
    areas = face_normals(pos.detach(), tri, unit=False).norm(dim=1).double().cpu()
    ends = areas.cumsum(0)
    if not len(ends) or not 0 < ends[-1] < float("inf"):
        raise ValueError(f"sample_points(): the surface must have a finite area above zero, got {len(tri)} triangles")
    where = torch.rand(count, dtype=torch.float64, generator=generator) * ends[-1]
    triangle = torch.searchsorted(ends, where, right=True).clamp(max=len(ends) - 1).to(pos.device)
    r, s = torch.rand(2, count, dtype=torch.float64, generator=generator)
    r = r.sqrt()
    weights = torch.stack([1 - r, r * (1 - s), r * s], dim=1).to(pos)
    return (pos[tri.long()[triangle]] * weights[..., None]).sum(1), triangle, weights


def normalized(vectors: torch.Tensor) -> torch.Tensor:
    """Returns vectors [..., 3] with length one; zero vectors stay zero and receive no gradient."""
    largest = vectors.detach().abs().amax(-1, keepdim=True)
    is_some = largest > 0
    scaled = vectors / torch.where(is_some, largest, 1.0)  # squares of small numbers would be zero
    length = torch.where(is_some, scaled, 1.0).norm(dim=-1, keepdim=True)
    return torch.where(is_some, scaled / length, 0.0)
