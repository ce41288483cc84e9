"""The OpenGL state on which the visibility pass depends, set as it needs it and given back as it was.

A context has this state from its beginning. In manual mode the caller may use OpenGL between calls: then everything is
looked up, and what the caller has changed is set for the call and changed back after it. The rest stays: switching
between two states takes as long as drawing a small image.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from .egl import egl
from .gl import GL, GLErrors

__all__ = ["FARTHEST", "DrawingState"]

# Depths in the framebuffer are reversed: 1 is near, and far ones are close to zero, where float32 is finest. The far
# plane itself is inside, so what was drawn there must differ from 0, to which the framebuffer is cleared.
FARTHEST = 2.0**-100

_ON = (GL.GL_DEPTH_TEST,)
_OFF = (
    GL.GL_COLOR_LOGIC_OP,
    GL.GL_DEPTH_CLAMP,
    GL.GL_FRAMEBUFFER_SRGB,
    GL.GL_POLYGON_OFFSET_FILL,
    GL.GL_POLYGON_SMOOTH,
    GL.GL_PRIMITIVE_RESTART,
    GL.GL_PRIMITIVE_RESTART_FIXED_INDEX,
    GL.GL_RASTERIZER_DISCARD,
    GL.GL_SAMPLE_ALPHA_TO_COVERAGE,
    GL.GL_SAMPLE_ALPHA_TO_ONE,
    GL.GL_SAMPLE_COVERAGE,
    GL.GL_SAMPLE_MASK,
    GL.GL_STENCIL_TEST,
    *(GL.GL_CLIP_DISTANCE0 + plane for plane in range(8)),
)
_OFF_AT_0 = (GL.GL_BLEND, GL.GL_SCISSOR_TEST)  # of draw buffer 0, of viewport 0
_PIXEL_STORE = {
    f"GL_{way}_{name}": wanted
    for way in ("PACK", "UNPACK")
    for name, wanted in {
        "ALIGNMENT": 4,
        "ROW_LENGTH": 0,
        "IMAGE_HEIGHT": 0,
        "SKIP_ROWS": 0,
        "SKIP_PIXELS": 0,
        "SKIP_IMAGES": 0,
        "SWAP_BYTES": 0,
    }.items()
}


_Number = ctypes.c_int | ctypes.c_float | ctypes.c_double


class _Entry(NamedTuple):
    read: Callable[..., tuple]
    write: Callable[..., None]
    wanted: tuple = ()  # where it is always the same


class DrawingState:
    """See above; its OpenGL context must be current whenever it is used."""

    def __init__(self):
        self._get_error = _function("glGetError", result=ctypes.c_uint)
        self._fixed = [*_capabilities(), *_pixel_store(), *_fragments()]
        self._varying = _bindings()
        self._left = [entry.read() for entry in self._varying]  # by the last call; None where the caller set it
        for entry in self._fixed:
            entry.write(*entry.wanted)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Sets for a while what the caller has changed. Errors that the caller left behind are dropped."""
        while self._get_error() != GL.GL_NO_ERROR:
            pass
        changed = [(entry, now) for entry in self._fixed if (now := entry.read()) != entry.wanted]
        bound = [entry.read() for entry in self._varying]
        try:
            for entry, _ in changed:
                entry.write(*entry.wanted)
            yield
        finally:
            for index, (entry, now) in enumerate(zip(self._varying, bound, strict=True)):
                if now != self._left[index]:
                    changed.append((entry, now))
                    self._left[index] = None
                else:
                    self._left[index] = entry.read()
            for entry, before in changed:
                with suppress(GLErrors):  # what was bound may have been deleted
                    entry.write(*before)

    def read(self) -> list[tuple]:
        """All of it, as it is now."""
        return [entry.read() for entry in (*self._fixed, *self._varying)]


def _function(name: str, *arguments: type, result: type | None = None) -> Callable:
    """A function of OpenGL without PyOpenGL's check for errors after it, which takes three quarters of the time."""
    return ctypes.CFUNCTYPE(result, *arguments)(egl().eglGetProcAddress(name.encode()))


def _reader(name: str, item: type[_Number], *keys: int, count: int = 1) -> Callable[[], tuple]:
    """A call of glGet...v, or with two keys of glGet...i_v."""
    buffer = (item * count)()
    get = _function(name, *(ctypes.c_uint for _ in keys), ctypes.c_void_p)
    address = ctypes.addressof(buffer)

    def read() -> tuple:
        get(*keys, address)
        return tuple(buffer)

    return read


def _integers(*keys: int, count: int = 1) -> Callable[[], tuple]:
    return _reader("glGetIntegerv" if len(keys) == 1 else "glGetIntegeri_v", ctypes.c_int, *keys, count=count)


def _together(*readers: Callable[[], tuple]) -> Callable[[], tuple]:
    return lambda: tuple(value for read in readers for value in read())


