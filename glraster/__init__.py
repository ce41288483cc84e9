"""glraster: differentiable rasterization for PyTorch, on GPUs and on plain CPUs."""

from .antialias import antialias, antialias_construct_topology_hash
from .contexts import RasterizeCudaContext, RasterizeGLContext
from .depth_peeler import DepthPeeler
from .interpolate import interpolate
from .mipmap import texture_construct_mip
from .rasterize import rasterize
from .texture import texture
from .texture3d import texture3d

__all__ = [
    "DepthPeeler",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "antialias",
    "antialias_construct_topology_hash",
    "interpolate",
    "rasterize",
    "texture",
    "texture3d",
    "texture_construct_mip",
]
__version__ = "0.1.0"
