"""Launches kernels where their tensors live."""

import functools
import math
import operator
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch._C._functorch import unwrap_if_dead

from .compiler import Constants, Kernel
from .cuda import run_on_cuda
from .host import HUGE_PAGE, advise_huge_pages, host_threads, host_zeros, run_on_host
from .output_pool import pooled, remember
from .sources import Field, Source, read_source

__all__ = [
    "ENOUGH_BLOCKS",
    "KernelFile",
    "channels_constant",
    "kernel_files",
    "new_output",
    "new_output_like",
    "new_sum_like",
    "new_zeros",
    "new_zeros_list",
    "reciprocal",
    "rounded",
    "runs_on_gpu",
    "threads_for",
]

_SUFFIX: dict[torch.dtype | None, str] = {torch.float32: "_f32", torch.float64: "_f64"}
# What a tensor must be for a pointer to this type; "T" is the dtype of the instance.
_DTYPES = {"int32_t": torch.int32, "uint32_t": torch.int32, "int64_t": torch.int64, "uint64_t": torch.int64}
_DTYPES |= {"uint8_t": torch.uint8, "float": torch.float32, "double": torch.float64}
_CPU = torch.device("cpu")
_Value = torch.Tensor | Sequence[torch.Tensor | None] | Sequence[int] | int | float | None
ENOUGH_BLOCKS = 64  # to fill a multiprocessor of a GPU a few times over
_files: "dict[str, KernelFile]" = {}


def new_output(like: torch.Tensor, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """An uninitialized tensor for a kernel to write, on the device (and, unless given, of the dtype) of `like`."""
    if type(like) is torch.Tensor and like.is_cpu:
        dtype = dtype or like.dtype
        if math.prod(shape) * dtype.itemsize >= HUGE_PAGE:
            return _large(shape, dtype)
    return like.new_empty(shape, dtype=dtype)


def new_output_like(tensor: torch.Tensor) -> torch.Tensor:
    """An uninitialized tensor for a kernel to write, of the shape, dtype and device of `tensor`."""
    if type(tensor) is torch.Tensor and tensor.is_cpu and tensor.numel() * tensor.itemsize >= HUGE_PAGE:
        return _large(tuple(tensor.shape), tensor.dtype)
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)  # half the time of new_empty


