"""Reference for texture and texture3d.

Gradients come from autograd of the formulas below. The rules of the conventions that autograd does not give by itself
stand where they act: `_texel_coordinate` (clamp limits), `_mip_level` (clamped or whole levels),
`_with_finite_gradient`, `_narrow_footprint` (the number of samples).

Anisotropic filtering follows Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, for the ellipse, and
the OpenGL extension EXT_texture_filter_anisotropic for the samples along it.
"""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from .cube import sample_cube, to_face

FILTER_MODES = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic")


def texture(
    tex: Tensor,
    uv: Tensor,
    uv_da: Tensor | None = None,
    mip_level_bias: Tensor | None = None,
    mip: Sequence[Tensor] | None = None,
    filter_mode: str = "auto",
    boundary_mode: str = "wrap",
    max_mip_level: int | None = None,
    max_anisotropy: int = 16,
) -> Tensor:
    """Samples a texture.

    Args:
        tex: [N or 1, h, w, C], or [N or 1, 6, s, s, C] with boundary_mode 'cube'.
        uv: [N, H, W, 2], or directions [N, H, W, 3] for cubes. Where one is not finite, or the direction is zero, the
            result is zero and no argument receives a gradient.
        uv_da: derivatives of uv per pixel, [N, H, W, 4] = (ds/dX, ds/dY, dt/dX, dt/dY) or [N, H, W, 6].
        mip_level_bias: added to the mip level, [N, H, W].
        mip: mip levels 1..k in place of those built from tex.
        filter_mode: one of FILTER_MODES or 'auto'.
        boundary_mode: 'wrap', 'clamp', 'zero' or 'cube'.
        max_mip_level: last level to use.
        max_anisotropy: the most samples along the major axis with 'anisotropic'.

    Returns:
        [N, H, W, C], float64. Gradients: tex always (or the tensors of mip for their levels); uv unless 'nearest';
        uv_da and mip_level_bias with 'linear-mipmap-linear' and 'anisotropic'.
    """
    if filter_mode == "auto":
        filter_mode = "linear" if uv_da is None and mip_level_bias is None else "linear-mipmap-linear"
    if filter_mode not in FILTER_MODES:
        raise ValueError(f"texture(): filter_mode must be 'auto' or one of {FILTER_MODES}, got {filter_mode!r}")
    tex, uv = tex.double(), uv.double()
    cube = boundary_mode == "cube"
    readable = uv.isfinite().all(dim=-1)
    if cube:
        readable &= (uv != 0).any(dim=-1)
    # Everything below sees a harmless coordinate in place of an unreadable one; its result is dropped at the end.
    uv = torch.where(readable[..., None], uv, 1.0)

    def sample(level: Tensor, uv: Tensor) -> Tensor:
        if cube:
            return sample_cube(level, *to_face(uv)[:2], nearest=filter_mode == "nearest")
        return _sample(level, uv, boundary_mode, nearest=filter_mode == "nearest")

    if filter_mode in ("nearest", "linear"):
        return torch.where(readable[..., None], sample(tex, uv), 0.0)
    if uv_da is None and (mip_level_bias is None or filter_mode == "anisotropic"):
        raise ValueError(f"texture(): filter_mode {filter_mode!r} needs uv_da or mip_level_bias")
    higher = construct_mip(tex, max_mip_level, cube) if mip is None else [level.double() for level in mip]
    levels = [tex, *higher][: None if max_mip_level is None else max_mip_level + 1]
    last, size = len(levels) - 1, tex.shape[-3:-1]

    def blend(uv: Tensor, level: Tensor) -> Tensor:
        return _blend_levels([sample(x, uv) for x in levels], level, filter_mode == "linear-mipmap-nearest")

    if filter_mode == "anisotropic":
        width, count = _narrow_footprint(_texel_da(uv, uv_da, size, cube), max_anisotropy)
        level = _mip_level(width, mip_level_bias, last)
        along = _along_major_axis(uv_da, _texel_da(uv, uv_da, size, cube))
        out = _mean_along(lambda x: blend(x, level), uv, along, count)
    else:
        major = None if uv_da is None else _axes(_texel_da(uv, uv_da, size, cube))[0]
        out = blend(uv, _mip_level(major, mip_level_bias, last))
    return torch.where(readable[..., None], out, 0.0)


