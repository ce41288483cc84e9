"""The layered framebuffer of the visibility pass."""

import ctypes

import torch

from .context import GL
from .host_transfer import HostTransfer, TexelKind

__all__ = ["BYTES_PER_PIXEL", "IDS", "LayeredFramebuffer"]

BYTES_PER_PIXEL = 8  # an id and a depth
_ARRAY = GL.GL_TEXTURE_2D_ARRAY
IDS: TexelKind = (GL.GL_R32I, GL.GL_RED_INTEGER, GL.GL_INT)
_DEPTH = (GL.GL_DEPTH_COMPONENT32F, GL.GL_DEPTH_COMPONENT, GL.GL_FLOAT)
_SAMPLED_DEPTH = (GL.GL_R32F, GL.GL_RED, GL.GL_FLOAT)
_NO_ID = (ctypes.c_int32 * 1)(-1)
_FARTHEST = (ctypes.c_float * 1)(1.0)


class LayeredFramebuffer:
    """Ids (int32) and depths (float32, from 0 for near to 0.5 for far) of images, each at most height x width.

    An OpenGL context must be current whenever it is used. It needs no clean-up where its context is destroyed.

    Args:
        layers, height, width: its size.
        transfer: copies to and from tensors.

    Raises:
        RuntimeError: OpenGL has no room for it.
    """

    def __init__(self, layers: int, height: int, width: int, transfer: HostTransfer):
        self._transfer = transfer
        self.layers, self.height, self.width = layers, height, width
        self._before: list[int] = []  # ids and depths of the layer before, as textures to read from
        self._textures = [self._new_texture(IDS[0]), self._new_texture(_DEPTH[0])]
        self._object = GL.glGenFramebuffers(1)
        self.bind()
        for texture, attachment in zip(self._textures, (GL.GL_COLOR_ATTACHMENT0, GL.GL_DEPTH_ATTACHMENT), strict=True):
            GL.glFramebufferTexture(GL.GL_FRAMEBUFFER, attachment, texture, 0)
        status = GL.glCheckFramebufferStatus(GL.GL_FRAMEBUFFER)
        if status != GL.GL_FRAMEBUFFER_COMPLETE:
            self.release()
            raise RuntimeError(f"OpenGL makes no framebuffer of {layers} layers of {height} x {width}: 0x{status:x}")

    def _new_texture(self, kind: int) -> int:
        texture = GL.glGenTextures(1)
        GL.glBindTexture(_ARRAY, texture)
        GL.glTexStorage3D(_ARRAY, 1, kind, self.width, self.height, self.layers)
        for parameter in (GL.GL_TEXTURE_MIN_FILTER, GL.GL_TEXTURE_MAG_FILTER):
            GL.glTexParameteri(_ARRAY, parameter, GL.GL_NEAREST)  # integers cannot be filtered
        return texture

    def holds(self, layers: int, height: int, width: int) -> bool:
        """Whether an image stack of this size fits."""
        return layers <= self.layers and height <= self.height and width <= self.width

    def bind(self) -> None:
        """Makes it the target of drawing."""
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._object)
        GL.glDepthRangef(0.0, 0.5)  # the far plane itself is inside, and so must be nearer than the cleared depth

    def clear(self, layers: int, height: int, width: int) -> None:
        """Sets ids to -1 and depths beyond the far plane in the lower left part of the first layers."""
        for texture, kind, value in zip(self._textures, (IDS, _DEPTH), (_NO_ID, _FARTHEST), strict=True):
            GL.glClearTexSubImage(texture, 0, 0, 0, 0, width, height, layers, *kind[1:], value)

    def fill(self) -> None:
        """Draws to all of it at once, without triangles."""
        self.bind()
        GL.glClearBufferiv(GL.GL_COLOR, 0, (-1, -1, -1, -1))

    def set_before(self, ids: torch.Tensor, depth: torch.Tensor) -> None:
        """Uploads ids and depths [n, h, w] of the layer before and binds them to texture units 0 and 1."""
        if not self._before:
            self._before = [self._new_texture(IDS[0]), self._new_texture(_SAMPLED_DEPTH[0])]
        kinds = (IDS, _SAMPLED_DEPTH)
        for unit, (texture, kind, tensor) in enumerate(zip(self._before, kinds, (ids, depth), strict=True)):
            GL.glActiveTexture(GL.GL_TEXTURE0 + unit)
            GL.glBindTexture(_ARRAY, texture)
            self._transfer.write(texture, kind, tensor)

    def read_ids(self, ids: torch.Tensor) -> None:
        """Copies the lower left part of the first layers into `ids`, int32 [n, h, w]."""
        self._transfer.read(self._textures[0], IDS, ids)

    def read_depth(self, depth: torch.Tensor) -> None:
        """The same for the depths, float32 [n, h, w]."""
        self._transfer.read(self._textures[1], _DEPTH, depth)

    def release(self) -> None:
        """Gives its memory back."""
        self._transfer.forget(self._textures + self._before)
        GL.glDeleteFramebuffers(1, [self._object])
        GL.glDeleteTextures(self._textures + self._before)
