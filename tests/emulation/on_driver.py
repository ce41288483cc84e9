"""Checks that run with the emulated driver as this process's libcuda.so.1; tests/test_launcher.py starts them.

Tensors lie in the CPU's memory, which is the emulated GPU's as well. Everything between an operation and the driver is
real: compiler, cubins, cuda.bindings, parameter structs.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import types
from dataclasses import replace
from pathlib import Path

import torch
from scenes import soup, sphere

import glraster
from glraster.cuda_kernels import compiler, cuda
from glraster.interpolate import KERNELS

STREAM = 0x7EA4  # stands for the handle of PyTorch's current stream
DRIVER = ctypes.CDLL("libcuda.so.1")
KERNEL = compiler.Kernel(KERNELS.source.file, "interpolate_fwd", "_f32", KERNELS.source.struct)


class PlainNvcc:
    """nvcc without PyCUDA, which cannot be imported where the driver lacks functions."""

    version, failed = "nvcc", False

    def compile(self, source: str, name: str, target: str, options: list[str]) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            file, cubin = Path(folder, f"{name}.cu"), Path(folder, "kernel.cubin")
            file.write_text(source)
            subprocess.run(["nvcc", *options, "-arch", target, "-cubin", "-o", str(cubin), str(file)], check=True)
            return cubin.read_bytes()


class Launch(ctypes.Structure):
    """As in driver.cpp."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("function", "stream", "context")]
    _fields_ += [("grid", ctypes.c_uint32), ("block", ctypes.c_uint32), ("bytes", ctypes.c_uint64)]
    _fields_ += [("parameters", ctypes.c_char * 1024)]

    @property
    def content(self) -> bytes:
        return ctypes.string_at(ctypes.addressof(self) + Launch.parameters.offset, self.bytes)


def set_up() -> None:
    torch._C._cuda_getCurrentRawStream = lambda index: STREAM + index
    if os.environ.get("GLRASTER_CUDA_COMPILER") != "nvrtc":
        compiler.compilers_for = lambda capability, driver_major: [(PlainNvcc(), "sm_80")]


def launched() -> list[Launch]:
    every = (Launch * 1000)()
    return list(every[: DRIVER.emulated_launches(every, ctypes.c_size_t(len(every)))])


def interpolate_params() -> tuple[bytes, list[torch.Tensor]]:
    """A forward pass over 3 x 5 pixels, and the tensors to keep."""
    attr, rast = torch.rand((4, 2)), torch.rand((1, 3, 5, 4))
    rast[..., 3] = torch.randint(0, 3, (1, 3, 5))
    tri, out = torch.randint(0, 4, (2, 3), dtype=torch.int32), torch.zeros((1, 3, 5, 2))
    fields = {"attr": attr, "rast": rast, "tri": tri, "out": out, "N": 1, "H": 3, "W": 5, "V": 4, "A": 2}
    fields |= {"num_triangles": 2, "num_diff_attrs": 0, "attr_stride": 0}
    parameters, tensors, _ = KERNELS._pack(KERNELS._plan(tuple(fields)), fields.values())
    return parameters, tensors


def launches() -> None:
    """What reaches the driver is what the host library would have read, in PyTorch's context and stream."""
    params, (attr, rast, tri, out) = interpolate_params()
    cuda.run_on_cuda([(KERNEL, 15, 64)], params, torch.device("cuda", 0), [])
    (launch,) = launched()
    assert launch.content == params
    assert (launch.stream, launch.context, launch.block, launch.grid) == (STREAM, 0x1000, 128, 1)
    assert torch.equal(out, glraster.interpolate(attr, rast, tri)[0])
    # A GPU of two multiprocessors gets 128 blocks at most; threads stride over the rest.
    cuda.run_on_cuda([(KERNEL, 10**9, 64)], params, torch.device("cuda", 0), [])
    assert launched()[1].grid == 128
    cuda.run_on_cuda([(KERNEL, 10**9, 8)], params, torch.device("cuda", 0), [])
    assert launched()[2].grid == 16
    # Several at once, with one struct and with their own.
    other, kept = interpolate_params()
    cuda.run_on_cuda([(KERNEL, 15, 64), (KERNEL, 300, 64)], params, torch.device("cuda", 0), [])
    cuda.run_on_cuda([(KERNEL, 15, 64)] * 2, params + other, torch.device("cuda", 0), [], stride=len(params))
    assert [launch.content for launch in launched()[3:]] == [params, params, params, other]
    assert [launch.grid for launch in launched()[3:]] == [1, 3, 1, 1]


