"""Checks of what lies under rasterization: Python, PyTorch, the host library, NVIDIA's driver."""

import ctypes
import platform
from pathlib import Path

import torch

from glraster.contexts import draws_slowly

from .finding import CONTAINER_ADVICE, Finding

__all__ = ["gl_cuda_interop", "gpu_driver", "host_library", "python", "pytorch"]


def python() -> list[Finding]:
    container = any(Path(marker).exists() for marker in ("/.dockerenv", "/run/.containerenv"))
    version, system = platform.python_version(), " ".join(platform.libc_ver())
    where = ", in a container" if container else ""
    return [Finding("Python", "ok", f"{version} on {platform.system()} {platform.machine()}, {system}{where}")]


def pytorch() -> list[Finding]:
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    threads = f"{torch.get_num_threads()} CPU threads"
    findings = [Finding("PyTorch", "ok", f"{torch.__version__}, {built}, {threads}")]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            capability, memory = f"{properties.major}.{properties.minor}", properties.total_memory / 2**30
            found = f"{properties.name}, compute capability {capability}, {memory:.0f} GiB"
            findings.append(Finding(f"PyTorch cuda:{index}", "ok", found))
    elif torch.version.cuda:
        found = "PyTorch sees no GPU, though it is built for them"
        findings.append(
            Finding("PyTorch cuda", "absent", found, "tensors stay on the CPU; the driver's line says more")
        )
    elif _has_nvidia_module():
        found = "this build of PyTorch cannot use the machine's NVIDIA GPU"
        findings.append(Finding("PyTorch cuda", "absent", found, "install a CUDA build of PyTorch"))
    return findings


def host_library() -> list[Finding]:
    from glraster.cuda_kernels.host import HostLibraryError
    from glraster.cuda_kernels.host import host_library as load

    try:
        return [Finding("Host library", "ok", load()._name)]
    except (HostLibraryError, OSError) as error:
        advice = "install the package again, with a C++ compiler on the machine; without the library nothing works"
        return [Finding("Host library", "broken", str(error), advice)]


def _has_nvidia_module() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def gpu_driver() -> list[Finding]:
    """NVIDIA's driver, asked directly: PyTorch and PyCUDA both stand on it."""
    check = "NVIDIA driver"
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        initialize = cuda.cuInit
    except (OSError, AttributeError) as error:
        if _has_nvidia_module():
            found = f"the kernel has the driver, but its CUDA library cannot be loaded ({error})"
            return [Finding(check, "broken", found, f"{CONTAINER_ADVICE}; elsewhere: reinstall the driver")]
        if "No such file" not in str(error):
            return [Finding(check, "broken", f"its CUDA library cannot be loaded: {error}", "reinstall the driver")]
        advice = f"for an NVIDIA GPU: install its driver; {CONTAINER_ADVICE}"
        return [Finding(check, "absent", f"none ({error})", advice)]
    code = initialize(0)
    if code != 0:
        found = f"cuInit() failed with CUDA error {code} ({_cuda_error_name(cuda, code)})"
        advice = (
            f"{CONTAINER_ADVICE}; elsewhere: nvidia-smi should list the GPU, a restart loads a freshly updated driver"
        )
        return [Finding(check, "broken", found, advice)]
    version, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    cuda.cuDeviceGetCount(ctypes.byref(count))
    module = Path("/proc/driver/nvidia/version")
    release = module.read_text().splitlines()[0] if module.exists() else "version unknown"
    supports = f"CUDA up to {version.value // 1000}.{version.value % 1000 // 10}"
    return [
        Finding(check, "ok", f"{release}; {supports}; {count.value} GPU(s): {', '.join(_gpu_names(cuda, count.value))}")
    ]


def _cuda_error_name(cuda: ctypes.CDLL, code: int) -> str:
    name = ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(name))
    return (name.value or b"unknown").decode()


def _gpu_names(cuda: ctypes.CDLL, count: int) -> list[str]:
    names = []
    for index in range(count):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode(errors="replace"))
    return names


def gl_cuda_interop() -> list[Finding]:
    """Whether OpenGL's results reach CUDA tensors without leaving the GPU."""
    check = "GL-CUDA interop"
    if not torch.cuda.is_available():
        return [Finding(check, "absent", "PyTorch sees no GPU", "nothing to do on a machine without one")]
    try:
        from glraster.interop.cuda_gl import interop_reason

        reason = interop_reason(torch.device("cuda", torch.cuda.current_device()))
    except Exception as error:  # CUDA and OpenGL raise errors of many kinds
        reason = f"{type(error).__name__}: {error}"
    if reason is None:
        slow = draws_slowly(torch.device("cuda", torch.cuda.current_device()))
        faster = "; SoftwareRasterizer is the faster context: this GPU has few units for graphics" if slow else ""
        return [Finding(check, "ok", f"OpenGL draws into memory that CUDA reads{faster}")]
    advice = f"RasterizeCudaContext serves CUDA tensors without OpenGL; {CONTAINER_ADVICE}"
    return [Finding(check, "broken", reason, advice)]
