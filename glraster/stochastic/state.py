"""A parameter on the GPU: values, moments, perturbed copies, and its update."""

import math
from typing import TYPE_CHECKING, Any, cast

import moderngl
import numpy as np

from .crediting import Credit
from .frame import Frame
from .parameters import Parameter
from .smoothing import Neighbours, Smoothing

if TYPE_CHECKING:
    from .device import Device

__all__ = ["ParameterState", "pcg"]

EDGE_PART = 0.25  # no perturbation of a vertex is larger than this part of its shortest edge
_LARGEST = 3e38  # a float32 for infinity


def pcg(value: int) -> int:
    """The hash of hash.glsl."""
    mask = 0xFFFFFFFF
    state = (value * 747796405 + 2891336453) & mask
    word = (((state >> ((state >> 28) + 4)) ^ state) * 277803737) & mask
    return (word >> 22) ^ word


class ParameterState:
    """What one parameter needs on the GPU; an OpenGL context must be current in every call.

    Args:
        parameter: it.
        index: its number among the parameters, which its signs depend on.
        num_pairs: of a step.
        neighbours: of its rows in the mesh, if it has any.

    Attributes:
        credit: what its gradients come from, once `use` has said so.
        values: buffer [rows, components].
        perturbed: buffer [2 pairs, rows, components]; None for textures, which are perturbed where they are read.
        texels: `values` as texels.
    """

    def __init__(
        self,
        device: "Device",
        parameter: Parameter,
        index: int,
        num_pairs: int,
        neighbours: Neighbours | None = None,
    ):
        self.device, self.parameter = device, parameter
        self.credit: Credit
        self._index, self._num_pairs, self._neighbours = index, num_pairs, neighbours
        rows, C, what = parameter.rows, parameter.components, f"parameter {parameter.name!r}"
        self.values = device.buffer(parameter.value, what)
        self.moments = device.buffer(8 * rows * C, f"the moments of {what}")
        self.counts = device.buffer(4 * rows)
        self.gradients: moderngl.Buffer | None = None
        self.perturbed: moderngl.Buffer | None = None
        self.texels = device.texels(self.values, C)
        self._old = {
            "old_values": self.texels,
            "old_moments": device.texels(self.moments, C),
            "old_counts": device.texels(self.counts, kind="i4"),
        }
        self._lookup: tuple[int, float] = 0, 0.0
        groups = -(-rows // 64)
        self._threads = 64 * min(groups, 32768), -(-groups // 32768)  # for a thread per row
        self._defines = (f"SIZE {C}", *(("PIXELS",) if parameter.in_pixels else ()))
        if not parameter.is_texture:
            self.perturbed = device.buffer(8 * num_pairs * rows * C, f"the perturbed copies of {what}")
        self._caps = device.buffer(np.full(rows, 1e30, np.float32)) if parameter.in_pixels else None
        self._smoothing: Smoothing | None = None
        if parameter.smoothness > 0:
            self._smoothing = Smoothing(device, cast(Neighbours, neighbours), parameter.smoothness, rows, C)
            self._largest, self._step = device.buffer(16), device.buffer(4 * rows * C)
            self._step_texels = device.texels(self._step, C)

    def _perturbation(self, frame: Frame, seed: int) -> tuple[dict, dict]:
        """Buffers and uniforms of perturbation.glsl."""
        key = 0
        for number in (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, frame.step, self._index):
            key = pcg(key ^ number)
        buffers = frame.buffers() | {"Places": self.values, "Caps": self._caps}
        return buffers, frame.uniforms() | {"key": key, "eps": self.parameter.eps, "rows": self.parameter.rows}

    def perturb(self, frame: Frame, seed: int, active: bool = True) -> None:
        """Fills `perturbed` for a frame, or says how textures are read; plain pictures show the values as they are.

        Args:
            active: False: with the values as they are.
        """
        parameter = self.parameter
        if self._caps is not None and self._neighbours is not None and frame.copies == 2:
            buffers: dict[str, Any] = self._neighbours.buffers | {"Places": self.values, "Caps": self._caps}
            self.device.compute("shortest_edges.comp").run(buffers, parameter.rows, rows=parameter.rows, part=EDGE_PART)
        buffers, uniforms = self._perturbation(frame, seed)
        uniforms["eps"] *= active
        if parameter.is_texture:
            self._lookup = uniforms["key"], uniforms["eps"] if frame.copies == 2 else 0.0
        elif frame.copies == 2:
            program = self.device.compute("perturb_rows.comp", *self._defines)
            buffers |= {"Values": self.values, "Perturbed": self.perturbed}
            program.run(buffers, parameter.rows, frame.num_pairs, **uniforms)

    def shown(self, frame: Frame) -> tuple[moderngl.Buffer, int]:
        """The buffer that a frame's shaders read, and how many rows lie from one picture to the next."""
        if frame.copies == 2:
            return cast(moderngl.Buffer, self.perturbed), self.parameter.rows
        return self.values, 0

    def lookup(self, name: str) -> dict:
        """The uniforms of texture_parameter.glsl for the frame that was perturbed last, where it is called `name`."""
        key, eps = self._lookup
        return {f"{name}_extent": self.parameter.texture_size, f"{name}_key": key, f"{name}_eps": eps}

    def _gradient_inputs(self, frame: Frame, seed: int) -> tuple[dict, dict]:
        """Buffers and uniforms of gradient.glsl; its sums are textures."""
        buffers, uniforms = self._perturbation(frame, seed)
        unit = 1 / (2 * self.credit.scale * frame.num_pairs)
        return buffers | self.credit.buffers, uniforms | self.credit.uniforms | {"unit": unit}

    def gradient(self, frame: Frame, seed: int) -> moderngl.Buffer:
        """The gradient [rows, components] that was credited."""
        if self.gradients is None:
            self.gradients = self.device.buffer(4 * self.parameter.value.size)
            self._gradient_texels = self.device.texels(self.gradients, self.parameter.components)
        buffers, uniforms = self._gradient_inputs(frame, seed)
        program = self.device.compute("gradient.comp", *self._defines, *self.credit.defines)
        buffers["Gradients"] = self.gradients
        program.run(buffers, *self._threads, textures=self.credit.sums, **uniforms)
        return self.gradients

    def update(self, frame: Frame, seed: int, count: int) -> None:
        """Steps the values, for the `count`th time, unless the status says that something went wrong."""
        parameter = self.parameter
        rate = parameter.lr * math.exp(-parameter.decay * frame.step)
        beta1, beta2 = parameter.betas
        options = {
            "rate": rate,
            "beta1": beta1,
            "beta2": beta2,
            "low": max(-_LARGEST, parameter.low),
            "high": min(_LARGEST, parameter.high),
        }
        if self._smoothing is not None:
            self._smoothed_update(self._smoothing, frame, seed, count, options)
            return
        buffers, uniforms = self._gradient_inputs(frame, seed)
        buffers |= {"Values": self.values, "Moments": self.moments, "Counts": self.counts}
        program = self.device.compute("adam.comp", *self._defines, *self.credit.defines)
        program.run(buffers, *self._threads, textures=self._old | self.credit.sums, **uniforms, **options)

    def _smoothed_update(self, smoothing: Smoothing, frame: Frame, seed: int, count: int, options: dict) -> None:
        self.gradient(frame, seed)
        gradients = smoothing.solve(self._gradient_texels)
        elements = self.parameter.value.size
        self.device.clear(self._largest)
        buffers = frame.buffers() | {
            "Gradients": gradients,
            "Moments": self.moments,
            "Largest": self._largest,
            "Steps": self._step,
            "Values": self.values,
        }
        corrections = [1 / (1 - beta**count) for beta in self.parameter.betas]
        options = options | {"elements": elements, "correction1": corrections[0], "correction2": corrections[1]}
        self.device.compute("uniform_moments.comp").run(buffers, elements, **options)
        self.device.compute("uniform_step.comp").run(buffers, elements, **options)
        buffers["Steps"] = smoothing.solve(self._step_texels)
        self.device.compute("apply_step.comp").run(buffers, elements, **options)

    def use(self, credit: Credit) -> None:
        """Says which credit its gradients come from."""
        self.credit = credit

    def read(self, buffer: moderngl.Buffer, dtype=np.float32) -> np.ndarray:
        count = self.parameter.value.size
        return np.frombuffer(buffer.read(), dtype)[:count].reshape(self.parameter.value.shape).copy()
