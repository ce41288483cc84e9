"""The kernels compiled for the CPU: one shared library with a C interface, loaded with ctypes."""

import ctypes
import functools
import mmap
import os
import sys
from pathlib import Path

import torch

from .sources import digest

__all__ = [
    "HUGE_PAGE",
    "HostLibraryError",
    "advise_huge_pages",
    "host_library",
    "host_threads",
    "host_zeros",
    "run_on_host",
]

# From the most to the least demanding, with the PyTorch CPU capabilities on which each may run.
_LEVELS = {"avx512": {"AVX512"}, "avx2": {"AVX512", "AVX2"}, "base": None}
# Fewer elements than this are not worth waking a second thread for.
_MIN_ELEMENTS_PER_THREAD = 4096
HUGE_PAGE = 2 << 20
_MADV_HUGEPAGE = 14


class HostLibraryError(RuntimeError):
    """The host library is missing or does not fit this package."""


def _candidates() -> list[str]:
    capability = torch.backends.cpu.get_cpu_capability()
    return [name for name, runs_on in _LEVELS.items() if runs_on is None or capability in runs_on]


@functools.cache
def host_library() -> ctypes.CDLL:
    """Returns the library built for the best instruction set that this processor has.

    The environment variable GLRASTER_HOST_LIBRARY, a path, takes another build in its place: one with sanitizers, say.

    Raises:
        HostLibraryError: if no build of it lies beside this module, or the other one cannot be loaded.
    """
    override = os.environ.get("GLRASTER_HOST_LIBRARY")
    if override:
        return _load(override, f"GLRASTER_HOST_LIBRARY={override}")
    for name in _candidates():
        path = Path(__file__).with_name(f"host_{name}.so")
        if path.exists():
            return _load(str(path), "glraster's host library")
    folder = Path(__file__).parent
    if (folder.parents[1] / "setup.py").exists():
        cure = "this is a source tree whose kernels are not built: `pip install -e .` there builds them; to use an "
        cure += "installed glraster, start Python in another folder"
    else:
        cure = "install the package again (`pip install .` in its source folder, with a C++ compiler on the machine)"
    raise HostLibraryError(f"glraster's host library (host_*.so) is not in {folder}: {cure}")


def _load(path: str, name: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise HostLibraryError(f"{name} cannot be loaded: {error}") from error
    built_from = getattr(library, "glr_built_from", None)
    if built_from is not None:
        built_from.restype = ctypes.c_char_p
    if built_from is None or built_from().decode().split()[0] != digest():
        raise HostLibraryError(
            f"{path} was built from other sources than those in {Path(__file__).parent}: install the package again "
            "(`pip install .`, or `pip install -e .` to work in the source folder)"
        )
    return library


@functools.cache
def _entry(name: str):
    entry = getattr(host_library(), name)
    entry.restype = None
    entry.argtypes = [ctypes.c_char_p, ctypes.c_int32]
    return entry


def host_threads(count: int, *, adds: bool = False) -> int:
    """How many threads run a kernel over `count` elements: PyTorch's number, and one for small counts.

    Under `torch.use_deterministic_algorithms(True)` one thread runs kernels that add up (`adds`), in a fixed order.
    """
    if count < 2 * _MIN_ELEMENTS_PER_THREAD or (adds and torch.are_deterministic_algorithms_enabled()):
        return 1
    return torch.get_num_threads()


def _run_alone() -> None:
    """In a forked child: OpenMP's threads are gone, and GNU's library would wait for them for ever.

    PyTorch's operations, of which glraster's are made too, run on the same threads: its number is set, as PyTorch does
    itself in a DataLoader's workers. A child whose parent has used one thread only may set it again.
    """
    torch.set_num_threads(1)


os.register_at_fork(after_in_child=_run_alone)


def run_on_host(name: str, parameters: bytes, threads: int) -> None:
    """Runs entry `name` with its parameter struct on so many threads."""
    _entry(name)(parameters, threads)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


def advise_huge_pages(tensor: torch.Tensor) -> torch.Tensor:
    """Asks Linux to back a large, not yet written tensor with huge pages, and returns it.

    PyTorch hands large CPU tensors back to the system when they are freed, so that every new one is paid for with a
    page fault per 4 KiB: more than half of the time of writing an image. It is advice: where it fails, nothing changes.
    """
    start = -(-tensor.data_ptr() // HUGE_PAGE) * HUGE_PAGE
    end = (tensor.data_ptr() + tensor.nbytes) // HUGE_PAGE * HUGE_PAGE
    if end > start and sys.platform == "linux":
        _libc().madvise(start, end - start, _MADV_HUGEPAGE)
    return tensor


def host_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A large CPU tensor of zeros: new memory from the system, which is zero without being written."""
    nbytes = torch.Size(shape).numel() * dtype.itemsize
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return torch.zeros(shape, dtype=dtype, device="cpu")
    memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return advise_huge_pages(torch.frombuffer(memory, dtype=dtype).view(shape))
