"""What another mesh carries: its nearest points, and what it looks like there."""

import math
from typing import Any

import torch

from glraster.interpolate import interpolate
from glraster.mesh import Mesh, normalized, sample_materials, tangents
from glraster.triangle_id import as_rast, triangle_id

from .texels import Texels

__all__ = ["closest", "closest_to", "colors", "from_mesh", "in_tangent_space"]


def closest(
    source: Mesh, points: torch.Tensor, *, normals: torch.Tensor | None = None, max_distance: float = math.inf
) -> torch.Tensor:
    """Finds the points of a surface that are nearest to others, with libigl's tree on all cores of the CPU.

    Args:
        source: on any device.
        points: [..., 3]; what is not finite finds nothing.
        normals: [..., 3] of any length. With them, a point counts only if the surface there faces the same way, to
            within 90 degrees: else the other side of a sheet may be nearer.
        max_distance: what is farther away does not count.

    Returns:
        [..., 4] as `rasterize` returns it, on the device of `points`, of the dtype of `source.pos`: with it,
        `interpolate` takes over any attribute of the source's vertices, which receive its gradients. Zeros where
        nothing counts. No gradients to `points` and `source.pos`. [1, H, W, 3] gives what `interpolate` takes.

    Raises:
        ValueError: points are not [..., 3], normals not like points, or the source has no triangles.
        RuntimeError: libigl is not installed.

    Source: libigl (Jacobson, Panozzo and others 2018).
    """
    if points.shape[-1:] != (3,):
        raise ValueError(f"closest(): points must be [..., 3], got {list(points.shape)}")
    if normals is not None and normals.shape != points.shape:
        raise ValueError(f"closest(): normals must be {list(points.shape)} as points, got {list(normals.shape)}")
    if not len(source.tri):
        raise ValueError("closest(): source must have triangles, got none")
    flat = points.detach().reshape(-1, 3).double().cpu()
    rows = flat.isfinite().all(1).nonzero()[:, 0]
    pos, tri = source.pos.detach().double().cpu(), source.tri.long().cpu()
    squares, found, places = _igl().point_mesh_squared_distance(flat[rows].numpy(), pos.numpy(), tri.numpy())
    triangle = torch.from_numpy(found).view(-1)
    weights = _barycentrics(torch.from_numpy(places).view(-1, 3), pos[tri[triangle]])
    counts = torch.from_numpy(squares).view(-1) <= max_distance**2
    if normals is not None:
        facing = Mesh(pos, source.tri.cpu()).face_normals()[triangle]
        counts &= (facing * normals.detach().reshape(-1, 3)[rows.to(normals.device)].double().cpu()).sum(1) > 0
    rast = torch.zeros(len(flat), 4, dtype=source.pos.dtype)
    rast[rows] = as_rast(torch.where(counts, triangle, -1), weights.to(source.pos.dtype))
    return rast.view(*points.shape[:-1], 4).to(points.device)


def _igl() -> Any:
    try:
        import igl
    except ImportError as error:
        raise RuntimeError(f"closest(): needs libigl: pip install 'glraster[bake]' ({error})") from error
    return igl


