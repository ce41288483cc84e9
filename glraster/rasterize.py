"""Rasterization: the visible triangle of every pixel, with barycentrics, depth and screen-space derivatives.

Image row 0 is the bottom row; X points right and Y up, in pixels; clip space is OpenGL's (inside where
-w <= x, y, z <= w).
"""

import operator
from collections.abc import Sequence

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output, new_output_like, new_sum_like, rounded

from .checks import FLOATS, check_tensor
from .contexts import RasterizeContext
from .depth import add_depth_gradients
from .operators import Operator, save
from .scene import CULL_SIGN, Scene, Visibility, fields_of_ids
from .visibility import find_visible

__all__ = ["rasterize"]

MAX_TRIANGLES = 0x7F800000 - 0x4A800000 - 1  # above, the encoding of ids in rast would reach infinity

BARYCENTRICS = KernelFile("barycentrics", adds_to=("grad_pos",))


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
    grad_depth: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rasterizes triangles.

    Coverage follows OpenGL: samples at pixel centres; of two triangles that share an edge through a pixel centre the
    one to its right (or above it) has the pixel; the nearest z/w wins, at equal depth the lower triangle id. Triangles
    with a vertex index out of range, a position that is not finite or no area are skipped; so are faces that are seen
    edge-on to within the rounding of their float32 corners.

    Args:
        glctx: an `OpenGLRasterizer` or `SoftwareRasterizer` on the device of the tensors.
        pos: clip-space positions, float32 or float64: [N, V, 4], or [V, 4] with `ranges`.
        tri: [T, 3] int32 vertex indices.
        resolution: (height, width) in pixels.
        ranges: [N, 2] int32 on the CPU: each image's first triangle and number of triangles. Needed with [V, 4]
            positions, ignored otherwise.
        grad_db: whether gradients flow through `rast_db`.
        cull: 'none', or 'back' or 'front' to drop triangles that are clockwise or counter-clockwise on the screen.
        validate: raise an error where a triangle would be skipped, unless it is a face seen edge-on whose area is not
            exactly zero. None: the variable GLRASTER_VALIDATE decides.
        grad_depth: whether gradients flow through z/w, channel 2 of `rast`, to x, y, z and w of `pos`.

    Returns:
        rast: [N, H, W, 4] of u, v (barycentric weights of vertices 0 and 1), z/w and triangle id + 1 (ids above
            2^24 as the float32 of bit pattern 0x4a800000 + value); zeros where there is no triangle.
        rast_db: [N, H, W, 4] of du/dX, du/dY, dv/dX, dv/dY per pixel; zero channels from a context that was made with
            `output_db=False`.

    Gradients reach x, y and w of `pos`, from u, v and (with `grad_db`) `rast_db`; with `grad_depth` all of `pos`, from
    z/w. None flows through coverage or id: see `edge_gradients` and `antialias` for gradients of visibility.
    Forward-mode tangents flow where gradients do, the other way.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: wrong shape, device, resolution, range or mode; with `validate`, the first offending triangle.
        RuntimeError: the context is closed, or reserved by a depth peeler.
        MemoryError: a `SoftwareRasterizer` on a CPU finds no memory for its lists of triangles.

    Source: homogeneous rasterization (Olano and Greer 1997).
    """
    pos, scene = make_scene("rasterize", glctx, pos, tri, resolution, ranges, cull)
    if glctx.peeler is not None:
        raise RuntimeError("rasterize(): the context is reserved by a DepthPeeler, use it after the peeler's block")
    visibility = find_visible("rasterize", glctx, scene, validate)
    rast, rast_db = barycentrics(pos, scene, visibility, glctx.output_db, grad_db)
    return (add_depth_gradients(rast, pos, tri, visibility.ids) if grad_depth else rast), rast_db


def make_scene(op, glctx, pos, tri, resolution, ranges, cull) -> tuple[torch.Tensor, Scene]:
    """Checks the arguments that rasterization and depth peeling share; returns positions with and without gradient."""
    if not isinstance(glctx, RasterizeContext):
        kinds = "RasterizeContext (glraster.context() makes one)"
        raise TypeError(f"{op}(): glctx must be a {kinds}, got {type(glctx).__name__}")
    device = glctx.device
    need, shapes = "[N, V, 4] (with ranges [V, 4])", ((None, None, 4), (None, 4))
    pos = check_tensor(op, "pos", pos, need, shapes=shapes, dtypes=FLOATS, device=device)
    tri = check_tensor(op, "tri", tri, "[T, 3]", shapes=((None, 3),), dtypes=(torch.int32,), device=device)
    if tri.shape[0] > MAX_TRIANGLES:
        raise ValueError(f"{op}(): tri must have at most {MAX_TRIANGLES} triangles, got {tri.shape[0]}")
    if pos.ndim == 3:
        ranges = None
    elif ranges is None:
        raise ValueError(f"{op}(): pos of shape [V, 4] needs ranges, int32 [N, 2] on cpu, got None")
    else:
        cpu = torch.device("cpu")
        ranges = check_tensor(op, "ranges", ranges, "[N, 2]", shapes=((None, 2),), dtypes=(torch.int32,), device=cpu)
    if not isinstance(cull, str) or cull not in CULL_SIGN:
        raise ValueError(f"{op}(): cull must be 'none', 'back' or 'front', got {cull!r}")
    height, width = _check_resolution(op, resolution)
    scene = Scene(pos.detach(), tri, height, width, ranges, cull)
    return pos, scene


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
    return _barycentrics(pos, scene.tri, visibility.ids, output_db, grad_db)


def _forward(pos, tri, ids, output_db, grad_db):
    rast, rast_db = _fake(pos, tri, ids, output_db, grad_db)
    _launch("barycentrics_fwd", pos, tri, ids, rast=rast, rast_db=rast_db)
    return rast, rast_db


def _fake(pos, tri, ids, output_db, grad_db):
    rast = new_output(pos, *ids.shape, 4)
    return rast, new_output_like(rast) if output_db else new_output(pos, *ids.shape, 0)


def _setup(ctx, inputs, output):
    pos, tri, ids, output_db, grad_db = inputs
    save(ctx, pos, tri, ids)
    ctx.output_db, ctx.grad_db = output_db, grad_db and output_db


def _backward(ctx, needs, grad_rast, grad_rast_db):
    return _barycentrics_bwd(grad_rast, grad_rast_db if ctx.grad_db else None, *ctx.saved_tensors), *[None] * 4


def _bwd(grad_rast, grad_rast_db, pos, tri, ids):
    grad_pos = new_sum_like(pos)
    if grad_rast is not None or grad_rast_db is not None:
        grads = {"grad_rast": grad_rast, "grad_rast_db": grad_rast_db, "grad_pos": grad_pos}
        _launch("barycentrics_bwd", pos, tri, ids, **grads)
    return rounded(grad_pos, pos.dtype)


def _jvp_of(ctx, tangent_pos, tri, ids, output_db, grad_db):
    return _barycentrics_jvp(tangent_pos, *ctx.saved_tensors, ctx.output_db, ctx.grad_db)


def _jvp(tangent_pos, pos, tri, ids, output_db, grad_db):
    rast, rast_db = _fake(pos, tri, ids, output_db, grad_db)
    tangents = {"tangent_pos": tangent_pos, "tangent_rast": rast, "tangent_rast_db": rast_db if grad_db else None}
    _launch("barycentrics_jvp", pos, tri, ids, **tangents)
    return rast, rast_db if grad_db else rast_db.zero_()


def _launch(kernel: str, pos: torch.Tensor, tri: torch.Tensor, ids: torch.Tensor, **tensors) -> None:
    BARYCENTRICS.launch(kernel, ids.numel(), **fields_of_ids(pos, tri, ids), **tensors)


_inputs = "Tensor pos, Tensor tri, Tensor ids"
_barycentrics = Operator(
    f"barycentrics({_inputs}, bool output_db, bool grad_db) -> (Tensor, Tensor)",
    _forward,
    _fake,
    setup=_setup,
    backward=_backward,
    jvp=_jvp_of,
)
_barycentrics_jvp = Operator(
    f"barycentrics_jvp(Tensor tangent_pos, {_inputs}, bool output_db, bool grad_db) -> (Tensor, Tensor)",
    _jvp,
    lambda tangent_pos, *inputs: _fake(*inputs),
)
_barycentrics_bwd = Operator(
    f"barycentrics_bwd(Tensor? grad_rast, Tensor? grad_rast_db, {_inputs}) -> Tensor",
    _bwd,
    lambda grad_rast, grad_rast_db, pos, tri, ids: new_output_like(pos),
)
