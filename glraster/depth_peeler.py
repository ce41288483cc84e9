"""Depth peeling: the surfaces behind one another, pixel by pixel, one layer per call."""

from collections.abc import Sequence

import torch

from .contexts import RasterizeContext
from .rasterize import barycentrics, make_scene
from .scene import Visibility
from .visibility import check_contents, find_visible

__all__ = ["DepthPeeler"]


class DepthPeeler:
    """Rasterizes the layers of a scene from front to back::

        with DepthPeeler(glctx, pos, tri, resolution) as peeler:
            for _ in range(num_layers):
                rast, rast_db = peeler.rasterize_next_layer()

    The context is reserved inside the block: until then it serves nobody else, and cannot be closed. A peeler that
    nobody holds any more gives it back. Do not change `pos` or `tri` in place inside the block.

    Depths are equal for triangles with the same three vertex positions. Those of one plane with other vertices are
    ordered by rounding, and so are, with an `OpenGLRasterizer`, triangles without common vertex indices that coincide
    in a later image of the minibatch but not in the first (see docs/opengl.md).

    Args:
        glctx, pos, tri, resolution, ranges, grad_db, cull, validate: as in `rasterize`.

    Raises:
        TypeError, ValueError: as in `rasterize`.

    Source: Everitt, "Interactive Order-Independent Transparency" (2001), with ties broken by triangle id.
    """

    def __init__(
        self,
        glctx: RasterizeContext,
        pos: torch.Tensor,
        tri: torch.Tensor,
        resolution: Sequence[int],
        ranges: torch.Tensor | None = None,
        grad_db: bool = True,
        *,
        cull: str = "none",
        validate: bool | None = None,
    ):
        self._pos, self._scene = make_scene("DepthPeeler", glctx, pos, tri, resolution, ranges, cull)
        # While a program is being compiled there are no contents to check, and nobody to keep the context from: there
        # the first layer checks them.
        self._compiled = torch.compiler.is_compiling()
        if not self._compiled:
            check_contents("DepthPeeler", glctx, self._scene, validate)
        self._glctx, self._grad_db, self._validate = glctx, grad_db, validate
        self._last: Visibility | None = None
        self._inside = False

    def __enter__(self) -> "DepthPeeler":
        """Reserves the context.

        Raises:
            RuntimeError: a depth peeler has it already, or it is closed.
        """
        if not self._compiled:
            self._glctx.reserve(self)
        self._last, self._inside = None, True
        return self

    def __exit__(self, *_) -> None:
        self._last, self._inside = None, False
        if not self._compiled:
            self._glctx.unreserve(self)

    def rasterize_next_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rasterizes the next surface behind all those already returned, pixel by pixel.

        The first call equals `rasterize`. Surfaces at exactly equal depth are layers of their own, in order of id.

        Returns:
            (rast, rast_db) as from `rasterize`; zeros in pixels where no surface is left. Gradients as in `rasterize`.

        Raises:
            RuntimeError: outside of the peeler's `with` block.
        """
        if not self._inside:
            raise RuntimeError("rasterize_next_layer(): only inside the block `with DepthPeeler(...) as peeler:`")
        validate = self._validate if self._compiled and self._last is None else False
        self._last = find_visible("DepthPeeler", self._glctx, self._scene, validate, self._last, peeling=True)
        return barycentrics(self._pos, self._scene, self._last, self._glctx.output_db, self._grad_db)
