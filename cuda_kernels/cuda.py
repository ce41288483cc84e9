"""Runs the kernels on NVIDIA GPUs: in PyTorch's context, on PyTorch's current stream, through the CUDA driver.

PyCUDA compiles the kernels but does not launch them: it cannot take a stream that it did not create, and a launch on a
stream of its own, tied to PyTorch's with events, costs more than the launch and adds nodes to a captured graph.
"""

import ctypes
import functools
import struct
import threading
from collections.abc import Sequence

import torch

from .compiler import CudaError, Kernel, compile_kernel
from .host import host_library
from .nvidia_compilers import compilers_for, passed_over
from .order_free_sums import launch_order_free

__all__ = ["CudaError", "Gpu", "check", "cuda_driver", "describe", "run_on_cuda", "unavailable_reason"]

_THREADS_PER_BLOCK = 128
_OLDEST_VERSION = 11030  # of a driver that finds its functions by name: those called here have not changed since


@functools.cache
def cuda_driver():
    """The module cuda.bindings.driver, with the driver initialized.

    Raises:
        CudaError: the module, the driver or a GPU is missing.
    """
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise CudaError(f"glraster needs cuda-bindings on GPUs: pip install 'glraster[cuda]' ({error})") from error
    try:
        (result,) = driver.cuInit(0)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise CudaError(f"no NVIDIA driver on this machine: libcuda.so.1 cannot be loaded ({reason})") from error
    if result == driver.CUresult.CUDA_ERROR_NO_DEVICE:
        raise CudaError("the NVIDIA driver sees no GPU on this machine")
    if result != driver.CUresult.CUDA_SUCCESS:
        raise CudaError(f"the NVIDIA driver does not start: {result.name}")
    return driver


def check(call: str, result, *values):
    """Takes apart what a function of cuda.bindings.driver returns: its values, or a CudaError that names `call`."""
    if result:
        driver = cuda_driver()
        text = driver.cuGetErrorString(result)[1]
        raise CudaError(f"{call} failed: {result.name} ({text.decode() if text else 'no description'})")
    return values[0] if len(values) == 1 else values


