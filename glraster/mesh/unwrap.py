"""Texture coordinates for meshes that have none, by xatlas."""

from typing import Any

import numpy as np
import torch

from .geometry import face_normals
from .surface import Mesh

__all__ = ["unwrap"]


def unwrap(mesh: Mesh, *, resolution: int = 1024, padding: int = 4) -> Mesh:
    """Cuts a surface into islands and lays them out side by side on a texture, without overlap.

    Takes seconds for some ten thousand triangles; xatlas works on as many threads as there are cores.

    Args:
        mesh: any mesh, on any device. Texture coordinates that it has make room for the new ones, and so do its
            textures, which fit the old ones only: `glraster.bake.from_mesh` bakes them into a new texture.
        resolution: texels along a side of the texture that the layout is for, about.
        padding: texels of it between islands, about, and half as many between them and the sides of the texture: from 2
            on, bilinear lookups in one do not meet another, on the opposite side of a repeated texture neither.

    Returns:
        The same vertices and triangles with `uv` [U, 2], within 0 and 1, of the dtype and on the device of `pos`, and
        `uv_tri`; without textures and materials. Islands may be mirrored, which w of `tangents` tells. Triangles
        without area have all their corners at one place. No gradients.

    Raises:
        ValueError: no triangle has an area, a position that is used is not finite, an index out of range, or a
            resolution or padding that is none.
        RuntimeError: xatlas is not installed.

    Source: xatlas (Young 2018), after Castano's thekla_atlas.
    """
    if resolution < 1 or padding < 0:
        raise ValueError(f"unwrap(): resolution must be >= 1 and padding >= 0, got {resolution} and {padding}")
    pos, tri = mesh.pos.detach().double().cpu(), mesh.tri.cpu()
    if len(tri) and not 0 <= int(tri.min()) <= int(tri.max()) < len(pos):
        raise ValueError(f"unwrap(): tri must have indices from 0 to {len(pos) - 1}, got {tri.min()} to {tri.max()}")
    corners = pos[tri.unique().long()]
    if not corners.isfinite().all():
        raise ValueError("unwrap(): pos must be finite where triangles use it")
    areas = face_normals(pos, tri, unit=False).norm(dim=1) / 2
    if not (areas > 0).any():
        raise ValueError(f"unwrap(): mesh must have a triangle with an area, got {len(tri)} without")
    # Areas below about 1e-7 are none to xatlas, whatever the mesh's unit: make their mean one.
    scaled = ((pos - corners.mean(0)) / areas.mean().sqrt()).nan_to_num(0, 0, 0)
    uv, uv_tri = _charted(scaled.float().numpy(), tri.numpy(), resolution, padding)
    margin = min(padding / resolution, 1) / 2
    uv = margin + (1 - 2 * margin) * uv
    layout = {"uv": torch.from_numpy(uv).to(mesh.pos), "uv_tri": torch.from_numpy(uv_tri).to(mesh.tri)}
    return mesh.replace(**layout, textures=(), material=None)


def _charted(pos: np.ndarray, tri: np.ndarray, resolution: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates [U, 2] and their triangles [T, 3]."""
    xatlas = _xatlas()
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.bilinear = resolution, padding, True
    atlas = xatlas.Atlas()
    atlas.add_mesh(pos, tri.astype(np.uint32))
    atlas.generate(pack_options=options)
    _, uv_tri, uv = atlas[0]
    return uv, uv_tri.astype(np.int32)


def _xatlas() -> Any:
    try:
        import xatlas
    except ImportError as error:
        raise RuntimeError(f"unwrap(): needs xatlas: pip install 'glraster[bake]' ({error})") from error
    return xatlas
