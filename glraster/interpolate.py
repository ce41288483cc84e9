"""Interpolation of vertex attributes over the image."""

import operator
from collections.abc import Sequence

import torch

from glraster.cuda_kernels.launcher import dense, launch, new_output, new_zeros, params_type, pointer
from glraster.cuda_kernels.upload import to_device

from .checks import FLOATS, check_same, check_tensor

__all__ = ["interpolate"]

InterpolateParams = params_type(
    "InterpolateParams",
    "attr rast tri rast_db diff_attrs out out_da grad_out grad_out_da grad_attr grad_rast grad_rast_db",
    "N H W V A num_triangles num_diff_attrs attr_stride",
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
    need = "float32 or float64 [N, H, W, 4]"
    rast = check_tensor(op, "rast", rast, need, shapes=[(None, None, None, 4)], dtypes=FLOATS)
    same = {"dtypes": (rast.dtype,), "device": rast.device}
    kind = str(rast.dtype).removeprefix("torch.")
    need = f"{kind} [V, A], [1, V, A] or [N, V, A]"
    attr = check_tensor(op, "attr", attr, need, shapes=[(None, None), (None, None, None)], **same)
    tri = check_tensor(op, "tri", tri, "int32 [T, 3]", shapes=[(None, 3)], dtypes=(torch.int32,), device=rast.device)
    if attr.ndim == 3 and attr.shape[0] != 1:
        check_same(op, "the minibatch", attr=attr.shape[0], rast=rast.shape[0])
    selected = _select(diff_attrs, attr.shape[-1])
    if selected == ():
        rast_db = None
    elif rast_db is None:
        raise ValueError("interpolate(): diff_attrs needs rast_db, the second output of rasterize(), got None")
    else:
        rast_db = check_tensor(op, "rast_db", rast_db, f"{kind} {list(rast.shape)}", shapes=[rast.shape], **same)
    return _Interpolate.apply(attr, rast, tri, rast_db, selected)


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


def _attribute_index(index: object) -> int:
    """The index as an int; a bool, an entry of a mask, is none although Python counts it among the integers."""
    if isinstance(index, bool) or str(getattr(index, "dtype", "")) in ("bool", "torch.bool"):
        raise TypeError
    return operator.index(index)


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, attr, rast, tri, rast_db, selected):
        out = new_output(rast, *rast.shape[:3], attr.shape[-1])
        out_da = new_output(rast, *rast.shape[:3], 2 * len(selected))
        all_or_none = selected in ((), tuple(range(attr.shape[-1])))
        diff_attrs = None if all_or_none else to_device(selected, rast.device)
        _run("interpolate_fwd", attr, rast, tri, rast_db, diff_attrs, len(selected), out=out, out_da=out_da)
        ctx.save_for_backward(attr, rast, tri, rast_db, diff_attrs)
        ctx.num_diff_attrs = len(selected)
        ctx.set_materialize_grads(False)
        return out, out_da

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out, grad_out_da):
        attr, rast, tri, rast_db, diff_attrs = ctx.saved_tensors
        grad_attr = new_zeros(attr, *attr.shape, dtype=torch.float64) if ctx.needs_input_grad[0] else None
        grad_rast = new_output(rast, *rast.shape) if ctx.needs_input_grad[1] else None
        grad_rast_db = new_output(rast_db, *rast_db.shape) if rast_db is not None and ctx.needs_input_grad[3] else None
        grads = {"grad_attr": grad_attr, "grad_rast": grad_rast, "grad_rast_db": grad_rast_db}
        incoming = {"grad_out": dense(grad_out), "grad_out_da": dense(grad_out_da)}
        _run("interpolate_bwd", attr, rast, tri, rast_db, diff_attrs, ctx.num_diff_attrs, **incoming, **grads)
        return grad_attr if grad_attr is None else grad_attr.to(attr.dtype), grad_rast, None, grad_rast_db, None


def _run(kernel, attr, rast, tri, rast_db, diff_attrs, num_diff_attrs, **tensors):
    N, H, W, _ = rast.shape
    V, A = attr.shape[-2:]
    tensors |= {"attr": attr, "rast": rast, "tri": tri, "rast_db": rast_db, "diff_attrs": diff_attrs}
    params = InterpolateParams(
        **{name: pointer(tensor) for name, tensor in tensors.items()},
        **{"N": N, "H": H, "W": W, "V": V, "A": A},
        num_triangles=tri.shape[0],
        num_diff_attrs=num_diff_attrs,
        attr_stride=V * A if attr.ndim == 3 and attr.shape[0] > 1 else 0,
    )
    adds_to, most_additions = (tensors.get("grad_attr"),), 3 + 3 * num_diff_attrs
    launch(kernel, params, N * H * W, rast.dtype, rast.device, adds_to, most_additions=most_additions)
