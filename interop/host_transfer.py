"""Between tensors in host memory and OpenGL's buffers and textures."""

import ctypes
from collections.abc import Iterable

import torch

from .buffer import Buffer
from .gl import GL

__all__ = ["HostTransfer", "TexelKind"]

TexelKind = tuple[int, int, int]  # internal format, and the format and type of texels in tensors


class HostTransfer:
    """Copies to and from CPU tensors. `CudaTransfer` does the same for tensors on a GPU."""

    def upload(self, contents: Iterable[tuple[Buffer, torch.Tensor]]) -> None:
        """Fills buffers."""
        for buffer, tensor in contents:
            buffer.fill(tensor)

    def read(self, texture: int, kind: TexelKind, out: torch.Tensor) -> None:
        """Copies the lower left part of the first layers of an array texture into `out` [n, h, w], contiguous."""
        n, h, w = out.shape
        GL.glGetTextureSubImage(texture, 0, 0, 0, 0, w, h, n, *kind[1:], out.nbytes, _address(out))

    def write(self, texture: int, kind: TexelKind, tensor: torch.Tensor) -> None:
        """The other way round."""
        n, h, w = tensor.shape
        GL.glTextureSubImage3D(texture, 0, 0, 0, 0, w, h, n, *kind[1:], _address(tensor))

    def finish(self) -> None:
        """Waits until what was read is there."""
        GL.glFinish()

    def release(self) -> None:
        """All buffers are about to be deleted or made smaller."""


def _address(tensor: torch.Tensor) -> ctypes.c_void_p:
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    return ctypes.c_void_p(tensor.data_ptr())