class Gpu:
    """One GPU: PyTorch's context on it (the primary one), and the kernels loaded there.

    Args:
        index: PyTorch's, which counts the GPUs as the driver does.

    Attributes:
        driver: see `cuda_driver`.
        device: the driver's handle of it.
        capability: its compute capability, 90 for 9.0.
    """

    def __init__(self, index: int):
        driver = self.driver = cuda_driver()
        self._index = index
        self.device = check("cuDeviceGet", *driver.cuDeviceGet(index))
        self._context = check("cuDevicePrimaryCtxRetain", *driver.cuDevicePrimaryCtxRetain(self.device))
        self.capability = 10 * self._attribute("COMPUTE_CAPABILITY_MAJOR") + self._attribute("COMPUTE_CAPABILITY_MINOR")
        self._processors = self._attribute("MULTIPROCESSOR_COUNT")
        self._functions: dict[Kernel, int] = {}  # addresses of CUfunctions
        self._loading = threading.Lock()
        called = ("cuCtxPushCurrent", "cuCtxPopCurrent", "cuLaunchKernel")
        # GpuDriver of gpu_launch.cpp
        addresses = [check(name, *driver.cuGetProcAddress(name.encode(), _OLDEST_VERSION, 0))[0] for name in called]
        self._for_launch = struct.pack("5q", *addresses, int(self._context), _THREADS_PER_BLOCK)

    def _attribute(self, name: str) -> int:
        kind = getattr(self.driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return check("cuDeviceGetAttribute", *self.driver.cuDeviceGetAttribute(kind, self.device))

    def __enter__(self):
        """Makes the context current on this thread: autograd's threads may have none, or another GPU's."""
        check("cuCtxPushCurrent", *self.driver.cuCtxPushCurrent(self._context))
        return self

    def __exit__(self, *_):
        check("cuCtxPopCurrent", *self.driver.cuCtxPopCurrent())

    @property
    def stream(self) -> int:
        """PyTorch's current stream on this GPU; while a graph is captured, the one that captures."""
        return torch._C._cuda_getCurrentRawStream(self._index)  # torch.cuda.current_stream() takes microseconds

    def launch(
        self,
        launches: Sequence[tuple[Kernel, int, int]],
        parameters: bytes,
        sums: bytes | None = None,
        *,
        stride: int = 0,
    ) -> None:
        """Starts kernels on the current stream, one after the other, and returns at once.

        Args:
            launches: for each its kernel, the elements of its outermost loop, and at most how many blocks on each
                multiprocessor.
            parameters: their parameter struct.
            sums: an `OrderFreeSums`, for deterministic variants.
            stride: where each has a struct of its own, bytes from one to the next.
        """
        given: list[int] = []  # function and blocks of each
        for kernel, count, blocks_per_processor in launches:
            blocks = min(-(-count // _THREADS_PER_BLOCK), blocks_per_processor * self._processors)
            given += (self._functions.get(kernel) or self._load(kernel), blocks)
        packed = struct.pack(f"{len(given)}q", *given)
        failed = _launch_on_gpu()(self._for_launch, packed, len(launches), self.stream, parameters, stride, sums)
        if failed:
            place, result = failed >> 32, self.driver.CUresult(failed & 0xFFFFFFFF)
            check("cuCtxPushCurrent" if place < 0 else f"launching {launches[place][0].entry}", result)

    def _load(self, kernel: Kernel) -> int:
        with self._loading, self, _UnsafeCallsAllowed(self.driver):
            if kernel not in self._functions:
                image = compile_kernel(kernel, self.capability, driver_version())
                module = check(f"loading {kernel.entry}", *self.driver.cuModuleLoadData(image))
                call = self.driver.cuModuleGetFunction
                self._functions[kernel] = int(check(f"finding {kernel.entry}", *call(module, kernel.entry.encode())))
            return self._functions[kernel]


@functools.cache
def _launch_on_gpu():
    """The function of gpu_launch.cpp."""
    function = host_library().glr_launch_on_gpu
    function.restype = ctypes.c_int64
    integer, address, content = ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
    function.argtypes = [content, content, integer, address, content, integer, content]
    return function


class _UnsafeCallsAllowed:
    """Lets this thread load a module while a graph is captured; loading is no part of the graph."""

    def __init__(self, driver):
        self._driver, self._mode = driver, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED

    def _exchange(self, *_):
        exchange = self._driver.cuThreadExchangeStreamCaptureMode
        self._mode = check("cuThreadExchangeStreamCaptureMode", *exchange(self._mode))

    __enter__ = __exit__ = _exchange


@functools.cache
def driver_version() -> int:
    """The newest CUDA version that the driver runs: 13 for 13.0."""
    return check("cuDriverGetVersion", *cuda_driver().cuDriverGetVersion()) // 1000


_gpus: dict[int, Gpu] = {}  # by PyTorch's index; they live as long as the process
_making_gpu = threading.Lock()


def gpu(index: int) -> Gpu:
    """The GPU that PyTorch calls cuda:`index`."""
    if index not in _gpus:
        with _making_gpu:
            if index not in _gpus:
                _gpus[index] = Gpu(index)
    return _gpus[index]


def run_on_cuda(
    launches: Sequence[tuple[Kernel, int, int]],
    parameters: bytes,
    device: torch.device,
    adds_to: list[torch.Tensor],
    most_additions: int = 64,
    stride: int = 0,
) -> None:
    """Starts kernels on a GPU, of which the last may add to `adds_to`; see `Gpu.launch` and `launcher.KernelFile`."""
    launch = gpu(device.index).launch
    if adds_to and torch.are_deterministic_algorithms_enabled():
        *before, (kernel, count, _) = launches
        launch(before, parameters)
        launch_order_free(launch, kernel, count, parameters, adds_to, most_additions)
    else:
        launch(launches, parameters, stride=stride)


def unavailable_reason() -> str | None:
    """Why the kernels cannot run on a GPU here, in one sentence; None if they can."""
    try:
        version = driver_version()
        if not torch.cuda.is_available():
            return f"PyTorch {torch.__version__} sees no GPU (install one of its CUDA builds)"
        compilers_for(_capability(), version)
    except CudaError as error:
        return str(error)
    return None


def _capability() -> int:
    major, minor = torch.cuda.get_device_capability()
    return 10 * major + minor


def describe() -> str:
    """How the kernels run on the GPUs of this machine, or why they do not, in one sentence."""
    reason = unavailable_reason()
    if reason:
        return reason
    capability, version = _capability(), driver_version()
    compiler, target = compilers_for(capability, version)[0]
    how = f"kernels compiled by {compiler.version} for {target}"
    others = "; ".join(passed_over(capability, version))
    where = f"{torch.cuda.get_device_name()}, compute capability {capability / 10}"
    return f"{where}, {how}" + (f" (passed over: {others})" if others else "")
