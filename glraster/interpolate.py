"""Interpolation of vertex attributes over the image."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import torch

from glraster.cuda_kernels.launcher import (
    KernelFile,
    channels_constant,
    new_output,
    new_output_like,
    new_sum_like,
    rounded,
)
from glraster.cuda_kernels.upload import to_device

from .checks import FLOATS, Same, check_same, check_tensor
from .operators import Operator, new_gradients, save

__all__ = ["interpolate"]

KERNELS = KernelFile(
    "interpolate",
    adds_to=("grad_attr",),
    constants={"INTERPOLATE_ATTRIBUTES": (3, 4, "kAnyNumber", "kFours"), "INTERPOLATE_DERIVATIVES": (0, 1)},
)


def interpolate(
    attr: torch.Tensor,
    rast: torch.Tensor,
    tri: torch.Tensor,
    rast_db: torch.Tensor | None = None,
    diff_attrs: str | Sequence[int] | torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Interpolates vertex attributes with the barycentrics of `rast`.

    `out = u A_0 + v A_1 + (1 - u - v) A_2`, and for the attributes in `diff_attrs` the derivatives with respect to
    the pixel coordinates X (right) and Y (up), by the chain rule from `rast_db`.

    Args:
        attr: [V, A], [1, V, A] (both shared by all images) or [N, V, A], float32 or float64.
        rast: [N, H, W, 4] from `rasterize`, same dtype and device. May have been flipped or resampled since.
        tri: [T, 3] int32 indices into `attr`: those of `rasterize`, or another list of as many triangles, by which an
            attribute can have seams where the surface has none (texture coordinates). Triangles with an index out of
            range give zeros.
        rast_db: [N, H, W, 4] from `rasterize`; needed only with `diff_attrs`.
        diff_attrs: indices of the attributes to differentiate (negative ones count from the end), or 'all'. Not a mask:
            pass `mask.nonzero().flatten()`.

    Returns:
        out: [N, H, W, A]; zeros where there is no triangle.
        out_da: [N, H, W, 2 D], (dA/dX, dA/dY) of the D selected attributes; zero channels without `diff_attrs`.

    Gradients reach `attr` (summed over a shared minibatch), `rast` (channels u and v) and `rast_db`.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape, device or attribute index; `diff_attrs` without `rast_db`.

    Source: perspective-correct barycentric interpolation; the chain rule.
    """
    op = "interpolate"
    rast = check_tensor(op, "rast", rast, "[N, H, W, 4]", shapes=((None, None, None, 4),), dtypes=FLOATS)
    same: Same = {"dtypes": (rast.dtype,), "device": rast.device}
    need, shapes = "[V, A], [1, V, A] or [N, V, A]", ((None, None), (None, None, None))
    attr = check_tensor(op, "attr", attr, need, shapes=shapes, **same)
    tri = check_tensor(op, "tri", tri, "[T, 3]", shapes=((None, 3),), dtypes=(torch.int32,), device=rast.device)
    if attr.ndim == 3 and attr.shape[0] != 1:
        check_same(op, "the minibatch", attr=attr.shape[0], rast=rast.shape[0])
    selected = _select(diff_attrs, attr.shape[-1])
    if selected == ():
        rast_db = None
    elif rast_db is None:
        raise ValueError("interpolate(): diff_attrs needs rast_db, the second output of rasterize(), got None")
    else:
        rast_db = check_tensor(op, "rast_db", rast_db, shapes=(rast.shape,), **same)
    return _interpolate(attr, rast, tri, rast_db, selected)


def _select(diff_attrs: str | Sequence[int] | torch.Tensor | None, num_attrs: int) -> tuple[int, ...]:
    """The chosen attribute indices, counted from the start."""
    if diff_attrs is None:
        return ()
    if isinstance(diff_attrs, str):
        if diff_attrs != "all":
            raise ValueError(
                f"interpolate(): diff_attrs must be 'all' or a list of attribute indices, got '{diff_attrs}'"
            )
        return tuple(range(num_attrs))
    try:
        chosen = [_attribute_index(index) for index in diff_attrs]
    except (TypeError, RuntimeError):  # the latter from tensors without data
        raise TypeError(
            f"interpolate(): diff_attrs must be 'all' or a list of attribute indices, got {diff_attrs!r}"
        ) from None
    for index in chosen:
        if not -num_attrs <= index < num_attrs:
            raise ValueError(f"interpolate(): diff_attrs must be indices of attr's {num_attrs} attributes, got {index}")
    return tuple(index % num_attrs for index in chosen)


def _attribute_index(index: SupportsIndex) -> int:
    """The index as an int; a bool, an entry of a mask, is none although Python counts it among the integers."""
    if isinstance(index, bool) or str(getattr(index, "dtype", "")) in ("bool", "torch.bool"):
        raise TypeError
    return operator.index(index)


