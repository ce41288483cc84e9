"""The drop-in namespace: `import glraster.torch as dr` in programs written for `nvdiffrast.torch`."""

import logging

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
