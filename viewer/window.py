"""The window: GLFW opens it, moderngl holds its textures, imgui draws pictures and panels."""

import ctypes
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .extras import needed
from .grid import arrange, largest_shape
from .window_panel import PANEL_WIDTH, WindowPanel, draw_legend
from .window_texture import Texture
from .window_thread import ui_thread

if TYPE_CHECKING:
    from .mirror import Mirror
    from .viewer import Viewer

__all__ = ["WindowOutput"]

SETTLING = 3  # frames that imgui needs after an event until everything stands
BACKGROUND = (0.125, 0.133, 0.149)


class WindowOutput:
    """Opens a window, which lives on a thread of its own; closing it ends nothing else.

    Args:
        viewer: what it shows: a `Viewer` of this process, or the mirror of one.

    Raises:
        RuntimeError: a package is missing, or there is no display or no OpenGL for it.
    """

    watched = True

    def __init__(self, viewer: "Viewer | Mirror"):
        for module in ("glfw", "moderngl", "imgui_bundle"):
            needed(module, "viewer")
        self._ui = ui_thread()
        self._window = self._ui.call(_Window, viewer)

    @property
    def alive(self) -> bool:
        """Whether the window is open."""
        return self._window.alive

    def close(self) -> None:
        """Closes the window."""
        if self.alive:
            self._ui.call(self._window.close)

    @property
    def events(self) -> int | None:
        """How many inputs it has seen, once everything stands that the last of them has moved; None before."""
        return None if self._window.unsettled else self._window.events

    def read(self) -> np.ndarray:
        """What the window shows, drawn anew: uint8 [H, W, 3], the top row first."""
        return self._ui.call(self._window.read)


