"""The layered framebuffer of the visibility pass."""

import ctypes
import weakref

import torch

from .gl import GL
from .host_transfer import HostTransfer, TexelKind

__all__ = ["BYTES_PER_PIXEL", "IDS", "KEYS", "LayeredFramebuffer"]

IDS: TexelKind = (GL.GL_R32I, GL.GL_RED_INTEGER, GL.GL_INT)
KEYS: TexelKind = (GL.GL_RG32I, GL.GL_RG_INTEGER, GL.GL_INT)  # an id, and the bits of its depth
_DEPTH = (GL.GL_DEPTH_COMPONENT32F, GL.GL_DEPTH_COMPONENT, GL.GL_FLOAT)
BYTES_PER_PIXEL = {IDS: 4 + 4, KEYS: 2 * 8 + 4}
_EMPTY = (ctypes.c_int32 * 2)(-1, 0)  # no id, at a depth of 0, behind which there is nothing
_BEYOND = (ctypes.c_float * 1)(0.0)


class LayeredFramebuffer:
    """What pixels show, and their depths (float32, 1 for near, almost 0 for far), of images up to height x width.

    One of keys has two sets of images, which take turns: while one is drawn to, the other can be read.
    An OpenGL context must be current whenever it is used. It needs no clean-up where its context is destroyed.

    Args:
        kind: IDS or KEYS.
        layers, height, width: its size.
        transfer: copies to and from tensors.

    Attributes:
        content: the tensor that was read from the whole of what was drawn last, if it is known and still exists.

    Raises:
        RuntimeError: OpenGL has no room for it.
    """

    def __init__(self, kind: TexelKind, layers: int, height: int, width: int, transfer: HostTransfer):
        self._kind, self._transfer = kind, transfer
        self.layers, self.height, self.width = layers, height, width
        self._content: weakref.ref[torch.Tensor] | None = None
        self._depth = self._new_texture(_DEPTH[0])
        self._images = [self._new_texture(kind[0]) for _ in range(2 if kind == KEYS else 1)]  # the last is drawn to
        self._object = GL.glGenFramebuffers(1)
        self.bind()
        GL.glFramebufferTexture(GL.GL_FRAMEBUFFER, GL.GL_DEPTH_ATTACHMENT, self._depth, 0)
        self._draw_to_last()
        status = GL.glCheckFramebufferStatus(GL.GL_FRAMEBUFFER)
        if status != GL.GL_FRAMEBUFFER_COMPLETE:
            self.release()
            raise RuntimeError(f"OpenGL makes no framebuffer of {layers} layers of {height} x {width}: 0x{status:x}")

    def _new_texture(self, kind: int) -> int:
        name = ctypes.c_uint()
        GL.glCreateTextures(GL.GL_TEXTURE_2D_ARRAY, 1, ctypes.byref(name))
        GL.glTextureStorage3D(name.value, 1, kind, self.width, self.height, self.layers)
        for parameter in (GL.GL_TEXTURE_MIN_FILTER, GL.GL_TEXTURE_MAG_FILTER):
            GL.glTextureParameteri(name.value, parameter, GL.GL_NEAREST)  # integers cannot be filtered
        return name.value

    def holds(self, layers: int, height: int, width: int) -> bool:
        """Whether an image stack of this size fits."""
        return layers <= self.layers and height <= self.height and width <= self.width

    def bind(self) -> None:
        """Makes it the target of drawing."""
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, self._object)

    def clear(self, layers: int, height: int, width: int) -> None:
        """Sets ids to -1 and depths beyond the far plane in the lower left part of the first layers."""
        cleared = (self._images[-1], self._kind, _EMPTY), (self._depth, _DEPTH, _BEYOND)
        for texture, kind, value in cleared:
            GL.glClearTexSubImage(texture, 0, 0, 0, 0, width, height, layers, *kind[1:], value)

    def fill(self) -> None:
        """Draws to all of it at once, without triangles."""
        self.bind()
        GL.glClearBufferiv(GL.GL_COLOR, 0, (-1, -1, -1, -1))

    def turn(self, keys: torch.Tensor | None = None) -> None:
        """Lets shaders read what was drawn last, or `keys` [n, h, w] in its place, as image 0, and draws to the other.

        The framebuffer must be bound and be one of keys.
        """
        before = self._images[-1]
        if keys is not None:
            self._transfer.write(before, KEYS, keys)
        self._images.reverse()
        self._draw_to_last()
        GL.glBindImageTexture(0, before, 0, True, 0, GL.GL_READ_ONLY, KEYS[0])

    def _draw_to_last(self) -> None:
        GL.glFramebufferTexture(GL.GL_FRAMEBUFFER, GL.GL_COLOR_ATTACHMENT0, self._images[-1], 0)

    def read(self, out: torch.Tensor) -> None:
        """Copies what was drawn in the lower left part of the first layers into `out`: [n, h, w], ids int32, keys
        int64 with the id in their low half."""
        self._transfer.read(self._images[-1], self._kind, out)

    @property
    def content(self) -> torch.Tensor | None:
        return None if self._content is None else self._content()

    @content.setter
    def content(self, tensor: torch.Tensor | None) -> None:
        self._content = None if tensor is None else weakref.ref(tensor)

    def release(self) -> None:
        """Gives its memory back."""
        GL.glDeleteFramebuffers(1, [self._object])
        GL.glDeleteTextures([*self._images, self._depth])
