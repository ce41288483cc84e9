"""Rasterizer contexts: the two ways to find out which triangle each pixel sees."""

import functools
import threading
import warnings
from dataclasses import dataclass

import torch

from glraster.cuda_kernels.launcher import launch, new_output, params_type, pointer, threads_for
from glraster.cuda_kernels.upload import to_device

from .corners import order_corners
from .facing import drop_unseen

__all__ = ["RasterizeContext", "RasterizeCudaContext", "RasterizeGLContext", "Scene", "Visibility"]

RasterizeParams = params_type(
    "RasterizeParams",
    "pos tri item_start first_triangle previous keys tiles large",
    "N H W V num_triangles num_items num_large pos_stride cull",
)
_THREADS_PER_TILE = 32  # on a GPU
CULL_SIGN = {"none": 0, "front": 1, "back": -1}


@dataclass(frozen=True)
class Scene:
    """Checked arguments of one rasterization: what is drawn, and where."""

    pos: torch.Tensor  # [N, V, 4], or [V, 4] with ranges
    tri: torch.Tensor  # [T, 3] int32
    height: int
    width: int
    ranges: torch.Tensor | None  # [N, 2] int32 on the CPU: first triangle, count
    cull: str

    @property
    def num_images(self) -> int:
        return self.pos.shape[0] if self.ranges is None else self.ranges.shape[0]

    @property
    def pos_stride(self) -> int:
        """Elements from one image's positions to the next; 0 where all images share them."""
        return self.pos.shape[-2] * 4 if self.ranges is None else 0


@dataclass(frozen=True)
class Visibility:
    """What a context found: per pixel a triangle id, -1 for none; in keys together with what orders them by depth."""

    ids: torch.Tensor  # int32 [N, H, W], or int64 [N, H, W] keys with the id in their low half

    @property
    def id_stride(self) -> int:
        """int32 elements from one pixel's id to the next."""
        return self.ids.element_size() // 4