def _large(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    found = pooled(shape, dtype)
    if found is None:
        found = advise_huge_pages(torch.empty(shape, dtype=dtype, device="cpu"))
        remember(found)
    return found


def new_zeros(like: torch.Tensor, *shape: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor of zeros for a kernel to add to, on the device and (unless given) of the dtype of `like`."""
    dtype = dtype or like.dtype
    large = like.is_cpu and math.prod(shape) * dtype.itemsize >= HUGE_PAGE
    return host_zeros(shape, dtype) if large else like.new_zeros(shape, dtype=dtype)


def new_zeros_list(
    like: torch.Tensor, shapes: Sequence[tuple[int, ...]], dtypes: Sequence[torch.dtype]
) -> list[torch.Tensor]:
    """Tensors of zeros in one piece of memory, which one fill clears; each starts at a multiple of 16 bytes."""
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in zip(shapes, dtypes, strict=True)]
    padded = [-(-size // 16) * 16 for size in sizes]
    pieces = new_zeros(like, sum(padded), dtype=torch.uint8).split(padded)
    each = zip(pieces, sizes, shapes, dtypes, strict=True)
    return [piece[:size].view(dtype).view(shape) for piece, size, shape, dtype in each]


def new_sum_like(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros of the shape of `tensor` to which any number of pixels may add, and which `rounded` then rounds: float64.

    Sums of float32 stop growing at 2^24 numbers of equal size, and are wrong in the fourth digit long before.
    """
    if tensor.is_cpu and 8 * tensor.numel() >= HUGE_PAGE:
        return host_zeros(tensor.shape, torch.float64)
    return torch.zeros_like(tensor, dtype=torch.float64, memory_format=torch.contiguous_format)


def rounded(total: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """A sum that may have been built in float64, in the dtype that is wanted."""
    return total.float() if total is not None and dtype is torch.float32 else total


@functools.lru_cache
def reciprocal(divisor: int) -> int:
    """floor((2^64 - 1) / divisor), with which kernels divide without a division, as the int64 of the same bits."""
    quotient = (2**64 - 1) // max(divisor, 1)
    return quotient - 2**64 if quotient >= 2**63 else quotient


def channels_constant(count: int, dtype: torch.dtype) -> int | str:
    """What a GPU's compiler is told of a number of channels (common/channels.cuh)."""
    if 0 < count <= 4 and dtype == torch.float32:
        return count
    return "kAnyNumber" if count % 4 else "kFours"


def runs_on_gpu(device: torch.device) -> bool:
    """Whether kernels over tensors on `device` run on a GPU."""
    return device != _CPU


def threads_for(count: int, device: torch.device, *, adds: bool = False) -> int | None:
    """How many threads a launch over `count` elements runs; None on a GPU, where there is one for every element.

    Args:
        adds: whether the kernel adds to tensors: one thread does so under `torch.use_deterministic_algorithms(True)`.
    """
    return None if runs_on_gpu(device) else host_threads(count, adds=adds)


def kernel_files() -> "dict[str, KernelFile]":
    """Every kernel file that a module of this package launches kernels of, by its stem."""
    return dict(_files)


@dataclass
class KernelFile:
    """The kernels of one .cu file, and how they are called.

    Args:
        stem: the file's name without .cu.
        adds_to: the fields that its kernels add to with atomic additions. Tensors given for them must be all zeros;
            under `torch.use_deterministic_algorithms(True)` their sums do not depend on the order of the additions.
        constants: for each macro with which its kernels are compiled for a GPU, the values worth checking: what the
            kernel then need not find out while it runs. The host library is compiled without.
    """

    stem: str
    adds_to: tuple[str, ...] = ()
    constants: dict[str, tuple] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _files[self.stem] = self
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._kernels: dict[tuple, Kernel] = {}

    @functools.cached_property
    def source(self) -> Source:
        return read_source(self.stem)

    @functools.cached_property
    def _struct(self) -> struct.Struct:
        return struct.Struct("".join(f.code * (f.length or 1) for f in self.source.fields))

    def launch(
        self,
        name: str,
        count: int,
        *,
        threads: int | None = None,
        constants: Constants = (),
        most_additions: int = 64,
        blocks: int = ENOUGH_BLOCKS,
        **fields: _Value,
    ) -> None:
        """Runs a kernel where its tensors live; on a GPU, starts it on PyTorch's current stream.

        Args:
            name: of the kernel.
            count: elements of its outermost loop.
            threads: from `threads_for`, where the caller has already asked; on a CPU.
            constants: macros, as (name, value), for the GPU's compiler.
            most_additions: that one element of the outermost loop makes to one place of a tensor that is added to.
            blocks: on each of a GPU's multiprocessors, at most; threads stride over the rest.
            fields: of the parameter struct: tensors (None, or left out: a null pointer), addresses
                within memory that the caller keeps, numbers, lists for arrays. Tensors that are only read may have any
                strides.

        Raises:
            TypeError, ValueError: the fields do not fit the struct, or the tensors not one another.
            CudaError: the kernel cannot run on this GPU, or starting it failed.
        """
        self._run([(name, count, blocks)], threads, constants, most_additions, fields)

    def launch_in_turn(self, launches: Sequence[tuple[str, int, int]], **fields: _Value) -> None:
        """As `launch`, several kernels with the same parameters.

        Args:
            launches: for each its name, `count` and `blocks`. Only the last may add to tensors.
            fields: of the parameter struct, the same for all.
        """
        self._run(launches, None, (), 64, fields)

    def launch_each(self, name: str, calls: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """As `launch`, a kernel that adds to nothing, several times in turn with parameters of their own.

        Args:
            name: of the kernel.
            calls: for each the elements of its outermost loop and the fields, which have the same names in all.
        """
        calls = [call for call in calls if call[0]]
        if not calls:
            return
        names = tuple(calls[0][1])
        plan = self._plans.get(names) or self._plan(names)
        packed = [self._pack(plan, fields.values()) for _, fields in calls]
        _, tensors, dtype = packed[0]
        kernel, device = self._kernels.get((name, dtype, ())) or self._kernel(name, dtype, ()), tensors[0].device
        if runs_on_gpu(device):
            launches = [(kernel, count, ENOUGH_BLOCKS) for count, _ in calls]
            run_on_cuda(launches, b"".join(each[0] for each in packed), device, [], stride=self._struct.size)
        else:
            for (count, _), (parameters, _, _) in zip(calls, packed, strict=True):
                run_on_host(kernel.entry, parameters, host_threads(count))

    def _run(self, launches, threads: int | None, constants: Constants, most_additions: int, fields: dict) -> None:
        launches = [launch for launch in launches if launch[1]]
        if not launches:
            return
        names = tuple(fields)
        plan = self._plans.get(names) or self._plan(names)
        parameters, tensors, dtype = self._pack(plan, fields.values())
        device = tensors[0].device
        adds_to = [t for field in plan.adds_to for t in _listed(fields[field]) if t is not None] if plan.adds_to else []
        found = [
            (self._kernels.get((name, dtype, constants)) or self._kernel(name, dtype, constants), count, blocks)
            for name, count, blocks in launches
        ]
        if runs_on_gpu(device):
            run_on_cuda(found, parameters, device, adds_to, most_additions)
        else:
            for kernel, count, _ in found:
                given = host_threads(count, adds=bool(adds_to)) if threads is None else threads
                run_on_host(kernel.entry, parameters, given)

    def _kernel(self, name: str, dtype: torch.dtype | None, constants: Constants) -> Kernel:
        suffix = _SUFFIX[dtype] if self.source.typed else "_entry"
        kernel = Kernel(self.source.file, name, suffix, self.source.struct, constants)
        self._kernels[name, dtype, constants] = kernel
        return kernel

    def _plan(self, names: tuple[str, ...]) -> "_Plan":
        absent = len(names)  # the index of a zero that is appended to the values
        order: list[int] = []
        pointers, lists = [], []
        for f in self.source.fields:
            given, place = names.index(f.name) if f.name in names else absent, len(order)
            order += [given] if f.length is None else [absent] * f.length
            if given != absent and f.code == "P":
                pointers.append((given, place, _DTYPES.get(f.type), f.type == "T", f))
            elif given != absent and f.length is not None:
                lists.append((given, place, f))
        adds_to = tuple(name for name in self.adds_to if name in names)
        plan = _Plan(operator.itemgetter(*order), lists, pointers, adds_to)
        unknown = set(names) - {f.name for f in self.source.fields}
        missing = [f.name for f in self.source.fields if f.code != "P" and f.name not in names]
        if unknown or missing:
            raise TypeError(f"{self.source.struct} has no fields {sorted(unknown)}, and needs values for {missing}")
        self._plans[names] = plan
        return plan

    def _pack(self, plan: "_Plan", fields: Iterable) -> tuple[bytes, list[torch.Tensor], torch.dtype | None]:
        """The struct, the tensors to which it points, and the dtype of those of type T."""
        given = (*fields, 0)
        values = list(plan.in_order(given))
        for i, place, f in plan.lists:
            listed = _at_most(given[i], f, self.source.struct)
            values[place : place + len(listed)] = listed
        tensors: list[torch.Tensor] = []
        instance = first = None
        for i, place, needed, typed, f in plan.pointers:
            value = given[i]
            if value is None or type(value) is int:  # an address
                values[place] = value or 0
                continue
            for tensor in (value,) if f.length is None else _at_most(value, f, self.source.struct):
                if tensor is not None:
                    dtype = tensor.dtype  # "void" stands for float32 or float64, which a number of the struct tells
                    if typed:
                        needed = instance = instance or dtype  # the same for all
                    device = tensor.get_device()  # -1: a CPU
                    if first is None:
                        first = device
                    contiguous = tensor.is_contiguous()
                    try:
                        pointer = tensor.data_ptr()  # 0 for an empty tensor
                    except RuntimeError:
                        pointer = _address(tensor)
                    if not f.written and (not contiguous or (device >= 0 and pointer % 16)):
                        tensor, contiguous = _dense(tensor), True
                        pointer = _address(tensor)
                    fits = contiguous and device == first and (needed is None or dtype is needed)
                    if not (fits and (pointer or tensor.numel() == 0)):
                        device_needed = (tensors or [tensor])[0].device
                        raise _misfit(self.source.struct, f.name, tensor, needed or dtype, device_needed)
                    tensors.append(tensor)
                    values[place] = pointer
                place += 1
        if not tensors:
            raise TypeError(f"{self.source.struct}: a launch needs a tensor")
        return self._struct.pack(*values), tensors, instance


class _Plan(NamedTuple):
    """What follows from the names of a call's fields: where each stands among them and in the struct."""

    in_order: Callable[[tuple], tuple]  # from the values given and a zero after them, those of the struct
    lists: list[tuple[int, int, Field]]  # index among the names, first value in the struct
    pointers: list[tuple[int, int, torch.dtype | None, bool, Field]]  # dtype of the tensor (None: its own), whether T
    adds_to: tuple[str, ...]


def _at_most(values: Sequence, f: Field, struct_name: str) -> Sequence:
    """The values of a list, if the struct has room for them."""
    if len(values) > (f.length or 0):
        raise ValueError(f"{struct_name}: {f.name} holds {f.length} values, got {len(values)}")
    return values


def _listed(value) -> Sequence:
    return value if isinstance(value, (list, tuple)) else (value,)


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in the layout that kernels read: contiguous and, on a GPU, from an address for 128-bit accesses."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.is_cuda and tensor.data_ptr() % 16 else tensor


def _address(tensor: torch.Tensor) -> int:
    """Where the elements lie of a tensor that does not say so; 0 if it has no memory."""
    try:
        return unwrap_if_dead(tensor).data_ptr()  # a transform of torch.func that has ended left it in saved tensors
    except RuntimeError:
        return 0


def _misfit(struct_name: str, name: str, tensor: torch.Tensor, dtype: torch.dtype, device: torch.device) -> ValueError:
    layout = "contiguous" if tensor.is_contiguous() else "not contiguous"
    memory = "" if _address(tensor) or tensor.numel() == 0 else ", without memory"
    got = f"{tensor.dtype} on {tensor.device}, {layout}{memory}"
    return ValueError(f"{struct_name}: {name} must be {dtype} on {device}, contiguous, got {got}")