class _Window:
    """Everything here runs on the thread of windows."""

    def __init__(self, viewer: "Viewer | Mirror"):
        # Before anything of OpenGL: the choice of PyOpenGL's platform, which is EGL as in headless contexts.
        import glraster.interop.gl  # noqa: F401

        self._glfw, self._moderngl = needed("glfw", "viewer"), needed("moderngl", "viewer")
        self._imgui, self._implot = needed("imgui_bundle.imgui", "viewer"), needed("imgui_bundle.implot", "viewer")
        self._viewer, self.alive = viewer, False
        self._textures: dict[str, Texture] = {}
        self._seen, self._settling, self._drawn = -1, SETTLING, 0.0
        self.events = 0  # of mouse and keyboard
        self._handle = _open(self._glfw, viewer.title, *viewer.size)
        try:
            self._glfw.make_context_current(self._handle)
            self._glfw.swap_interval(0)  # `fps` limits the frames
            self._gl = self._moderngl.create_context(require=330, context=_Loader(self._glfw))
            self._contexts = self._imgui.create_context(), self._implot.create_context()
            self._make_current()  # imgui keeps the context of another window
            self._imgui.get_io().set_ini_filename("")
            scale = self._glfw.get_window_content_scale(self._handle)[0]
            self._imgui.get_style().font_scale_main = 1.15 * scale
            backend = needed("imgui_bundle.python_backends.glfw_backend", "viewer")
            self._renderer = backend.GlfwRenderer(self._handle)
            self._notice_events()
            self._panel = WindowPanel(viewer, self._imgui, self._implot)
        except BaseException:
            self._glfw.destroy_window(self._handle)
            raise
        self.alive = True
        ui_thread().add(self)

    def _notice_events(self) -> None:
        """Draws after every event, which goes to imgui first."""
        glfw, renderer = self._glfw, self._renderer
        pairs = [
            (glfw.set_key_callback, renderer.keyboard_callback),
            (glfw.set_cursor_pos_callback, renderer.mouse_callback),
            (glfw.set_mouse_button_callback, renderer.mouse_button_callback),
            (glfw.set_window_size_callback, renderer.resize_callback),
            (glfw.set_char_callback, renderer.char_callback),
            (glfw.set_scroll_callback, renderer.scroll_callback),
            (glfw.set_window_refresh_callback, lambda window: None),
        ]
        for register, handler in pairs:

            def noticed(*arguments: Any, handler=handler) -> None:
                self._settling = SETTLING
                self.events += 1
                self._imgui.set_current_context(self._contexts[0])
                handler(*arguments)

            register(self._handle, noticed)

    @property
    def unsettled(self) -> bool:
        """Whether there are frames to be drawn."""
        return self._settling > 0

    def frame(self) -> None:
        """Draws if there is something new and time for it; closes when the user wants that."""
        try:
            if self._glfw.window_should_close(self._handle):
                self.close()
                return
            version, now = self._viewer.stage.version, time.monotonic()
            period = 1 / self._viewer.fps
            if (version != self._seen or self._settling) and now - self._drawn >= period:
                self._settling = SETTLING if version != self._seen else self._settling - 1
                self._seen = version
                self._drawn = self._drawn + period if now - self._drawn < 2 * period else now  # in the mean
                self._draw()
                self._glfw.swap_buffers(self._handle)
        except Exception as error:  # what one watches must not stop an optimization
            warnings.warn(f"Viewer: the window closes: {error!r}", RuntimeWarning, stacklevel=2)
            self.close()

    def read(self) -> np.ndarray:
        """See `WindowOutput.read`."""
        if not self.alive:
            raise RuntimeError("Viewer: the window is closed")
        for _ in range(SETTLING):
            self._draw()
        width, height = self._glfw.get_framebuffer_size(self._handle)
        pixels = self._gl.screen.read((0, 0, width, height), components=3, alignment=1)
        self._gl.clear_errors()  # moderngl asks for an attachment, which a window does not have
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)[::-1]

    def close(self) -> None:
        """Destroys the window with everything in it."""
        if not self.alive:
            return
        self.alive = False
        ui_thread().remove(self)
        self._make_current()
        for texture in self._textures.values():
            texture.release()
        self._renderer.shutdown()
        self._implot.destroy_context(self._contexts[1])
        self._imgui.destroy_context(self._contexts[0])
        self._gl.release()
        self._glfw.destroy_window(self._handle)
        self._viewer.stage.touch()

    def _make_current(self) -> None:
        self._glfw.make_context_current(self._handle)
        self._imgui.set_current_context(self._contexts[0])
        self._implot.set_current_context(self._contexts[1])

    def _draw(self) -> None:
        self._make_current()
        width, height = self._glfw.get_window_size(self._handle)
        room = max(height, 1), max(width - PANEL_WIDTH, 1)
        self._refresh_textures(room)
        self._renderer.process_inputs()
        self._imgui.new_frame()
        self._panel.act(room[0])
        self._draw_pictures(room)
        self._panel.draw((width, height))
        self._imgui.render()
        self._gl.screen.use()
        self._gl.clear(*BACKGROUND)
        self._renderer.render(self._imgui.get_draw_data())

    def _refresh_textures(self, room: tuple[int, int]) -> None:
        self._viewer.stage.make_room(room)
        sources, camera = self._viewer.stage.sources(), self._viewer.camera
        for name in set(self._textures) - set(sources):
            self._textures.pop(name).release()
        mesh_size = largest_shape(len(sources), room)
        for name, source in sources.items():
            if name not in self._textures:
                self._textures[name] = Texture(self._gl)
            self._textures[name].show(name, source, camera, mesh_size)

    def _draw_pictures(self, room: tuple[int, int]) -> None:
        imgui, textures = self._imgui, list(self._textures.values())
        canvas = imgui.get_background_draw_list()
        for texture, cell in zip(textures, arrange([t.shape for t in textures], room), strict=True):
            low, high = (cell.x, cell.y), (cell.x + cell.width, cell.y + cell.height)
            canvas.add_image(imgui.ImTextureRef(texture.number), low, high)
            canvas.add_text((cell.x, cell.y - 1.3 * imgui.get_font_size()), 0xFFE8E4E1, texture.label)
            if texture.legend is not None:
                draw_legend(imgui, canvas, texture.legend, cell)


class _Loader:
    """Finds OpenGL's functions for moderngl, in the context that GLFW has made current."""

    def __init__(self, glfw: Any):
        self._glfw = glfw

    def load_opengl_function(self, name: str) -> int:
        """The address of a function, 0 for none."""
        return ctypes.cast(self._glfw.get_proc_address(name), ctypes.c_void_p).value or 0

    def release(self) -> None:
        """GLFW destroys the context with its window."""


def _open(glfw: Any, title: str, height: int, width: int) -> Any:
    """Opens a window with an OpenGL context of EGL, as headless contexts are."""
    for major, minor in ((4, 5), (3, 3)):
        glfw.default_window_hints()
        glfw.window_hint(glfw.CONTEXT_CREATION_API, glfw.EGL_CONTEXT_API)
        glfw.window_hint(glfw.CONTEXT_VERSION_MAJOR, major)
        glfw.window_hint(glfw.CONTEXT_VERSION_MINOR, minor)
        glfw.window_hint(glfw.OPENGL_PROFILE, glfw.OPENGL_CORE_PROFILE)
        glfw.window_hint(glfw.OPENGL_FORWARD_COMPAT, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if handle := glfw.create_window(width, height, title, None, None):
                return handle
    reason = (glfw.get_error()[1] or b"no reason given").decode()
    raise RuntimeError(f"Viewer: no OpenGL 3.3 for a window: {reason}: use output='web', or output='record'")