def _barycentrics(points: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """Of points [P, 3] in triangles [P, 3, 3], from 0 to 1; of the nearest corner where it has no area."""
    a, b, c = corners.unbind(1)
    normal = torch.linalg.cross(b - a, c - a)
    square = normal.square().sum(1)
    parts = [torch.linalg.cross(q - p, points - p) for p, q in ((b, c), (c, a))]
    first, second = ((part * normal).sum(1) / torch.where(square > 0, square, 1.0) for part in parts)
    inner = torch.stack([first, second, 1 - first - second], dim=1).clamp(min=0)
    nearest = (points[:, None] - corners).norm(dim=2).argmin(1)
    corner = torch.nn.functional.one_hot(nearest, 3).to(inner)
    weights = torch.where((square > 0)[:, None], inner, corner)
    return weights / weights.sum(1, keepdim=True)


def colors(mesh: Mesh, rast: torch.Tensor) -> torch.Tensor:
    """Returns what a mesh looks like at its points: its textures, else its colours of vertices.

    Args:
        mesh: with textures or colours.
        rast: [1, H, W, 4] from `rasterize`, `texels` or `closest`, of the mesh's dtype.

    Returns:
        [1, H, W, 3], as they stand in the mesh (sRGB); zeros where there is no point. Gradients reach the textures, or
        the colours.

    Raises:
        ValueError: it has neither.
    """
    if mesh.textures:
        if mesh.uv is None or mesh.uv_tri is None:  # one colour for each material
            uv = torch.zeros_like(rast[..., :2])
            means = [texture.mean((0, 1), keepdim=True).to(rast) for texture in mesh.textures]
            return sample_materials(means, mesh.material, rast, uv, filter_mode="nearest")
        uv = interpolate(mesh.uv.to(rast.dtype), rast, mesh.uv_tri)[0]
        textures = [texture.to(rast.dtype) for texture in mesh.textures]
        return sample_materials(textures, mesh.material, rast, uv, filter_mode="linear")
    if mesh.color is not None and mesh.color_tri is not None:
        return interpolate(mesh.color.to(rast.dtype), rast, mesh.color_tri)[0]
    raise ValueError("colors(): mesh must have textures or colours of vertices, got neither")


def from_mesh(
    texels: Texels, source: Mesh, *, facing: bool = False, max_distance: float = math.inf
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bakes what another mesh looks like, at the points nearest to each texel's.

    Args:
        texels: of the mesh that gets the texture.
        source: with textures or colours, on the same device.
        facing: only points count where both surfaces face the same way.
        max_distance: only points count that are not farther away.

    Returns:
        texture: [1, H, W, 3]; gradients reach the source's textures or colours.
        known: [1, H, W] bool, where a point counts: the arguments of `fill`.

    Raises:
        ValueError, RuntimeError: as `closest` and `colors`.
    """
    rast = closest_to(texels, source, facing=facing, max_distance=max_distance)
    return colors(source, rast), triangle_id(rast) >= 0


def closest_to(texels: Texels, source: Mesh, *, facing: bool = False, max_distance: float = math.inf) -> torch.Tensor:
    """Returns the points of another mesh that are nearest to each texel's, [1, H, W, 4] as `closest` has them.

    Args:
        texels, source, facing, max_distance: as in `from_mesh`.
    """
    normals = texels.normals if facing else None
    points = torch.where(texels.covered[..., None], texels.positions, torch.nan)
    return closest(source, points, normals=normals, max_distance=max_distance)


def in_tangent_space(normals: torch.Tensor, texels: Texels) -> torch.Tensor:
    """Returns normals as a tangent-space normal map has them: along the texture's s and t, and out of the surface.

    The frame is that of `glraster.mesh.tangents` and `vertex_normals`, made orthonormal at every texel; beside an
    island, that of the island, not that of the surface over the seam.

    Args:
        normals: [1, H, W, 3] in the mesh's space, of any length: those of a finer mesh, say.
        texels: of the mesh that the normal map is for.

    Returns:
        [1, H, W, 3], of unit length where normals are not zero and texels covered, else zeros; a normal map is
        (this + 1) / 2. Gradients reach `normals`.
    """
    mesh, rast = texels.mesh, texels.rast
    assert mesh.uv is not None and mesh.uv_tri is not None  # `texels` checks it
    frame = tangents(mesh.pos.detach(), mesh.tri, mesh.uv.detach(), mesh.uv_tri).to(rast.dtype)
    middle = as_rast(texels.home, torch.full_like(rast[..., :3], 1 / 3))
    own = torch.where(texels.inside[..., None], rast, middle)
    tangent, handed = interpolate(frame, own, mesh.uv_tri)[0].split([3, 1], dim=-1)
    up = texels.normals
    tangent = normalized(tangent - up * (tangent * up).sum(-1, keepdim=True))
    bitangent = torch.linalg.cross(up, tangent) * handed.sign()
    along = [(normals * axis).sum(-1) for axis in (tangent, bitangent, up)]
    return normalized(torch.stack(along, dim=-1))
