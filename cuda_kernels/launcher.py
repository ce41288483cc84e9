"""Launches a kernel where its tensors live."""

import ctypes

import torch

from .compiler import Constants
from .cuda import run_on_cuda
from .host import advise_huge_pages, host_threads, host_zeros, run_on_host

__all__ = ["dense", "launch", "new_output", "new_zeros", "params_type", "pointer", "threads_for"]

_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


def params_type(name: str, pointers: str, integers: str = "", doubles: str = "") -> type[ctypes.Structure]:
    """Mirrors a kernel's parameter struct: its pointers, then its int64 fields, then its double fields.

    Args:
        name: the struct's name in the .cu file.
        pointers, integers, doubles: field names in the order of the struct, separated by blanks.
    """
    fields = [(f, ctypes.c_void_p) for f in pointers.split()]
    fields += [(f, ctypes.c_int64) for f in integers.split()]
    fields += [(f, ctypes.c_double) for f in doubles.split()]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


def pointer(tensor: torch.Tensor | None) -> int | None:
    """The address of a contiguous tensor's first element; None (a null pointer) for None and for empty tensors."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()  # 0 for an empty tensor


def new_output(like: torch.Tensor, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """An uninitialized tensor for a kernel to write, on the device (and, unless given, of the dtype) of `like`."""
    tensor = like.new_empty(shape, dtype=dtype)
    return advise_huge_pages(tensor) if tensor.device.type == "cpu" else tensor


def new_zeros(like: torch.Tensor, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor of zeros for a kernel to add to, on the device and (unless given) of the dtype of `like`.

    Where any number of pixels may add to one element, that is float64: sums of float32 stop growing at 2^24 numbers of
    equal size, and are wrong in the fourth digit long before.
    """
    dtype = dtype or like.dtype
    return host_zeros(shape, dtype) if like.device.type == "cpu" else like.new_zeros(shape, dtype=dtype)


def threads_for(count: int, device: torch.device) -> int | None:
    """How many threads `launch` runs over `count` elements; None where there is one for every element."""
    return host_threads(count) if device.type == "cpu" else None


def dense(tensor: torch.Tensor | None) -> torch.Tensor | None:
    """The tensor in the layout that kernels read: contiguous and, on a GPU, from an address for 128-bit accesses."""
    if tensor is None:
        return None
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.is_cuda and tensor.data_ptr() % 16 else tensor


def launch(
    kernel: str,
    params: ctypes.Structure,
    count: int,
    dtype: torch.dtype,
    device: torch.device,
    adds_to: tuple[torch.Tensor | None, ...] = (),
    constants: Constants = (),
    most_additions: int = 64,
) -> None:
    """Runs the instance of `kernel` for `dtype` on `device`; on a GPU, starts it on PyTorch's current stream.

    Args:
        kernel: name of the kernel, without the suffix of its instance.
        params: its parameter struct; the tensors it points to must live until the work is done.
        count: elements of its outermost loop, which decide how many threads are worth starting.
        adds_to: the tensors that it adds to with atomic additions, all zeros. Under
            `torch.use_deterministic_algorithms(True)` their sums do not depend on the order of the additions.
        constants: macros, as (name, value), with which the kernel is compiled for a GPU: what it need not find out
            while it runs. The host library is compiled without.
        most_additions: that one element of the outermost loop makes to one place of `adds_to`.

    Raises:
        CudaError: the kernels cannot run on this GPU, or starting one failed.
    """
    if count == 0:
        return
    if device.type == "cpu":
        run_on_host(f"{kernel}_{_SUFFIX[dtype]}", params, count)
    elif device.type == "cuda":
        run_on_cuda(kernel, _SUFFIX[dtype], params, count, device, adds_to, constants, most_additions)
    else:
        raise RuntimeError(f"glraster's kernels run on cpu and cuda tensors, got {device}")
