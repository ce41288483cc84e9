"""Compiles kernels for a GPU: with nvcc through PyCUDA, or with NVRTC where either is missing. Results are kept on
disk, under a key of everything that goes into them."""

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from .sources import digest

__all__ = ["Constants", "CudaError", "Kernel", "cache_directory", "compile_kernel", "compiler", "options_for"]

_FOLDER = Path(__file__).parent
# No contraction, as on the CPU: two inlined copies of one formula must round alike. Suppressed are the warnings that an
# instance of a template has code it cannot reach (128), and a file functions that this kernel does not call (177).
_OPTIONS = ("-std=c++17", "-fmad=false", "-lineinfo", "-diag-suppress=128,177")
Constants = tuple[tuple[str, int | str], ...]  # macros, as (name, value)
_NVCC_VARIABLES = ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")  # from which nvcc takes options
_TYPES = {"_f32": "<float>", "_f64": "<double>", "_entry": ""}


class CudaError(RuntimeError):
    """The kernels cannot run on a GPU here, or a call of the CUDA driver failed; the message says why."""


@dataclass(frozen=True)
class Kernel:
    """What is compiled and loaded at a time: one entry.

    Attributes:
        file: the .cu file.
        name: of the kernel.
        suffix: of its instance, _f32 or _f64; _entry for kernels that are no templates.
        params: the name of its parameter struct.
        constants: macros that say what is known when it is compiled.
        deterministic: whether its sums do not depend on the order of additions.
    """

    file: Path
    name: str
    suffix: str
    params: str
    constants: Constants = ()
    deterministic: bool = False

    @property
    def entry(self) -> str:
        return self.name + self.suffix

    @property
    def source(self) -> str:
        t = _TYPES[self.suffix]
        wanted = f"GLR_ENTRY({self.entry}, {self.params}{t}, {self.name}{t})"
        return f'#define GLR_ONE_ENTRY\n#include "{self.file.name}"\n{wanted}\n'


def options_for(constants: Constants, deterministic: bool) -> list[str]:
    """The options of every compilation, whichever the compiler: also those of `compile_check`."""
    macros = [f"-D{name}={value}" for name, value in constants] + ["-DGLR_DETERMINISTIC"] * deterministic
    return [*_OPTIONS, f"-I{_FOLDER}", f"-I{_FOLDER / 'common'}", *macros]


class Nvcc:
    """NVIDIA's compiler as PyCUDA calls it, so that `python -m pycuda.debug` works.

    Args:
        path: of nvcc.
        debugging: whether PyCUDA adds the options for debuggers.

    Attributes:
        version: of the compiler, with all that changes its results from outside; a part of the key of what is kept.
    """

    def __init__(self, path: str, debugging: bool = False):
        self.path = path
        release, build = re.search(r"release (\S+),.*(Build \S+)", _run(path, "--version"), re.DOTALL).groups()
        flags = [f"{name}={os.environ[name]}" for name in _NVCC_VARIABLES if os.environ.get(name)]
        self.version = ", ".join([f"nvcc {release} ({build})", *flags, *["for debugging"] * debugging])
        self.major = int(release.split(".")[0])

    @functools.cached_property
    def capabilities(self) -> list[int]:
        return [int(arch) for arch in re.findall(r"compute_(\d+)\b", _run(self.path, "--list-gpu-arch"))]

    def compile(self, source: str, name: str, target: str, options: list[str]) -> bytes:
        from pycuda.compiler import compile as compile_with_nvcc
        from pycuda.driver import CompileError

        kind = "cubin" if target.startswith("sm_") else "ptx"
        settings = {"nvcc": self.path, "no_extern_c": True, "cache_dir": False, "target": kind}
        try:
            return compile_with_nvcc(source, options=options, arch=target, **settings)
        except CompileError as error:
            raise CudaError(f"nvcc could not compile {name}:\n{error}") from error


