"""Compiles kernels for a GPU, with the compiler that `nvidia_compilers` finds best for it. Results are kept on disk,
under a key of everything that goes into them."""

import functools
import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from . import kernel_cache
from .nvidia_compilers import CudaError, compilers_for
from .sources import digest

__all__ = ["Constants", "CudaError", "Kernel", "cache_key", "compile_kernel", "options_for", "source_of"]

_FOLDER = Path(__file__).parent
# No contraction, as on the CPU: two inlined copies of one formula must round alike. Suppressed are the warnings that an
# instance of a template has code it cannot reach (128), and a file functions that this kernel does not call (177).
_OPTIONS = ("-std=c++17", "-fmad=false", "-lineinfo", "-diag-suppress=128,177")
Constants = tuple[tuple[str, int | str], ...]  # macros, as (name, value)
_TYPES = {"_f32": "<float>", "_f64": "<double>", "_entry": ""}


@dataclass(frozen=True, eq=False)  # every launch looks its kernel up, and hashes of fields take their time
class Kernel:
    """What is compiled and loaded at a time: one entry. Each is equal to itself alone.

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

    @functools.cached_property
    def order_free(self) -> "Kernel":
        """The deterministic variant."""
        return replace(self, deterministic=True)

    @property
    def entry(self) -> str:
        return self.name + self.suffix

    @property
    def declaration(self) -> str:
        t = _TYPES[self.suffix]
        return f"GLR_ENTRY({self.entry}, {self.params}{t}, {self.name}{t})"

    @property
    def source(self) -> str:
        return source_of(self)


def source_of(*kernels: Kernel) -> str:
    """What is compiled for some of the kernels of one file."""
    wanted = "".join(f"{kernel.declaration}\n" for kernel in kernels)
    return f'#define GLR_ONE_ENTRY\n#include "{kernels[0].file.name}"\n{wanted}'


def options_for(constants: Constants, deterministic: bool) -> list[str]:
    """The options of every compilation, whichever the compiler: also those of `compile_check`."""
    macros = [f"-D{name}={value}" for name, value in constants] + ["-DGLR_DETERMINISTIC"] * deterministic
    return [*_OPTIONS, f"-I{_FOLDER}", f"-I{_FOLDER / 'common'}", *macros]


def cache_key(kernel: Kernel, target: str, compiler_version: str) -> str:
    """Differs wherever anything differs that the compiled kernel depends on; the sources' folder does not count."""
    options = [option.replace(str(_FOLDER), "") for option in options_for(kernel.constants, kernel.deterministic)]
    parts = [kernel.source, target, compiler_version, *options, digest(kernel.file)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def compile_kernel(kernel: Kernel, capability: int, driver_major: int) -> bytes:
    """Returns a kernel compiled for a GPU, from the disk where it was compiled before.

    Args:
        kernel: what to compile.
        capability: the GPU's compute capability, 90 for 9.0.
        driver_major: the newest CUDA version that the driver runs.

    Raises:
        CudaError: there is no compiler, or each that there is reports errors.
    """
    options, failures = options_for(kernel.constants, kernel.deterministic), []
    for compiler, target in compilers_for(capability, driver_major):
        name = f"{kernel.entry}-{target}-{cache_key(kernel, target, compiler.version)[:32]}.bin"
        compiled = kernel_cache.look_up(name)
        if compiled is None:
            try:
                compiled = compiler.compile(kernel.source, kernel.entry, target, options)
            except CudaError as error:
                compiler.failed = True
                failures.append(str(error))
                continue
            kernel_cache.keep(name, compiled)
        if failures:
            warnings.warn(f"glraster's GPU kernels are compiled by {compiler.version}, for {failures[0]}", stacklevel=2)
        return compiled
    raise CudaError("\n".join(failures))
