"""Pictures of CUDA tensors in the window: from tensor to texture without leaving the GPU."""

import functools
import warnings

import torch

from glraster.interop.context import GL
from glraster.interop.cuda_gl import CudaTransfer

from .grid import Legend
from .images import Snapshot, colored, tiled

__all__ = ["CudaTexture", "works"]

_KIND = GL.GL_RGBA8, GL.GL_RGBA, GL.GL_UNSIGNED_BYTE


@functools.cache
def works(device_index: int) -> bool:
    """Whether the window's OpenGL draws on this GPU; warns once if not. With the window's context current."""
    try:
        CudaTransfer(device_index)
        return True
    except RuntimeError as error:
        message = f"Viewer: pictures go through the CPU, since OpenGL and CUDA do not work together: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return False


class CudaTexture:
    """A texture that CUDA fills. The window's context must be current in every call."""

    def __init__(self, device_index: int):
        self._transfer = CudaTransfer(device_index)
        self._storage = self.number = 0  # an array texture of one layer, as transfers want it, and a plain view of it
        self._shape = (0, 0)

    def show(self, name: str, shown: Snapshot) -> tuple[str, Legend | None, tuple[int, int]]:
        """Takes the images of a snapshot; returns label, legend and shape of the picture."""
        colors, legend = colored(shown.wait())
        whole = tiled(colors.flip(1))
        texels = torch.nn.functional.pad(whole, (0, 1), value=255).contiguous().view(torch.int32)[None, ..., 0]
        if self._shape != whole.shape[:2]:
            self._allocate(*whole.shape[:2])
        self._transfer.write(self._storage, _KIND, texels.contiguous())
        GL.glGenerateTextureMipmap(self._storage)
        return shown.label(name), legend or shown.legend, self._shape

    def _allocate(self, height: int, width: int) -> None:
        self._free()
        levels = max(height, width).bit_length()
        self._storage = int(GL.glGenTextures(1))
        GL.glBindTexture(GL.GL_TEXTURE_2D_ARRAY, self._storage)
        GL.glTexStorage3D(GL.GL_TEXTURE_2D_ARRAY, levels, GL.GL_RGBA8, width, height, 1)
        GL.glBindTexture(GL.GL_TEXTURE_2D_ARRAY, 0)
        self.number = int(GL.glGenTextures(1))
        GL.glTextureView(self.number, GL.GL_TEXTURE_2D, self._storage, GL.GL_RGBA8, 0, levels, 0, 1)
        GL.glTextureParameteri(self.number, GL.GL_TEXTURE_MIN_FILTER, GL.GL_LINEAR_MIPMAP_LINEAR)
        GL.glTextureParameteri(self.number, GL.GL_TEXTURE_MAG_FILTER, GL.GL_NEAREST)
        self._shape = height, width

    def _free(self) -> None:
        for texture in (self.number, self._storage):
            if texture:
                GL.glDeleteTextures([texture])
        self._storage = self.number = 0

    def release(self) -> None:
        """Gives everything back."""
        self._transfer.release()
        self._free()