def texture3d(tex: Tensor, uvw: Tensor, filter_mode: str = "linear", boundary_mode: str = "wrap") -> Tensor:
    """Samples a volume texture [N or 1, D, h, w, C] at uvw [N, H, W, 3]; u runs along w, v along h, w along D.

    filter_mode is 'nearest' or 'linear', boundary_mode 'wrap', 'clamp' or 'zero'. Returns [N, H, W, C], float64, zero
    where uvw is not finite. Gradients: tex; uvw with 'linear'.
    """
    if filter_mode not in ("nearest", "linear"):
        raise ValueError(f"texture3d(): filter_mode must be 'nearest' or 'linear', got {filter_mode!r}")
    tex, uvw = tex.double(), uvw.double()
    readable = uvw.isfinite().all(dim=-1, keepdim=True)
    uvw = torch.where(readable, uvw, 0.0)
    return torch.where(readable, _sample(tex, uvw, boundary_mode, nearest=filter_mode == "nearest"), 0.0)


def construct_mip(tex: Tensor, max_mip_level: int | None = None, cube: bool = False) -> list[Tensor]:
    """Levels 1..k of a mip stack, each the mean of 2 x 2 texels of the one below (of 2 where one side is 1)."""
    level, levels = tex.double(), []
    sizes = [tuple(tex.shape[-3:-1])]
    while sizes[-1] != (1, 1) and (max_mip_level is None or len(levels) < max_mip_level):
        if any(size > 1 and size % 2 for size in sizes[-1]):
            raise ValueError(f"texture(): an odd side cannot be halved: sizes {sizes}; set max_mip_level")
        for axis in (-3, -2):
            if level.shape[axis] > 1:
                level = level.unflatten(axis, (-1, 2)).mean(axis)
        levels.append(level)
        sizes.append(tuple(level.shape[-3:-1]))
    return levels


def _sample(tex: Tensor, coordinate: Tensor, boundary_mode: str, nearest: bool) -> Tensor:
    """Samples tex [N or 1, size_k, ..., size_1, C] at [N, H, W, k], with the first coordinate along size_1."""
    if boundary_mode not in ("wrap", "clamp", "zero"):
        raise ValueError(f"boundary_mode must be 'wrap', 'clamp' or 'zero', got {boundary_mode!r}")
    sizes = tex.shape[-2:0:-1]
    if nearest:
        texel = [_nearest_texel(coordinate[..., k], size, boundary_mode) for k, size in enumerate(sizes)]
        return _fetch(tex, texel, boundary_mode)
    position = [_texel_coordinate(coordinate[..., k], size, boundary_mode) for k, size in enumerate(sizes)]
    first = [x.detach().floor() for x in position]
    out = 0.0
    for corner in product((0, 1), repeat=len(sizes)):
        weight = 1.0
        for step, x, base in zip(corner, position, first, strict=True):
            weight = weight * ((x - base) if step else (1 - (x - base)))
        out = out + weight[..., None] * _fetch(tex, [b + s for b, s in zip(first, corner, strict=True)], boundary_mode)
    return out


def _nearest_texel(coordinate: Tensor, size: int, boundary_mode: str) -> Tensor:
    coordinate = coordinate.detach()
    if boundary_mode == "wrap":
        coordinate = coordinate - coordinate.floor()
    texel = (coordinate * size).floor()
    return texel if boundary_mode == "zero" else texel.clamp(0, size - 1)


def _texel_coordinate(coordinate: Tensor, size: int, boundary_mode: str) -> Tensor:
    """Position in units of texels, 0 at the centre of the first."""
    if boundary_mode == "wrap":
        coordinate = coordinate - coordinate.detach().floor()
    x = coordinate * size - 0.5
    if boundary_mode == "clamp":
        # No gradient at either limit, itself included.
        x = torch.where((x > 0) & (x < size - 1), x, x.detach().clamp(0, size - 1))
    return x


def _fetch(tex: Tensor, texel: list[Tensor], boundary_mode: str) -> Tensor:
    """Texels at whole positions [N, H, W] per axis, the first along the last spatial axis of tex: [N, H, W, C]."""
    sizes = tex.shape[-2:0:-1]
    inside = torch.ones_like(texel[0], dtype=torch.bool)
    index = []
    for position, size in zip(texel, sizes, strict=True):
        inside &= (position >= 0) & (position <= size - 1)
        position = position.remainder(size) if boundary_mode == "wrap" else position.clamp(0, size - 1)
        index.append(position.long())
    tex = tex.expand(len(texel[0]), *tex.shape[1:])
    image = torch.arange(len(tex))[:, None, None]
    value = tex[(image, *reversed(index))]
    return torch.where(inside[..., None], value, 0.0) if boundary_mode == "zero" else value


def _with_finite_gradient(value: Tensor) -> Tensor:
    """`value`, whose gradient is zero where it would not be finite."""
    value = value.clone()
    if value.requires_grad:
        value.register_hook(lambda grad: None if grad is None else torch.where(grad.isfinite(), grad, 0.0))
    return value


