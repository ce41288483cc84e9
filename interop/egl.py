"""EGL: finding the library and its devices, without a display and without making a context.

Constants and functions are those of the EGL 1.5 specification and of the extensions EGL_EXT_device_enumeration,
EGL_EXT_device_query, EGL_EXT_platform_device, EGL_NV_device_cuda, EGL_EXT_device_drm(_render_node),
EGL_EXT_device_query_name and EGL_MESA_device_software.

PyOpenGL's own EGL module replaces none of it: its import (3.1.10) ends in an AttributeError where there is no libEGL,
which is when the doctor is needed most; it fixes PyOpenGL's platform for the whole process, before anyone wants OpenGL;
and its functions take 2.0 microseconds each where these take 0.8, a dozen times in every call of `rasterize`.
"""

import ctypes
import ctypes.util
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

__all__ = [
    "DEVICE_VARIABLE",
    "EGLDevice",
    "OpenGLError",
    "check_same_process",
    "choose_devices",
    "egl",
    "egl_error",
    "list_devices",
]

DEVICE_VARIABLE = "GLRASTER_EGL_DEVICE"  # environment variable: index or name of the device to use, above all else

EGL_VENDOR, EGL_EXTENSIONS = 0x3053, 0x3055
EGL_CUDA_DEVICE_NV = 0x323A
EGL_DRM_DEVICE_FILE_EXT, EGL_DRM_RENDER_NODE_FILE_EXT = 0x3233, 0x3377
EGL_RENDERER_EXT = 0x335F
EGL_PLATFORM_DEVICE_EXT, EGL_PLATFORM_SURFACELESS_MESA = 0x313F, 0x31DD
EGL_OPENGL_API = 0x30A2

ADVICE = (
    "for Mesa on Debian: apt-get install libegl1 libopengl0 libgl1-mesa-dri; for NVIDIA in a container: set "
    "NVIDIA_DRIVER_CAPABILITIES=all; SoftwareRasterizer needs no OpenGL"
)

_ERRORS = """SUCCESS NOT_INITIALIZED BAD_ACCESS BAD_ALLOC BAD_ATTRIBUTE BAD_CONFIG BAD_CONTEXT BAD_CURRENT_SURFACE
BAD_DISPLAY BAD_MATCH BAD_NATIVE_PIXMAP BAD_NATIVE_WINDOW BAD_PARAMETER BAD_SURFACE CONTEXT_LOST"""

_P, _U, _I = ctypes.c_void_p, ctypes.c_uint, ctypes.c_int
_PROTOTYPES = {
    "eglGetError": (_I,),
    "eglQueryString": (ctypes.c_char_p, _P, _I),
    "eglGetDisplay": (_P, _P),
    "eglInitialize": (_U, _P, _P, _P),
    "eglBindAPI": (_U, _U),
    "eglQueryAPI": (_U,),
    "eglChooseConfig": (_U, _P, _P, _P, _I, _P),
    "eglCreateContext": (_P, _P, _P, _P, _P),
    "eglDestroyContext": (_U, _P, _P),
    "eglCreatePbufferSurface": (_P, _P, _P, _P),
    "eglDestroySurface": (_U, _P, _P),
    "eglMakeCurrent": (_U, _P, _P, _P, _P),
    "eglReleaseThread": (_U,),
    "eglGetCurrentContext": (_P,),
    "eglGetCurrentDisplay": (_P,),
    "eglGetCurrentSurface": (_P, _I),
    "eglGetProcAddress": (_P, ctypes.c_char_p),
}
_EXTENSION_PROTOTYPES = {
    "eglQueryDevicesEXT": (_U, _I, _P, _P),
    "eglQueryDeviceStringEXT": (ctypes.c_char_p, _P, _I),
    "eglQueryDeviceAttribEXT": (_U, _P, _I, _P),
    "eglGetPlatformDisplayEXT": (_P, _U, _P, _P),
}


class OpenGLError(RuntimeError):
    """No usable OpenGL context on this machine; the message says why, and what to do."""


