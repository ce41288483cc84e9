"""The drop-in namespace: `import glraster.torch as dr` in programs written for `nvdiffrast.torch`."""

import logging

from .antialias import antialias, antialias_construct_topology_hash
from .contexts import OpenGLRasterizer, RasterizeContext, SoftwareRasterizer
from .depth_peeler import DepthPeeler
from .interpolate import interpolate
from .mipmap import texture_construct_mip
from .rasterize import rasterize
from .texture import texture

__all__ = [
    "DepthPeeler",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "antialias",
    "antialias_construct_topology_hash",
    "get_log_level",
    "interpolate",
    "rasterize",
    "set_log_level",
    "texture",
    "texture_construct_mip",
]


class _DropIn(type):
    """The class of a context's other name, whose instances are all contexts of the kind that it stands for."""

    stands_for: type[RasterizeContext]

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__dict__.get("stands_for", ())) or super().__instancecheck__(instance)


class RasterizeCudaContext(SoftwareRasterizer, metaclass=_DropIn):
    """A `SoftwareRasterizer` under the name that existing programs use, on the CPU too.

    Programs ask `isinstance(glctx, RasterizeCudaContext)` to accept contexts of every kind: it is true of every context
    of glraster, an `OpenGLRasterizer` too.
    """

    stands_for = RasterizeContext


class RasterizeGLContext(OpenGLRasterizer, metaclass=_DropIn):
    """An `OpenGLRasterizer` under the name of existing programs; every `OpenGLRasterizer` is an instance of it."""

    stands_for = OpenGLRasterizer


_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def get_log_level() -> int:
    """Returns the level below which glraster's messages are dropped: 0 info, 1 warning, 2 error, 3 fatal."""
    level = logging.getLogger("glraster").getEffectiveLevel()
    return next((index for index, limit in enumerate(_LEVELS) if level <= limit), len(_LEVELS) - 1)


def set_log_level(level: int) -> None:
    """Drops messages of the logger 'glraster' below `level`: 0 info, 1 warning, 2 error, 3 fatal.

    Raises:
        ValueError: another level.
    """
    if level not in range(len(_LEVELS)):
        raise ValueError(f"set_log_level(): level must be 0, 1, 2 or 3, got {level!r}")
    logging.getLogger("glraster").setLevel(_LEVELS[level])
