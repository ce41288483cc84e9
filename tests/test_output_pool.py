"""Memory of outputs that is used again: only when nothing refers to it, and never more than the bound."""

import os
import threading

import pytest
import torch

import glraster
from glraster.cuda_kernels import launcher, output_pool

SHAPE = (4, 512, 512)  # 4 MiB


@pytest.fixture(autouse=True)
def empty_pool():
    glraster.empty_cache()
    yield
    glraster.empty_cache()


def new() -> torch.Tensor:
    return launcher.new_output(torch.empty(0), *SHAPE)


USES = {
    "tensor": lambda t: t,
    "view": lambda t: t[3, 5:],
    "other dtype": lambda t: t.view(torch.int32),
    "detached": lambda t: t.detach(),
    "parameter": torch.nn.Parameter,
    "storage": lambda t: t.untyped_storage(),
    "array": lambda t: t.numpy(),
    "memory": lambda t: memoryview(t.numpy()),
    "capsule": torch.to_dlpack,
    "saved by autograd": lambda t: (torch.ones((), requires_grad=True) * t).sum(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_memory_in_use_is_left_alone(use):
    tensor = new()
    address = tensor.data_ptr()
    held = use(tensor)
    del tensor
    others = [new() for _ in range(3)]
    assert address not in [other.data_ptr() for other in others]
    assert len({other.data_ptr() for other in others}) == 3
    del held


def test_memory_shared_with_processes_is_left_alone():
    tensor = new().share_memory_()
    address = tensor.data_ptr()
    del tensor
    assert address not in [new().data_ptr() for _ in range(2)]


def test_memory_that_is_free_is_used_again():
    tensor = new()
    address = tensor.data_ptr()
    tensor.fill_(1)
    del tensor
    again = launcher.new_output_like(torch.empty(SHAPE))
    assert again.data_ptr() == address and again.shape == SHAPE and again.is_contiguous()
    del again
    doubles = launcher.new_output(torch.empty(0), 2, 512, 512, dtype=torch.float64)
    assert doubles.data_ptr() == address and doubles.dtype == torch.float64
    small = launcher.new_output(torch.empty(0), 8)
    assert small.untyped_storage().nbytes() == 32


def test_images_differ_when_both_are_held():
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    rast, _ = glraster.rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, (512, 512))
    images = [glraster.interpolate(torch.full((3, 3), float(k)), rast, tri)[0] for k in range(4)]
    assert [image.unique().round(decimals=3).tolist() for image in images] == [[0.0], [1.0], [2.0], [3.0]]


def test_bound(monkeypatch):
    monkeypatch.setattr(output_pool, "MAX_BYTES", 8 << 20)
    held = [new() for _ in range(4)]
    assert output_pool._total == 8 << 20
    del held
    larger = launcher.new_output(torch.empty(0), 3, *SHAPE[1:])  # those that are free give way
    assert output_pool._total == larger.nbytes
    launcher.new_output(torch.empty(0), 16, *SHAPE[1:])
    assert output_pool._total <= 8 << 20


def test_emptied():
    tensor = new()
    glraster.empty_cache()
    assert output_pool._total == 0 and not output_pool._keepers
    address = tensor.data_ptr()
    assert all(other.data_ptr() != address for other in (new(), new()))


def test_deterministic_mode_sees_new_memory():
    new()
    torch.use_deterministic_algorithms(True)
    try:
        assert new().isnan().all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_threads():
    failures = []

    def run(number: int) -> None:
        for _ in range(30):
            tensor = new().fill_(number)
            if not (tensor == number).all():
                failures.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_after_fork():
    tensor = new().fill_(1)
    with output_pool._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if new().fill_(2).data_ptr() != tensor.data_ptr() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tensor == 1).all()


def test_where_references_cannot_be_counted(monkeypatch):
    monkeypatch.setattr(output_pool, "_usable", None)
    monkeypatch.setattr(output_pool, "_counts_when_free", output_pool._counts_when_free)  # is set anew
    monkeypatch.setattr(output_pool.torch._C, "_storage_Use_Count", lambda address: 1)
    monkeypatch.setattr(output_pool.sys, "getrefcount", lambda value: 1)
    new()
    assert output_pool._usable is False and output_pool._total == 0
