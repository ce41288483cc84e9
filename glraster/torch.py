"""The drop-in namespace: `import glraster.torch as dr` in programs written for `nvdiffrast.torch`."""

import logging
import operator

from . import (
    DepthPeeler,
    RasterizeCudaContext,
    RasterizeGLContext,
    antialias,
    antialias_construct_topology_hash,
    interpolate,
    rasterize,
    texture,
    texture_construct_mip,
)

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

_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def get_log_level() -> int:
    """Returns the level that `set_log_level` set: 0 info, 1 warning, 2 error, 3 fatal."""
    level = logging.getLogger("glraster").getEffectiveLevel()
    return next((index for index, limit in enumerate(_LEVELS) if level <= limit), len(_LEVELS) - 1)


def set_log_level(level: int) -> None:
    """Accepted for the programs that call it, and without effect on what glraster says: it logs nothing. It reports by
    exceptions, and by Python's `warnings`, which have filters of their own.

    Args:
        level: 0 info, 1 warning, 2 error, 3 fatal. The logger 'glraster' is set to it.

    Raises:
        TypeError: not an integer.
        ValueError: another level.
    """
    need = "set_log_level(): level must be 0, 1, 2 or 3"
    try:
        index = operator.index(level)
    except TypeError:
        raise TypeError(f"{need}, got {level!r}") from None
    if not 0 <= index < len(_LEVELS):
        raise ValueError(f"{need}, got {index}")
    logging.getLogger("glraster").setLevel(_LEVELS[index])
