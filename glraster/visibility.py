"""The visibility pass as an operator: which triangle each pixel sees, found by a context."""

import itertools
import weakref

import torch

from .contexts import RasterizeContext, Scene, Visibility
from .operators import Operator
from .validate import validate_geometry, validate_ranges

__all__ = ["find_visible"]

# Operators take numbers, not objects: a context enters compiled code as its handle.
_contexts: weakref.WeakValueDictionary[int, RasterizeContext] = weakref.WeakValueDictionary()
_next_handle = itertools.count()


def handle_of(glctx: RasterizeContext) -> int:
    """The number by which the operator knows a context; the same for as long as the context lives."""
    if glctx.handle is None:
        glctx.handle = next(_next_handle)
        _contexts[glctx.handle] = glctx
    return glctx.handle


def find_visible(
    op: str, glctx: RasterizeContext, scene: Scene, validate: bool, behind: Visibility | None = None, peeling=False
) -> Visibility:
    """As `RasterizeContext.find_visible`, checked: what only the tensors' contents can tell, `op` reports."""
    behind = None if behind is None else behind.ids
    shape = scene.height, scene.width
    ids = _visibility(
        scene.pos, scene.tri, scene.ranges, behind, *shape, scene.cull, peeling, validate, op, handle_of(glctx)
    )
    return Visibility(ids)


def _forward(pos, tri, ranges, behind, height, width, cull, peeling, validate, op, context):
    glctx = _contexts.get(context)
    if glctx is None:
        raise RuntimeError(f"{op}(): the context with which this was compiled is gone")
    scene = Scene(pos, tri, height, width, ranges, cull)
    validate_ranges(op, scene)
    if validate:
        validate_geometry(op, scene)
    with torch.no_grad():
        return glctx.find_visible(scene, None if behind is None else Visibility(behind), peeling=peeling).ids


def _fake(pos, tri, ranges, behind, height, width, cull, peeling, validate, op, context):
    N = pos.shape[0] if ranges is None else ranges.shape[0]
    return pos.new_empty((N, height, width), dtype=_contexts[context].ids_dtype(peeling))


_visibility = Operator(
    "visibility(Tensor pos, Tensor tri, Tensor? ranges, Tensor? behind, int height, int width, str cull, bool peeling, "
    "bool validate, str op, int context) -> Tensor",
    _forward,
    _fake,
)
