"""One set of renders: which pictures of which views go where."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .atlas import Atlas
from .views import PAIR

if TYPE_CHECKING:
    import moderngl

    from .device import Device

__all__ = ["Frame"]


@dataclass
class Frame:
    """The renders of one step (both signs of each pair) or of plain pictures.

    Attributes:
        atlas: what is rendered into.
        copies: 2 for both signs of each pair, 1 for plain pictures.
        num_pairs: how many pairs, or plain pictures.
        cameras, pairs: the buffers Views and Pairs of views.glsl.
        status: the buffer of status.glsl.
        step: for messages.
    """

    device: "Device"
    atlas: Atlas
    copies: int
    num_pairs: int
    cameras: "moderngl.Buffer"
    pairs: "moderngl.Buffer"
    status: "moderngl.Buffer"
    step: int = 0

    def choose(self, views: np.ndarray, jitter: np.ndarray | None = None) -> None:
        """Sets the view of each pair, and by what part of a pixel its pictures are moved [pairs, 2]."""
        content = np.zeros(self.num_pairs, PAIR)
        content["view"] = views
        if jitter is not None:
            content["jitter"] = jitter
        self.pairs.write(content.tobytes())

    @property
    def slots(self) -> int:
        """How many pictures."""
        return self.copies * self.num_pairs

    def buffers(self) -> dict:
        return {"Views": self.cameras, "Pairs": self.pairs, "Status": self.status}

    def uniforms(self) -> dict:
        common = {"copies": self.copies, "num_pairs": self.num_pairs, "step_number": self.step}
        return self.atlas.uniforms() | common
