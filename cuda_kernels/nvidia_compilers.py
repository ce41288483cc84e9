"""NVIDIA's compilers, nvcc through PyCUDA and NVRTC: which of them work here, and which is the one for a GPU.

Whatever is wrong with one of them is a reason to take the other. Only where neither is left is it an error, which then
names every reason; `glraster doctor` prints them all the same.
"""

import functools
import importlib.util
import os
import re
import shutil
import subprocess

__all__ = ["NVCC_VARIABLES", "CudaError", "Nvcc", "Nvrtc", "compilers_for", "find_compilers", "passed_over"]

NVCC_VARIABLES = ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")  # from which nvcc takes options
# Before 13.5 NVRTC takes lambdas in templates for functions of the host, which it does not compile, unless all that is
# not marked counts as the device's.
_NVRTC_OPTIONS = ("-default-device",)
_PATIENCE = 60  # seconds for nvcc to say its version
# Of NVIDIA's systems on a chip: machine code runs on them alone, and they run no other.
_ON_CHIP = {53, 62, 72, 87, 101, 110}


class CudaError(RuntimeError):
    """The kernels cannot run on a GPU here, or a call of the CUDA driver failed; the message says why."""


class Nvcc:
    """NVIDIA's compiler as PyCUDA calls it, so that `python -m pycuda.debug` works.

    Args:
        path: of nvcc.
        debugging: whether PyCUDA adds the options for debuggers.

    Attributes:
        version: of the compiler, with all that changes its results from outside; a part of the key of what is kept.
        capabilities: of the GPUs that it makes machine code for, 90 for 9.0.
        failed: whether a compilation has failed; then the other compiler goes first.

    Raises:
        CudaError: it cannot be run, or its answers are none that are known.
    """

    def __init__(self, path: str, debugging: bool = False):
        self.path, self.failed = path, False
        answer = _run(path, "--version")
        found = re.search(r"release (\d+)(\S*),.*(Build \S+)", answer, re.DOTALL)
        if found is None:
            raise CudaError(f"{path} does not say its version (its answer: {' '.join(answer.split())[:100]!r})")
        major, rest, build = found.groups()
        flags = [f"{name}={os.environ[name]}" for name in NVCC_VARIABLES if os.environ.get(name)]
        self.version = ", ".join([f"nvcc {major}{rest} ({build})", *flags, *["for debugging"] * debugging])
        self.major = int(major)
        self.capabilities = [int(arch) for arch in re.findall(r"compute_(\d+)\b", _run(path, "--list-gpu-arch"))]
        if not self.capabilities:
            raise CudaError(f"{path} does not say for which GPUs it compiles")

    def compile(self, source: str, name: str, target: str, options: list[str]) -> bytes:
        """Compiles to machine code (target sm_XY) or PTX (compute_XY).

        Raises:
            CudaError: the source has errors, or the compiler fails.
        """
        try:
            from pycuda.compiler import compile as compile_with_nvcc

            kind = "cubin" if target.startswith("sm_") else "ptx"
            settings = {"nvcc": self.path, "no_extern_c": True, "cache_dir": False, "target": kind}
            return compile_with_nvcc(source, options=options, arch=target, **settings)
        except Exception as error:  # PyCUDA has errors of many kinds for an nvcc that fails
            raise CudaError(f"nvcc could not compile {name}:\n{error}") from error


