"""What a program finds in `torch.cuda` when all that it sends to a GPU goes to the CPU.

The CPU has done its work when a call returns: nothing has to be waited for, and events are readings of a clock.
"""

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch

__all__ = ["stand_ins"]

_INTERNAL = ("torch", "glraster")  # packages that are told the truth about GPUs
_NAME = f"{platform.processor() or platform.machine()} (CPU in place of a GPU)"
_DO_NOTHING = (
    *("synchronize", "empty_cache", "set_device", "ipc_collect", "init", "set_stream", "set_sync_debug_mode"),
    *("set_per_process_memory_fraction", "reset_peak_memory_stats", "reset_accumulated_memory_stats"),
    *("reset_max_memory_allocated", "reset_max_memory_cached", "profiler.start", "profiler.stop"),
    *("nvtx.range_push", "nvtx.range_pop", "nvtx.mark", "nvtx.range_start", "nvtx.range_end"),
)
_ZERO = (
    *("current_device", "utilization", "memory_allocated", "max_memory_allocated", "memory_reserved"),
    *("max_memory_reserved", "memory_cached", "max_memory_cached"),
)
_BLOCKS = ("device", "device_of", "stream", "StreamContext", "nvtx.range", "profiler.profile")
_WITHOUT_COUNTERPART = ("CUDAGraph", "graph", "make_graphed_callables", "graph_pool_handle", "cudart")


class Event:
    """`torch.cuda.Event`: the time at which it was recorded."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False):
        self._seconds: float | None = None

    def record(self, stream: object = None) -> None:
        self._seconds = time.perf_counter()

    def elapsed_time(self, end_event: "Event") -> float:
        """Milliseconds from this event to `end_event`."""
        if self._seconds is None or end_event._seconds is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        return 1000 * (end_event._seconds - self._seconds)

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def wait(self, stream: object = None) -> None:
        pass


class Stream:
    """`torch.cuda.Stream`: there is one order, that of the calls."""

    cuda_stream = 0

    def __init__(self, device: object = None, priority: int = 0, **_: object):
        self.device, self.priority = torch.device("cpu"), priority

    def record_event(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record()
        return event

    def query(self) -> bool:
        return True

    def synchronize(self) -> None:
        pass

    def wait_event(self, event: Event) -> None:
        pass

    def wait_stream(self, stream: "Stream") -> None:
        pass


class _Block(contextlib.ContextDecorator):
    """A `with` block, or a decorator, that changes nothing."""

    def __init__(self, *_: object, **__: object):
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def stand_ins() -> Iterator[tuple[Any, str, Any]]:
    """What to replace: module, name, and what stands there instead. Names that this PyTorch lacks are left out."""
    table: dict[str, Any] = {name: _nothing for name in _DO_NOTHING}
    table |= dict.fromkeys(_ZERO, _zero) | dict.fromkeys(_BLOCKS, _Block)
    table |= {name: _refuse(name) for name in _WITHOUT_COUNTERPART}
    table["Event"], table["Stream"], table["ExternalStream"] = Event, Stream, Stream
    table |= dict.fromkeys(("current_stream", "default_stream"), lambda device=None: Stream())
    table |= {
        "is_available": _for_programs(torch.cuda.is_available, True),
        "device_count": _for_programs(torch.cuda.device_count, 1),
        "is_initialized": _for_programs(torch.cuda.is_initialized, True),
        "is_bf16_supported": _for_programs(torch.cuda.is_bf16_supported, False),
        "get_device_name": lambda device=None: _NAME,
        "get_device_capability": lambda device=None: (0, 0),
        "get_device_properties": lambda device=None: _properties(),
        "mem_get_info": lambda device=None: _memory(),
        "memory_stats": lambda device=None: {},
        "memory_summary": lambda device=None, abbreviated=False: "",
        "is_current_stream_capturing": lambda: False,
        "initial_seed": torch.initial_seed,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "get_rng_state_all": lambda: [torch.get_rng_state()],
        "set_rng_state": lambda new_state, device=None: torch.set_rng_state(new_state),
        "set_rng_state_all": lambda new_states: torch.set_rng_state(new_states[0]),
    }
    table |= dict.fromkeys(("manual_seed", "manual_seed_all"), _seed)
    table |= dict.fromkeys(("seed", "seed_all"), lambda: torch.default_generator.seed())
    for name in dir(torch.cuda):
        if name.endswith(("Tensor", "Storage")) and hasattr(torch, name):
            table[name] = getattr(torch, name)
    for path, value in table.items():
        *modules, name = path.split(".")
        owner: Any = torch.cuda
        for module in modules:
            owner = getattr(owner, module)
        if hasattr(owner, name):
            yield owner, name, value


def _nothing(*_: object, **__: object) -> None:
    pass


def _zero(*_: object, **__: object) -> int:
    return 0


def _refuse(name: str) -> Callable:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError(f"glraster run --cpu: torch.cuda.{name} has no counterpart on the CPU")

    return refuse


def _for_programs(truth: Callable, answer: Any) -> Callable:
    """A function that answers the program, and tells the truth to those who act on it: PyTorch and this package."""

    def ask(*arguments: object, **named: object) -> Any:
        asking = sys._getframe(1).f_globals.get("__name__", "")
        return truth(*arguments, **named) if asking.partition(".")[0] in _INTERNAL else answer

    return ask


def _seed(seed: int) -> None:
    """Of the generator that now makes all random numbers. Not `torch.manual_seed`, which calls this function."""
    torch.default_generator.manual_seed(int(seed))


def _memory() -> tuple[int, int]:
    """Bytes of this machine's memory: free, and in all."""
    page = os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page


def _properties() -> SimpleNamespace:
    count = os.cpu_count() or 1
    return SimpleNamespace(name=_NAME, major=0, minor=0, total_memory=_memory()[1], multi_processor_count=count)
