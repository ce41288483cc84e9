"""Sends to the CPU what a program sends to a GPU: tensors, modules, random numbers, and the calls of `torch.cuda`."""

import contextlib
import functools
import importlib
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .. import contexts
from .cuda_stand_ins import stand_ins

__all__ = ["on_cpu"]

_CUDA = re.compile(r"cuda(:\d+)?")
_REAL_DEVICE, _REAL_GENERATOR = torch.device, torch.Generator
_NUMBERED = (torch.Tensor.to, torch._C._nn._parse_to, _REAL_DEVICE)  # where a number means a GPU
_FILTERED = ("CUDA is not available", "torch.cuda.amp.GradScaler is enabled", "no accelerator is found")


@contextlib.contextmanager
def on_cpu() -> Iterator[None]:
    """Within this block a program that asks for CUDA gets the CPU, in this thread and those that are started here.

    Tensors say truly that they are on the CPU. `torch.cuda.is_available()` says that there is one GPU, to all but
    PyTorch and this package, since programs give up otherwise. Moving a tensor from one device to the other makes a
    copy, as it would between two devices, except of tensors that require gradients, which move to the CPU as they are.
    CUDA graphs and other things without a counterpart raise NotImplementedError.

    It hides GPUs for good from a process that has not used one (CUDA_VISIBLE_DEVICES is set to nothing).
    """
    # Optimizers import this, which lists the functions of `torch.cuda` and must find those that it knows.
    importlib.import_module("torch._dynamo")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for words in _FILTERED:  # of autocast, gradient scalers and data loaders, which then do without
            warnings.filterwarnings("ignore", f".*{re.escape(words)}")
        for owner, name, value in (*stand_ins(), *_elsewhere()):
            stack.enter_context(_replaced(owner, name, value))
        stack.enter_context(_ToCpu())
        yield


class _ToCpu(TorchFunctionMode):
    """Every function and method of PyTorch, with the CPU in place of the GPUs in its arguments."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.cuda:
            return _moved(args[0])
        if func is torch.Tensor.cpu:
            return args[0].clone()
        if func is torch.Tensor.pin_memory:
            return args[0]
        numbered = func in _NUMBERED
        args = tuple(_cpu_for(value, numbered) for value in args)
        kwargs = {name: _cpu_for(value, name == "device") for name, value in kwargs.items()}
        if func is _REAL_DEVICE:
            return _REAL_DEVICE("cpu") if "cpu" in (*args[:1], *kwargs.values()) else func(*args, **kwargs)
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        result = func(*args, **kwargs)
        if func is torch.Tensor.to and result is args[0] and _names_a_device((*args[1:], *kwargs.values())):
            return _moved(result)
        return result


def _moved(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on another device, of which nobody can see that it is the same: programs change such a copy in place."""
    return tensor if tensor.requires_grad else tensor.clone()


def _names_a_device(values: tuple) -> bool:
    return any(isinstance(value, str | _REAL_DEVICE) for value in values)


def _is_gpu(value: object, numbered: bool = True) -> bool:
    if isinstance(value, str):
        return _CUDA.fullmatch(value) is not None
    if isinstance(value, _REAL_DEVICE):
        return value.type == "cuda"
    return numbered and isinstance(value, int) and not isinstance(value, bool)


def _cpu_for(value: Any, numbered: bool) -> Any:
    """An argument, with the CPU in place of a GPU. Types of tensors have their device in their name."""
    if _is_gpu(value, numbered):
        return "cpu"
    return value.replace("torch.cuda.", "torch.") if isinstance(value, str) else value


class _GeneratorType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _REAL_GENERATOR)

    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return _REAL_GENERATOR("cpu" if _is_gpu(device) else device)


class _Generator(metaclass=_GeneratorType):
    """`torch.Generator`, whose constructor no mode sees."""


def _elsewhere() -> Iterator[tuple[Any, str, Any]]:
    """What to replace outside of `torch.cuda`: what takes a device, and is none of the functions that a mode sees."""
    load, set_type, start = torch.load, torch.set_default_tensor_type, threading.Thread.start
    resolve = contexts._resolve_device

    def load_on_cpu(f: Any, map_location: Any = None, *arguments: Any, **named: Any) -> Any:
        return load(f, map_location if callable(map_location) else "cpu", *arguments, **named)

    def start_on_cpu(thread: threading.Thread) -> None:
        thread.run = functools.partial(_run_on_cpu, thread.run)  # type: ignore[method-assign]
        start(thread)

    yield torch, "load", functools.wraps(load)(load_on_cpu)
    yield torch, "set_default_tensor_type", lambda t: set_type(_cpu_for(t, False))
    yield torch, "Generator", _Generator
    yield (
        torch.Tensor,
        "record_stream",
        lambda tensor, stream: None,
    )  # a mode sees checked calls
    yield threading.Thread, "start", start_on_cpu
    yield contexts, "_resolve_device", lambda name, device: resolve(name, "cpu" if _is_gpu(device) else device)


def _run_on_cpu(run: Callable[[], None]) -> None:
    """What a new thread runs: modes belong to a thread."""
    with _ToCpu():
        run()


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before, own = getattr(owner, name), name in vars(owner)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:  # of a base class
            delattr(owner, name)
