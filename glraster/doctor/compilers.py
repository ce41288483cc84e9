"""Checks of how kernels get onto GPUs: NVIDIA's compilers, and where compiled kernels are kept."""

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

import torch

from glraster.cuda_kernels import kernel_cache
from glraster.cuda_kernels.nvidia_compilers import CudaError, Nvcc, Nvrtc

from .finding import Finding

__all__ = ["gpu_kernels", "kernel_folders", "nvcc", "nvrtc", "pycuda"]


def pycuda() -> list[Finding]:
    install = "pip install 'glraster[cuda]' (PyTorch's own CUDA libraries serve in its place)"
    if importlib.util.find_spec("pycuda") is None:
        return [Finding("PyCUDA", "absent", "not installed", f"to compile kernels with nvcc: {install}")]
    version = _version("pycuda")
    try:
        import pycuda.driver as driver

        driver.init()
    except Exception as error:  # whatever a half-installed driver makes of it
        advice = "it needs NVIDIA's driver (see its line); if that is well, build PyCUDA again for this CUDA version"
        return [Finding("PyCUDA", "broken", f"{version}, cannot start: {type(error).__name__}: {error}", advice)]
    try:
        import pycuda.gl  # noqa: F401
    except ImportError as error:
        advice = "glraster itself does without; for your own use of it: build it with ./configure.py --cuda-enable-gl"
        return [Finding("PyCUDA", "ok", f"{version}, without OpenGL ({error})", advice)]
    return [Finding("PyCUDA", "ok", f"{version}, with OpenGL")]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def nvcc() -> list[Finding]:
    path = shutil.which("nvcc")
    if path is None:
        candidate = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"), "bin", "nvcc")
        advice = f"put {candidate.parent} on PATH" if candidate.exists() else "needed on GPUs only, and not with NVRTC"
        return [Finding("nvcc", "absent", "not on PATH", advice)]
    try:
        found = _describe(Nvcc(path))
    except CudaError as error:
        return [Finding("nvcc", "broken", str(error), "reinstall the CUDA toolkit; until then NVRTC serves, see below")]
    if shutil.which("g++") is None:
        return [Finding("nvcc", "broken", f"{path}, {found}, but no g++ for it", "on Debian: apt-get install g++")]
    return [Finding("nvcc", "ok", f"{path}, {found}")]


def nvrtc() -> list[Finding]:
    try:
        return [Finding("NVRTC", "ok", _describe(Nvrtc()))]
    except CudaError as error:
        advice = "needed on GPUs only: pip install 'glraster[cuda13]', or [cuda12], whichever the driver is for"
        return [Finding("NVRTC", "absent", str(error), advice)]


def _describe(compiler: Nvcc | Nvrtc) -> str:
    first, last = (f"{pick(compiler.capabilities) / 10}" for pick in (min, max))
    return f"{compiler.version}, for compute capabilities {first} to {last}"


def kernel_folders() -> list[Finding]:
    """Where compiled kernels are kept: the first folder that can be used."""
    check = "Compiled kernels"
    faults: list[str] = []
    for folder in kernel_cache.folders():
        fault = folder.fault()
        if fault is None:
            found = f"kept in {folder.path}"
            if not folder.temporary:
                return [Finding(check, "ok", found)]
            why = "; ".join(faults) or "there is no home directory"
            advice = "they may be compiled anew after a restart; to keep them: set GLRASTER_CACHE_DIR"
            return [Finding(check, "broken" if faults else "absent", f"{found}, for {why}", advice)]
        faults.append(fault)
    why = "; ".join(faults) or "there is neither a home directory nor one for temporary files"
    advice = "set GLRASTER_CACHE_DIR to a folder that this user can write to"
    return [Finding(check, "broken", f"compiled anew in every process: {why}", advice)]


def gpu_kernels() -> list[Finding]:
    """Whether and how the kernels run on GPUs."""
    from glraster.cuda_kernels import cuda

    reason = cuda.unavailable_reason()
    if reason is None:
        return [Finding("GPU kernels", "ok", cuda.describe())]
    status = "broken" if torch.cuda.is_available() else "absent"
    return [Finding("GPU kernels", status, reason, "until then pass CPU tensors; the kernels run there")]