def _capabilities() -> Iterator[_Entry]:
    is_enabled = _function("glIsEnabled", ctypes.c_uint, result=ctypes.c_ubyte)
    is_enabled_at = _function("glIsEnabledi", ctypes.c_uint, ctypes.c_uint, result=ctypes.c_ubyte)
    for name in (*_ON, *_OFF):
        yield _Entry(
            lambda name=name: (is_enabled(name),),
            lambda on, name=name: (GL.glDisable, GL.glEnable)[on](name),
            (int(name in _ON),),
        )
    for name in _OFF_AT_0:
        yield _Entry(
            lambda name=name: (is_enabled_at(name, 0),),
            lambda on, name=name: (GL.glDisablei, GL.glEnablei)[on](name, 0),
            (0,),
        )


def _pixel_store() -> Iterator[_Entry]:
    for name, wanted in _PIXEL_STORE.items():
        key = getattr(GL, name)
        yield _Entry(_integers(key), lambda value, key=key: GL.glPixelStorei(key, value), (wanted,))


def _fragments() -> Iterator[_Entry]:
    """How triangles become fragments, and fragments pixels."""
    clip = _together(_integers(GL.GL_CLIP_ORIGIN), _integers(GL.GL_CLIP_DEPTH_MODE))
    yield _Entry(clip, GL.glClipControl, (GL.GL_LOWER_LEFT, GL.GL_ZERO_TO_ONE))
    yield _Entry(_integers(GL.GL_FRONT_FACE), GL.glFrontFace, (GL.GL_CCW,))
    polygon_mode = _integers(GL.GL_POLYGON_MODE, count=2)  # drivers write one value, or the same one twice
    yield _Entry(lambda: polygon_mode()[:1], lambda mode: GL.glPolygonMode(GL.GL_FRONT_AND_BACK, mode), (GL.GL_FILL,))
    yield _Entry(_integers(GL.GL_DEPTH_FUNC), GL.glDepthFunc, (GL.GL_GREATER,))  # at equal depth the lower id stays
    yield _Entry(_integers(GL.GL_DEPTH_WRITEMASK), GL.glDepthMask, (1,))
    depths = _reader("glGetDoublei_v", ctypes.c_double, GL.GL_DEPTH_RANGE, 0, count=2)
    yield _Entry(depths, lambda near, far: GL.glDepthRangeIndexed(0, near, far), (FARTHEST, 1.0))
    mask = _integers(GL.GL_COLOR_WRITEMASK, 0, count=4)
    yield _Entry(mask, lambda *mask: GL.glColorMaski(0, *mask), (1, 1, 1, 1))
    for key, target in (
        (GL.GL_PIXEL_PACK_BUFFER_BINDING, GL.GL_PIXEL_PACK_BUFFER),
        (GL.GL_PIXEL_UNPACK_BUFFER_BINDING, GL.GL_PIXEL_UNPACK_BUFFER),
    ):
        yield _Entry(_integers(key), lambda name, target=target: GL.glBindBuffer(target, name), (0,))


def _bindings() -> list[_Entry]:
    """What a call sets as it goes along."""
    culls = _function("glIsEnabled", ctypes.c_uint, result=ctypes.c_ubyte)
    viewport = _reader("glGetFloati_v", ctypes.c_float, GL.GL_VIEWPORT, 0, count=4)
    image = [
        _integers(getattr(GL, f"GL_IMAGE_BINDING_{part}"), 0)
        for part in ("NAME", "LEVEL", "LAYERED", "LAYER", "ACCESS", "FORMAT")
    ]

    def binding(key: int, bind: Callable, *target: int) -> _Entry:
        return _Entry(_integers(key), lambda name: bind(*target, name))

    return [
        _Entry(lambda: (culls(GL.GL_CULL_FACE),), lambda on: (GL.glDisable, GL.glEnable)[on](GL.GL_CULL_FACE)),
        _Entry(_integers(GL.GL_CULL_FACE_MODE), GL.glCullFace),
        _Entry(viewport, lambda *box: GL.glViewportIndexedf(0, *box)),
        binding(GL.GL_VERTEX_ARRAY_BINDING, GL.glBindVertexArray),
        binding(GL.GL_CURRENT_PROGRAM, GL.glUseProgram),
        binding(GL.GL_DRAW_INDIRECT_BUFFER_BINDING, GL.glBindBuffer, GL.GL_DRAW_INDIRECT_BUFFER),
        binding(GL.GL_DRAW_FRAMEBUFFER_BINDING, GL.glBindFramebuffer, GL.GL_DRAW_FRAMEBUFFER),
        binding(GL.GL_READ_FRAMEBUFFER_BINDING, GL.glBindFramebuffer, GL.GL_READ_FRAMEBUFFER),
        _Entry(_together(*image), lambda *image: GL.glBindImageTexture(0, *image)),
    ]
