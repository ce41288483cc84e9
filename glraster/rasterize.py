"""Rasterization: the visible triangle of every pixel, with barycentrics, depth and screen-space derivatives.

Image row 0 is the bottom row; X points right and Y up, in pixels; clip space is OpenGL's (inside where
-w <= x, y, z <= w).
"""

import operator
from collections.abc import Sequence

import torch

from glraster.cuda_kernels.launcher import dense, launch, new_output, params_type, pointer

from .checks import FLOATS, check_tensor, validating
from .contexts import CULL_SIGN, RasterizeContext, Scene, Visibility
from .validate import validate_geometry

__all__ = ["rasterize"]

MAX_TRIANGLES = 0x7F800000 - 0x4A800000 - 1  # above, the encoding of ids in rast would reach infinity

BarycentricsParams = params_type(
    "BarycentricsParams",
    "pos tri ids rast rast_db grad_rast grad_rast_db grad_pos",
    "N H W V num_triangles id_stride pos_stride",
)


def rasterize(
    glctx: RasterizeContext,
    pos: torch.Tensor,
    tri: torch.Tensor,
    resolution: Sequence[int],
    ranges: torch.Tensor | None = None,
    grad_db: bool = True,
    *,
    cull: str = "none",
    validate: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rasterizes triangles.

    Coverage follows OpenGL: samples at pixel centres; of two triangles that share an edge through a pixel centre the
    one to its right (or above it) has the pixel; the nearest z/w wins, at equal depth the lower triangle id. Triangles
    with a vertex index out of range, a position that is not finite or no area are skipped; so are faces that are seen
    edge-on to within the rounding of their float32 corners.

    Args:
        glctx: a `RasterizeGLContext` or `RasterizeCudaContext` on the device of the tensors.
        pos: clip-space positions, float32 or float64: [N, V, 4], or [V, 4] with `ranges`.
        tri: [T, 3] int32 vertex indices.
        resolution: (height, width) in pixels.
        ranges: [N, 2] int32 on the CPU: each image's first triangle and number of triangles. Needed with [V, 4]
            positions, ignored otherwise.
        grad_db: whether gradients flow through `rast_db`.
        cull: 'none', or 'back' or 'front' to drop triangles that are clockwise or counter-clockwise on the screen.
        validate: raise an error where a triangle would be skipped, unless it is a face seen edge-on whose area is not
            exactly zero. None: the variable GLRASTER_VALIDATE decides.

    Returns:
        rast: [N, H, W, 4] of u, v (barycentric weights of vertices 0 and 1), z/w and triangle id + 1 (ids above
            2^24 as the float32 of bit pattern 0x4a800000 + value); zeros where there is no triangle.
        rast_db: [N, H, W, 4] of du/dX, du/dY, dv/dX, dv/dY per pixel; zero channels from a context that was made with
            `output_db=False`.

    Gradients reach x, y and w of `pos`, from u, v and (with `grad_db`) `rast_db`; none flows through coverage, depth or
    id. See `antialias` for gradients of visibility.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape, device, resolution, range or mode; with `validate`, the first offending triangle.
        RuntimeError: the context is reserved by a depth peeler.

    Source: homogeneous rasterization (Olano and Greer 1997).
    """
    pos, scene = make_scene("rasterize", glctx, pos, tri, resolution, ranges, cull, validate)
    if glctx.peeler is not None:
        raise RuntimeError("rasterize(): the context is reserved by a DepthPeeler, use it after the peeler's block")
    with torch.no_grad():
        visibility = glctx.find_visible(scene)
    return barycentrics(pos, scene, visibility, glctx.output_db, grad_db)


def make_scene(op, glctx, pos, tri, resolution, ranges, cull, validate) -> tuple[torch.Tensor, Scene]:
    """Checks the arguments that rasterization and depth peeling share; returns positions with and without gradient."""
    if not isinstance(glctx, RasterizeContext):
        kinds = "RasterizeGLContext or RasterizeCudaContext"
        raise TypeError(f"{op}(): glctx must be a {kinds}, got {type(glctx).__name__}")
    device = glctx.device
    shapes = [(None, None, 4), (None, 4)]
    pos = check_tensor(
        op, "pos", pos, "float32 or float64 [N, V, 4] (with ranges [V, 4])", shapes=shapes, dtypes=FLOATS, device=device
    )
    tri = check_tensor(op, "tri", tri, "int32 [T, 3]", shapes=[(None, 3)], dtypes=(torch.int32,), device=device)
    if tri.shape[0] > MAX_TRIANGLES:
        raise ValueError(f"{op}(): tri must have at most {MAX_TRIANGLES} triangles, got {tri.shape[0]}")
    if pos.ndim == 3:
        ranges = None
    elif ranges is None:
        raise ValueError(f"{op}(): pos of shape [V, 4] needs ranges, int32 [N, 2] on cpu, got None")
    else:
        ranges = _check_ranges(op, ranges, tri.shape[0])
    if not isinstance(cull, str) or cull not in CULL_SIGN:
        raise ValueError(f"{op}(): cull must be 'none', 'back' or 'front', got {cull!r}")
    height, width = _check_resolution(op, resolution)
    scene = Scene(pos.detach(), tri, height, width, ranges, cull)
    if validating(validate):
        validate_geometry(op, scene)
    return pos, scene


def _check_ranges(op: str, ranges: torch.Tensor, num_triangles: int) -> torch.Tensor:
    cpu = torch.device("cpu")
    ranges = check_tensor(op, "ranges", ranges, "int32 [N, 2]", shapes=[(None, 2)], dtypes=(torch.int32,), device=cpu)
    first, count = ranges.long().unbind(1)
    outside = ((first < 0) | (count < 0) | (first + count > num_triangles)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"{op}(): ranges must lie within tri's {num_triangles} triangles, "
            f"got first {int(first[row])}, count {int(count[row])} in row {row}"
        )
    return ranges


def _check_resolution(op: str, resolution: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(size) for size in resolution)
    except (TypeError, ValueError, RuntimeError):  # the last from tensors without data
        raise TypeError(f"{op}(): resolution must be two integers (height, width), got {resolution!r}") from None
    if not (0 < height < 2**31 and 0 < width < 2**31):
        raise ValueError(f"{op}(): resolution must be (height, width) from 1 to 2147483647, got ({height}, {width})")
    return height, width


def barycentrics(
    pos: torch.Tensor, scene: Scene, visibility: Visibility, output_db: bool, grad_db: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """`rast` and `rast_db` (see `rasterize`) from the ids that a context found; differentiable in `pos`."""
    return _Barycentrics.apply(pos, scene, visibility, output_db, grad_db)


class _Barycentrics(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pos, scene, visibility, output_db, grad_db):
        image = scene.num_images, scene.height, scene.width
        rast, rast_db = new_output(pos, *image, 4), new_output(pos, *image, 4 if output_db else 0)
        _run("barycentrics_fwd", scene, pos, visibility, rast=rast, rast_db=rast_db)
        ctx.save_for_backward(pos, scene.tri)
        ctx.scene, ctx.visibility, ctx.grad_db = scene, visibility, grad_db and output_db
        ctx.set_materialize_grads(False)
        return rast, rast_db

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rast, grad_rast_db):
        pos, _ = ctx.saved_tensors  # raises where one was changed in place since the forward pass
        grad_pos = torch.zeros_like(pos)
        incoming = {"grad_rast": grad_rast, "grad_rast_db": grad_rast_db if ctx.grad_db else None}
        incoming = {name: dense(grad) for name, grad in incoming.items() if grad is not None}
        if incoming:
            _run("barycentrics_bwd", ctx.scene, pos, ctx.visibility, grad_pos=grad_pos, **incoming)
        return grad_pos, None, None, None, None


def _run(kernel: str, scene: Scene, pos: torch.Tensor, visibility: Visibility, **tensors) -> None:
    tensors |= {"pos": pos, "tri": scene.tri, "ids": visibility.ids}
    params = BarycentricsParams(
        **{name: pointer(tensor) for name, tensor in tensors.items()},
        **{"N": scene.num_images, "H": scene.height, "W": scene.width, "V": pos.shape[-2]},
        num_triangles=scene.tri.shape[0],
        id_stride=visibility.id_stride,
        pos_stride=scene.pos_stride,
    )
    launch(kernel, params, visibility.ids.numel(), pos.dtype, pos.device, adds_to=(tensors.get("grad_pos"),))
