"""Between tensors in host memory and OpenGL's buffers and textures."""

import ctypes
import math
from collections.abc import Iterable

import torch

from .buffer import Buffer
from .gl import GL

__all__ = ["HostTransfer", "TexelKind"]

TexelKind = tuple[int, int, int]  # internal format, and the format and type of texels in tensors


class HostTransfer:
    """Copies to and from CPU tensors. `CudaTransfer` does the same for tensors on a GPU."""

    def repair(self, pos: torch.Tensor, tri: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Looks for triangles with an index out of range or a position that is not finite.

        Returns:
            pos and tri; and where such triangles are, which the caller must replace: bool [N, T] or [T]; None: nowhere.
        """
        return pos, tri, _bad_triangles(pos, tri)

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

    def forget(self, textures: list[int]) -> None:
        """Textures are about to be deleted."""

    def release(self) -> None:
        """All buffers and textures are about to be deleted or made smaller."""


def _address(tensor: torch.Tensor) -> ctypes.c_void_p:
    assert tensor.is_contiguous() and tensor.device.type == "cpu"
    return ctypes.c_void_p(tensor.data_ptr())


def _bad_triangles(pos: torch.Tensor, tri: torch.Tensor) -> torch.Tensor | None:
    positions, indices = pos.numpy(), tri.numpy()  # NumPy's minimum is many times faster than PyTorch's
    extremes = (positions.min(), positions.max()) if positions.size else (0.0,)  # NaN if there is one
    if all(map(math.isfinite, extremes)) and indices.min() >= 0 and indices.max() < pos.shape[-2]:
        return None
    outside = (tri < 0) | (tri >= pos.shape[-2])
    corners = torch.where(outside, 0, tri).long()
    return outside.any(-1) | (~pos.isfinite().all(-1))[..., corners].any(-1)
