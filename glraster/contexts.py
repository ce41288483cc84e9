"""Rasterizer contexts: the two ways to find out which triangle each pixel sees."""

import functools
import itertools
import logging
import threading
import warnings
import weakref

import torch

from glraster.cuda_kernels.launcher import new_output
from glraster.interop.corners import order_corners
from glraster.interop.egl import OpenGLError

from . import software
from .facing import drop_unseen
from .scene import Scene, Visibility

__all__ = ["OpenGLRasterizer", "RasterizeContext", "SoftwareRasterizer", "context", "context_of", "draws_slowly"]

_log = logging.getLogger(__name__)
_BACKENDS = ("auto", "opengl", "software")
_FEW_GRAPHICS_UNITS = ((9, 0), (10, 0), (10, 3))  # compute capabilities: H100, H200; B100, B200; B300
_handles = itertools.count()
_contexts: "weakref.WeakValueDictionary[int, RasterizeContext]" = weakref.WeakValueDictionary()


def context(device: torch.device | str | int | None = None, backend: str = "auto") -> "RasterizeContext":
    """Makes a rasterizer context.

    Args:
        device: where the tensors live: 'cpu', a CUDA device, its index, or None for the current CUDA device (the CPU
            where PyTorch sees none).
        backend: 'opengl', 'software', or 'auto' for OpenGL where it is to be had and not the slower one (see
            docs/opengl.md), else software; the logger 'glraster' says why (level INFO).

    Returns:
        An `OpenGLRasterizer` or a `SoftwareRasterizer`.

    Raises:
        ValueError: a device or backend of another kind.
        RuntimeError: no such device, or with 'opengl' none of its contexts; says why.
    """
    if backend not in _BACKENDS:
        raise ValueError(f"context(): backend must be 'auto', 'opengl' or 'software', got {backend!r}")
    if backend == "auto" and draws_slowly(_resolve_device("context", device)):
        _log.info("the software rasterizer draws, since this GPU has few units for graphics")
        return SoftwareRasterizer(device)
    if backend != "software":
        try:
            return OpenGLRasterizer(device=device)
        except OpenGLError as error:
            if backend == "opengl":
                raise
            _log.info("the software rasterizer draws, since there is no OpenGL: %s", error)
    return SoftwareRasterizer(device)


