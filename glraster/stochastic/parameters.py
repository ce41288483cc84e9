"""What is optimized: its values, and how it is perturbed, credited and stepped."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CREDITS", "Parameter", "check_name", "to_array"]

# What contributed to a pixel, and the shape of the parameter's value.
CREDITS = {
    "vertex": "[V, C]",  # the vertices of its triangle
    "control": "[K, 3]",  # the control vertices that its triangle of the subdivided surface depends on
    "primitive": "[T, C]",  # its triangle, or the splats over it
    "scene": "[C]",  # everything: shown by any triangle
    "texel": "[height, width, C]",  # of a texture on the surface
    "background": "[height, width, 3]",  # the environment's texel, where there is no surface
    "voxel": "[depth, height, width, 4]",  # those that its ray visits
}
_PIXELS = re.compile(r"^\s*([\d.]*)\s*pixels?\s*$")


@dataclass
class Parameter:
    """A part of the scene that is optimized.

    Args:
        name: what shaders call it; 'position' for vertex positions and control vertices.
        value: where it starts; NumPy array or tensor, of the shape that `credit` has in the list below. C is 1 to 4.
        credit: what contributed to a pixel. 'vertex' [V, C], 'control' [K, 3], 'primitive' [T, C], 'scene' [C],
            'texel' [height, width, C] (row 0 is v = 0), 'background' [height, width, 3] (an environment map, see
            docs/stochastic.md), 'voxel' [depth, height, width, 4].
        eps: size of the perturbation: a number, or a part of a pixel as it projects to the place of a vertex:
            'pixel' is '0.25 pixel', never more than a quarter of the shortest edge there. None: 'pixel' for
            positions, else 1 / 256.
        lr: learning rate of Adam, in units of the value.
        decay: the rate falls as exp(-decay step).
        smoothness: lambda of the preconditioner (I + lambda L)^-1, which smooths gradients and steps over the mesh; for
            'vertex' and 'control' only. 0: none. Fits of meshes need it: 4 to 16.
        low, high: limits of the values.
        filter: of a texture, 'nearest' or 'linear'.
        footprint: the texels credited for a lookup: 'nearest', which also serves linear filtering better, or 'linear'.
        betas: Adam's two decay rates.
        group: parameters of different groups are perturbed in different steps, which take turns. Geometry and textures
            belong in two: each pixel that moves is noise to its texels.

    Raises:
        TypeError, ValueError: an argument is not as above.
    """

    name: str
    value: Any  # what is given; then a float32 array
    credit: str
    eps: float | str | None = None
    lr: float = 1e-2
    decay: float = 0.0
    smoothness: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    filter: str = "nearest"
    footprint: str = "nearest"
    betas: tuple[float, float] = (0.9, 0.999)
    group: int = 0

    def __post_init__(self):
        check_name("Parameter(): name", self.name)
        if self.credit not in CREDITS:
            raise ValueError(
                f"Parameter(): credit of {self.name!r} must be one of {list(CREDITS)}, got {self.credit!r}"
            )
        self.value = to_array(f"Parameter(): value of {self.name!r}", self.value)
        self._check_shape()
        for option in ("filter", "footprint"):
            if getattr(self, option) not in ("nearest", "linear"):
                got = getattr(self, option)
                raise ValueError(f"Parameter(): {option} of {self.name!r} must be 'nearest' or 'linear', got {got!r}")
        if self.smoothness and self.credit not in ("vertex", "control"):
            raise ValueError(f"Parameter(): smoothness of {self.name!r} needs credit 'vertex' or 'control'")
        if not self.smoothness >= 0 or not self.lr >= 0 or not self.low < self.high:
            numbers = f"smoothness {self.smoothness}, lr {self.lr}, limits {self.low}..{self.high}"
            raise ValueError(f"Parameter(): {self.name!r} must have smoothness, lr >= 0 and low < high, got {numbers}")
        self.in_pixels, self.eps = self._parsed_eps()

    def _check_shape(self) -> None:
        if self.credit == "scene":
            self.value = self.value.reshape(1, -1) if self.value.ndim < 2 else self.value
        rank = CREDITS[self.credit].count(",") + 1 if self.credit != "scene" else 2
        most = 4
        exact = {"background": 3, "voxel": 4, "control": 3}.get(self.credit)
        if self.name == "position" and self.credit == "vertex":
            exact = 3
        components = self.value.shape[-1] if self.value.ndim else 0
        fits = self.value.ndim == rank and 1 <= components <= most and exact in (None, components)
        if not fits or self.value.size == 0:
            need = f"{CREDITS[self.credit]}, not empty, C from 1 to {most}"
            raise ValueError(f"Parameter(): value of {self.name!r} must be {need}, got {list(self.value.shape)}")

    def _parsed_eps(self) -> tuple[bool, float]:
        eps, positions = self.eps, self.name == "position" and self.credit in ("vertex", "control")
        if eps is None:
            eps = "pixel" if positions else 1 / 256
        in_pixels = isinstance(eps, str)
        if isinstance(eps, str):
            match = _PIXELS.match(eps)
            if match is None or not positions:
                need = "a number, or for positions 'pixel' or a part of one such as '0.5 pixel'"
                raise ValueError(f"Parameter(): eps of {self.name!r} must be {need}, got {eps!r}")
            eps = float(match[1] or 0.25)
        if not (0 < eps < math.inf):
            raise ValueError(f"Parameter(): eps of {self.name!r} must be above zero and finite, got {eps!r}")
        return in_pixels, float(eps)

    @property
    def is_texture(self) -> bool:
        return self.credit in ("texel", "background")

    @property
    def components(self) -> int:
        return self.value.shape[-1]

    @property
    def rows(self) -> int:
        """How many rows are credited."""
        return self.value.size // self.components

    @property
    def texture_size(self) -> tuple[int, int]:
        """Width and height of a texture."""
        return self.value.shape[1], self.value.shape[0]


def check_name(what: str, name: object) -> None:
    """Raises ValueError unless shaders can call something so."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or "glr_" in name:
        raise ValueError(f"{what} must be an identifier of GLSL, got {name!r}")


def to_array(what: str, value: object, dtype=np.float32) -> np.ndarray:
    """A copy of an array or tensor in the CPU's memory, contiguous.

    Raises:
        TypeError: it is neither.
        ValueError: a number in it is not finite.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        array = np.array(value, dtype=dtype, order="C")
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} must be an array or tensor of numbers, got {type(value).__name__}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite, got NaN or infinity")
    return array