def threads_without_context() -> None:
    """Autograd's threads may have no CUDA context; several may need a kernel at the same time."""
    failures = []

    def run() -> None:
        try:
            params, (attr, rast, tri, out) = interpolate_params()
            cuda.run_on_cuda([(KERNEL, 15, 64)], params, torch.device("cuda", 0), [])
            assert torch.equal(out, glraster.interpolate(attr, rast, tri)[0])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert len({launch.function for launch in launched()}) == 1  # loaded once


def capture() -> None:
    """The first use of a kernel while a graph is captured: loading is allowed, and the mode is put back."""
    DRIVER.emulated_capture(1)
    params, _ = interpolate_params()
    cuda.run_on_cuda([(KERNEL, 15, 64)], params, torch.device("cuda", 0), [])
    assert len(launched()) == 1
    driver = cuda.cuda_driver()
    gpu = cuda.gpu(0)
    with gpu:
        image = compiler.compile_kernel(KERNEL, 80, 13)
        assert driver.cuModuleLoadData(image)[0] == driver.CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED


def errors() -> None:
    """A failing call names itself, leaves no context behind and does no lasting harm."""
    gpu = cuda.gpu(0)
    params, _ = interpolate_params()
    gpu.launch([(KERNEL, 15, 64)], params)
    gpu._processors = 0  # the driver refuses an empty grid
    try:
        gpu.launch([(KERNEL, 15, 64)], params)
        raise AssertionError("no error")
    except cuda.CudaError as error:
        assert str(error).startswith("launching interpolate_fwd_f32 failed: CUDA_ERROR_INVALID_VALUE"), error
    gpu._processors = 1
    before = len(launched())
    try:
        gpu.launch([(KERNEL, 15, 64), (replace(KERNEL, suffix="_f64"), 0, 64), (KERNEL, 15, 64)], params)
        raise AssertionError("no error")
    except cuda.CudaError as error:
        assert str(error).startswith("launching interpolate_fwd_f64 failed: CUDA_ERROR_INVALID_VALUE"), error
    assert len(launched()) == before + 1
    gpu.launch([(KERNEL, 15, 64)], params)
    driver = cuda.cuda_driver()
    assert not int(driver.cuCtxGetCurrent()[1])
    driver.cuCtxPushCurrent(0x2000)  # another library's
    DRIVER.emulated_refuse_contexts(1)
    try:
        gpu.launch([(KERNEL, 15, 64)], params)
        raise AssertionError("no error")
    except cuda.CudaError as error:
        assert str(error).startswith("cuCtxPushCurrent failed: CUDA_ERROR_INVALID_CONTEXT"), error
    assert int(driver.cuCtxGetCurrent()[1]) == 0x2000


def render() -> None:
    """A whole pass forward and backward, plain and deterministic, equals the host's."""

    def results() -> list[torch.Tensor]:
        pos, tri = soup(0, 2, 40)
        pos = pos.requires_grad_()
        attr = torch.rand((pos.shape[1], 3), generator=torch.Generator().manual_seed(0)).requires_grad_()
        rast, rast_db = glraster.rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, (24, 40))
        image = glraster.antialias(glraster.interpolate(attr, rast, tri)[0], rast, pos, tri)
        image.square().sum().backward()
        return [rast.detach(), rast_db.detach(), image.detach(), pos.grad, attr.grad]

    expected = results()
    for name, module in list(sys.modules.items()):
        if name.startswith("glraster.") and hasattr(module, "runs_on_gpu"):
            module.runs_on_gpu = lambda device: True
    first = cuda.gpu(0)
    cuda.gpu = lambda index: first
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        for index, (a, b) in enumerate(zip(results(), expected, strict=True)):
            assert torch.equal(a, b) if index < 3 else (a - b).abs().max() <= 4e-6 * b.abs().max(), index


