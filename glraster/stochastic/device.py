"""OpenGL as the optimizer uses it: programs, buffers and textures of one headless context, by way of moderngl."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import moderngl
import numpy as np

from glraster.interop.context import GL, HeadlessContext
from glraster.interop.egl import OpenGLError, egl

from .programs import Source, compose, named_errors, shipped

__all__ = ["Device", "Pass", "Texels"]

_GROUP = 64  # threads of a compute shader's group
_MOST_GROUPS = 65535  # along each axis, in any OpenGL 4.3
_CLIP_DISTANCES = 4


class Device:
    """A headless OpenGL 4.3 context and moderngl's wrapper of it, which is released with it.

    `with device:` makes it current; everything else needs that.

    Args:
        context: the context to work in, which then stays open; None: one of its own.
        precision: 'half' or 'single', of pictures.
        sums: 'fixed' or 'float', what differences are added in.

    Raises:
        OpenGLError: no usable OpenGL on this machine, or none that has atomic additions of floats if these are wanted.
    """

    def __init__(self, context: HeadlessContext | None = None, precision: str = "half", sums: str = "fixed"):
        self._owns = context is None
        self.float_sums = sums == "float"
        self._extensions = ("GL_NV_shader_atomic_float",) if self.float_sums else ()
        if context is None:
            context = HeadlessContext(version=(4, 3), extensions=self._extensions)
        missing = set(self._extensions) - context.extensions
        if missing:
            lacks = f"the OpenGL driver ({context.renderer}) lacks {', '.join(missing)}"
            raise OpenGLError(
                f"StochasticOptimizer(): sums='float' does not work here: {lacks}; sums='fixed' needs none"
            )
        self.context = context
        self.float_type = {"half": "f2", "single": "f4"}[precision]
        self.no_vertices: dict = {}
        self._programs: dict = {}
        self._kept: set = set()
        with self.context:
            # The latest wrapper would become moderngl's default for everyone else in this process.
            store = cast(Any, moderngl)._store  # which moderngl's types do not tell of
            before = store.default_context
            GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, 0)
            self.gl = moderngl.create_context(require=430, context=cast(Any, _Loader()))
            store.default_context = before
            while GL.glGetError() != GL.GL_NO_ERROR:
                pass  # moderngl asks for more than OpenGL 4.3 knows
            self.max_texture_size = int(GL.glGetIntegerv(GL.GL_MAX_TEXTURE_SIZE))
            self.max_layers = int(GL.glGetIntegerv(GL.GL_MAX_ARRAY_TEXTURE_LAYERS))
            self.max_buffer = int(GL.glGetIntegerv(GL.GL_MAX_SHADER_STORAGE_BLOCK_SIZE)) & 0xFFFFFFFF
            self.max_texels = int(GL.glGetIntegerv(GL.GL_MAX_TEXTURE_BUFFER_SIZE))
            # Bound where nothing is drawn: moderngl binds the latest framebuffer again, which must not be freed.
            self.idle = self.keep(self.gl.framebuffer([self.keep(self.gl.texture((1, 1), 1))]))

    def __enter__(self) -> "Device":
        self.context.__enter__()
        return self

    def __exit__(self, *error) -> None:
        for index in range(_CLIP_DISTANCES):
            self.gl.disable_direct(GL.GL_CLIP_DISTANCE0 + index)
        self.gl.disable(moderngl.BLEND)
        self.idle.use()
        GL.glBindFramebuffer(GL.GL_FRAMEBUFFER, 0)
        self.context.__exit__(*error)

    def keep(self, item):
        """Notes an object of moderngl's, to be freed by `drop` or `close`; returns it."""
        self._kept.add(item)
        return item

    def drop(self, *items) -> None:
        """Frees objects that were kept."""
        for item in items:
            self._kept.discard(item)
            item.release()

    def compute(self, name: str, *defines: str) -> "Pass":
        """The compute shader of one file, compiled once."""
        key = (name, *defines)
        if key not in self._programs:
            names = ["glraster"]
            text = self._compose(shipped(name), defines, names)
            self._programs[key] = Pass(self, _compiled(names, lambda: self.gl.compute_shader(text)))
        return self._programs[key]

    def draw(self, vertex: Sequence[Source], fragment: Sequence[Source], *defines: str) -> "Pass":
        """The program of a vertex and a fragment shader."""
        names = ["glraster"]
        shaders: dict[str, Any] = {
            "vertex_shader": self._compose(vertex, defines, names),
            "fragment_shader": self._compose(fragment, defines, names),
        }
        return Pass(self, _compiled(names, lambda: self.gl.program(**shaders)))

    def _compose(self, sources: Sequence[Source], defines: Sequence[str], names: list[str]) -> str:
        kind = ["FLOAT_SUMS"] if self.float_sums else []
        return compose(sources, [*defines, *kind], names, self._extensions)

    def buffer(self, content: np.ndarray | int, what: str = "a buffer") -> moderngl.Buffer:
        """A storage buffer with the array's bytes, or of so many bytes, all zero.

        Raises:
            ValueError: the driver allows none of this size.
        """
        size = content if isinstance(content, int) else content.nbytes
        if size > self.max_buffer:
            raise ValueError(f"{what} takes {size} bytes, and this OpenGL driver allows {self.max_buffer}")
        if isinstance(content, int):
            buffer = self.keep(self.gl.buffer(reserve=max(content, 16)))
            self.clear(buffer)
            return buffer
        content = np.ascontiguousarray(content)
        return self.keep(self.gl.buffer(content.tobytes()) if content.nbytes else self.gl.buffer(reserve=16))

    def texels(self, buffer: moderngl.Buffer, components: int = 1, kind: str = "f4") -> "Texels":
        """A buffer as texels of 1 to 4 components; kind: 'f4' or 'i4'."""
        return self.keep(Texels(self, buffer, components, kind))

    def clear(self, buffer: moderngl.Buffer) -> None:
        """Sets it to zero."""
        GL.glBindBuffer(GL.GL_SHADER_STORAGE_BUFFER, buffer.glo)
        GL.glClearBufferData(GL.GL_SHADER_STORAGE_BUFFER, GL.GL_R32UI, GL.GL_RED_INTEGER, GL.GL_UNSIGNED_INT, None)

    def layers(self, size: tuple[int, int], count: int, dtype: str | None = None, content=None, what="a texture"):
        """A texture array of `count` layers of (width, height) RGBA texels, read where it is nearest.

        Raises:
            ValueError: the driver allows none of this size.
        """
        if max(size) > self.max_texture_size or count > self.max_layers:
            limits = f"{self.max_layers} of {self.max_texture_size} x {self.max_texture_size}"
            need = f"{count} layers of {size[1]} x {size[0]} texels"
            raise ValueError(f"{what} takes {need}, and this OpenGL driver allows {limits}")
        array = self.keep(self.gl.texture_array((*size, count), 4, content, dtype=dtype or self.float_type))
        array.filter = (moderngl.NEAREST, moderngl.NEAREST)
        array.repeat_x = array.repeat_y = False
        return array

    def clip_to_tiles(self, wanted: bool) -> None:
        for index in range(_CLIP_DISTANCES):
            (self.gl.enable_direct if wanted else self.gl.disable_direct)(GL.GL_CLIP_DISTANCE0 + index)

    def close(self) -> None:
        """Frees everything; the context too if it is its own."""
        if self.gl is None:
            return
        if self.context.usable:
            with self.context:
                self.drop(*self._kept.copy())
                self.gl.release()
            if self._owns:
                self.context.close()
        self.gl = None  # type: ignore[assignment]  # closed: nothing uses it any more