class Nvrtc:
    """NVIDIA's compiler as a library, which PyTorch's CUDA wheels bring."""

    def __init__(self):
        from cuda.bindings import nvrtc

        self._nvrtc = nvrtc
        self.major, minor = self._call(nvrtc.nvrtcVersion)
        self.version = f"NVRTC {self.major}.{minor}"

    @functools.cached_property
    def capabilities(self) -> list[int]:
        return self._call(self._nvrtc.nvrtcGetSupportedArchs)[0]

    def compile(self, source: str, name: str, target: str, options: list[str]) -> bytes:
        nvrtc, flags = self._nvrtc, [flag.encode() for flag in [f"-arch={target}", *options]]
        (program,) = self._call(nvrtc.nvrtcCreateProgram, source.encode(), f"{name}.cu".encode(), 0, [], [])
        try:
            if nvrtc.nvrtcCompileProgram(program, len(flags), flags)[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
                log = self._read(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
                words = log.rstrip(b"\0\n").decode(errors="replace")
                raise CudaError(f"NVRTC could not compile {name}:\n{words}")
            if target.startswith("sm_"):
                return self._read(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
            return self._read(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
        finally:
            nvrtc.nvrtcDestroyProgram(program)

    def _call(self, function, *arguments) -> tuple:
        result, *values = function(*arguments)
        if result != self._nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise CudaError(f"{function.__name__}() failed: {result.name}")
        return tuple(values)

    def _read(self, size_of, read, program) -> bytes:
        buffer = b" " * self._call(size_of, program)[0]
        self._call(read, program, buffer)
        return buffer


@functools.cache
def compiler(driver_major: int) -> Nvcc | Nvrtc:
    """The compiler to use with a driver for CUDA `driver_major`; the variable GLRASTER_CUDA_COMPILER (nvcc or nvrtc)
    chooses one.

    Raises:
        CudaError: there is none; the message says what each would need.
    """
    wanted = os.environ.get("GLRASTER_CUDA_COMPILER", "")
    candidates = {"nvcc": _find_nvcc, "nvrtc": _find_nvrtc}
    if wanted and wanted not in candidates:
        raise CudaError(f"the variable GLRASTER_CUDA_COMPILER must be nvcc or nvrtc, got {wanted!r}")
    reasons = []
    for name, find in candidates.items():
        if wanted in ("", name):
            found = find()
            if isinstance(found, str):
                reasons.append(found)
            elif found.major > driver_major:
                reasons.append(f"{found.version} is newer than the driver, which is for CUDA {driver_major}")
            else:
                return found
    raise CudaError(f"glraster cannot compile its kernels for the GPU: {'; '.join(reasons)}")


def _find_nvcc() -> Nvcc | str:
    """nvcc through PyCUDA, or what is missing."""
    if importlib.util.find_spec("pycuda") is None:
        return "PyCUDA is not installed (pip install 'glraster[cuda]')"
    try:
        import pycuda.driver
    except ImportError as error:
        return f"PyCUDA is installed but cannot be loaded ({error})"
    path = shutil.which("nvcc")
    return Nvcc(path, pycuda.driver.CUDA_DEBUGGING) if path else "PyCUDA finds no nvcc on the PATH"


def _find_nvrtc() -> Nvrtc | str:
    try:
        return Nvrtc()
    except (ImportError, RuntimeError) as error:
        return f"NVRTC, which PyTorch's CUDA builds bring, cannot be loaded ({str(error).splitlines()[0]})"


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def cache_directory() -> Path:
    """Where compiled kernels are kept: $GLRASTER_CACHE_DIR, else glraster/ in the user's cache directory."""
    if "GLRASTER_CACHE_DIR" in os.environ:
        return Path(os.environ["GLRASTER_CACHE_DIR"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glraster"


def cache_key(kernel: Kernel, target: str, compiler_version: str) -> str:
    """Differs wherever anything differs that the compiled kernel depends on; the sources' folder does not count."""
    options = [option.replace(str(_FOLDER), "") for option in options_for(kernel.constants, kernel.deterministic)]
    parts = [kernel.source, target, compiler_version, *options, digest(kernel.file)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _target(capability: int, known: list[int]) -> str:
    """Machine code for a GPU that the compiler knows; for newer ones PTX, which the driver translates."""
    if capability in known:
        return f"sm_{capability}"
    older = [arch for arch in known if arch <= capability]
    if not older:
        raise CudaError(f"the GPU's compute capability is {capability / 10}, the compiler starts at {min(known) / 10}")
    return f"compute_{max(older)}"


def compile_kernel(kernel: Kernel, capability: int, driver_major: int) -> bytes:
    """Returns a kernel compiled for a GPU, from the disk where it was compiled before.

    Args:
        kernel: what to compile.
        capability: the GPU's compute capability, 90 for 9.0.
        driver_major: the newest CUDA version that the driver runs.

    Raises:
        CudaError: there is no compiler, or it reports errors.
    """
    chosen = compiler(driver_major)
    target = _target(capability, chosen.capabilities)
    kept = cache_directory() / f"{kernel.entry}-{target}-{cache_key(kernel, target, chosen.version)[:32]}.bin"
    try:
        return kept.read_bytes()
    except OSError:
        pass
    compiled = chosen.compile(kernel.source, kernel.entry, target, options_for(kernel.constants, kernel.deterministic))
    try:
        _write(kept, compiled)
    except OSError as error:
        warnings.warn(f"glraster compiles its GPU kernels anew in every process: {error}", stacklevel=2)
    return compiled


def _write(path: Path, content: bytes) -> None:
    """Writes a file that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    os.replace(partial, path)
