"""What OpenGL context is current on a thread, whoever made it, and making it so again."""

import ctypes
import functools
import os
from typing import cast

from .egl import EGL_OPENGL_API, egl

__all__ = ["Current"]

EGL_DRAW, EGL_READ = 0x3059, 0x305A


class Current:
    """What is current on this thread: nothing, or a context of EGL or GLX."""

    def __init__(self):
        library = egl()
        self._api = library.eglQueryAPI()
        library.eglBindAPI(EGL_OPENGL_API)
        surfaces = library.eglGetCurrentSurface(EGL_DRAW), library.eglGetCurrentSurface(EGL_READ)
        self._egl = library.eglGetCurrentDisplay(), *surfaces, library.eglGetCurrentContext()
        glx = _loaded_glx()
        self._glx = None
        if glx is not None and glx.glXGetCurrentContext():
            drawables = glx.glXGetCurrentDrawable(), glx.glXGetCurrentReadDrawable()
            self._glx = glx.glXGetCurrentDisplay(), *drawables, glx.glXGetCurrentContext()

    def set_aside(self) -> None:
        """Makes way for a context of EGL: a thread cannot go from GLX to EGL in one step."""
        if self._glx is not None:
            cast(ctypes.CDLL, _loaded_glx()).glXMakeContextCurrent(self._glx[0], 0, 0, None)

    def restore(self) -> None:
        library = egl()
        restored = self._egl[-1] and library.eglMakeCurrent(*self._egl)
        if not restored and library.eglGetCurrentContext():  # nothing was current, or it was destroyed since
            library.eglMakeCurrent(library.eglGetCurrentDisplay(), None, None, None)
        library.eglBindAPI(self._api)
        if self._glx is not None:
            cast(ctypes.CDLL, _loaded_glx()).glXMakeContextCurrent(*self._glx)


def _loaded_glx() -> ctypes.CDLL | None:
    """The GLX library if this process has it loaded, else None. Looked for again only after a library was loaded."""
    return _find_glx(_loads_so_far())


@functools.lru_cache(maxsize=1)
def _find_glx(loads: int) -> ctypes.CDLL | None:
    try:
        glx = ctypes.CDLL("libGLX.so.0", mode=os.RTLD_NOLOAD | os.RTLD_NOW)
    except OSError:
        return None
    pointer, drawable = ctypes.c_void_p, ctypes.c_ulong
    glx.glXGetCurrentContext.restype = glx.glXGetCurrentDisplay.restype = pointer
    glx.glXGetCurrentDrawable.restype = glx.glXGetCurrentReadDrawable.restype = drawable
    glx.glXMakeContextCurrent.argtypes = [pointer, drawable, drawable, pointer]
    return glx


class _LoadedObject(ctypes.Structure):
    """struct dl_phdr_info of the C library."""

    _fields_ = [
        ("address", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.c_void_p),
        ("num_headers", ctypes.c_uint16),
        ("loads", ctypes.c_ulonglong),  # how many objects were loaded into the process so far
        ("unloads", ctypes.c_ulonglong),
    ]


_Visit = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_LoadedObject), ctypes.c_size_t, ctypes.POINTER(ctypes.c_ulong))


@_Visit
def _note_loads(loaded, size, out) -> int:
    out[0] = loaded.contents.loads
    return 1  # the first object tells: no further ones


_iterate = ctypes.CDLL(None).dl_iterate_phdr
_iterate.argtypes = [_Visit, ctypes.POINTER(ctypes.c_ulong)]


def _loads_so_far() -> int:
    """The C library's count of the objects that it has loaded."""
    count = ctypes.c_ulong()
    _iterate(_note_loads, ctypes.byref(count))
    return count.value
