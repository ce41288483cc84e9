"""Between tensors on a GPU and OpenGL's buffers and textures, without leaving the GPU.

CUDA calls this graphics interoperability: buffers and textures are registered with CUDA once and mapped for each copy.
Mapping orders the copy behind the OpenGL commands before it, unmapping orders it before those after it; all copies run
on PyTorch's current stream, and the CPU waits for nothing.
PyCUDA's registered objects map on PyCUDA's own streams only: the driver's functions are called through cuda.bindings.
"""

import ctypes
from collections.abc import Callable, Iterable
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
        self._resources: dict[tuple[str, int], object] = {}  # ("buffer" or "texture", its name): CUgraphicsResource
        self._staging = Buffer()  # for texels on their way to OpenGL
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
            if buffer.size < tensor.nbytes:
                self._unregister(("buffer", buffer.glo))
                buffer.orphan(tensor.nbytes)
            mapped.append((self._buffer(buffer.glo), tensor))
        with self._mapped([resource for resource, _ in mapped]):
            for resource, tensor in mapped:
                self._copy(self._address(resource), tensor.data_ptr(), tensor.nbytes)

    def read(self, texture: int, kind: TexelKind, out: torch.Tensor) -> None:
        resource = self._texture(texture)
        with self._mapped([resource]):
            self._copy_layers(resource, out)

    def write(self, texture: int, kind: TexelKind, tensor: torch.Tensor) -> None:
        n, h, w = tensor.shape
        self._staging_of(tensor.nbytes)
        resource = self._buffer(self._staging.glo)
        with self._mapped([resource]):
            self._copy(self._address(resource), tensor.data_ptr(), tensor.nbytes)
        GL.glBindBuffer(GL.GL_PIXEL_UNPACK_BUFFER, self._staging.glo)
        GL.glTextureSubImage3D(texture, 0, 0, 0, 0, w, h, n, *kind[1:], ctypes.c_void_p(0))
        GL.glBindBuffer(GL.GL_PIXEL_UNPACK_BUFFER, 0)

    def finish(self) -> None:
        """Nothing waits: PyTorch's stream does what follows after the copies."""

    def forget(self, textures: list[int]) -> None:
        for texture in textures:
            self._unregister(("texture", int(texture)))

    def release(self) -> None:
        for key in list(self._resources):
            self._unregister(key)

    def _staging_of(self, nbytes: int) -> int:
        if self._staging.size < nbytes:
            self._unregister(("buffer", self._staging.glo))
            self._staging.orphan(nbytes)
        return self._staging.glo

    def _buffer(self, name: int):
        flags = self._driver.CUgraphicsRegisterFlags.CU_GRAPHICS_REGISTER_FLAGS_NONE
        return self._registered(("buffer", name), self._driver.cuGraphicsGLRegisterBuffer, name, int(flags))

    def _texture(self, name: int):
        flags = self._driver.CUgraphicsRegisterFlags.CU_GRAPHICS_REGISTER_FLAGS_READ_ONLY
        register, target = self._driver.cuGraphicsGLRegisterImage, int(GL.GL_TEXTURE_2D_ARRAY)
        return self._registered(("texture", int(name)), register, int(name), target, int(flags))

    def _registered(self, key: tuple[str, int], register: Callable, *arguments: int):
        if key not in self._resources:
            with self._gpu:
                self._resources[key] = check(register.__name__, *register(*arguments))
        return self._resources[key]

    def _unregister(self, key: tuple[str, int]) -> None:
        resource = self._resources.pop(key, None)
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

    def _copy_layers(self, resource, out: torch.Tensor) -> None:
        """Copies from a mapped array texture. CUDA sees its layers as one array, or, if it says so, one by one."""
        n, h, w = out.shape
        call = self._driver.cuGraphicsSubResourceGetMappedArray
        array = check("cuGraphicsSubResourceGetMappedArray", *call(resource, 0, 0))
        depth = check("cuArray3DGetDescriptor", *self._driver.cuArray3DGetDescriptor(array)).Depth
        if depth >= n:
            self._copy_array(array, out, n)
            return
        for layer in range(n):
            array = check("cuGraphicsSubResourceGetMappedArray", *call(resource, layer, 0))
            self._copy_array(array, out[layer], 1)

    def _copy_array(self, array, out: torch.Tensor, layers: int) -> None:
        height, width = out.shape[-2:]
        kinds, copy = self._driver.CUmemorytype, self._driver.CUDA_MEMCPY3D()
        copy.srcMemoryType, copy.srcArray = kinds.CU_MEMORYTYPE_ARRAY, array
        copy.dstMemoryType, copy.dstDevice = kinds.CU_MEMORYTYPE_DEVICE, out.data_ptr()
        copy.dstPitch, copy.dstHeight = width * out.element_size(), height
        copy.WidthInBytes, copy.Height, copy.Depth = width * out.element_size(), height, layers
        check("cuMemcpy3DAsync", *self._driver.cuMemcpy3DAsync(copy, self._gpu.stream))


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