class RasterizeContext:
    """What both contexts have in common: a device, and whether a depth peeler holds the context."""

    def __init__(self, device: torch.device | str | int | None = None):
        self.device = _resolve_device(type(self).__name__, device)
        self.output_db = True
        self.peeler: object = None  # the DepthPeeler that has reserved this context
        self._reserving = threading.Lock()

    def reserve(self, peeler: object) -> None:
        """Keeps this context for `peeler` alone.

        Raises:
            RuntimeError: it is kept for one already.
        """
        with self._reserving:
            if self.peeler is not None:
                raise RuntimeError("DepthPeeler: the context is reserved by another DepthPeeler, which must end first")
            self.peeler = peeler

    def unreserve(self, peeler: object) -> None:
        """Ends `reserve`."""
        with self._reserving:
            if self.peeler is peeler:
                self.peeler = None

    def find_visible(self, scene: Scene, behind: Visibility | None = None, *, peeling: bool = False) -> Visibility:
        """Finds the nearest triangle of every pixel; with `behind`, the nearest behind that layer.

        Args:
            scene: what is drawn.
            behind: an earlier result for the same scene, found with `peeling`.
            peeling: the result is to serve as `behind`.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what the context holds; it cannot be used afterwards."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class RasterizeCudaContext(RasterizeContext):
    """The software rasterizer: runs on the CPU and on CUDA devices, without OpenGL, at any resolution.

    Args:
        device: where to rasterize: 'cpu', a CUDA device, its index, or None for the current CUDA device (the CPU
            where PyTorch sees none).

    Raises:
        ValueError: a device of another kind.
    """

    def find_visible(
        self, scene: Scene, behind: Visibility | None = None, *, peeling: bool = False, by_bands: bool | None = None
    ) -> Visibility:
        """As in the base class; `by_bands` chooses between the two equal kernels for large triangles."""
        N, H, W, T = scene.num_images, scene.height, scene.width, scene.tri.shape[0]
        device = scene.pos.device
        keys = new_output(scene.pos, N, H, W, dtype=torch.int64).fill_(-1)
        item_start = first_triangle = None
        num_items = N * T
        if scene.ranges is not None:
            first, count = scene.ranges.long().unbind(1)
            ends = count.cumsum(0)
            numbers = to_device(torch.cat([ends.new_zeros(1), ends, first]), device)
            item_start, first_triangle = numbers[: N + 1], numbers[N + 1 :]
            num_items = int(count.sum())
        tiles = torch.empty(num_items, dtype=torch.int64, device=device)
        previous = None if behind is None else behind.ids
        tensors = {"pos": scene.pos, "tri": scene.tri, "item_start": item_start, "first_triangle": first_triangle}
        tensors |= {"previous": previous, "keys": keys, "tiles": tiles}
        params = RasterizeParams(
            **{name: pointer(tensor) for name, tensor in tensors.items()},
            **{"N": N, "H": H, "W": W, "V": scene.pos.shape[-2]},
            num_triangles=T,
            num_items=num_items,
            pos_stride=scene.pos_stride,
            cull=CULL_SIGN[scene.cull],
        )
        if keys.numel() and num_items:
            threads = threads_for(num_items, device)
            alone = threads is not None and N % threads == 0  # each thread has as many images as the others
            launch("rasterize_images" if alone else "rasterize_triangles", params, num_items, scene.pos.dtype, device)
            if by_bands or (by_bands is None and device.type == "cpu"):
                large = tiles.nonzero()
                params.large, params.num_large = pointer(large), len(large)
                launch("rasterize_bands", params, keys.numel() if len(large) else 0, scene.pos.dtype, device)
            else:
                tiles.cumsum_(0)
                most = max(keys.numel(), _THREADS_PER_TILE * num_items)  # how many there are, only the GPU knows
                launch("rasterize_tiles", params, most, scene.pos.dtype, device)
        return Visibility(keys)


class RasterizeGLContext(RasterizeContext):
    """The OpenGL rasterizer: a GLSL pass in a headless EGL context.

    Any thread may use it; calls wait for one another. The OpenGL context belongs to the process that made it: after a
    fork, make one in the child.

    Args:
        output_db: False leaves out `rast_db` (zero channels).
        mode: 'automatic': the OpenGL context is current only during a call, and what was current before is current
            again afterwards. 'manual': it is current from `set_context()` to `release_context()`.
        device: where the tensors live: 'cpu', a CUDA device, its index, or None for the current CUDA device (the CPU
            where PyTorch sees none).
        egl_device: the EGL device that draws: its index, or a part of its name (`glraster doctor` lists them). None:
            that of `device`, else the first on which a context can be made. The environment variable
            GLRASTER_EGL_DEVICE, where it is set, takes its place.

    On a CUDA device OpenGL draws there and nothing leaves it. Where the two do not work together, the software
    rasterizer takes over, with one warning (`glraster doctor` says why).

    Raises:
        RuntimeError: no headless OpenGL context can be had on this machine, and the device is 'cpu'; says why.
        TypeError: egl_device is neither an index nor a name; output_db is a device.
        ValueError: a device or mode of another kind.
    """

    def __init__(
        self,
        output_db: bool = True,
        mode: str = "automatic",
        device: torch.device | str | int | None = None,
        *,
        egl_device: int | str | None = None,
    ):
        if isinstance(output_db, (str, torch.device)):  # RasterizeCudaContext takes the device first
            raise TypeError(f"RasterizeGLContext(): output_db must be a bool, got {output_db!r}: pass it as device=")
        super().__init__(device)
        if mode not in ("automatic", "manual"):
            raise ValueError(f"RasterizeGLContext(): mode must be 'automatic' or 'manual', got {mode!r}")
        from glraster.interop.visibility import VisibilityPass

        self.output_db, self.mode = output_db, mode
        self._software: RasterizeCudaContext | None = None  # what does the work where OpenGL cannot, on a GPU
        if self.device.type == "cpu":
            self._pass = VisibilityPass(egl_device)
            return
        from glraster.interop.cuda_gl import cuda_visibility_pass

        try:
            self._pass = cuda_visibility_pass(egl_device, self.device)
        except RuntimeError as error:
            _warn_of_software(str(error))
            self._software = RasterizeCudaContext(self.device)

    def find_visible(self, scene: Scene, behind: Visibility | None = None, *, peeling: bool = False) -> Visibility:
        if self._software is not None:
            return self._software.find_visible(scene, behind, peeling=peeling)
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "RasterizeGLContext: OpenGL cannot be captured in a CUDA graph, use RasterizeCudaContext"
            )
        if self.mode == "manual" and not self._pass.context.held:
            raise RuntimeError("RasterizeGLContext: mode='manual' needs set_context() on this thread before any call")
        shape = scene.num_images, scene.height, scene.width
        ids = new_output(scene.pos, *shape, dtype=torch.int64 if peeling else torch.int32)
        if ids.numel():
            pos = scene.pos.float()
            tri = order_corners(pos if pos.ndim == 2 else pos[0], scene.tri, keep_facing=scene.cull != "none")
            tri, dropped = drop_unseen(scene.pos, scene.tri, tri)
            before = None if behind is None else behind.ids
            self._pass.draw(pos, tri, shape[1:], scene.ranges, ids, scene.cull, behind=before, dropped=dropped)
        return Visibility(ids)

    def set_context(self) -> None:
        """Makes the OpenGL context current on this thread until `release_context()`, in mode 'manual'.

        Raises:
            RuntimeError: the mode is 'automatic', the context is closed, or another thread holds it.
        """
        self._check_manual("set_context")
        if self._software is None:
            self._pass.context.hold()

    def release_context(self) -> None:
        """Makes current again what was so before `set_context()`, in mode 'manual'.

        Raises:
            RuntimeError: the mode is 'automatic', or this thread has not called `set_context()`.
        """
        self._check_manual("release_context")
        if self._software is None:
            self._pass.context.release_hold()

    def _check_manual(self, op: str) -> None:
        if self.mode != "manual":
            raise RuntimeError(f"{op}(): needs RasterizeGLContext(mode='manual'), got mode {self.mode!r}")

    @property
    def egl_device(self) -> str:
        """The EGL device that draws: its index and name; 'none' where the software rasterizer has taken over."""
        return "none" if self._software is not None else str(self._pass.context.device)

    def shrink(self) -> None:
        """Gives the framebuffer's memory back, which otherwise keeps the size of the largest call.

        Raises:
            RuntimeError: the context is closed, or another thread holds it.
        """
        if self._software is None:
            self._pass.shrink()

    def close(self) -> None:
        if self._software is None:
            self._pass.close()


@functools.cache
def _warn_of_software(reason: str) -> None:
    """Warns once."""
    message = (
        f"RasterizeGLContext draws with the software rasterizer, since OpenGL and CUDA do not work together: {reason}"
    )
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def _resolve_device(context: str, device: torch.device | str | int | None) -> torch.device:
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{context}(): device must be 'cpu' or a CUDA device, got {device!r}") from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"{context}(): device must be 'cpu' or a CUDA device, got {resolved}")
    if resolved.type == "cpu":
        return torch.device("cpu")  # as tensors have it, without an index
    if resolved.type == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError(f"{context}(): PyTorch sees no CUDA device, got device={device!r}: pass device='cpu'")
        if resolved.index is None:
            resolved = torch.device("cuda", torch.cuda.current_device())
    return resolved