def _forward(attr, rast, tri, rast_db, diff_attrs):
    outputs = _fake(attr, rast, tri, rast_db, diff_attrs)
    _launch("interpolate_fwd", attr, rast, tri, rast_db, diff_attrs, out=outputs[0], out_da=outputs[1])
    return outputs


def _fake(attr, rast, tri, rast_db, diff_attrs):
    image = rast.shape[:3]
    return new_output(rast, *image, attr.shape[-1]), new_output(rast, *image, 2 * len(diff_attrs))


def _setup(ctx, inputs, output):
    attr, rast, tri, rast_db, ctx.diff_attrs = inputs
    save(ctx, attr, rast, tri, rast_db)


def _backward(ctx, needs, *grads):
    wanted = [needs[0], needs[1], needs[3]]
    grad_attr, grad_rast, grad_rast_db = _interpolate_bwd(*grads, *ctx.saved_tensors, ctx.diff_attrs, wanted)
    return grad_attr, grad_rast, None, grad_rast_db, None


def _bwd(grad_out, grad_out_da, attr, rast, tri, rast_db, diff_attrs, wanted):
    grad_attr = new_sum_like(attr) if wanted[0] else None
    grad_rast = new_output_like(rast) if wanted[1] else None
    grad_rast_db = new_output_like(rast_db) if wanted[2] else None
    incoming = {"grad_out": grad_out, "grad_out_da": grad_out_da}
    grads = {"grad_attr": grad_attr, "grad_rast": grad_rast, "grad_rast_db": grad_rast_db}
    _launch("interpolate_bwd", attr, rast, tri, rast_db, diff_attrs, **incoming, **grads)
    return rounded(grad_attr, attr.dtype), grad_rast, grad_rast_db


def _fake_bwd(grad_out, grad_out_da, attr, rast, tri, rast_db, diff_attrs, wanted):
    return new_gradients((attr, rast, rast_db), wanted)


def _jvp_of(ctx, attr, rast, tri, rast_db, diff_attrs):
    return _interpolate_jvp(attr, rast, rast_db, *ctx.saved_tensors, ctx.diff_attrs)


def _jvp(tangent_attr, tangent_rast, tangent_rast_db, *inputs):
    outputs = dict(zip(("tangent_out", "tangent_out_da"), _fake(*inputs), strict=True))
    tangents = {"tangent_attr": tangent_attr, "tangent_rast": tangent_rast, "tangent_rast_db": tangent_rast_db}
    _launch("interpolate_jvp", *inputs, **tangents, **outputs)
    return tuple(outputs.values())


def _launch(kernel, attr, rast, tri, rast_db, diff_attrs, **tensors):
    chosen = tuple(diff_attrs)
    in_order = not chosen or chosen == tuple(range(attr.shape[-1]))
    KERNELS.launch(
        kernel,
        rast.numel() // 4,
        **{"attr": attr, "rast": rast, "tri": tri, "rast_db": rast_db},
        diff_attrs=None if in_order else to_device(chosen, rast.device),
        **_numbers(attr.shape, rast.shape, tri.shape[0], len(chosen), attr.dtype),
        **tensors,
    )


@functools.lru_cache
def _numbers(attr_shape, rast_shape, num_triangles, num_diff_attrs, dtype) -> dict[str, Any]:
    """What else a launch is given, which follows from the sizes."""
    (N, H, W, _), (V, A) = rast_shape, attr_shape[-2:]
    return {
        "constants": (
            ("INTERPOLATE_ATTRIBUTES", channels_constant(A, dtype)),
            ("INTERPOLATE_DERIVATIVES", int(num_diff_attrs > 0)),
        ),
        **{"N": N, "H": H, "W": W, "V": V, "A": A},
        "num_triangles": num_triangles,
        "num_diff_attrs": num_diff_attrs,
        "attr_stride": V * A if len(attr_shape) == 3 and attr_shape[0] > 1 else 0,
        "most_additions": 3 + 3 * num_diff_attrs,
    }


_inputs = "Tensor attr, Tensor rast, Tensor tri, Tensor? rast_db, int[] diff_attrs"
_interpolate = Operator(
    f"interpolate({_inputs}) -> (Tensor, Tensor)", _forward, _fake, setup=_setup, backward=_backward, jvp=_jvp_of
)
_interpolate_jvp = Operator(
    f"interpolate_jvp(Tensor? tangent_attr, Tensor? tangent_rast, Tensor? tangent_rast_db, {_inputs}) -> "
    "(Tensor, Tensor)",
    _jvp,
    lambda tangent_attr, tangent_rast, tangent_rast_db, *inputs: _fake(*inputs),
)
_interpolate_bwd = Operator(
    f"interpolate_bwd(Tensor? grad_out, Tensor? grad_out_da, {_inputs}, bool[] wanted) -> (Tensor, Tensor, Tensor)",
    _bwd,
    _fake_bwd,
)