class _Library:
    """libEGL with typed functions as attributes; extension functions are None where the library lacks them."""

    def __init__(self):
        library = _open_library()
        for name, (result, *arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        for name, prototype in _EXTENSION_PROTOTYPES.items():
            address = self.eglGetProcAddress(name.encode())
            setattr(self, name, ctypes.CFUNCTYPE(*prototype)(address) if address else None)
        self.client_extensions = self.extensions(None)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def extensions(self, display: int | None) -> set[str]:
        """Extensions of a display; with None, those of the library itself."""
        text = self.eglQueryString(display, EGL_EXTENSIONS)
        if text is None:
            self.eglGetError()  # libraries before EGL 1.5 know no client extensions; leave no error behind
        return set((text or b"").decode().split())


def _open_library() -> ctypes.CDLL:
    name = ctypes.util.find_library("EGL") or "libEGL.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise OpenGLError(f"no EGL library on this machine ({error}): {ADVICE}") from None


@functools.cache
def egl() -> _Library:
    """The EGL library.

    Raises:
        OpenGLError: there is none.
    """
    return _Library()


def egl_error() -> str:
    """The name of this thread's last EGL error, which is thereby cleared."""
    code, names = egl().eglGetError() - 0x3000, _ERRORS.split()
    return f"EGL_{names[code]}" if 0 <= code < len(names) else f"EGL error 0x{code + 0x3000:x}"


@functools.cache
def _first_process() -> int:
    """The process that first used a driver: its id, in forked children too."""
    return os.getpid()


def check_same_process() -> None:
    """Raises OpenGLError in a process that was forked from one in which EGL was already in use."""
    if _first_process() != os.getpid():
        raise OpenGLError(
            "OpenGL was in use when this process was forked, and drivers do not survive that: start the child with the "
            "'spawn' method, or fork before the parent makes its first context"
        )


@dataclass(frozen=True)
class EGLDevice:
    """One device that EGL offers.

    Attributes:
        index: its place in EGL's list.
        name: the renderer's name where the driver tells it without a context; else vendor or device file.
        cuda_device: the CUDA device that it is; None: not NVIDIA's, or unknown.
        drm_file: its device file, if any.
        software: whether it is a software renderer.
        handle: the EGLDeviceEXT; None stands for the default display of a library that cannot list devices.
    """

    index: int
    name: str
    cuda_device: int | None = None
    drm_file: str | None = None
    software: bool = False
    handle: int | None = field(default=None, repr=False)

    def display(self) -> int:
        """The initialized EGLDisplay of this device. It is shared by the whole process and never terminated.

        Raises:
            OpenGLError: the driver cannot be initialized, or was so in the parent before this process was forked.
        """
        check_same_process()
        library = egl()
        if self.handle is not None:
            display = library.eglGetPlatformDisplayEXT(EGL_PLATFORM_DEVICE_EXT, self.handle, None)
        elif "EGL_MESA_platform_surfaceless" in library.client_extensions:
            display = library.eglGetPlatformDisplayEXT(EGL_PLATFORM_SURFACELESS_MESA, None, None)
        else:
            display = library.eglGetDisplay(None)
        if not display or not library.eglInitialize(display, None, None):
            raise OpenGLError(f"EGL device {self.index} ({self.name}) cannot be initialized: {egl_error()}")
        return display

    def __str__(self) -> str:
        return f"{self.index}: {self.name}"


def list_devices() -> list[EGLDevice]:
    """Every device that EGL offers, in EGL's order; needs no display and makes no context.

    Raises:
        OpenGLError: no EGL library.
    """
    library = egl()
    if library.eglQueryDevicesEXT is None or library.eglGetPlatformDisplayEXT is None:
        return [EGLDevice(0, "default display")]
    count = ctypes.c_int(0)
    if not library.eglQueryDevicesEXT(0, None, ctypes.byref(count)) or count.value == 0:
        egl_error()
        return []
    handles = (ctypes.c_void_p * count.value)()
    library.eglQueryDevicesEXT(count.value, handles, ctypes.byref(count))
    return [_describe(index, handles[index]) for index in range(count.value)]


def _describe(index: int, handle: int | None) -> EGLDevice:
    library = egl()

    def text(name: int, *extensions: str) -> str | None:
        if not supported.intersection(extensions):
            return None
        value = library.eglQueryDeviceStringEXT(handle, name)
        return value.decode() if value else None

    listed = library.eglQueryDeviceStringEXT and library.eglQueryDeviceStringEXT(handle, EGL_EXTENSIONS)
    supported = set((listed or b"").decode().split())
    software = "EGL_MESA_device_software" in supported
    drm_file = text(EGL_DRM_RENDER_NODE_FILE_EXT, "EGL_EXT_device_drm_render_node")
    drm_file = drm_file or text(EGL_DRM_DEVICE_FILE_EXT, "EGL_EXT_device_drm")
    cuda_device = None
    if "EGL_NV_device_cuda" in supported:
        value = ctypes.c_ssize_t()
        if library.eglQueryDeviceAttribEXT(handle, EGL_CUDA_DEVICE_NV, ctypes.byref(value)):
            cuda_device = value.value
    name = text(EGL_RENDERER_EXT, "EGL_EXT_device_query_name")
    if name is None:
        vendor = text(EGL_VENDOR, "EGL_EXT_device_query_name") or ("NVIDIA" if cuda_device is not None else "")
        name = " ".join(filter(None, [vendor, "software renderer" if software else drm_file or "unnamed device"]))
    egl_error()  # a query that a driver refuses leaves nothing behind
    return EGLDevice(index, name, cuda_device, drm_file, software, handle)


def choose_devices(egl_device: int | str | None = None, cuda_device: int | None = None) -> Sequence[EGLDevice]:
    """The devices on which to try to make a context, the best first.

    Args:
        egl_device: index in `list_devices()`, or a part of a device's name (in any case), or, if it is in none, of its
            renderer's, for which contexts are made; None: any. The environment variable GLRASTER_EGL_DEVICE, where it
            is set and not empty, takes its place.
        cuda_device: prefer the EGL device that is this CUDA device, if there is one.

    Raises:
        OpenGLError: no EGL library, no device, or none that fits.
        TypeError: egl_device is of another type.
        ValueError: egl_device is an empty string.
    """
    devices = list_devices()
    if not devices:
        raise OpenGLError(f"the EGL library is there but finds no device, so no driver is installed: {ADVICE}")
    wanted, source = egl_device, "egl_device"
    if os.environ.get(DEVICE_VARIABLE):
        wanted, source = os.environ[DEVICE_VARIABLE], f"environment variable {DEVICE_VARIABLE}"
    if wanted is None:
        return sorted(devices, key=lambda device: cuda_device is not None and device.cuda_device != cuda_device)
    if isinstance(wanted, bool) or not (isinstance(wanted, str) or hasattr(wanted, "__index__")):
        raise TypeError(f"egl_device must be an index or a name, got {type(wanted).__name__}")
    if isinstance(wanted, str) and not wanted.strip():
        raise ValueError(f"egl_device must be an index or a name, got {wanted!r}")
    found = _find_named(devices, wanted) if isinstance(wanted, str) and not wanted.isdecimal() else None
    if found is None:
        found = [device for device in devices if device.index == int(wanted)]
    if not found:
        listed = "; ".join(map(str, devices))
        raise OpenGLError(f"no EGL device fits {source}={wanted!r}; EGL offers {listed}")
    return found


def _find_named(devices: Sequence[EGLDevice], wanted: str) -> list[EGLDevice]:
    from .context import renderer_of  # which needs PyOpenGL; listing devices does not

    for name_of in (lambda device: device.name, renderer_of):
        found = [device for device in devices if wanted.lower() in name_of(device).lower()]
        if found:
            return found
    return []