class Pass:
    """A program whose storage blocks, samplers and uniforms are set by name."""

    def __init__(self, device: Device, program):
        self._device, self.program = device, device.keep(program)
        self._blocks: dict[str, int] = {}
        self._samplers: dict[str, int] = {}
        for name in program:
            member = program[name]
            if type(member).__name__ == "StorageBlock":
                member.binding = self._blocks[name] = len(self._blocks)

    def set(self, buffers: Mapping, textures: Mapping | None = None, **uniforms) -> None:
        """Binds what the program uses of these; what it does not use may be given."""
        for name, index in self._blocks.items():
            buffers[name].bind_to_storage_buffer(index)
        for name, texture in (textures or {}).items():
            if name in self.program:
                if name not in self._samplers:
                    self._samplers[name] = unit = len(self._samplers)
                    # moderngl does not know the types of all samplers.
                    GL.glProgramUniform1i(self.program.glo, self.program[name].location, unit)
                texture.use(self._samplers[name])
        for name, value in uniforms.items():
            if name in self.program:
                self.program[name].value = value

    def run(
        self, buffers: Mapping, threads: int, lines: int = 1, /, textures: Mapping | None = None, **uniforms
    ) -> None:
        """Runs a compute shader with threads x lines threads.

        Raises:
            ValueError: these are more than OpenGL allows.
        """
        groups = max(1, -(-threads // _GROUP)), max(1, lines)
        if max(groups) > _MOST_GROUPS:
            raise ValueError(f"{threads} x {lines} threads of a compute shader are more than OpenGL allows")
        self.set(buffers, textures, **uniforms)
        self.program.run(*groups)
        self._device.gl.memory_barrier()

    def triangles(self, instances: int) -> None:
        """Draws one triangle per instance, without vertex buffers."""
        if self.program not in self._device.no_vertices:
            self._device.no_vertices[self.program] = self._device.keep(self._device.gl.vertex_array(self.program, []))
        self._device.no_vertices[self.program].render(moderngl.TRIANGLES, vertices=3, instances=instances)


class Texels:
    """A buffer as shaders read it through a sampler: in software OpenGL that takes a third of a storage block's time.

    A shader may read an element so and write it to the same buffer's storage block, if it alone does.

    Raises:
        ValueError: the driver allows none of this size.
    """

    def __init__(self, device: Device, buffer: moderngl.Buffer, components: int, kind: str):
        count = buffer.size // (4 * components)
        if count > device.max_texels:
            need = f"a buffer of {count} rows of {components} numbers"
            raise ValueError(f"{need} is too large: this OpenGL driver allows {device.max_texels}")
        channels = ("R", "RG", "RGB", "RGBA")[components - 1]
        self._texture = GL.glGenTextures(1)
        GL.glBindTexture(GL.GL_TEXTURE_BUFFER, self._texture)
        GL.glTexBuffer(GL.GL_TEXTURE_BUFFER, getattr(GL, f"GL_{channels}32{'F' if kind == 'f4' else 'I'}"), buffer.glo)
        GL.glBindTexture(GL.GL_TEXTURE_BUFFER, 0)

    def use(self, unit: int) -> None:
        """Binds it, as moderngl's textures do."""
        GL.glActiveTexture(GL.GL_TEXTURE0 + unit)
        GL.glBindTexture(GL.GL_TEXTURE_BUFFER, self._texture)

    def release(self) -> None:
        GL.glDeleteTextures([self._texture])


class _Loader:
    """Tells moderngl where OpenGL's functions are; which context is current is not its business."""

    def load_opengl_function(self, name: str) -> int:
        return egl().eglGetProcAddress(name.encode()) or 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def release(self):
        pass


def _compiled(names: Sequence[str], build):
    try:
        return build()
    except moderngl.Error as error:
        raise RuntimeError(f"the OpenGL driver rejects a shader: {named_errors(str(error), names)}") from None
