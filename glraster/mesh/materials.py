"""Several textures in one draw."""

from collections.abc import Sequence
from typing import Any

import torch

from glraster.texture import texture
from glraster.triangle_id import triangle_id

__all__ = ["sample_materials"]


def sample_materials(
    textures: Sequence[torch.Tensor],
    material: torch.Tensor | None,
    rast: torch.Tensor,
    uv: torch.Tensor,
    uv_da: torch.Tensor | None = None,
    **options: Any,
) -> torch.Tensor:
    """Samples at every pixel the texture of the triangle that it sees.

    Each texture is looked up for its own pixels only, so many cost little more than one.

    Args:
        textures: [h, w, C] floats each, of any sizes and one C.
        material: [T] integers, the texture of each triangle; None: the first for all.
        rast: [N, H, W, 4] from `rasterize`.
        uv: [N, H, W, 2] from `interpolate`.
        uv_da: [N, H, W, 4] from `interpolate`, for filters with a mip level.
        options: `filter_mode`, `boundary_mode`, ... of `texture`.

    Returns:
        [N, H, W, C]; zeros where there is no triangle. Gradients reach the textures, `uv` and `uv_da` as in `texture`.

    Raises:
        ValueError: no textures, different numbers of channels, or a material that there is no texture for.
    """
    channels = {tex.shape[-1] for tex in textures}
    if len(channels) != 1:
        raise ValueError(f"sample_materials(): textures must be [h, w, C] of one C, got channels {sorted(channels)}")
    triangle = triangle_id(rast)  # [N, H, W], -1 without one
    seen = triangle >= 0
    which = torch.zeros_like(triangle) if material is None else material.long()[triangle.clamp(min=0).long()]
    if seen.any() and not 0 <= int(which[seen].min()) <= int(which[seen].max()) < len(textures):
        raise ValueError(f"sample_materials(): material must be below {len(textures)}, the number of textures")
    out = uv.new_zeros(*uv.shape[:3], *channels)
    for number, tex in enumerate(textures):
        pixels = (seen & (which == number)).nonzero(as_tuple=True)
        if len(pixels[0]):
            footprint = None if uv_da is None else uv_da[pixels][None, None]
            colors = texture(tex[None], uv[pixels][None, None], footprint, **options)
            out = out.index_put(pixels, colors[0, 0])
    return out
