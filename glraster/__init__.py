"""glraster: differentiable rasterization for PyTorch, on GPUs and on plain CPUs."""

from .antialias import TopologyHash, antialias, antialias_construct_topology_hash
from .contexts import OpenGLRasterizer, RasterizeContext, SoftwareRasterizer, context
from .cuda_kernels.compiler import CudaError
from .cuda_kernels.host import HostLibraryError
from .cuda_kernels.output_pool import empty_cache
from .depth_peeler import DepthPeeler
from .edge_gradients import edge_gradients
from .interop.egl import OpenGLError
from .interpolate import interpolate
from .mipmap import MipStack, texture_construct_mip
from .rasterize import rasterize
from .soft import SoftAux, soft_rasterize
from .texture import texture
from .texture3d import texture3d
from .torch import RasterizeCudaContext, RasterizeGLContext
from .triangle_id import mask, triangle_id
from .version import __version__

__all__ = [
    "CudaError",
    "DepthPeeler",
    "HostLibraryError",
    "MipStack",
    "OpenGLError",
    "OpenGLRasterizer",
    "RasterizeContext",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "SoftAux",
    "SoftwareRasterizer",
    "TopologyHash",
    "__version__",
    "antialias",
    "antialias_construct_topology_hash",
    "context",
    "edge_gradients",
    "empty_cache",
    "interpolate",
    "mask",
    "rasterize",
    "soft_rasterize",
    "texture",
    "texture3d",
    "texture_construct_mip",
    "triangle_id",
]
