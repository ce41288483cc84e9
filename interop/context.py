"""A headless OpenGL context: made through EGL, current only while it is used, safe to use from several threads."""

import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

from .current import Current
from .egl import (
    ADVICE,
    EGL_OPENGL_API,
    EGLDevice,
    OpenGLError,
    check_same_process,
    choose_devices,
    egl,
    egl_error,
)
from .gl import GL

__all__ = ["EXTENSIONS", "VERSION", "HeadlessContext", "renderer_of"]

EGL_NONE, EGL_OPENGL_BIT, EGL_PBUFFER_BIT = 0x3038, 0x0008, 0x0001
EGL_SURFACE_TYPE, EGL_RENDERABLE_TYPE, EGL_WIDTH, EGL_HEIGHT = 0x3033, 0x3040, 0x3057, 0x3056
EGL_CONTEXT_MAJOR_VERSION, EGL_CONTEXT_MINOR_VERSION, EGL_CONTEXT_OPENGL_PROFILE_MASK = 0x3098, 0x30FB, 0x30FD
VERSION = (4, 5)
EXTENSIONS = ("GL_ARB_shader_draw_parameters", "GL_ARB_shader_viewport_layer_array")


class HeadlessContext:
    """An OpenGL core context without a window, on one EGL device.

    `with context:` makes it current on this thread and afterwards makes current again what was so before, also a
    context of another library. Other threads wait for their turn. After `hold()` it stays current on this thread until
    `release_hold()`; another thread that wants it then gets an error, since it might wait forever.

    Args:
        egl_device, cuda_device: see `choose_devices`. The first device on which a context can be made is taken.
        version, extensions: what it must have; by default what the visibility pass needs.

    Attributes:
        device: the `EGLDevice`.
        renderer, version: what the driver says of itself.
        extensions: the OpenGL extensions that it has.

    Raises:
        OpenGLError: there is no EGL, no device, or the driver lacks what the shaders need; says what to do.
    """

    def __init__(
        self,
        egl_device: int | str | None = None,
        cuda_device: int | None = None,
        version: tuple[int, int] = VERSION,
        extensions: Iterable[str] = EXTENSIONS,
    ):
        self._required = version, tuple(extensions)
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._depth = 0  # nested uses by the thread that has the lock
        self._before: Current | None = None
        self._holder: int | None = None  # thread that called hold()
        self._egl_context: _EGLContext | None = None
        check_same_process()
        reasons = []
        for device in choose_devices(egl_device, cuda_device):
            try:
                self._open(device)
                return
            except OpenGLError as error:
                reasons.append(str(error))
        raise OpenGLError(f"no usable OpenGL context: {'; '.join(reasons)} ({ADVICE})")

    def _open(self, device: EGLDevice) -> None:
        with _what_is_current_kept():
            context = _EGLContext(device, self._required[0])
            try:
                context.make_current()
                self._identify(device)
            except BaseException:
                context.destroy()
                raise
        self.device, self._egl_context = device, context

    def _identify(self, device: EGLDevice) -> None:
        self.renderer, self.version = (GL.glGetString(name).decode() for name in (GL.GL_RENDERER, GL.GL_VERSION))
        count = GL.glGetIntegerv(GL.GL_NUM_EXTENSIONS)
        self.extensions = {GL.glGetStringi(GL.GL_EXTENSIONS, index).decode() for index in range(count)}
        missing = [name for name in self._required[1] if name not in self.extensions]
        if missing:
            raise OpenGLError(f"the driver of EGL device {device} ({self.renderer}) lacks {', '.join(missing)}")

    def __enter__(self) -> "HeadlessContext":
        self._check_usable()  # before waiting: the other thread may hold it for ever
        self._lock.acquire()
        try:
            context = self._check_usable()
            if self._holder is None:
                self._make_current(context)
            elif not context.is_current():
                raise RuntimeError("another context was made current since set_context(): call set_context() again")
            self._depth += 1
        except BaseException:
            self._lock.release()
            raise
        return self

    def _make_current(self, context: "_EGLContext") -> None:
        outermost = self._depth == 0 and self._holder is None
        before = Current() if outermost else cast(Current, self._before)
        try:
            if outermost:
                before.set_aside()
            context.make_current()
        except BaseException:
            before.restore()
            raise
        self._before = before

    def __exit__(self, *_) -> None:
        self._depth -= 1
        try:
            if self._depth == 0 and self._holder is None:
                cast(Current, self._before).restore()
                self._before = None
        finally:
            self._lock.release()

    def hold(self) -> None:
        """Makes the context current on this thread and leaves it so.

        Raises:
            RuntimeError: another thread holds it, or it is closed or came from another process.
        """
        self._check_usable()
        with self._lock:
            self._make_current(self._check_usable())
            self._holder = threading.get_ident()

    def release_hold(self) -> None:
        """Ends `hold()`; what was current before is current again.

        Raises:
            RuntimeError: this thread does not hold it.
        """
        context = self._check_usable()
        if self._holder != threading.get_ident():
            raise RuntimeError("release_context(): this thread has not called set_context()")
        with self._lock:
            self._holder = None
            if self._depth == 0:  # else the end of the `with` block that this is in restores it
                if context.is_current():
                    cast(Current, self._before).restore()
                self._before = None

    @property
    def held(self) -> bool:
        """Whether this thread holds the context."""
        return self._holder == threading.get_ident()

    @property
    def usable(self) -> bool:
        """Whether it is neither closed nor from before a fork."""
        return self._egl_context is not None and self._pid == os.getpid()

    def _check_usable(self) -> "_EGLContext":
        if self._pid != os.getpid():
            raise RuntimeError(
                "this OpenGL context was made before the process forked, and drivers do not survive that: make the "
                "context in the child process, started with the 'spawn' method if the parent uses OpenGL too"
            )
        if self._egl_context is None:
            raise RuntimeError("this OpenGL context is closed")
        if self._holder not in (None, threading.get_ident()):
            raise RuntimeError("this OpenGL context is held by another thread: call release_context() there first")
        return self._egl_context

    def close(self, farewell: Callable[[], None] | None = None) -> None:
        """Destroys the context with everything in it; a second call does nothing, nor does one in a forked child.

        Args:
            farewell: called before, with the context current.

        Raises:
            RuntimeError: another thread holds it.
        """
        if not self.usable:
            return
        self._check_usable()
        with self._lock:
            if not self.usable:  # another thread closed it while this one waited
                return
            context = self._check_usable()
            if farewell is not None:
                self._make_current(context)
                farewell()
            if context.is_current() and self._before is not None:
                self._before.restore()
            self.abandon()

    def abandon(self) -> None:
        """Destroys the context without a farewell, where nobody can use it any more; on any thread."""
        context = self._egl_context
        if context is not None and self.usable:
            self._egl_context = self._before = self._holder = None
            context.destroy()
            _give_memory_back()


