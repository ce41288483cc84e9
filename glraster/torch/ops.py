"""The names of `glraster.torch`, for programs that import `nvdiffrast.torch.ops`."""

from . import (
    DepthPeeler,
    RasterizeCudaContext,
    RasterizeGLContext,
    __version__,
    alias,
    antialias,
    antialias_construct_topology_hash,
    get_log_level,
    interpolate,
    rasterize,
    set_log_level,
    texture,
    texture_construct_mip,
)

__all__ = [
    "DepthPeeler",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "__version__",
    "alias",
    "antialias",
    "antialias_construct_topology_hash",
    "get_log_level",
    "interpolate",
    "rasterize",
    "set_log_level",
    "texture",
    "texture_construct_mip",
]
