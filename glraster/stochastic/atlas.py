"""What a step renders into: every picture in a tile of one atlas, with its colours, ids and texture coordinates."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import moderngl
import numpy as np

from glraster.interop.context import GL

if TYPE_CHECKING:
    from .device import Device

__all__ = ["Atlas"]

NONE = 0xFFFFFFFF  # the id where no triangle is


class Atlas:
    """`count` pictures of height x width pixels.

    Attributes:
        color, ids, uvs: textures of the whole atlas.
        grid: tiles along x and y.

    Raises:
        ValueError: it would be larger than the driver allows.
    """

    def __init__(self, device: "Device", count: int, height: int, width: int):
        self.device, self.count, self.height, self.width = device, count, height, width
        most = device.max_texture_size
        columns = min(count, max(1, most // width), max(1, math.ceil(math.sqrt(count * height / width))))
        self.grid = columns, -(-count // columns)
        self.size = self.grid[0] * width, self.grid[1] * height
        if max(self.size) > most:
            need = f"{count} pictures of {height} x {width}"
            limit = f"this OpenGL driver's textures end at {most} x {most}"
            raise ValueError(f"StochasticOptimizer(): {need} do not fit: {limit}; take fewer views or pairs at a time")
        gl = device.gl
        self.color = gl.texture(self.size, 4, dtype=device.float_type)
        self.ids = gl.texture(self.size, 1, dtype="u4")
        self.uvs = gl.texture(self.size, 2, dtype="f4")
        for texture in (self.color, self.ids, self.uvs):
            texture.filter = (moderngl.NEAREST, moderngl.NEAREST)
        self._depth = gl.depth_renderbuffer(self.size)
        self.framebuffer = gl.framebuffer([self.color, self.ids, self.uvs], self._depth)
        self._color_alone = gl.framebuffer([self.color])
        # What passes over one picture draw to; nothing is written there.
        self._nothing = gl.texture((width, height), 1, dtype="f1")
        self._pass = gl.framebuffer([self._nothing])
        self._items = (
            self.framebuffer,
            self._color_alone,
            self._pass,
            self._nothing,
            self.color,
            self.ids,
            self.uvs,
            self._depth,
        )
        for item in self._items:
            device.keep(item)

    def begin(self) -> None:
        """Draws to it from now on, with a cleared depth buffer."""
        self.framebuffer.use()
        self.device.gl.viewport = (0, 0, *self.size)
        GL.glColorMask(True, True, True, True)
        GL.glDepthMask(True)
        GL.glClearBufferfv(GL.GL_DEPTH, 0, np.ones(1, "f4"))
        self.device.clip_to_tiles(True)

    def begin_color(self, background: Sequence[float]) -> None:
        """Draws to its colours alone from now on, without depth, over a background."""
        self._color_alone.use()
        self.device.gl.viewport = (0, 0, *self.size)
        GL.glColorMask(True, True, True, True)
        GL.glClearBufferfv(GL.GL_COLOR, 0, np.array(background, "f4"))
        self.device.gl.disable(moderngl.DEPTH_TEST | moderngl.BLEND | moderngl.CULL_FACE)
        self.device.clip_to_tiles(True)

    def begin_pass(self) -> None:
        """Runs fragment shaders over one picture from now on, for what they add to buffers."""
        self._pass.use()
        self.device.gl.viewport = (0, 0, self.width, self.height)
        self.device.gl.disable(moderngl.DEPTH_TEST)
        self.device.gl.disable(moderngl.BLEND)
        self.device.clip_to_tiles(False)

    def uniforms(self) -> dict:
        return {
            "grid": self.grid,
            "size": (self.width, self.height),
            "width": self.width,
            "pixel_size": (2 / self.width, 2 / self.height),
        }

    def read(self, texture, dtype: str, components: int) -> np.ndarray:
        """The pictures [count, height, width, components] of one of its textures; row 0 is the bottom row."""
        data = np.frombuffer(texture.read(alignment=1), dtype).reshape(self.size[1], self.size[0], components)
        columns, rows = self.grid
        tiles = data.reshape(rows, self.height, columns, self.width, components).swapaxes(1, 2)
        return tiles.reshape(-1, self.height, self.width, components)[: self.count].astype(np.float32)

    def release(self) -> None:
        """Gives its memory back."""
        self.device.idle.use()
        self.device.drop(*self._items)
