"""The optimizer: perturb, render both signs, credit, step; all of it in OpenGL."""

import math
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glraster.interop.context import GL, HeadlessContext

from .atlas import Atlas
from .checkpoint import load_state, save_state
from .device import Device
from .frame import Frame
from .mesh_scene import MeshScene
from .parameters import Parameter
from .programs import own, shipped
from .splat_scene import SplatScene
from .state import ParameterState
from .views import PAIR, Views, chosen_views, pack_cameras
from .volume_scene import VolumeScene

__all__ = ["StochasticOptimizer"]

_LOSSES = {"l2": "l2.glsl", "l1": "l1.glsl"}
_FAILURES = {1: "a colour or its loss is not finite", 2: "a sum of the credit left its range; a smaller scale= helps"}


class StochasticOptimizer:
    """Optimizes the parameters of a scene so that its pictures become the target pictures.

    Each step perturbs all parameters by plus and minus eps times random signs, renders both for a few views, credits
    every pixel's difference in loss to the parameters that contributed to it, and lets Adam take a step. The loss is
    the sum over pixels, averaged over views and pairs. Everything stays on the GPU, or in Mesa's software OpenGL;
    nothing is differentiated, and PyTorch is not used.

    Args:
        ctx: a `glraster.interop.context.HeadlessContext` to work in; None: one of its own.
        params: what is optimized.
        render: a `MeshScene`, `SplatScene` or `VolumeScene`.
        loss: 'l2' or 'l1', summed over the channels; or the path of a GLSL file that defines
            `float pixel_loss(vec4 color, vec4 target)`.
        views: how many views a step renders.
        pairs: pairs of perturbed renders of each view.
        seed: of signs and order of views. The same seed gives the same bits.
        jitter: moves the pictures of each pair by up to half this many pixels.
        scale: of the fixed point in which differences are added, a power of two; None: 2^16 where many pixels share a
            sum, 2^22 for texels. Larger is finer, smaller can add up more. Floats have none.
        sums: 'fixed', in which the same seed gives the same bits; or 'float', for which the driver needs
            GL_NV_shader_atomic_float: no `scale`, and the last bits of sums depend on the order of additions.
        precision: 'half' or 'single', of pictures.
        check_every: after so many steps it is read back whether all went well.

    Attributes:
        steps: how many steps were taken.

    Raises:
        OpenGLError: no usable OpenGL on this machine, or none that has what `sums` needs.
        RuntimeError: the driver rejects a shader; with file and line.
        TypeError, ValueError: an argument is not as above, or larger than the driver allows.
    """

    def __init__(
        self,
        ctx: HeadlessContext | None,
        params: Sequence[Parameter],
        render: MeshScene | SplatScene | VolumeScene,
        *,
        loss: str | Path = "l2",
        views: int = 8,
        pairs: int = 1,
        seed: int = 0,
        jitter: float = 0.0,
        scale: float | None = None,
        sums: str = "fixed",
        precision: str = "half",
        check_every: int = 16,
    ):
        self.parameters = list(params)
        _check(self.parameters, views, pairs, check_every)
        _check_numbers(precision, sums, scale, seed, jitter)
        if not isinstance(render, (MeshScene, SplatScene, VolumeScene)):
            need = "a MeshScene, SplatScene or VolumeScene"
            raise TypeError(f"StochasticOptimizer(): render must be {need}, got {type(render).__name__}")
        render.check(self.parameters)
        self.scene, self.seed, self.steps, self.jitter = render, seed, 0, float(jitter)
        self._groups = sorted({parameter.group for parameter in self.parameters})
        self._views_per_step, self._pairs, self._check_every = views, pairs, check_every
        self._loss = shipped(_LOSSES[loss]) if loss in _LOSSES else [own(loss)]
        self._views: Views | None = None
        self._frames: dict[int, Frame] = {}
        self._device = Device(ctx, precision, sums)
        self._finalizer = weakref.finalize(self, self._device.close)
        try:
            with self._device:
                self._prepare(scale)
        except BaseException:
            self.close()
            raise

    def _prepare(self, scale: float | None) -> None:
        device, num_pairs = self._device, self._views_per_step * self._pairs
        self._states = []
        for index, parameter in enumerate(self.parameters):
            neighbours = self.scene.neighbours(device, parameter)
            self._states.append(ParameterState(device, parameter, index, num_pairs, neighbours))
        self._status = device.buffer(8)
        self._reset_status()
        self.scene.prepare(device, self._states, num_pairs, self._loss, scale)

    def _reset_status(self) -> None:
        self._status.write(np.array([0, 0xFFFFFFFF], np.uint32).tobytes())

    def set_views(self, cameras: object, targets: object) -> None:
        """Takes the cameras and pictures that `step()` chooses from; they stay on the GPU.

        Args:
            cameras: world-to-clip matrices [N, 4, 4] for column vectors, OpenGL's clip space.
            targets: [N, H, W, 1, 3 or 4]; see `docs/stochastic.md`. Row 0 is the bottom row.

        Raises:
            TypeError, ValueError: they are not that, or larger than the driver allows. Nothing has changed then.
        """
        with self._device:
            views = Views(self._device, cameras, targets)
            if self._views is not None:
                self._views.release()
            self._views = views

    def step(self, cameras: object = None, targets: object = None, *, timings: dict[str, float] | None = None) -> None:
        """Takes one step with some of the views that `set_views` took, or with these, as many as a step renders.

        Args:
            cameras, targets: see `set_views`.
            timings: the seconds that each pass takes are added here, by name; this waits after every pass.

        Raises:
            RuntimeError: a colour was not finite, or a sum overflowed, now or in one of the latest `check_every` steps.
                The parameters are as they were before that step, to which `steps` returns.
            ValueError: there are no views, or pictures that do not fit.
        """
        if cameras is not None:
            self.set_views(cameras, targets)
        clock = _Clock(self._device, timings)
        with self._device:
            frame = self._accumulate(clock)
            for state in self._active():
                state.update(frame, self.seed, self.steps // len(self._groups) + 1)
            clock.lap("update")
            self.steps += 1
            if self.steps % self._check_every == 0:
                self._check_status()

    def _accumulate(self, clock: "_Clock") -> Frame:
        """Perturbs, renders and credits."""
        views = self._required_views()
        frame = self._frame(2, self._views_per_step * self._pairs, (views.height, views.width), views.cameras)
        chosen = chosen_views(self.seed, self.steps, self._views_per_step, views.count)
        moves = np.random.default_rng((self.seed, self.steps, 1)).uniform(-0.5, 0.5, (frame.num_pairs, 2))
        frame.choose(np.repeat(chosen, self._pairs), self.jitter * moves)
        clock.start()
        active = self._active()
        for state in self._states:
            state.perturb(frame, self.seed, state in active)
        clock.lap("perturb")
        self.scene.draw(frame)
        self._device.gl.memory_barrier()
        clock.lap("render")
        frame.atlas.begin_pass()
        for credit in {id(state.credit): state.credit for state in active}.values():
            credit.clear()
            credit.accumulate(frame, views)
        self._device.gl.memory_barrier()
        clock.lap("credit")
        return frame

    def _active(self) -> list[ParameterState]:
        """The parameters of the group whose turn it is."""
        group = self._groups[self.steps % len(self._groups)]
        return [state for state in self._states if state.parameter.group == group]

    def _required_views(self) -> Views:
        if self._views is None:
            raise ValueError("StochasticOptimizer.step(): there are no views yet: call set_views() first")
        return self._views

    def _frame(self, copies: int, pictures: int, size: tuple[int, int], cameras) -> Frame:
        """The frame of this kind, kept for the next time; of each kind only the latest size."""
        frame = self._frames.get(copies)
        if frame is None or (frame.num_pairs, frame.atlas.height, frame.atlas.width) != (pictures, *size):
            atlas = Atlas(self._device, copies * pictures, *size)
            if frame is not None:
                frame.atlas.release()
                self._device.drop(frame.pairs)
            pairs = self._device.buffer(np.zeros(pictures, PAIR))
            frame = Frame(self._device, atlas, copies, pictures, cameras, pairs, self._status)
            self._frames[copies] = frame
        frame.cameras, frame.step = cameras, self.steps
        return frame

    def gradient(self) -> dict[str, np.ndarray]:
        """The estimate that the next step would follow, by name, in the shape of each parameter; takes no step.

        Where there are groups, it has the parameters of the one whose turn it is.

        Raises:
            RuntimeError, ValueError: see `step`.
        """
        with self._device:
            frame = self._accumulate(_Clock(self._device, None))
            found = {s.parameter.name: s.read(s.gradient(frame, self.seed)) for s in self._active()}
            self._check_status()
        return found

    def render(self, cameras: object, size: tuple[int, int]) -> np.ndarray:
        """Pictures of the scene as it is: [N, height, width, 4] float32; row 0 is the bottom row.

        Args:
            cameras: [N, 4, 4].
            size: (height, width).

        Raises:
            TypeError, ValueError: they are not that, or larger than the driver allows.
        """
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"StochasticOptimizer.render(): size must be (height, width) above zero, got {size}")
        packed = pack_cameras(cameras)
        with self._device:
            buffer = self._device.buffer(packed)
            kind = {"f2": np.float16, "f4": np.float32}[self._device.float_type]
            pictures = [
                frame.atlas.read(frame.atlas.color, kind, 4)[:count]
                for frame, count in self._plain_frames(len(packed), size, buffer)
            ]
            self._device.drop(buffer)
        return np.concatenate(pictures)

    def _plain_frames(self, count: int, size: tuple[int, int], cameras):
        """Draws all views without perturbation, a part at a time; yields the frame, and how many are meant."""
        at_a_time = min(count, 2 * self._views_per_step * self._pairs)
        for start in range(0, count, at_a_time):
            frame = self._frame(1, at_a_time, size, cameras)
            frame.choose(np.minimum(np.arange(start, start + at_a_time), count - 1))
            for state in self._states:
                state.perturb(frame, self.seed)
            self.scene.draw(frame)
            self._device.gl.memory_barrier()
            yield frame, min(at_a_time, count - start)

    def loss(self) -> float:
        """The mean loss of a pixel over all views, without perturbation; reads it back.

        Raises:
            RuntimeError: an earlier step failed; see `step`.
        """
        with self._device:
            self._check_status()
            views, sums = self._required_views(), []
            program = self._device.draw(shipped("background.vert"), [*self._loss, *shipped("loss.frag")])
            for frame, count in self._plain_frames(views.count, (views.height, views.width), views.cameras):
                out = self._device.gl.texture(frame.atlas.size, 1, dtype="f4")
                target = self._device.gl.framebuffer([out])
                target.use()
                self._device.gl.disable(self._device.gl.DEPTH_TEST)
                textures = {"color": frame.atlas.color, "targets": views.targets}
                program.set(frame.buffers(), textures, channels=views.channels, **frame.uniforms())
                program.triangles(frame.slots)
                sums.append(frame.atlas.read(out, np.float32, 1)[:count].sum(dtype=np.float64))
                self._device.idle.use()
                target.release()
                out.release()
        return float(sum(sums) / (views.count * views.height * views.width))

    def download(self, out: Mapping[str, Any] | None = None) -> dict[str, np.ndarray]:
        """The parameters' values by name.

        Args:
            out: arrays or tensors, by name, that are filled with them too.

        Raises:
            RuntimeError: an earlier step failed; see `step`.
        """
        with self._device:
            self._check_status()
            values = {state.parameter.name: state.read(state.values) for state in self._states}
        for name, target in (out or {}).items():
            if name not in values or tuple(target.shape) != values[name].shape:
                need = {key: list(value.shape) for key, value in values.items()}
                raise ValueError(f"download(): out must be among {need}, got {name!r} {list(target.shape)}")
            # A tensor converts what is assigned to it, without recording it, only by way of its .data.
            (target.data if hasattr(target, "detach") else target)[...] = _like(target, values[name])
        return values

    def save(self, path: str | Path) -> None:
        """Writes everything that `load` needs to go on with the same bits; not the views."""
        with self._device:
            self._check_status()
            save_state(path, self._states, self.steps, self.seed)

    def load(self, path: str | Path) -> None:
        """Goes on where `save` was called, in an optimizer made with the same arguments.

        Raises:
            ValueError: the file has other parameters. Nothing has changed then.
        """
        with self._device:
            self.steps, self.seed = load_state(path, self._states)
            self._reset_status()

    def _check_status(self) -> None:
        failures, first = np.frombuffer(self._status.read(), np.uint32)[:2]
        code = GL.glGetError()
        if failures:
            self._reset_status()
            self.steps = min(self.steps, int(first))
            reasons = "; ".join(text for bit, text in _FAILURES.items() if failures & bit)
            raise RuntimeError(
                f"StochasticOptimizer: step {first} failed, and the parameters are as before it: {reasons}"
            )
        if code != GL.GL_NO_ERROR:
            raise RuntimeError(f"StochasticOptimizer: OpenGL failed with error 0x{code:04x}")

    def close(self) -> None:
        """Frees everything on the GPU; a second call does nothing."""
        self._finalizer()

    def __enter__(self) -> "StochasticOptimizer":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class _Clock:
    """Adds up what passes take, if that is wanted."""

    def __init__(self, device: Device, timings: dict[str, float] | None):
        self._device, self._timings = device, timings

    def start(self) -> None:
        if self._timings is not None:
            self._device.gl.finish()
            self._before = time.perf_counter()

    def lap(self, name: str) -> None:
        if self._timings is not None:
            self._device.gl.finish()
            now = time.perf_counter()
            self._timings[name] = self._timings.get(name, 0.0) + now - self._before
            self._before = now


