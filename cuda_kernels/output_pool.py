"""Memory of large CPU outputs, kept for the next ones: PyTorch gives it back to the system (beyond 32 MiB, which the C
library keeps by itself), and a copy into fresh pages takes 1.7 times as long.

Memory is handed out again only when nothing refers to it any more. PyTorch counts the references to a storage (tensors,
their views, what autograd saved, arrays that share it), Python those to the object that stands for it. Whether these
counts tell all of that is tried out at first use; where they do not, nothing is kept.
"""

import os
import sys
import threading

import torch

__all__ = ["MAX_BYTES", "empty_cache", "pooled", "remember"]

MAX_BYTES = 256 << 20  # of all that is remembered, in use or not
_lock = threading.Lock()
_keepers: dict[int, list[torch.Tensor]] = {}  # by bytes: tensors that own the memory, oldest first
_total = 0
_counts_when_free: tuple[int, int] | None = None
_usable: bool | None = None  # None: not tried out yet


def pooled(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor | None:
    """An uninitialized CPU tensor in memory that was used before; None if there is none, or it cannot be used now."""
    if torch.are_deterministic_algorithms_enabled():
        return None  # new memory is filled, to show what is not written
    if torch._C._len_torch_dispatch_stack() or torch._C._are_functorch_transforms_active():
        return None
    with _lock:
        if not _is_usable():
            return None
        for keeper in _keepers.get(torch.Size(shape).numel() * dtype.itemsize, ()):
            if _counts(keeper) == _counts_when_free and not keeper.is_shared():
                return _placed(keeper.untyped_storage(), shape, dtype)
    return None


def remember(tensor: torch.Tensor) -> None:
    """Keeps the memory of a new output for later ones, if the bound allows."""
    global _total
    nbytes = tensor.nbytes
    with _lock:
        if not _is_usable() or nbytes != tensor.untyped_storage().nbytes():
            return
        if _total + nbytes > MAX_BYTES:
            _forget_free()
        if _total + nbytes <= MAX_BYTES:
            _keepers.setdefault(nbytes, []).append(_keeper_of(tensor))
            _total += nbytes


def empty_cache() -> None:
    """Gives memory that glraster keeps for the outputs of its operations on CPUs back to the system.

    Up to 256 MiB are kept. Memory of tensors that are in use stays theirs, and is given back when they are deleted.
    """
    global _total
    with _lock:
        _keepers.clear()
        _total = 0


def _forget_free() -> None:
    global _total
    for nbytes, keepers in list(_keepers.items()):
        kept = [keeper for keeper in keepers if _counts(keeper) != _counts_when_free]
        _total -= nbytes * (len(keepers) - len(kept))
        _keepers[nbytes] = kept


def _keeper_of(tensor: torch.Tensor) -> torch.Tensor:
    return _placed(tensor.untyped_storage(), (tensor.nbytes,), torch.uint8)


def _placed(storage: torch.UntypedStorage, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    empty = torch.empty(0, dtype=dtype, device="cpu")
    return empty.set_(storage, 0, shape)  # type: ignore[call-overload]  # strides may be left out


def _counts(keeper: torch.Tensor) -> tuple[int, int]:
    storage = keeper.untyped_storage()
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)


def _is_usable() -> bool:
    """Whether `_counts` differs for memory in use, however that is referred to."""
    global _usable, _counts_when_free
    if _usable is None:
        try:
            keeper = _keeper_of(torch.empty(8, device="cpu"))
            _counts_when_free = free = _counts(keeper)
            uses = [lambda t: t, lambda t: t[2:5], lambda t: t.numpy(), lambda t: t.untyped_storage(), torch.to_dlpack]
            uses += [lambda t: memoryview(t.numpy()), lambda t: t.detach().view(torch.float32)]
            _usable = True
            for use in uses:
                held = use(keeper.view(torch.float32))
                _usable &= _counts(keeper) != free
                del held
                _usable &= _counts(keeper) == free
        except (AttributeError, RuntimeError, TypeError):
            _usable = False
    return _usable


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork)
