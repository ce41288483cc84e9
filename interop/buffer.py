"""An OpenGL buffer that knows its size."""

import ctypes

import torch

from .gl import GL

__all__ = ["Buffer"]


class Buffer:
    """A buffer of `nbytes` bytes, not yet written; its OpenGL context must be current whenever it is used.

    Attributes:
        glo: OpenGL's name of it, which stays the same when the size changes.
        size: in bytes.
    """

    def __init__(self, nbytes: int = 16):
        name = ctypes.c_uint()
        GL.glCreateBuffers(1, ctypes.byref(name))
        self.glo = name.value
        self.orphan(nbytes)

    def orphan(self, nbytes: int, usage: int = GL.GL_STREAM_DRAW) -> None:
        """Takes new memory; what was written is lost."""
        self._allocate(nbytes, None, usage)

    def fill(self, tensor: torch.Tensor) -> None:
        """Takes new memory and copies a contiguous CPU tensor there."""
        self._allocate(tensor.nbytes, ctypes.c_void_p(tensor.data_ptr()), GL.GL_STREAM_DRAW)

    def _allocate(self, nbytes: int, content: ctypes.c_void_p | None, usage: int) -> None:
        GL.glNamedBufferData(self.glo, nbytes, content, usage)
        self.size = nbytes
