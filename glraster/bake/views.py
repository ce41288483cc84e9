"""Colours from photos: what cameras saw of each texel's point, blended."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from glraster.camera import View, transform
from glraster.contexts import RasterizeContext
from glraster.interpolate import interpolate
from glraster.mesh import normalized
from glraster.rasterize import rasterize
from glraster.texture import texture as lookup
from glraster.triangle_id import triangle_id

from .texels import Texels

__all__ = ["from_views"]

_OPAQUE = 0.999  # of a mask: photos' pixels that are all of the object


class _Points(NamedTuple):
    """The points of the texels that are covered."""

    pos: torch.Tensor  # [P, 3]
    normal: torch.Tensor  # [P, 3], of their triangles


def from_views(
    glctx: RasterizeContext,
    texels: Texels,
    views: Sequence[View],
    images: Sequence[torch.Tensor],
    masks: Sequence[torch.Tensor] | None = None,
    *,
    power: float = 4.0,
    least_cosine: float = 0.15,
    tolerance: float = 2.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bakes photos into a texture.

    A view counts where all four pixels of a bilinear lookup show the texel's surface: their depth is the point's own,
    to within `tolerance` pixels along the surface and across. Pixels at silhouettes and occlusions, which are mixtures,
    do not count. Of several views each has the weight cos(angle)^`power`, the angle between line of sight and normal.

    A photo that is much finer than the texture should be made smaller first, with a filter.

    Args:
        glctx: a context on the mesh's device.
        texels: of the mesh.
        views: one camera each, undistorted; near and far planes must have the mesh between them.
        images: [h, w, C] floats each, row 0 at the bottom, of any sizes and one C; of the view's aspect ratio.
        masks: [h, w] floats each, as large as its image: 1 where a pixel shows the object; None: where the mesh is.
        power: the larger, the more the view counts that sees a place straight on.
        least_cosine: what is seen more obliquely does not count.
        tolerance: pixels.

    Returns:
        texture: [1, H, W, C], zeros where no view counts.
        weight: [1, H, W], the sum of weights; above 0 where a view counts: `known` of `fill`.

    Gradients reach `images`.

    Raises:
        ValueError: no views, not as many images or masks, other shapes, or a minibatch of cameras in a view.
    """
    _check(views, images, masks)
    mesh, rows = texels.mesh, texels.covered.nonzero(as_tuple=True)
    with torch.no_grad():
        normals = mesh.face_normals().to(texels.rast.dtype)
        points = _Points(texels.positions[rows], normals[triangle_id(texels.rast)[rows].long()])
    total = points.pos.new_zeros(len(points.pos))
    sums = points.pos.new_zeros(len(points.pos), images[0].shape[-1])
    for number, (view, image) in enumerate(zip(views, images, strict=True)):
        size = (image.shape[0], image.shape[1])
        with torch.no_grad():
            seen, uv, cosine = _seen(glctx, texels, points, view, size, least_cosine, tolerance)
            if masks is not None:
                opaque = lookup(masks[number].to(uv)[None, ..., None], uv[None, None], filter_mode="linear")[0, 0, :, 0]
                seen, uv, cosine = (values[opaque > _OPAQUE] for values in (seen, uv, cosine))
            weight = cosine**power
        found = lookup(image[None].to(uv), uv[None, None], filter_mode="linear")[0, 0]
        sums = sums.index_add(0, seen, weight[:, None] * found)
        total = total.index_add(0, seen, weight)
    shown = sums / total.where(total > 0, 1.0)[:, None]
    texture = shown.new_zeros(*texels.home.shape, shown.shape[-1]).index_put(rows, shown)
    return texture, total.new_zeros(texels.home.shape).index_put(rows, total)


def _check(views: Sequence[View], images: Sequence[torch.Tensor], masks: Sequence[torch.Tensor] | None) -> None:
    if not len(views) or len(images) != len(views) or (masks is not None and len(masks) != len(views)):
        counts = f"{len(views)}, {len(images)} and {'None' if masks is None else len(masks)}"
        raise ValueError(f"from_views(): views, images and masks must be as many as each other, not 0, got {counts}")
    if any(image.ndim != 3 or image.shape[-1] != images[0].shape[-1] for image in images):
        shapes = [list(image.shape) for image in images]
        raise ValueError(f"from_views(): images must be [h, w, C] of one C, got {shapes}")
    for mask, image in zip(masks or (), images, strict=False):
        if mask.shape != image.shape[:2]:
            got = f"{list(mask.shape)} for {list(image.shape)}"
            raise ValueError(f"from_views(): masks must be [h, w] as their images, got {got}")
    for view in views:
        if view.matrix.shape != (4, 4):
            raise ValueError(f"from_views(): views must be of one camera each, [4, 4], got {list(view.matrix.shape)}")


def _seen(glctx, texels: Texels, points: _Points, view: View, size, least_cosine, tolerance):
    """Which points a view shows [S], where in its image [S, 2], and the cosine of the angle there [S]."""
    H, W = size
    matrix, to_view = view.matrix.to(points.pos), view.view.to(points.pos)
    away = torch.linalg.inv(matrix.double())[:, 2].to(points.pos)  # along the line of sight, in homogeneous coordinates
    cosine = (normalized(points.pos * away[3] - away[:3]) * points.normal).sum(1)
    clip = transform(points.pos, matrix[None])[0]
    place = (clip[:, :2] / clip[:, 3:] + 1) / 2
    pixel = place * place.new_tensor([W, H]) - 0.5
    within = ((pixel >= 0) & (pixel <= pixel.new_tensor([W - 1, H - 1]))).all(1)
    chosen = (within & (clip[:, 3] > 0) & (cosine > least_cosine)).nonzero()[:, 0]
    cosine, pixel = cosine[chosen], pixel[chosen]
    depth = _depths(points.pos[chosen], to_view)
    across = clip[chosen, 3] * (2 / (H * view.projection[1, 1].abs().to(clip)))  # a pixel's side at this depth
    tangent = (1 / cosine.square() - 1).clamp(min=0).sqrt()
    limit = tolerance * across * (1 + tangent)
    image = _depth_image(glctx, texels, matrix, to_view, size)
    shown = torch.ones_like(chosen, dtype=torch.bool)
    first = pixel.long()
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = (first[:, 0] + x).clamp(max=W - 1), (first[:, 1] + y).clamp(max=H - 1)
        shown &= (image[row, column] - depth).abs() <= limit
    return chosen[shown], place[chosen][shown], cosine[shown]


def _depth_image(glctx, texels: Texels, matrix: torch.Tensor, to_view: torch.Tensor, size) -> torch.Tensor:
    """[H, W]: how far in front of the camera the surface is; infinite where there is none."""
    mesh = texels.mesh
    pos = mesh.pos.detach().to(matrix)
    rast, _ = rasterize(glctx, transform(pos, matrix[None]), mesh.tri, size)
    depth, _ = interpolate(_depths(pos, to_view)[:, None].contiguous(), rast, mesh.tri)
    return torch.where(rast[..., 3] > 0, depth[..., 0], torch.inf)[0]


def _depths(pos: torch.Tensor, to_view: torch.Tensor) -> torch.Tensor:
    """[P], along the view."""
    return -(pos @ to_view[2, :3] + to_view[2, 3])
