"""Checks of EGL, from the library down to a context on every device."""

import ctypes
import ctypes.util
import json
import os
from pathlib import Path

from glraster.interop.egl import ADVICE

from .finding import CONTAINER_ADVICE, Finding

__all__ = ["egl_device", "egl_devices", "egl_library", "egl_vendors"]

_VENDOR_FOLDERS = ("/etc/glvnd/egl_vendor.d", "/usr/share/glvnd/egl_vendor.d")


def egl_library() -> list[Finding]:
    check, name = "EGL library", ctypes.util.find_library("EGL") or "libEGL.so.1"
    try:
        ctypes.CDLL(name)
    except OSError as error:
        return [Finding(check, "broken", f"cannot be loaded: {error}", ADVICE)]
    loaded = {Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    path = next((str(file) for file in loaded if file.name.startswith("libEGL.so")), name)
    if any(file.name.startswith("libGLdispatch") for file in loaded):
        return [Finding(check, "ok", f"{path} (GLVND: it loads the drivers that the vendor files name)")]
    return [Finding(check, "ok", f"{path} (not GLVND: it is a driver itself, and vendor files have no effect)")]


def egl_vendors() -> list[Finding]:
    """The files that tell the GLVND loader which EGL drivers there are, and whether each driver can be loaded."""
    files, where = _vendor_files()
    findings = [_vendor(file) for file in files]
    if not files:
        findings.append(Finding("EGL vendor files", "broken", f"none in {where}", ADVICE))
    named = " ".join(finding.found for finding in findings)
    if "libEGL_nvidia" not in named and ctypes.util.find_library("EGL_nvidia"):
        found = "NVIDIA's EGL driver is installed, but no vendor file names it"
        content = '{"file_format_version": "1.0.0", "ICD": {"library_path": "libEGL_nvidia.so.0"}}'
        findings.append(
            Finding("EGL vendor files", "broken", found, f"write {content} to {_VENDOR_FOLDERS[1]}/10_nvidia.json")
        )
    return findings


def _vendor_files() -> tuple[list[Path], str]:
    names = os.environ.get("__EGL_VENDOR_LIBRARY_FILENAMES")
    if names:
        return [Path(name) for name in names.split(":")], f"__EGL_VENDOR_LIBRARY_FILENAMES={names}"
    folders = os.environ.get("__EGL_VENDOR_LIBRARY_DIRS")
    searched = folders.split(":") if folders else _VENDOR_FOLDERS
    files = [file for folder in searched for file in sorted(Path(folder).glob("*.json"))]
    return files, f"__EGL_VENDOR_LIBRARY_DIRS={folders}" if folders else " or ".join(searched)


def _vendor(file: Path) -> Finding:
    check = f"EGL vendor {file.name}"
    try:
        library = json.loads(file.read_text())["ICD"]["library_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Finding(
            check, "broken", f"{file}: {type(error).__name__}: {error}", "reinstall the driver it belongs to"
        )
    try:
        ctypes.CDLL(library)
    except OSError as error:
        nvidia = "nvidia" in library
        advice = f"{CONTAINER_ADVICE}; elsewhere: install the driver's OpenGL part" if nvidia else ADVICE
        return Finding(check, "broken", f"{library} cannot be loaded: {error}", f"{advice}; or delete {file}")
    return Finding(check, "ok", f"{file} names {library}, which loads")


def egl_devices() -> int | list[Finding]:
    """The number of EGL devices, each of which `egl_device` then looks at; or why there are none."""
    from glraster.interop.egl import OpenGLError, list_devices

    try:
        count = len(list_devices())
    except OpenGLError:
        return [Finding("EGL devices", "broken", "cannot be listed without the EGL library", ADVICE)]
    return count or [Finding("EGL devices", "broken", "the EGL library lists no device: no driver serves it", ADVICE)]


def egl_device(index: str) -> list[Finding]:
    """Makes a context on one EGL device: its renderer, version, and what glraster's shaders miss, if anything."""
    from glraster.interop.context import HeadlessContext
    from glraster.interop.egl import DEVICE_VARIABLE, OpenGLError, list_devices

    os.environ.pop(DEVICE_VARIABLE, None)  # it would take the place of the device asked for
    check, device = f"EGL device {index}", list_devices()[int(index)]
    cuda = f", CUDA device {device.cuda_device}" if device.cuda_device is not None else ""
    try:
        with HeadlessContext(egl_device=int(index)) as context:
            found = f"{context.renderer}: OpenGL {context.version}{cuda}, with all extensions that glraster needs"
        return [Finding(check, "ok", found)]
    except OpenGLError as error:
        file = device.drm_file
        if file and not os.access(file, os.R_OK | os.W_OK):
            return [Finding(check, "broken", str(error), f"this user may not open {file}: add it to the file's group")]
        return [Finding(check, "broken", str(error), "update the driver, or choose another device (egl_device=)")]