def _check(parameters: list, views: int, pairs: int, check_every: int) -> None:
    op = "StochasticOptimizer(): "
    names = [p.name if isinstance(p, Parameter) else None for p in parameters]
    if not parameters or None in names or len(set(names)) != len(names):
        raise ValueError(f"{op}params must be Parameters with names of their own, got {names}")
    for name, value in (("views", views), ("pairs", pairs), ("check_every", check_every)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{op}{name} must be an integer of at least 1, got {value!r}")


def _check_numbers(precision: str, sums: str, scale: float | None, seed: int, jitter: float) -> None:
    op = "StochasticOptimizer(): "
    if precision not in ("half", "single"):
        raise ValueError(f"{op}precision must be 'half' or 'single', got {precision!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"{op}seed must be an integer from 0 to 2^63 - 1, got {seed!r}")
    if not 0 <= jitter < math.inf:
        raise ValueError(f"{op}jitter must be at least 0 and finite, got {jitter!r}")
    if sums not in ("fixed", "float"):
        raise ValueError(f"{op}sums must be 'fixed' or 'float', got {sums!r}")
    if scale is not None and (sums == "float" or not 0 < scale < math.inf):
        raise ValueError(f"{op}scale must be a number above zero, and None for sums='float', got {scale!r}")


def _like(target, values: np.ndarray):
    return target.new_tensor(values) if hasattr(target, "new_tensor") else values