def _texel_da(uv: Tensor, uv_da: Tensor, size: tuple[int, int], cube: bool) -> Tensor:
    """J = d(texel of the base level)/d(pixel), [N, H, W, 2 (s, t), 2 (X, Y)]; gradients that are not finite are zero.

    Each call zeroes the gradients of its own use of J alone.
    """
    da = _with_finite_gradient(uv_da.double())
    if cube:
        da = to_face(_with_finite_gradient(uv), da)[2]
    height, width = size
    return da.unflatten(-1, (2, 2)) * torch.tensor([width, height])[:, None]


def _axes(texel_da: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (major, minor) of the axes of the ellipse that J makes of a pixel's circle, in texels, [N, H, W] each.

    Their squares are the eigenvalues of J^T J = [[a, k], [k, b]]; their product is |det J|.
    """
    a, b, k = _quadratic_form(texel_da)
    major = ((a + b) / 2 + ((a - b) ** 2 / 4 + k**2).sqrt()).sqrt()
    (s_x, s_y), (t_x, t_y) = (row.unbind(-1) for row in texel_da.unbind(-2))
    minor = (s_x * t_y - s_y * t_x).abs() / torch.where(major > 0, major, 1.0)
    return major, minor


def _narrow_footprint(texel_da: Tensor, max_anisotropy: int) -> tuple[Tensor, Tensor]:
    """The minor axis, widened to major / max_anisotropy, and how many samples the major axis takes, [N, H, W] each.

    The count has no gradient. It is the ratio of the axes, the minor one taken as no less than a texel, rounded up from
    a thousandth above a whole number on. A footprint that is not finite is read once, by its major axis.
    """
    major, minor = _axes(texel_da)
    width = torch.where(minor * max_anisotropy > major, minor, major / max_anisotropy)
    count = (major.detach() / width.detach().clamp(min=1) - 1e-3).ceil().clamp(1, max_anisotropy)
    finite = major.isfinite()
    return torch.where(finite, width, major), torch.where(finite, count, 1.0)


def _along_major_axis(uv_da: Tensor, texel_da: Tensor) -> Tensor:
    """How uv changes over one pixel in the direction that J maps to the major axis, an eigenvector of J^T J.

    [N, H, W, 2 or 3], zero where it is not finite.
    """
    a, b, k = _quadratic_form(texel_da)
    angle = torch.atan2(2 * k, a - b) / 2
    direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
    along = (_with_finite_gradient(uv_da.double()).unflatten(-1, (-1, 2)) * direction[..., None, :]).sum(dim=-1)
    return torch.where(along.isfinite().all(dim=-1, keepdim=True), along, 0.0)


def _quadratic_form(texel_da: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """J^T J = [[a, k], [k, b]]."""
    x, y = texel_da.unbind(-1)
    return (x * x).sum(-1), (y * y).sum(-1), (x * y).sum(-1)


def _mean_along(sample: Callable[[Tensor], Tensor], uv: Tensor, along: Tensor, count: Tensor) -> Tensor:
    """Mean of count [N, H, W] samples, at the middles of equal parts of the segment uv - along/2 ... uv + along/2."""
    total = 0.0
    for k in range(int(count.max())):
        used = (k < count)[..., None]
        offset = torch.where(used, (k + 0.5) / count[..., None] - 0.5, 0.0)
        total = total + torch.where(used, sample(uv + offset * along), 0.0)
    return total / count[..., None]


def _mip_level(width: Tensor | None, mip_level_bias: Tensor | None, last: int) -> Tensor:
    """Mip level of each pixel, clamped to [0, last], [N, H, W]; width is its footprint's in texels."""
    level = 0.0 if width is None else width.log2()
    if mip_level_bias is not None:
        level = level + mip_level_bias.double()
    value = level.detach().nan_to_num(nan=0.0, posinf=last, neginf=0.0).clamp(0, last)
    return torch.where((value > 0) & (value < last) & (value != value.floor()), level, value)


def _blend_levels(samples: list[Tensor], level: Tensor, nearest: bool) -> Tensor:
    """Selects floor(level), or blends it with the next; samples holds every pixel's value at every level."""
    stack = torch.stack(samples)  # [levels, N, H, W, C]
    below = level.detach().floor().long()

    def select(index: Tensor) -> Tensor:
        return stack.gather(0, index[None, ..., None].expand(1, *stack.shape[1:]))[0]

    if nearest:
        return select(below)
    fraction = (level - below)[..., None]
    return (1 - fraction) * select(below) + fraction * select((below + 1).clamp(max=len(samples) - 1))
