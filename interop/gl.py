"""OpenGL's functions, from PyOpenGL on its EGL platform: all of this package that calls OpenGL has them from here.

OpenGL is called through PyOpenGL alone. moderngl 5.13 keeps memory of every context that it ever wrapped (39 KB each,
54 KB with programs and buffers; PyOpenGL none), and makes the latest one the process's default for other users of it.
"""

import os
import sys

from .egl import ADVICE, OpenGLError, egl

__all__ = ["GL", "GLErrors"]

_VARIABLE = "PYOPENGL_PLATFORM"
_OTHERWISE = "or use a SoftwareRasterizer, which needs no OpenGL"


def _check_platform() -> None:
    """Chooses PyOpenGL's platform, which it does once in a process: at its first import.

    Raises:
        OpenGLError: it was or is to be another than EGL; says what to do.
    """
    egl()  # without it, PyOpenGL's import fails with what says nothing
    platform = sys.modules.get("OpenGL.platform")
    if platform is not None:
        chosen = getattr(getattr(platform, "PLATFORM", None), "__module__", "no platform").rpartition(".")[2]
        if chosen != "egl":
            raise OpenGLError(
                f"PyOpenGL was imported before and has chosen {chosen}, but glraster needs its platform egl: set "
                f"{_VARIABLE}=egl before the first import of OpenGL, or make the first context before it, {_OTHERWISE}"
            )
        return
    wanted = os.environ.get(_VARIABLE) or "egl"  # empty means unset
    if wanted != "egl":
        raise OpenGLError(
            f"the environment variable {_VARIABLE} is {wanted!r}, but glraster needs 'egl': unset it, {_OTHERWISE}"
        )
    os.environ[_VARIABLE] = wanted


_check_platform()
try:
    from OpenGL import GL
    from OpenGL.error import Error as GLErrors  # of a call that failed, or of a function that the driver lacks
except (ImportError, AttributeError) as error:
    raise OpenGLError(f"PyOpenGL finds no OpenGL library on this machine ({error}): {ADVICE}") from error
