"""Credit: each pixel's difference in loss goes to the rows of parameters that contributed to it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .frame import Frame
from .programs import Source, shipped

if TYPE_CHECKING:
    from .device import Device, Pass, Texels
    from .views import Views

__all__ = ["Credit", "RowCredit", "SceneCredit", "TexelCredit", "transposed"]

_BINS = 64  # parts of the sum over a whole picture
PRIMITIVE_SCALE, TEXEL_SCALE = 2.0**16, 2.0**22  # of the fixed point: sums over many pixels, or over few


class Credit:
    """Sums of differences for the rows of one or more parameters.

    Attributes:
        buffers: what gradient.glsl reads.
        defines: macros of gradient.glsl.
        uniforms: its uniforms.
        scale: of the fixed point; 1 where sums are floats.
        sums: the textures of gradient.glsl.
    """

    defines: tuple[str, ...] = ()
    _pass: "Pass"  # of each subclass

    def __init__(self, device: "Device", rows: int, num_pairs: int, scale: float):
        self.device, self.rows, self.scale = device, rows, 1.0 if device.float_sums else scale
        self.buffers: dict = {}
        self.sums: dict[str, Texels] = {}
        self.uniforms: dict = {"rows": rows}
        self._add_sums("Sums", num_pairs * rows, f"the credit of {rows} rows by {num_pairs} pairs")

    def _add_sums(self, name: str, count: int, what: str) -> None:
        """A buffer of sums under its name in the shaders, and in lower case as texels."""
        self.buffers[name] = self.device.buffer(4 * count, what)
        self.sums[name.lower()] = self.device.texels(self.buffers[name], kind="f4" if self.device.float_sums else "i4")

    def accumulate(self, frame: Frame, views: "Views", **more: Any) -> None:
        """Adds what the frame's pairs show; its atlas is bound for passes. `more` are uniforms of the pass."""
        atlas = frame.atlas
        textures = {"color": atlas.color, "ids": atlas.ids, "uvs": atlas.uvs, "targets": views.targets}
        uniforms = frame.uniforms() | self.uniforms | {"scale": self.scale, "channels": views.channels} | more
        self._pass.set(frame.buffers() | self.buffers, textures, **uniforms)
        self._pass.triangles(frame.num_pairs)

    def clear(self) -> None:
        """Sets all sums to zero."""
        for name in self.sums:
            self.device.clear(self.buffers[name.capitalize()])


class RowCredit(Credit):
    """Credits the rows of the primitives that a pixel shows.

    Args:
        starts, rows_of: primitive i contributes the rows rows_of[starts[i] : starts[i + 1]].
        rows: how many there are.
        loss: GLSL of the loss.
    """

    defines = ("PRIMITIVES",)

    def __init__(
        self,
        device: "Device",
        starts: np.ndarray,
        rows_of: np.ndarray,
        rows: int,
        num_pairs: int,
        loss: Sequence[Source],
        scale: float | None,
    ):
        super().__init__(device, rows, num_pairs, scale or PRIMITIVE_SCALE)
        primitives = len(starts) - 1
        what = f"the credit of {primitives} primitives by {num_pairs} pairs"
        back_starts, back = transposed(starts, rows_of, rows)
        self.buffers |= {
            "RowStarts": device.buffer(starts.astype(np.int32)),
            "RowsOf": device.buffer(rows_of.astype(np.int32)),
            "PrimitiveStarts": device.buffer(back_starts.astype(np.int32)),
            "PrimitivesOf": device.buffer(back.astype(np.int32)),
        }
        self._add_sums("Agreed", num_pairs * primitives, what)
        self.uniforms["primitives"] = primitives
        self._pass = device.draw(shipped("pairs.vert"), [*loss, *shipped("credit_rows.frag")])


class SceneCredit(Credit):
    """Credits every pixel that shows a surface to the one row of parameters of the whole scene."""

    defines = ("PRIMITIVES",)

    def __init__(self, device: "Device", num_pairs: int, loss: Sequence[Source], scale: float | None):
        super().__init__(device, 1, num_pairs, scale or PRIMITIVE_SCALE)
        self.buffers |= {
            "PrimitiveStarts": device.buffer(np.array([0, _BINS], np.int32)),
            "PrimitivesOf": device.buffer(np.arange(_BINS, dtype=np.int32)),
        }
        self._add_sums("Agreed", num_pairs * _BINS, "the credit of the scene")
        self.uniforms["primitives"] = _BINS
        self._pass = device.draw(shipped("pairs.vert"), [*loss, *shipped("credit_scene.frag")], f"BINS {_BINS}")


class TexelCredit(Credit):
    """Credits the texels that a pixel shows.

    Args:
        size: (width, height) of the texture.
        footprint: 'nearest' or 'linear'.
        background: whether it is the environment, shown where no surface is.
        fixed: whether both signs show the same texels.
        loss: GLSL of the loss.
    """

    def __init__(
        self,
        device: "Device",
        size: tuple[int, int],
        footprint: str,
        background: bool,
        fixed: bool,
        num_pairs: int,
        loss: Sequence[Source],
        scale: float | None,
    ):
        super().__init__(device, size[0] * size[1], num_pairs, scale or TEXEL_SCALE)
        self.uniforms["texture_size"] = size
        chosen = {"FOOTPRINT": footprint == "linear", "BACKGROUND": background, "FIXED_GEOMETRY": fixed}
        defines = [name for name, wanted in chosen.items() if wanted]
        self._pass = device.draw(shipped("pairs.vert"), [*loss, *shipped("credit_texels.frag")], *defines)


def transposed(starts: np.ndarray, columns: np.ndarray, num_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """The lists of a table the other way round: for each column the rows that have it, each once, ascending."""
    of_row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    pairs = np.unique(np.stack([columns.astype(np.int64), of_row], 1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=num_columns)
    return np.concatenate([[0], np.cumsum(counts)]), pairs[:, 1]