def graphics() -> None:
    """OpenGL's results reach tensors by mapping, equal to those that are read back; nothing stays registered."""
    from glraster.facing import drop_unseen
    from glraster.interop import cuda_gl
    from glraster.interop.visibility import VisibilityPass

    class Transfer(cuda_gl.CudaTransfer):
        def upload(self, contents):  # the buffers of positions and indices: their CPU tensors pass for CUDA tensors
            def on_gpu(tensor):
                return types.SimpleNamespace(is_cuda=True, nbytes=tensor.nbytes, data_ptr=tensor.data_ptr)

            contents = list(contents)
            super().upload([(buffer, on_gpu(tensor)) for buffer, tensor in contents[:2]] + contents[2:])

    def layers(made: VisibilityPass, pos, tri, size) -> list[torch.Tensor]:
        pos, tri, dropped = drop_unseen(pos, tri, tri)
        found = [torch.empty((len(pos), *size), dtype=torch.int32)]
        made.draw(pos, tri, size, None, found[0], dropped=dropped)
        for _ in range(3):
            keys = torch.empty((len(pos), *size), dtype=torch.int64)
            behind = found[-1] if len(found) > 1 else None
            if len(found) == 3:  # so that the layer before goes back to OpenGL
                behind = behind.clone()
            made.draw(pos, tri, size, None, keys, behind=behind, dropped=dropped)
            found.append(keys)
        return found

    broken, tri = soup(0, 3, 50)
    broken[0, 7, 0], broken[1, 11, 3] = torch.nan, torch.inf
    tri[5, 1], tri[9, 2] = -1, 10**6
    host, made = VisibilityPass(), VisibilityPass(None, 0, lambda: Transfer(0))
    torch.set_default_device("meta")  # it must not matter
    cuda_gl._try_out(made, torch.device("cpu"))
    torch.set_default_device(None)
    for scene in [(broken, tri, (40, 33)), (*sphere(2, 5), (64, 48)), (*sphere(2, 2), (128, 200))]:
        for a, b in zip(layers(made, *scene), layers(host, *scene), strict=True):
            assert torch.equal(a, b)
    assert DRIVER.emulated_registered() == 3  # positions, indices, and what carries texels: no texture is mapped
    made.shrink()
    assert DRIVER.emulated_registered() == 0
    assert torch.equal(layers(made, *scene)[2], layers(host, *scene)[2])
    made.close()
    made.close()
    assert DRIVER.emulated_registered() == 0


def trial_catches_faults() -> None:
    """Where mapping yields wrong images, the trial says so, and the software rasterizer takes over with one warning."""
    import warnings

    import glraster.contexts
    from glraster.interop import cuda_gl

    class Upside(cuda_gl.CudaTransfer):
        def upload(self, contents):
            for buffer, tensor in contents:
                cuda_gl.HostTransfer.upload(self, [(buffer, tensor)])

        def read(self, texture, kind, out):
            super().read(texture, kind, out)
            out.copy_(out.flip(1))

    cuda_gl.CudaTransfer = Upside
    device = types.SimpleNamespace(type="cuda", index=0)
    real, cuda_gl._try_out.__globals__["torch"] = torch, torch
    glraster.contexts._resolve_device = lambda name, wanted: device
    cuda_gl._try_out = lambda made, on, check=cuda_gl._try_out: check(made, real.device("cpu"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        contexts = [glraster.RasterizeGLContext() for _ in range(2)]
    assert [context.egl_device for context in contexts] == ["none", "none"]
    (warning,) = caught
    assert "software rasterizer" in str(warning.message) and "a trial is wrong" in str(warning.message)
    assert DRIVER.emulated_registered() == 0
    for context in contexts:
        context.close()


if __name__ == "__main__":
    set_up()
    globals()[sys.argv[1]]()
