"""Runs the kernels' CUDA half on the CPU: warps of fibers (scheduler.cpp), the driver's interface (driver.cpp)."""

import contextlib
import ctypes
import hashlib
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glraster.cuda_kernels import compiler

__all__ = ["EmulatedGpu", "built", "run_python"]

_HERE = Path(__file__).parent
_BUILT = _HERE.parents[1] / "build" / "emulation"
_FLAGS = ["-std=c++17", "-O1", "-g", "-fPIC", "-ffp-contract=off", "-Wall", "-Wno-unknown-pragmas"]
_CHANNELS = {"texture": "TEXTURE_CHANNELS", "interpolate": "INTERPOLATE_ATTRIBUTES"}


def built() -> Path:
    """The folder with the kernels, a library for each variant, libemulation.so and libcuda.so.1.

    It is named by a digest of all that goes into them, and compiled only if no earlier run has left it behind.
    """
    kernels = Path(compiler.__file__).parent
    digest = hashlib.sha256(" ".join(_FLAGS).encode())
    digest.update(subprocess.run([*_compiler(), "--version"], capture_output=True, check=True).stdout)
    for file in sorted([*kernels.glob("*.cu"), *kernels.glob("common/*.cuh"), *_HERE.glob("*.*")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    folder = _BUILT / digest.hexdigest()[:16]
    if not folder.exists():
        _BUILT.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=_BUILT))
        try:
            _build(partial)
            with contextlib.suppress(OSError):  # another run was quicker
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "")) or ["g++"]


def _build(folder: Path) -> None:
    compile_cxx = [*_compiler(), *_FLAGS]
    kernels = sorted(Path(compiler.__file__).parent.glob("*.cu"))
    # Known numbers of channels differ from these in the length of loops alone, but for gradients of textures.
    any_number, fours, threes = (tuple((name, C) for name in _CHANNELS.values()) for C in ("kAnyNumber", "kFours", 3))
    options = {
        "plain": compiler.options_for(any_number, False),
        "deterministic": compiler.options_for(any_number, True),
    }
    options["fours"], options["threes"] = (compiler.options_for(known, False) for known in (fours, threes))
    files = dict.fromkeys(options, kernels)
    files |= dict.fromkeys(("fours", "threes"), [file for file in kernels if file.stem in _CHANNELS])

    def compile_one(job: tuple[str, Path]) -> None:
        variant, file = job
        defines = [flag for flag in options[variant] if flag[:2] in ("-D", "-I")]
        prelude = ["-x", "c++", "-include", str(_HERE / "cuda_on_host.h")]
        target = folder / f"{variant}_{file.stem}.o"
        subprocess.run([*compile_cxx, *defines, *prelude, "-c", str(file), "-o", str(target)], check=True)

    shared = [*compile_cxx, "-shared"]
    emulation = [str(_HERE / "scheduler.cpp"), str(_HERE / "cubin.cpp"), "-o", str(folder / "libemulation.so")]
    subprocess.run([*shared, *emulation], check=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, [(variant, file) for variant in options for file in files[variant]]))
    link = [f"-L{folder}", "-lemulation", "-Wl,-rpath,$ORIGIN"]
    for variant in options:
        objects = [str(folder / f"{variant}_{file.stem}.o") for file in files[variant]]
        subprocess.run([*shared, *objects, *link, "-o", str(folder / f"{variant}.so")], check=True)
    driver = [
        str(_HERE / "driver.cpp"),
        str(_HERE / "graphics.cpp"),
        "-Wl,-soname,libcuda.so.1",
        "-o",
        str(folder / "libcuda.so.1"),
    ]
    subprocess.run([*shared, *driver, *link, "-ldl"], check=True)


class EmulatedGpu:
    """Takes the place of `cuda_kernels.cuda.Gpu`; `seed` decides the order in which blocks and threads run."""

    def __init__(self, folder: Path, seed: int = 0):
        self._emulate = ctypes.CDLL(str(folder / "libemulation.so")).emulate
        self._emulate.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t] + [ctypes.c_uint] * 2 + [ctypes.c_uint64]
        variants = ("plain", "deterministic", "fours", "threes")
        self._kernels = {variant: ctypes.CDLL(str(folder / f"{variant}.so")) for variant in variants}
        self._random = random.Random(seed)
        self.launched: list[str] = []

    def launch(self, launches, parameters: bytes, sums: bytes | None = None, *, stride: int = 0) -> None:
        """As `Gpu.launch`, on one thread of the CPU, until the kernels have ended."""
        known = {3: "threes", 4: "fours", "kFours": "fours"}
        for i, (kernel, count, _) in enumerate(launches):
            own = parameters[i * stride : (i + 1) * stride] if stride else parameters
            content = own + (sums or b"")  # sizes and offsets are multiples of 8
            variant = "plain" if sums is None else "deterministic"
            if sums is None:
                variant = known.get(dict(kernel.constants).get(_CHANNELS.get(kernel.file.stem)), variant)
            entry = getattr(self._kernels[variant], kernel.entry)
            function = ctypes.cast(entry, ctypes.c_void_p)
            grid = min(-(-count // 64), 8)
            self._emulate(function, content, len(content), grid, 64, self._random.getrandbits(64))
            self.launched.append(kernel.name)


def run_python(script: str, **variables: str) -> subprocess.CompletedProcess:
    """Runs a script in a process of its own, with more environment variables, and captures what it prints."""
    path = os.pathsep.join([str(_HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path} | variables
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