_CLOSINGS_PER_TRIM = 16
_closings = itertools.count(1)


def _give_memory_back() -> None:
    """Now and then returns to the system what closed contexts leave in the C library's hands: about 5 MB each.

    Mesa frees all that it took, but in so many pieces that glibc keeps the pages. Asking for them takes some 10 ms.
    """
    if next(_closings) % _CLOSINGS_PER_TRIM == 0:
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(ctypes.c_size_t(0))


@functools.cache
def renderer_of(device: EGLDevice) -> str:
    """What the driver calls the renderer of a device, which it says only in a context; empty where it makes none."""
    try:
        with _what_is_current_kept():
            context = _EGLContext(device)
            try:
                context.make_current()
                return GL.glGetString(GL.GL_RENDERER).decode()
            finally:
                context.destroy()
    except OpenGLError:
        return ""


@contextmanager
def _what_is_current_kept() -> Iterator[None]:
    before = Current()
    try:
        before.set_aside()
        yield
    finally:
        before.restore()


class _EGLContext:
    """The bare EGL context."""

    def __init__(self, device: EGLDevice, version: tuple[int, int] = VERSION):
        library = egl()
        self._display = device.display()
        self._surface = self._context = None
        library.eglBindAPI(EGL_OPENGL_API)
        extensions = library.extensions(self._display)
        config = ctypes.c_void_p()
        count = ctypes.c_int()
        wanted = (EGL_RENDERABLE_TYPE, EGL_OPENGL_BIT, EGL_SURFACE_TYPE, EGL_PBUFFER_BIT)
        library.eglChooseConfig(self._display, _attributes(*wanted), ctypes.byref(config), 1, ctypes.byref(count))
        if count.value == 0 and "EGL_KHR_no_config_context" not in extensions:
            raise OpenGLError(f"EGL device {device} offers no configuration for OpenGL")
        wanted = (EGL_CONTEXT_MAJOR_VERSION, version[0], EGL_CONTEXT_MINOR_VERSION, version[1])
        attributes = _attributes(*wanted, EGL_CONTEXT_OPENGL_PROFILE_MASK, 1)
        self._context = library.eglCreateContext(self._display, config, None, attributes)
        if not self._context:
            needed = ".".join(map(str, version))
            raise OpenGLError(f"EGL device {device} makes no OpenGL {needed} core context: {egl_error()}")
        if "EGL_KHR_surfaceless_context" not in extensions:
            size = _attributes(EGL_WIDTH, 1, EGL_HEIGHT, 1)
            self._surface = library.eglCreatePbufferSurface(self._display, config, size)

    def make_current(self) -> None:
        library = egl()
        library.eglBindAPI(EGL_OPENGL_API)
        if not library.eglMakeCurrent(self._display, self._surface, self._surface, self._context):
            raise OpenGLError(
                f"the OpenGL context cannot be made current, it may be so on another thread: {egl_error()}"
            )

    def is_current(self) -> bool:
        return egl().eglGetCurrentContext() == self._context

    def destroy(self) -> None:
        library = egl()
        if self._surface:
            library.eglDestroySurface(self._display, self._surface)
        library.eglDestroyContext(self._display, self._context)


def _attributes(*values: int) -> ctypes.Array:
    return (ctypes.c_int * (len(values) + 1))(*values, EGL_NONE)
