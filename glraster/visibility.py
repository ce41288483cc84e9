"""The visibility pass as an operator: which triangle each pixel sees, found by a context."""

import torch

from .checks import validating
from .contexts import RasterizeContext, context_of
from .operators import Operator
from .reach import check_reach
from .scene import Scene, Visibility
from .validate import validate_geometry, validate_ranges

__all__ = ["check_contents", "find_visible"]


def find_visible(
    op: str,
    glctx: RasterizeContext,
    scene: Scene,
    validate: bool | None,
    behind: Visibility | None = None,
    peeling: bool = False,
) -> Visibility:
    """As `RasterizeContext.find_visible`, after `check_contents`; all of it when a compiled program runs."""
    before = None if behind is None else behind.ids
    long_ids = glctx.ids_dtype(peeling) == torch.int64
    modes = scene.height, scene.width, scene.cull, peeling, long_ids, validate, op, glctx.handle
    return Visibility(_visibility(scene.pos, scene.tri, scene.ranges, before, *modes))


def check_contents(op: str, glctx: RasterizeContext, scene: Scene, validate: bool | None) -> None:
    """Checks what only the tensors' contents can tell: ranges, and with `validate` (see `validating`) the geometry.

    Raises:
        ValueError: names `op` and the first offender.
    """
    validate_ranges(op, scene)
    if validating(validate):
        validate_geometry(op, scene)
        check_reach(op, scene, glctx.reach)


def _forward(pos, tri, ranges, behind, height, width, cull, peeling, long_ids, validate, op, context):
    glctx = context_of(context)
    if glctx is None:
        raise RuntimeError(f"{op}(): the context for which this program was compiled no longer exists")
    scene = Scene(pos, tri, height, width, ranges, cull)
    check_contents(op, glctx, scene, validate)
    return glctx.find_visible(scene, None if behind is None else Visibility(behind), peeling=peeling).ids


def _fake(pos, tri, ranges, behind, height, width, cull, peeling, long_ids, validate, op, context):
    N = pos.shape[0] if ranges is None else ranges.shape[0]
    return pos.new_empty((N, height, width), dtype=torch.int64 if long_ids else torch.int32)


_visibility = Operator(
    "visibility(Tensor pos, Tensor tri, Tensor? ranges, Tensor? behind, SymInt height, SymInt width, str cull, "
    "bool peeling, bool long_ids, bool? validate, str op, SymInt context) -> Tensor",
    _forward,
    _fake,
)
