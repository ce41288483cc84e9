"""Texture lookups."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import torch

from glraster.cuda_kernels.launcher import (
    ENOUGH_BLOCKS,
    KernelFile,
    channels_constant,
    new_output,
    new_zeros,
    new_zeros_list,
    reciprocal,
    threads_for,
)

from .checks import Same, check_same, check_tensor
from .mipmap import (
    MipStack,
    build_levels,
    build_levels_bwd,
    build_levels_jvp,
    check_max_mip_level,
    check_tex,
    level_sizes,
)
from .operators import Operator, new_gradients, save
from .texel_sums import gradient_copies, receives_many, sum_of_copies

__all__ = ["BOUNDARY_MODES", "texture"]

BOUNDARY_MODES = ("wrap", "clamp", "zero", "cube")  # in the order of the kernel's Boundary
FILTER_MODES = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic")

KERNELS = KernelFile(
    "texture",
    adds_to=("grad_level",),
    # Numbers of channels that are missing here differ from any number in the length of loops alone.
    constants={
        "TEXTURE_BOUNDARY": tuple(map(str.upper, BOUNDARY_MODES)),
        "TEXTURE_CHANNELS": ("kAnyNumber", "kFours"),
        "TEXTURE_ANISOTROPIC": (0, 1),
        "TEXEL_INDEX": ("int32_t",),
    },
)


def texture(
    tex: torch.Tensor,
    uv: torch.Tensor,
    uv_da: torch.Tensor | None = None,
    mip_level_bias: torch.Tensor | None = None,
    mip: MipStack | Sequence[torch.Tensor] | None = None,
    filter_mode: str = "auto",
    boundary_mode: str = "wrap",
    max_mip_level: int | None = None,
    *,
    max_anisotropy: int = 16,
    mip_filter: str = "box",
) -> torch.Tensor:
    """Samples a texture at every pixel.

    The centre of texel i lies at (i + 0.5) / size; texture row 0 is at t = 0. The mip level is log2 of the major axis,
    in texels of the base level, of the ellipse that a pixel covers, plus `mip_level_bias`, clamped to the levels there
    are; with a bias alone it is the bias. 'anisotropic' takes the minor axis instead, and as many samples along the
    major axis as the ratio of the two; where that is more than `max_anisotropy`, it widens the minor axis.

    Args:
        tex: [N or 1, h, w, C], or [N or 1, 6, s, s, C] with boundary_mode 'cube' (faces +x, -x, +y, -y, +z, -z);
            float32 or float64. One texture serves the whole minibatch.
        uv: [N, H, W, 2], or directions [N, H, W, 3] for cube maps; same dtype and device. Where one is not finite, or
            a direction is zero, the result is zero and nothing receives a gradient.
        uv_da: [N, H, W, 4] of ds/dX, ds/dY, dt/dX, dt/dY per pixel (the second output of `interpolate`), or
            [N, H, W, 6] for cube maps. Ignored where no mip level is chosen.
        mip_level_bias: [N, H, W], added to the level.
        mip: levels to use instead of building them from `tex`: `texture_construct_mip(tex)`, which saves time where
            `tex` stays the same, or a list of level tensors 1..k of one's own, each half the size of the one before.
            Ignored where no mip level is chosen, as with 'auto' without `uv_da` and `mip_level_bias`.
        filter_mode: 'nearest', 'linear', 'linear-mipmap-nearest', 'linear-mipmap-linear', 'anisotropic', or 'auto':
            'linear-mipmap-linear' if `uv_da` or `mip_level_bias` is given, else 'linear'.
        boundary_mode: 'wrap', 'clamp', 'zero' (texels outside read zero) or 'cube'.
        max_mip_level: the last level to use; None: all. 0: plain linear filtering.
        max_anisotropy: the most samples per pixel with 'anisotropic'.
        mip_filter: how levels are built: 'box' or, for sides that cannot be halved, 'area'; see
            `texture_construct_mip`.

    Returns:
        [N, H, W, C].

    Gradients reach `tex` always; `uv` except with 'nearest'; `uv_da` and `mip_level_bias` with 'linear-mipmap-linear'
    and 'anisotropic', where they are zero if the level is clamped or whole, or if they would not be finite. Levels in
    a list receive gradients of their own and pass none to `tex`.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape, device or mode; a mip filter without `uv_da` and `mip_level_bias`; sides that cannot
            be halved.

    Source: Williams, "Pyramidal Parametrics", 1983; Heckbert, "Fundamentals of Texture Mapping and Image Warping",
        1989; OpenGL extension EXT_texture_filter_anisotropic.
    """
    op = "texture"
    lookup = _check_modes(filter_mode, boundary_mode, max_anisotropy, uv_da, mip_level_bias)
    tex = check_tex(op, tex, boundary_mode == "cube")
    same: Same = {"dtypes": (tex.dtype,), "device": tex.device}
    D = 3 if boundary_mode == "cube" else 2
    uv = check_tensor(op, "uv", uv, f"[N, H, W, {D}]", shapes=((None, None, None, D),), **same)
    image = tuple(uv.shape[:3])
    if tex.shape[0] != 1:
        check_same(op, "the minibatch", tex=tex.shape[0], uv=image[0])
    max_mip_level = check_max_mip_level(op, max_mip_level)
    if lookup[0] in ("nearest", "linear"):
        return _texture(uv, None, None, *lookup, False, [tex])
    if uv_da is not None:
        shape = (*image, 2 * D)
        need = f"{list(shape)} (interpolate() needs diff_attrs for it)"
        uv_da = check_tensor(op, "uv_da", uv_da, need, shapes=(shape,), **same)
    if mip_level_bias is not None:
        mip_level_bias = check_tensor(op, "mip_level_bias", mip_level_bias, shapes=(image,), **same)
    levels = _levels(tex, mip, max_mip_level, mip_filter)
    own_levels = mip is None or isinstance(mip, MipStack)  # built from tex, which then receives their gradients
    return _texture(uv, uv_da, mip_level_bias, *lookup, own_levels, [tex, *levels])


def _check_modes(filter_mode, boundary_mode, max_anisotropy, uv_da, mip_level_bias) -> tuple[str, str, int]:
    """Filter mode, 'auto' resolved, boundary mode, and the most samples per pixel."""
    if filter_mode == "auto":
        filter_mode = "linear" if uv_da is None and mip_level_bias is None else "linear-mipmap-linear"
    if filter_mode not in FILTER_MODES:
        raise ValueError(f"texture(): filter_mode must be 'auto' or one of {FILTER_MODES}, got {filter_mode!r}")
    if boundary_mode not in BOUNDARY_MODES:
        raise ValueError(f"texture(): boundary_mode must be one of {BOUNDARY_MODES}, got {boundary_mode!r}")
    if filter_mode == "anisotropic":
        if uv_da is None:
            raise ValueError("texture(): filter_mode 'anisotropic' needs uv_da, pass interpolate()'s second output")
        max_anisotropy = _check_max_anisotropy(max_anisotropy)
    elif "mipmap" in filter_mode and uv_da is None and mip_level_bias is None:
        raise ValueError(
            f"texture(): filter_mode '{filter_mode}' needs a mip level: pass uv_da (interpolate()'s second output), "
            "mip_level_bias, or both"
        )
    samples = max_anisotropy if filter_mode == "anisotropic" else 1
    return filter_mode, boundary_mode, samples


def _check_max_anisotropy(max_anisotropy: SupportsIndex) -> int:
    need = "texture(): max_anisotropy must be an integer from 1 to 1024"
    try:
        samples = operator.index(max_anisotropy)
    except TypeError:
        raise TypeError(f"{need}, got {max_anisotropy!r}") from None
    if not 1 <= samples <= 1024:
        raise ValueError(f"{need}, got {samples}")
    return samples


def _levels(tex, mip, max_mip_level, mip_filter) -> list[torch.Tensor]:
    """Levels 1..k: built from tex, or the given ones, checked."""
    op = "texture"
    given: Sequence[torch.Tensor]
    if mip is None:
        return build_levels(op, tex, max_mip_level, mip_filter)
    if isinstance(mip, MipStack):
        if mip.tex_shape != tex.shape:
            shapes = f"{list(tex.shape)}, got one of {list(mip.tex_shape)}"
            raise ValueError(f"{op}(): mip must be made by texture_construct_mip() from a tex of shape {shapes}")
        given = mip.levels
    elif isinstance(mip, (list, tuple)):
        given = mip
    else:
        kind = type(mip).__name__
        raise TypeError(f"{op}(): mip must come from texture_construct_mip() or be a list of tensors, got {kind}")
    h, w = tex.shape[-3:-1]
    sizes = level_sizes(h, w, None)[1:]
    if len(given) > len(sizes):
        raise ValueError(f"{op}(): mip must have at most {len(sizes)} levels for a tex of {h} x {w}, got {len(given)}")
    same: Same = {"dtypes": (tex.dtype,), "device": tex.device}
    checked = []
    for k, (level, size) in enumerate(zip(given, sizes, strict=False)):
        shape = (*tex.shape[:-3], *size, tex.shape[-1])
        checked.append(check_tensor(op, f"mip[{k}]", level, shapes=(shape,), **same))
    return checked[:max_mip_level]


def _forward(uv, uv_da, mip_level_bias, filter_mode, boundary_mode, max_anisotropy, own_levels, levels):
    out = _fake(uv, uv_da, mip_level_bias, filter_mode, boundary_mode, max_anisotropy, own_levels, levels)
    lookup = filter_mode, boundary_mode, max_anisotropy
    _launch("fwd", uv, uv_da, mip_level_bias, lookup, level=levels, out=out)
    return out


def _fake(uv, uv_da, mip_level_bias, filter_mode, boundary_mode, max_anisotropy, own_levels, levels):
    return new_output(uv, *uv.shape[:3], levels[0].shape[-1])


def _setup(ctx, inputs, output):
    uv, uv_da, mip_level_bias, *ctx.lookup, levels = inputs
    save(ctx, uv, uv_da, mip_level_bias, *levels)


def _backward(ctx, needs, grad_out):
    uv, uv_da, mip_level_bias, *levels = ctx.saved_tensors
    filter_mode, _, _, own_levels = ctx.lookup
    want_levels = [needs[7][0], *[False] * (len(levels) - 1)] if own_levels else needs[7]
    blended = filter_mode in ("linear-mipmap-linear", "anisotropic")
    given = (uv is not None and filter_mode != "nearest", uv_da is not None and blended)
    given += (mip_level_bias is not None and blended,)
    wanted = [need and possible for need, possible in zip(needs, given, strict=False)] + list(want_levels)
    grads = _texture_bwd(grad_out, uv, uv_da, mip_level_bias, *ctx.lookup, wanted, levels)
    return (*grads[:3], None, None, None, None, grads[3:])


def _bwd(grad_out, uv, uv_da, mip_level_bias, filter_mode, boundary_mode, max_anisotropy, own_levels, wanted, levels):
    inputs = new_gradients((uv, uv_da, mip_level_bias), wanted[:3])
    want_levels = [wanted[3]] * len(levels) if own_levels else wanted[3:]
    threads = threads_for(uv.shape[:3].numel(), uv.device, adds=any(want_levels))
    copies = gradient_copies(uv, levels, threads)
    most_additions = (1 if filter_mode == "nearest" else 4) * max_anisotropy
    summed = _new_sums(uv, levels, want_levels, most_additions, copies)
    grads = dict(zip(("grad_uv", "grad_uv_da", "grad_mip_level_bias"), inputs, strict=True))
    lookup = filter_mode, boundary_mode, max_anisotropy
    tensors = {"level": levels, "grad_level": summed, "grad_out": grad_out}
    _launch("bwd", uv, uv_da, mip_level_bias, lookup, copies=copies, threads=threads, **tensors, **grads)
    grad_levels = [sum_of_copies(grad, uv.dtype) for grad in summed]
    if own_levels and wanted[3]:
        build_levels_bwd(grad_levels)
        grad_levels[1:] = [None] * (len(levels) - 1)
    return [*inputs, *grad_levels]


def _new_sums(uv, levels, wanted, most_additions, copies):
    """Zeros for the gradients of the levels, [copies, *level.shape] each, None where not wanted."""
    dtypes, many = [], False
    for level, want in zip(levels, wanted, strict=True):
        many = many or (want and receives_many(level, uv, most_additions))  # and so do all that are smaller
        dtypes.append(torch.float64 if many else level.dtype)
    base = new_zeros(levels[0], copies, *levels[0].shape, dtype=dtypes[0]) if wanted[0] else None
    above = [k for k in range(1, len(levels)) if wanted[k]]
    shapes = [(copies, *levels[k].shape) for k in above]
    # In memory of their own: of these all may be gone when the base's gradient is still in use.
    zeros = dict(zip(above, new_zeros_list(uv, shapes, [dtypes[k] for k in above]), strict=True)) if above else {}
    return [base, *(zeros.get(k) for k in range(1, len(levels)))]


def _fake_bwd(
    grad_out, uv, uv_da, mip_level_bias, filter_mode, boundary_mode, max_anisotropy, own_levels, wanted, levels
):
    return list(new_gradients((uv, uv_da, mip_level_bias, *levels), wanted))


def _jvp_of(ctx, uv, uv_da, mip_level_bias, filter_mode, boundary_mode, max_anisotropy, own_levels, levels):
    inputs, at = ctx.saved_tensors[:3], ctx.saved_tensors[3:]
    *lookup, own_levels = ctx.lookup
    if own_levels and levels[0] is not None:
        levels = [levels[0], *build_levels_jvp(levels[0], len(at) - 1)]
    tangents: list[torch.Tensor] = []
    if any(level is not None for level in levels):
        tangents = [torch.zeros_like(k) if level is None else level for k, level in zip(at, levels, strict=True)]
    return _texture_jvp(uv, uv_da, mip_level_bias, *inputs, *lookup, tangents, at)


def _jvp(tangent_uv, tangent_uv_da, tangent_mip_level_bias, uv, uv_da, mip_level_bias, *modes):
    *lookup, tangent_levels, levels = modes
    out = _fake_jvp(None, None, None, uv, uv_da, mip_level_bias, *modes)
    _launch(
        "jvp",
        *(uv, uv_da, mip_level_bias, lookup),
        level=levels,
        tangent_level=tangent_levels,
        tangent_uv=tangent_uv,
        tangent_uv_da=tangent_uv_da,
        tangent_mip_level_bias=tangent_mip_level_bias,
        tangent_out=out,
    )
    return out


def _fake_jvp(tangent_uv, tangent_uv_da, tangent_mip_level_bias, uv, uv_da, mip_level_bias, *modes):
    return new_output(uv, *uv.shape[:3], modes[-1][0].shape[-1])


def _index_constant(tex_shape: torch.Size) -> str:
    """The type in which a GPU counts the texels of one texture."""
    return "int32_t" if tex_shape[1:-1].numel() < 2**31 else "int64_t"


def _launch(direction, uv, uv_da, mip_level_bias, lookup, level, copies=1, threads=None, **tensors):
    grads = tensors.get("grad_level", ())
    as_double = [k for k, grad in enumerate(grads) if grad is not None and grad.dtype == torch.float64]
    filter_mode = lookup[0]
    kernel = filter_mode if filter_mode in ("nearest", "linear") else "mipmap"
    # Few blocks for gradients: each sums what many pixels add to one place, as background does.
    blocks = 16 if direction == "bwd" else ENOUGH_BLOCKS
    KERNELS.launch(
        f"texture_{kernel}_{direction}",
        uv.shape[:3].numel(),
        blocks=blocks,
        threads=threads,
        **{"uv": uv, "uv_da": uv_da, "mip_level_bias": mip_level_bias, "level": level},
        **_numbers(uv.shape, level[0].shape, len(level), uv.dtype, *lookup),
        copies=copies,
        shared_gradient=copies == 1 and threads != 1,
        first_double=min(as_double, default=len(level)),
        **tensors,
    )


@functools.lru_cache
def _numbers(uv_shape, tex_shape, num_levels, dtype, filter_mode, boundary_mode, max_anisotropy) -> dict[str, Any]:
    """What else a launch is given, which follows from sizes and modes."""
    (N, H, W, _), (h, w, C) = uv_shape, tex_shape[-3:]
    faces = tex_shape[1:-3].numel()
    return {
        "constants": (
            ("TEXTURE_BOUNDARY", boundary_mode.upper()),
            ("TEXTURE_CHANNELS", channels_constant(C, dtype)),
            ("TEXTURE_ANISOTROPIC", int(max_anisotropy > 1)),
            ("TEXEL_INDEX", _index_constant(tex_shape)),
        ),
        "most_additions": 4 * max_anisotropy,
        **{"N": N, "H": H, "W": W, "M": tex_shape[0], "h": h, "w": w, "C": C},
        "level_size": [faces * height * width * C for height, width in level_sizes(h, w, num_levels - 1)],
        "num_levels": num_levels,
        "image_reciprocal": reciprocal(H * W),
        "boundary": BOUNDARY_MODES.index(boundary_mode),
        "nearest_level": filter_mode == "linear-mipmap-nearest",
        "max_anisotropy": max_anisotropy,
    }


_inputs = "Tensor uv, Tensor? uv_da, Tensor? mip_level_bias, str filter_mode, str boundary_mode, int max_anisotropy"
_texture = Operator(
    f"texture({_inputs}, bool own_levels, Tensor[] levels) -> Tensor",
    _forward,
    _fake,
    setup=_setup,
    backward=_backward,
    jvp=_jvp_of,
)
_texture_jvp = Operator(
    "texture_jvp(Tensor? tangent_uv, Tensor? tangent_uv_da, Tensor? tangent_mip_level_bias, "
    f"{_inputs}, Tensor[] tangent_levels, Tensor[] levels) -> Tensor",
    _jvp,
    _fake_jvp,
)
_texture_bwd = Operator(
    f"texture_bwd(Tensor grad_out, {_inputs}, bool own_levels, bool[] wanted, Tensor[] levels) -> Tensor[]",
    _bwd,
    _fake_bwd,
)
