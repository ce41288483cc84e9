"""glraster: differentiable rasterization for PyTorch, on GPUs and on plain CPUs."""

from pkgutil import extend_path

# The subpackages interop, cuda_kernels and shaders are folders of their own in the source tree. Python started there
# finds this folder before the installed package, and the rest of the package through this line.
__path__ = extend_path(__path__, __name__)

from .antialias import antialias, antialias_construct_topology_hash  # noqa: E402
from .contexts import RasterizeCudaContext, RasterizeGLContext  # noqa: E402
from .depth_peeler import DepthPeeler  # noqa: E402
from .interpolate import interpolate  # noqa: E402
from .mipmap import texture_construct_mip  # noqa: E402
from .rasterize import rasterize  # noqa: E402
from .texture import texture  # noqa: E402
from .texture3d import texture3d  # noqa: E402

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
