"""Between tensors on a GPU and OpenGL's buffers and textures, without leaving the GPU.

CUDA calls this graphics interoperability: buffers are registered with CUDA once and mapped for each copy. Texels go
through a buffer, to and from which OpenGL copies all layers at once. Mapping orders the copy behind the OpenGL commands
before it, unmapping orders it before those after it; all copies run on PyTorch's current stream, and the CPU waits for
nothing.
PyCUDA's registered objects map on PyCUDA's own streams only: the driver's functions are called through cuda.bindings.
"""

import ctypes
from collections.abc import Iterable
from contextlib import contextmanager

import torch

from glraster.cuda_kernels.cuda import CudaError, check, gpu

from .buffer import Buffer
from .egl import choose_devices
from .gl import GL
from .host_transfer import HostTransfer, TexelKind
from .visibility import VisibilityPass

__all__ = ["CudaTransfer", "cuda_visibility_pass", "interop_reason"]

_MAX_GPUS = 64


class CudaTransfer(HostTransfer):
    """Copies to and from tensors on one GPU. The OpenGL context must be current in every call.

    Args:
        device_index: PyTorch's index of the GPU.

    Raises:
        CudaError: there is no CUDA here, or the OpenGL context is not on this GPU.
    """

    def __init__(self, device_index: int):
        self._gpu = gpu(device_index)
        self._driver = self._gpu.driver
        self._resources: dict[int, object] = {}  # of buffers, by OpenGL's name: CUgraphicsResource
        self._staging = Buffer()  # for texels on their way
        with self._gpu:
            every = self._driver.CUGLDeviceList.CU_GL_DEVICE_LIST_ALL
            count, devices = check("cuGLGetDevices", *self._driver.cuGLGetDevices(_MAX_GPUS, every))
        if int(self._gpu.device) not in [int(device) for device in devices[:count]]:
            renderer = GL.glGetString(GL.GL_RENDERER).decode()
            raise CudaError(f"OpenGL draws on {renderer}, which is not cuda:{device_index}")

    def upload(self, contents: Iterable[tuple[Buffer, torch.Tensor]]) -> None:
        mapped = []
        for buffer, tensor in contents:
            if not tensor.is_cuda:
                super().upload([(buffer, tensor)])  # a few numbers per image
                continue
            mapped.append((self._resource(buffer, tensor.nbytes), tensor))
        with self._mapped([resource for resource, _ in mapped]):
            for resource, tensor in mapped:
                self._copy(self._address(resource), tensor.data_ptr(), tensor.nbytes)

    def read(self, texture: int, kind: TexelKind, out: torch.Tensor) -> None:
        n, h, w = out.shape
        resource = self._resource(self._staging, out.nbytes)
        GL.glBindBuffer(GL.GL_PIXEL_PACK_BUFFER, self._staging.glo)
        GL.glGetTextureSubImage(texture, 0, 0, 0, 0, w, h, n, *kind[1:], out.nbytes, ctypes.c_void_p(0))
        GL.glBindBuffer(GL.GL_PIXEL_PACK_BUFFER, 0)
        with self._mapped([resource]):
            self._copy(out.data_ptr(), self._address(resource), out.nbytes)

    def write(self, texture: int, kind: TexelKind, tensor: torch.Tensor) -> None:
        n, h, w = tensor.shape
        resource = self._resource(self._staging, tensor.nbytes)
        with self._mapped([resource]):
            self._copy(self._address(resource), tensor.data_ptr(), tensor.nbytes)
        GL.glBindBuffer(GL.GL_PIXEL_UNPACK_BUFFER, self._staging.glo)
        GL.glTextureSubImage3D(texture, 0, 0, 0, 0, w, h, n, *kind[1:], ctypes.c_void_p(0))
        GL.glBindBuffer(GL.GL_PIXEL_UNPACK_BUFFER, 0)

    def finish(self) -> None:
        """Nothing waits: PyTorch's stream does what follows after the copies."""

    def release(self) -> None:
        for name in list(self._resources):
            self._unregister(name)
        self._staging.orphan(16)

    def _resource(self, buffer: Buffer, nbytes: int):
        """The buffer as CUDA knows it, with room for so many bytes. It grows by half, for sizes that creep up."""
        if buffer.size < nbytes:
            self._unregister(buffer.glo)
            buffer.orphan(max(nbytes, buffer.size * 3 // 2), GL.GL_DYNAMIC_COPY)
        if buffer.glo not in self._resources:
            flags, register = self._driver.CUgraphicsRegisterFlags, self._driver.cuGraphicsGLRegisterBuffer
            none = int(flags.CU_GRAPHICS_REGISTER_FLAGS_NONE)
            with self._gpu:
                self._resources[buffer.glo] = check("cuGraphicsGLRegisterBuffer", *register(buffer.glo, none))
        return self._resources[buffer.glo]

    def _unregister(self, name: int) -> None:
        resource = self._resources.pop(name, None)
        if resource is not None:
            with self._gpu:
                check("cuGraphicsUnregisterResource", *self._driver.cuGraphicsUnregisterResource(resource))

    @contextmanager
    def _mapped(self, resources: list):
        """Lends registered objects to CUDA, in one call because each takes its time."""
        if not resources:
            yield
            return
        handles = (ctypes.c_void_p * len(resources))(*map(int, resources))
        arguments = len(resources), ctypes.addressof(handles), self._gpu.stream
        with self._gpu:
            check("cuGraphicsMapResources", *self._driver.cuGraphicsMapResources(*arguments))
            try:
                yield
            finally:
                check("cuGraphicsUnmapResources", *self._driver.cuGraphicsUnmapResources(*arguments))

    def _address(self, resource) -> int:
        call = self._driver.cuGraphicsResourceGetMappedPointer
        address, _ = check("cuGraphicsResourceGetMappedPointer", *call(resource))
        return int(address)

    def _copy(self, to: int, source: int, nbytes: int) -> None:
        check("cuMemcpyDtoDAsync", *self._driver.cuMemcpyDtoDAsync(to, source, nbytes, self._gpu.stream))


def cuda_visibility_pass(egl_device: int | str | None, device: torch.device) -> VisibilityPass:
    """A visibility pass for tensors on a GPU, tried out once.

    Raises:
        RuntimeError: OpenGL and CUDA do not work together on this machine; the message says why.
    """
    reasons = []
    for candidate in choose_devices(egl_device, device.index):  # EGL may not know which CUDA device each of them is
        try:
            made = VisibilityPass(candidate.index, device.index, lambda: CudaTransfer(device.index))
            try:
                _try_out(made, device)
            except BaseException:
                made.close()
                raise
            return made
        except RuntimeError as error:
            reasons.append(str(error))
    raise CudaError("; ".join(dict.fromkeys(reasons)))


def _try_out(made: VisibilityPass, device: torch.device) -> None:
    """Draws two images of 4 x 6 pixels whose ids are known: one triangle over the whole first image, one over the lower
    left part of the second, and in each image one with a corner that is not finite."""
    whole, part, nan = [[-1, -1], [9, -1], [-1, 9]], [[-1, -1], [3, -1], [-1, 0]], [[0, 0], [9, 0], [torch.nan, 9]]
    cpu = torch.device("cpu")  # whatever the default device is
    corners = torch.tensor([[*whole, *nan], [*nan, *part]], dtype=torch.float32, device=cpu)
    pos = torch.nn.functional.pad(corners, (0, 2), value=1.0)
    pos[..., 2] = 0
    expected = torch.full((2, 4, 6), -1, dtype=torch.int32, device=cpu)
    expected[0], expected[1, 0], expected[1, 1, :3] = 0, 1, 1
    tri = torch.arange(6, dtype=torch.int32, device=device).view(2, 3)
    for dtype in (torch.int32, torch.int64):  # ids, and keys with the id in their low half
        found = torch.empty((2, 4, 6), dtype=dtype, device=device)
        made.draw(pos.to(device), tri, (4, 6), None, found)
        if not torch.equal(found.cpu().view(torch.int32)[..., :: found.element_size() // 4], expected):
            raise CudaError("OpenGL and CUDA work together on this machine, but not as they should: a trial is wrong")


def interop_reason(device: torch.device) -> str | None:
    """Why OpenGL cannot draw for tensors on a GPU, in one sentence; None if it can."""
    try:
        cuda_visibility_pass(None, device).close()
    except RuntimeError as error:
        return str(error)
    return None