class Nvrtc:
    """NVIDIA's compiler as a library, which PyTorch's CUDA wheels bring. Attributes and errors: as of `Nvcc`."""

    def __init__(self):
        try:
            from cuda.bindings import nvrtc

            self._nvrtc, self.failed = nvrtc, False
            self.major, minor = self._call(nvrtc.nvrtcVersion)
            self.version = f"NVRTC {self.major}.{minor}"
            self.capabilities = list(self._call(nvrtc.nvrtcGetSupportedArchs)[0])
        except Exception as error:  # cuda.bindings raises RuntimeError for a missing library, and others
            raise CudaError(
                f"NVRTC, which PyTorch's CUDA builds bring, cannot be loaded ({_first_line(error)})"
            ) from error

    def compile(self, source: str, name: str, target: str, options: list[str]) -> bytes:
        """As `Nvcc.compile`."""
        nvrtc, flags = self._nvrtc, [flag.encode() for flag in [f"-arch={target}", *_NVRTC_OPTIONS, *options]]
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


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CudaError(f"{' '.join(command)} does not run ({_first_line(error)})") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1]
        raise CudaError(f"{' '.join(command)} fails with exit code {done.returncode} ({last[:200]})")
    return done.stdout


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _find_nvcc() -> Nvcc:
    if importlib.util.find_spec("pycuda") is None:
        raise CudaError("PyCUDA, which calls nvcc, is not installed (pip install 'glraster[cuda]')")
    try:
        import pycuda.driver
    except Exception as error:  # whatever a half-installed driver makes of it
        raise CudaError(f"PyCUDA is installed but cannot be loaded ({_first_line(error)})") from error
    path = shutil.which("nvcc")
    if path is None:
        raise CudaError("PyCUDA finds no nvcc on the PATH")
    return Nvcc(path, getattr(pycuda.driver, "CUDA_DEBUGGING", False))


@functools.cache
def find_compilers() -> dict[str, Nvcc | Nvrtc | str]:
    """nvcc and nvrtc by name: each compiler, or why it cannot be used.

    Raises:
        CudaError: the variable GLRASTER_CUDA_COMPILER, which chooses one of them, has another value.
    """
    wanted = os.environ.get("GLRASTER_CUDA_COMPILER", "")
    if wanted not in ("", "nvcc", "nvrtc"):
        raise CudaError(f"the variable GLRASTER_CUDA_COMPILER must be nvcc or nvrtc, got {wanted!r}")
    found: dict[str, Nvcc | Nvrtc | str] = {}
    for name, find in (("nvcc", _find_nvcc), ("nvrtc", Nvrtc)):
        if wanted in ("", name):
            try:
                found[name] = find()
            except CudaError as error:
                found[name] = str(error)
    return found


def _why_not(found: Nvcc | Nvrtc | str, capability: int, driver_major: int) -> str | None:
    if isinstance(found, str):
        return found
    if found.major > driver_major:
        return f"{found.version} is newer than the driver, which is for CUDA {driver_major}"
    if min(found.capabilities) > capability:
        starts = min(found.capabilities) / 10
        return f"the GPU's compute capability is {capability / 10}, {found.version} starts at {starts}"
    return None


def passed_over(capability: int, driver_major: int) -> list[str]:
    """Why compilers cannot be used for a GPU, a sentence for each."""
    reasons = (_why_not(found, capability, driver_major) for found in find_compilers().values())
    return [reason for reason in reasons if reason]


def compilers_for(capability: int, driver_major: int) -> list[tuple[Nvcc | Nvrtc, str]]:
    """The compilers for a GPU and what each is to compile for, the best one first.

    Best is one that knows the GPU, then one with machine code that it runs all the same, then one with newer PTX, which
    the driver translates; nvcc before NVRTC where they are equal.

    Args:
        capability: the GPU's compute capability, 90 for 9.0.
        driver_major: the newest CUDA version that the driver runs.

    Raises:
        CudaError: there is none; the message says what is wrong with each.
    """
    usable = [
        found
        for found in find_compilers().values()
        if not isinstance(found, str) and _why_not(found, capability, driver_major) is None
    ]
    if not usable:
        reasons = "; ".join(passed_over(capability, driver_major))
        raise CudaError(f"glraster cannot compile its kernels for the GPU: {reasons}")
    targets = {found: target_for(capability, found.capabilities) for found in usable}
    usable.sort(key=lambda found: (found.failed, *_rank(targets[found], capability)))
    return [(found, targets[found]) for found in usable]


def target_for(capability: int, known: list[int]) -> str:
    """Machine code for this GPU or for an older one of its generation, else PTX; some of `known` is not newer."""
    if capability in known:
        return f"sm_{capability}"
    older = [arch for arch in known if arch <= capability]
    alike = [arch for arch in older if arch // 10 == capability // 10 and not {arch, capability} & _ON_CHIP]
    return f"sm_{max(alike)}" if alike else f"compute_{max(older)}"


def _rank(target: str, capability: int) -> tuple[bool, int]:
    kind, _, architecture = target.partition("_")
    return kind != "sm", capability - int(architecture)
