"""The visibility pass: one multi-draw into a layered framebuffer that holds a triangle id per pixel."""

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from .buffer import Buffer
from .context import HeadlessContext
from .drawing_state import DrawingState
from .egl import OpenGLError
from .framebuffer import BYTES_PER_PIXEL, IDS, KEYS, LayeredFramebuffer
from .gl import GL, GLErrors
from .host_transfer import HostTransfer, TexelKind
from .program import Program

__all__ = ["VisibilityPass"]

_MAX_BYTES = 1 << 30  # of a framebuffer, and of copied indices: larger minibatches are drawn in parts
_CULL = {"none": None, "back": GL.GL_BACK, "front": GL.GL_FRONT}


class VisibilityPass:
    """A headless context with the framebuffer, buffers and programs of the pass. Threads take turns.

    Args:
        egl_device, cuda_device: see `HeadlessContext`.
        make_transfer: makes what copies between tensors and OpenGL, with the context current; decides where the
            tensors of `draw` are.

    Attributes:
        context: the `HeadlessContext`; current only during a call unless it is held.

    Raises:
        OpenGLError: no usable OpenGL on this machine.
    """

    def __init__(
        self,
        egl_device: int | str | None = None,
        cuda_device: int | None = None,
        make_transfer: Callable[[], HostTransfer] = HostTransfer,
    ):
        self.context = HeadlessContext(egl_device, cuda_device)
        self._framebuffers: dict[TexelKind, LayeredFramebuffer] = {}
        try:
            with self.context:
                self._transfer = make_transfer()
        except BaseException:
            self.context.close()
            raise
        self._finalizer = weakref.finalize(self, _collect, self.context, self._transfer)
        try:
            with self.context:
                self._set_up()
        except GLErrors as error:
            raise OpenGLError(f"OpenGL on {self.context.renderer} cannot draw the visibility pass: {error}") from error

    def _set_up(self) -> None:
        limits = (GL.GL_MAX_ARRAY_TEXTURE_LAYERS, GL.GL_MAX_FRAMEBUFFER_LAYERS)
        self._max_layers = min(int(GL.glGetIntegerv(limit)) for limit in limits)
        self._max_size = int(min(GL.glGetIntegerv(GL.GL_MAX_TEXTURE_SIZE), *GL.glGetIntegerv(GL.GL_MAX_VIEWPORT_DIMS)))
        fragment_shaders = "visibility", "first_layer", "peel"
        self._programs = {name: Program("visibility.vert", f"{name}.frag") for name in fragment_shaders}
        self._buffers = {name: Buffer() for name in ("pos", "tri", "first", "draws")}
        self._vertex_array = self._new_vertex_array()
        self._state = DrawingState()

    def _new_vertex_array(self) -> int:
        array = GL.glGenVertexArrays(1)
        GL.glBindVertexArray(array)
        GL.glVertexAttribFormat(0, 4, GL.GL_FLOAT, False, 0)
        GL.glVertexAttribIFormat(1, 1, GL.GL_INT, 0)
        for index, (name, stride, instances) in enumerate((("pos", 16, 0), ("first", 4, 1))):
            GL.glBindVertexBuffer(index, self._buffers[name].glo, 0, stride)
            GL.glVertexAttribBinding(index, index)
            GL.glVertexBindingDivisor(index, instances)
            GL.glEnableVertexAttribArray(index)
        GL.glBindBuffer(GL.GL_ELEMENT_ARRAY_BUFFER, self._buffers["tri"].glo)
        GL.glBindVertexArray(0)
        return array

    def draw(
        self,
        pos: torch.Tensor,
        tri: torch.Tensor,
        resolution: tuple[int, int],
        ranges: torch.Tensor | None,
        out: torch.Tensor,
        cull: str = "none",
        *,
        behind: torch.Tensor | None = None,
        dropped: torch.Tensor | None = None,
    ) -> None:
        """Writes the nearest triangle of every pixel into `out`.

        Args:
            pos: [N, V, 4], or [V, 4] with `ranges`; float32.
            tri: [T, 3] int32.
            resolution: (height, width).
            ranges: [N, 2] int32 on the CPU, each image's first triangle and count; or None.
            out: [N, H, W], contiguous. int32: receives ids, -1 for none. int64: receives keys for depth peeling, the
                id in the low half and its depth in the upper. Row 0 is the bottom row.
            cull: 'none', 'back' or 'front'.
            behind: keys of an earlier call, unchanged since. Only what lies behind them, pixel by pixel, is drawn; the
                other arguments must be the same. Needs an int64 `out`.
            dropped: bool [N, T], triangles that are not drawn in some of the images.

        Raises:
            RuntimeError: the context is closed, held by another thread or from before a fork; or OpenGL failed. The
                pass stays usable.
        """
        if tri.shape[0] == 0 or pos.shape[-2] == 0:
            out.fill_(-1)
            return
        with self._drawing():
            try:
                GL.glBindVertexArray(self._vertex_array)
                self._set_culling(cull)
                pos, tri, bad = self._transfer.repair(pos, tri)
                if dropped is not None:
                    bad = dropped if bad is None else bad | dropped
                copies = bad is not None and ranges is None
                layers, tile = self._part_size(resolution, pos, tri, BYTES_PER_PIXEL[_kind_of(out)], copies)
                for start in range(0, len(out), layers):
                    images = slice(start, min(start + layers, len(out)))
                    self._upload(**_draw_commands(pos, tri, ranges, images, bad))
                    self._draw_tiles(out, behind, images, tile)
                self._transfer.finish()
            except GLErrors as error:  # PyOpenGL asks after every call, so none stays behind
                reason = getattr(error, "description", None) or error
                raise RuntimeError(f"OpenGL failed in the visibility pass: {reason}") from error

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Makes the context current, with the state that drawing needs; the caller's, where it is held, returns."""
        with self.context:
            if self.context.held:
                with self._state.lent():
                    yield
                return
            yield

    def _set_culling(self, cull: str) -> None:
        if _CULL[cull] is None:
            GL.glDisable(GL.GL_CULL_FACE)
        else:
            GL.glEnable(GL.GL_CULL_FACE)
            GL.glCullFace(_CULL[cull])

    def _part_size(self, resolution, pos, tri, pixel_bytes: int, copies: bool) -> tuple[int, tuple[int, int]]:
        """How many images are drawn at a time, and the (height, width) of the tiles they are cut into."""
        H, W = resolution
        across = -(-W // self._max_size)
        tile_w = -(-W // across)
        down = -(-H // min(self._max_size, max(1, _MAX_BYTES // (pixel_bytes * tile_w))))
        tile_h = -(-H // down)
        limits = [self._max_layers, _MAX_BYTES // (pixel_bytes * tile_h * tile_w)]
        if pos.ndim == 3:
            limits.append((2**31 - 1) // pos.shape[1])  # the base vertex is an int32
        if copies:
            limits.append(_MAX_BYTES // tri.nbytes)
        return max(1, min(limits)), (tile_h, tile_w)

    def _upload(self, **tensors: torch.Tensor) -> None:
        self._transfer.upload([(self._buffers[name], tensor) for name, tensor in tensors.items()])
        self._num_draws = len(tensors["draws"])

    def _draw_tiles(self, out: torch.Tensor, behind: torch.Tensor | None, images: slice, tile: tuple[int, int]) -> None:
        N, H, W = out.shape
        count, (h, w) = images.stop - images.start, tile
        whole = (count, h, w) == (N, H, W)
        framebuffer = self._framebuffer_for(_kind_of(out), count, h, w)
        framebuffer.bind()
        at_hand = whole and behind is not None and framebuffer.content is behind
        framebuffer.content = None
        GL.glViewportIndexedf(0, 0, 0, w, h)
        first = "visibility" if _kind_of(out) == IDS else "first_layer"
        program = self._programs[first if behind is None else "peel"]
        program.use()
        GL.glBindBuffer(GL.GL_DRAW_INDIRECT_BUFFER, self._buffers["draws"].glo)
        for y in range(0, H, h):
            for x in range(0, W, w):
                box = images, slice(y, min(y + h, H)), slice(x, min(x + w, W))
                if behind is not None:
                    framebuffer.turn(None if at_hand else behind[box].contiguous())
                framebuffer.clear(count, h, w)
                # NDC of the image to NDC of the tile; every tile has the same scale, so that they snap alike.
                program.set_vec4("tile", W / w, H / h, (W - 2 * x) / w - 1, (H - 2 * y) / h - 1)
                GL.glMultiDrawElementsIndirect(GL.GL_TRIANGLES, GL.GL_UNSIGNED_INT, None, self._num_draws, 0)
                _read_into(framebuffer.read, out[box])
        framebuffer.content = out if whole else None

    def _framebuffer_for(self, kind: TexelKind, layers: int, height: int, width: int) -> LayeredFramebuffer:
        """The framebuffer, grown where it is too small, but never to more than it and the request need together."""
        old = self._framebuffers.get(kind)
        if old is None or not old.holds(layers, height, width):
            size = layers, height, width
            if old is not None:
                both = max(layers, old.layers), max(height, old.height), max(width, old.width)
                if math.prod(both) <= math.prod(size) + old.layers * old.height * old.width:
                    size = both
                del self._framebuffers[kind]
                old.release()
            self._framebuffers[kind] = LayeredFramebuffer(kind, *size, self._transfer)
        return self._framebuffers[kind]

    def shrink(self) -> None:
        """Gives back the memory of framebuffer and buffers; the next call takes what it needs."""
        with self._drawing():
            self._transfer.release()
            while self._framebuffers:
                self._framebuffers.popitem()[1].release()
                # Drivers keep what they drew to last until they draw elsewhere.
                small = LayeredFramebuffer(IDS, 1, 1, 1, self._transfer)
                small.fill()
                small.release()
            for buffer in self._buffers.values():
                buffer.orphan(16)
            GL.glFinish()

    def take_error(self) -> str | None:
        """The name of an OpenGL error that was left behind, which is thereby cleared; None: there is none."""
        with self.context:
            code = GL.glGetError()
        return None if code == GL.GL_NO_ERROR else f"0x{code:04x}"

    def close(self) -> None:
        """Destroys the context and all that belongs to it."""
        self.context.close(self._transfer.release)


def _collect(context: HeadlessContext, transfer: HostTransfer) -> None:
    """Closes what a pass that no longer exists has left, also where a thread held the context to its own end."""
    try:
        context.close(transfer.release)
    except RuntimeError:
        context.abandon()


def _kind_of(out: torch.Tensor) -> TexelKind:
    return IDS if out.dtype == torch.int32 else KEYS


def _read_into(read, view: torch.Tensor) -> None:
    """Reads into a part of a tensor: in place where its memory is in one piece, else by way of a copy."""
    if view.is_contiguous():
        read(view)
    else:
        whole = torch.empty_like(view, memory_format=torch.contiguous_format)
        read(whole)
        view.copy_(whole)


def _draw_commands(pos, tri, ranges, images: slice, bad: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The contents of the buffers for a part of the minibatch.

    Returns:
        pos [n V or V, 4]; tri; first [n], the id of each image's first triangle; draws [n, 5], the indirect commands.
    """
    n, V, T = images.stop - images.start, pos.shape[-2], tri.shape[0]
    numbers = torch.arange(n, device="cpu")  # as `ranges` and `bad` are
    zeros = torch.zeros_like(numbers)
    first, count, base, first_index = zeros, zeros + T, numbers * V, zeros
    if ranges is None:
        pos = pos[images]
    else:
        first, count = ranges[images].long().unbind(1)
        base, first_index = zeros, first * 3
    if bad is not None:  # bad triangles become triangles without area, at the price of a copy
        pos = pos.where(pos.isfinite(), 0)
        if ranges is None:
            bad, first_index = bad[images], numbers * (3 * T)
        tri = torch.where(bad[..., None], 0, tri)
    draws = torch.stack([count * 3, zeros + 1, first_index, base, numbers], 1)
    return {"pos": pos.contiguous(), "tri": tri.contiguous(), "first": first.int(), "draws": draws.int()}