def draws_slowly(device: torch.device) -> bool:
    """Whether a GPU is made for computing, with so few units for graphics that OpenGL is the slower rasterizer."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) in _FEW_GRAPHICS_UNITS


def context_of(handle: int) -> "RasterizeContext | None":
    """The context with this handle, if it still exists."""
    return _contexts.get(handle)


class RasterizeContext:
    """What both contexts have in common: a device, copies, closing, and the depth peeler that holds the context.

    A copy (`copy.deepcopy`, `pickle`, `torch.save`, alone or within a module) is a new, open context that was made with
    the same arguments, on the same device.

    Attributes:
        device: where the tensors live.
        handle: a number that stands for the context where only numbers can: in operators and compiled programs.
        output_db: whether `rasterize` makes `rast_db`.
        reach: how many times the view two corners of a triangle may lie outside of it; see docs/opengl.md.
    """

    reach: float

    def __init__(self, device: torch.device | str | int | None = None):
        self.device = _resolve_device(type(self).__name__, device)
        self.handle = next(_handles)
        _contexts[self.handle] = self
        self.output_db = True
        self._closed = False
        self._peeler: weakref.ref | None = None
        self._reserving = threading.Lock()

    @property
    def peeler(self) -> object | None:
        """The depth peeler that has reserved this context and still exists."""
        return None if self._peeler is None else self._peeler()

    def reserve(self, peeler: object) -> None:
        """Keeps this context for `peeler` alone, until `unreserve` or until nobody else holds the peeler.

        Raises:
            RuntimeError: it is kept for one already, or closed.
        """
        self._check_open()
        with self._reserving:
            if self.peeler is not None:
                raise RuntimeError("DepthPeeler: the context is reserved by another DepthPeeler, which must end first")
            self._peeler = weakref.ref(peeler)

    def unreserve(self, peeler: object) -> None:
        """Ends `reserve`."""
        with self._reserving:
            if self.peeler is peeler:
                self._peeler = None

    def find_visible(self, scene: Scene, behind: Visibility | None = None, *, peeling: bool = False) -> Visibility:
        """Finds the nearest triangle of every pixel; with `behind`, the nearest behind that layer.

        Args:
            scene: what is drawn.
            behind: an earlier result for the same scene, found with `peeling`.
            peeling: the result is to serve as `behind`.

        Raises:
            RuntimeError: the context is closed.
        """
        raise NotImplementedError

    def ids_dtype(self, peeling: bool) -> torch.dtype:
        """Of the ids that `find_visible` returns."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what the context holds. Whatever uses it afterwards raises RuntimeError; a second call is none.

        Raises:
            RuntimeError: a depth peeler has reserved the context, or another thread holds it.
        """
        with self._reserving:
            if self.peeler is not None:
                raise RuntimeError("close(): the context is reserved by a DepthPeeler, close it after that one's block")
            self._give_back()
            self._closed = True

    def _give_back(self) -> None:
        """What `close` does in a class of contexts."""

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"this {type(self).__name__} is closed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _arguments(self) -> dict:
        """What a copy is made with."""
        return {"device": self.device}

    def __reduce__(self):
        return _make_again, (type(self), self._arguments())


def _make_again(kind: type[RasterizeContext], arguments: dict) -> RasterizeContext:
    return kind(**arguments)


class SoftwareRasterizer(RasterizeContext):
    """Rasterizes with glraster's own kernels: on the CPU and on CUDA devices, without OpenGL, at any resolution.

    Args:
        device: where to rasterize: 'cpu', a CUDA device, its index, or None for the current CUDA device (the CPU
            where PyTorch sees none).

    Raises:
        ValueError: a device of another kind.
        RuntimeError: PyTorch sees no such device.
    """

    reach = 1e15

    def find_visible(
        self, scene: Scene, behind: Visibility | None = None, *, peeling: bool = False, by_cells: bool | None = None
    ) -> Visibility:
        """As in the base class; `by_cells` chooses between two equal ways, made for CPUs and for GPUs."""
        self._check_open()
        return software.find_visible(scene, behind, peeling=peeling, by_cells=by_cells)

    def ids_dtype(self, peeling: bool) -> torch.dtype:
        return torch.int64 if peeling or self.device.type != "cpu" else torch.int32

    def shrink(self) -> None:
        """Gives back the memory, 128 MiB at most, that this process keeps for the calls to come on a CPU.

        Raises:
            RuntimeError: the context is closed.
        """
        self._check_open()
        software.release_scratch()


class OpenGLRasterizer(RasterizeContext):
    """Rasterizes with a GLSL pass in a headless EGL context.

    Any thread may use it; calls wait for one another. It cannot be used in a forked child process, and once one was
    made neither can others that are made there: start such children with 'spawn' or 'forkserver' (docs/processes.md).

    Args:
        output_db: False leaves out `rast_db` (zero channels).
        mode: 'automatic': the OpenGL context is current only during a call, and what was current before is current
            again afterwards. 'manual': it is current from `set_context()` to `release_context()`; whatever OpenGL state
            the caller sets there, calls draw the same, and leave it as it was.
        device: where the tensors live: 'cpu', a CUDA device, its index, or None for the current CUDA device (the CPU
            where PyTorch sees none).
        egl_device: the EGL device that draws: its index, or a part of its name or of its renderer's (`glraster doctor`
            lists them). None: that of `device`, else the first on which a context can be made. The environment
            variable GLRASTER_EGL_DEVICE, where it is set, takes its place.

    On a CUDA device OpenGL draws there and nothing leaves it. Where the two do not work together, the software
    rasterizer takes over, with one warning (`glraster doctor` says why).

    Raises:
        OpenGLError: a RuntimeError: no headless OpenGL context can be had on this machine or in this process, and the
            device is 'cpu'; says why.
        RuntimeError: PyTorch sees no such device.
        TypeError: egl_device is neither an index nor a name; output_db is a device.
        ValueError: a device or mode of another kind; an empty egl_device.
    """

    reach = 1e4

    def __init__(
        self,
        output_db: bool = True,
        mode: str = "automatic",
        device: torch.device | str | int | None = None,
        *,
        egl_device: int | str | None = None,
    ):
        name = type(self).__name__
        if isinstance(output_db, (str, torch.device)):  # a SoftwareRasterizer takes the device first
            raise TypeError(f"{name}(): output_db must be a bool, got {output_db!r}: pass it as device=")
        super().__init__(device)
        if mode not in ("automatic", "manual"):
            raise ValueError(f"{name}(): mode must be 'automatic' or 'manual', got {mode!r}")
        self.output_db, self.mode, self._wanted_device = output_db, mode, egl_device
        self._software: SoftwareRasterizer | None = None  # what does the work where OpenGL cannot, on a GPU
        try:
            self._pass = self._make_pass()
        except RuntimeError as error:
            if self.device.type == "cpu":
                raise
            _warn_of_software(name, str(error))
            self._software = SoftwareRasterizer(self.device)

    def _make_pass(self):
        from glraster.interop.visibility import VisibilityPass  # only here is OpenGL looked for

        if self.device.type == "cpu":
            return VisibilityPass(self._wanted_device)
        from glraster.interop.cuda_gl import cuda_visibility_pass

        return cuda_visibility_pass(self._wanted_device, self.device)

    def find_visible(self, scene: Scene, behind: Visibility | None = None, *, peeling: bool = False) -> Visibility:
        self._check_open()
        if self._software is not None:
            return self._software.find_visible(scene, behind, peeling=peeling)
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("OpenGL cannot be captured in a CUDA graph, use a SoftwareRasterizer")
        if self.mode == "manual" and not self._pass.context.held:
            raise RuntimeError(f"{type(self).__name__}: mode='manual' needs set_context() on this thread before a call")
        shape = scene.num_images, scene.height, scene.width
        ids = new_output(scene.pos, *shape, dtype=self.ids_dtype(peeling))
        if ids.numel():
            pos = scene.pos.float()
            tri = order_corners(pos if pos.ndim == 2 else pos[0], scene.tri, keep_facing=scene.cull != "none")
            pos, tri, dropped = drop_unseen(scene.pos, scene.tri, tri)
            before = None if behind is None else behind.ids
            self._pass.draw(pos, tri, shape[1:], scene.ranges, ids, scene.cull, behind=before, dropped=dropped)
        return Visibility(ids)

    def ids_dtype(self, peeling: bool) -> torch.dtype:
        return torch.int64 if peeling or self._software is not None else torch.int32

    def set_context(self) -> None:
        """Makes the OpenGL context current on this thread until `release_context()`, in mode 'manual'.

        Raises:
            RuntimeError: the mode is 'automatic', the context is closed, or another thread holds it.
        """
        self._check_manual("set_context")
        if self._software is None:
            self._pass.context.hold()

    def release_context(self) -> None:
        """Makes current again what was so before `set_context()`, in mode 'manual'.

        Raises:
            RuntimeError: the mode is 'automatic', or this thread has not called `set_context()`.
        """
        self._check_manual("release_context")
        if self._software is None:
            self._pass.context.release_hold()

    def _check_manual(self, op: str) -> None:
        self._check_open()
        if self.mode != "manual":
            raise RuntimeError(f"{op}(): needs {type(self).__name__}(mode='manual'), got mode {self.mode!r}")

    @property
    def egl_device(self) -> str:
        """The EGL device that draws: its index and name; 'none' where the software rasterizer has taken over."""
        return "none" if self._software is not None else str(self._pass.context.device)

    def shrink(self) -> None:
        """Gives the framebuffer's memory back, which otherwise keeps the size of the largest call.

        Raises:
            RuntimeError: the context is closed, or another thread holds it.
        """
        self._check_open()
        if self._software is None:
            self._pass.shrink()

    def _give_back(self) -> None:
        if self._software is None:
            self._pass.close()

    def _arguments(self) -> dict:
        drawing = {"output_db": self.output_db, "mode": self.mode, "egl_device": self._wanted_device}
        return super()._arguments() | drawing


@functools.cache
def _warn_of_software(name: str, reason: str) -> None:
    """Warns once."""
    message = f"{name} draws with the software rasterizer, since OpenGL and CUDA do not work together: {reason}"
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _resolve_device(context: str, device: torch.device | str | int | None) -> torch.device:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{context}(): device must be 'cpu' or a CUDA device, got {device!r}") from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"{context}(): device must be 'cpu' or a CUDA device, got {resolved}")
    if resolved.type == "cpu":
        return torch.device("cpu")  # as tensors have it, without an index
    if resolved.type == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError(f"{context}(): PyTorch sees no CUDA device, got device={device!r}: pass device='cpu'")
        if resolved.index is None:
            resolved = torch.device("cuda", torch.cuda.current_device())
    return resolved
