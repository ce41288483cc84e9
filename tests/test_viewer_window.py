"""The window, on a display without a screen: pixels, mouse and keys, life and death beside other contexts."""

import ctypes
import gc
import resource
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from viewer_scene import put_on_show

import glraster
from glraster.viewer import Viewer
from glraster.viewer.grid import arrange
from glraster.viewer.images import Snapshot
from glraster.viewer.window import WindowOutput
from glraster.viewer.window_panel import PANEL_WIDTH

SIZE = 400, 800


def until(condition, what):
    end = time.monotonic() + 120  # seconds; on a machine with much else to do windows come late
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def quarters():
    image = torch.zeros(64, 64, 3)
    image[:32, :, 0] = image[32:, :32, 1] = image[32:, 32:, 2] = 1
    image[:8, :8] = torch.nan
    return image


def place(viewer, *shapes):
    """Where pictures of these shapes are in the window."""
    return arrange(shapes or [(1, 1)], (viewer.size[0], viewer.size[1] - PANEL_WIDTH))


@pytest.fixture
def viewer(request, display, monkeypatch):
    """A window in a process of its own, or with the parameter 'thread' in this one, as where there is a GPU."""
    if getattr(request, "param", "process") == "thread":
        monkeypatch.setattr("glraster.viewer.viewer._open_window", WindowOutput)
    made = Viewer("window", title="fit", size=SIZE)
    yield made
    made.close()


in_both_places = pytest.mark.parametrize("viewer", ["process", "thread"], indirect=True)


def x_window(display, viewer):
    """What the X server knows of a viewer's window."""
    return next(w for w in display.screen().root.query_tree().children if w.get_wm_name() == viewer.title)


def close_by_hand(display, viewer):
    """Does what the button to close does."""
    from Xlib.protocol.event import ClientMessage

    window, (protocols, delete) = x_window(display, viewer), map(display.get_atom, ("WM_PROTOCOLS", "WM_DELETE_WINDOW"))
    window.send_event(ClientMessage(window=window, client_type=protocols, data=(32, [delete, 0, 0, 0, 0])))
    display.sync()


class Hands:
    """Mouse and keyboard on the X server."""

    def __init__(self, display, viewer):
        from Xlib import XK, X
        from Xlib.ext import xtest

        self._display, self._fake, self._x, self._xk = display, xtest.fake_input, X, XK
        self._viewer, place = viewer, x_window(display, viewer).get_geometry()
        self._left, self._top = place.x, place.y

    def _send(self, *arguments, **named):
        """Acts, and waits until that has come to rest in the window."""
        seen = []
        until(lambda: seen.append(self._viewer._live.ask("events")) or seen[-1] is not None, "a window at rest")
        self._fake(self._display, *arguments, **named)
        self._display.sync()
        until(lambda: (self._viewer._live.ask("events") or 0) > seen[-1], f"what comes of {arguments} {named}")

    def move(self, x, y):
        self._send(self._x.MotionNotify, x=self._left + x, y=self._top + y)

    def press(self, button):
        self._send(self._x.ButtonPress, button)

    def release(self, button):
        self._send(self._x.ButtonRelease, button)

    def turn_wheel(self):
        self._send(self._x.ButtonPress, 4)
        self._fake(self._display, self._x.ButtonRelease, 4)  # of which windows hear nothing

    def key(self, name):
        code = self._display.keysym_to_keycode(self._xk.string_to_keysym(name))
        self._send(self._x.KeyPress, code)
        self._send(self._x.KeyRelease, code)


@in_both_places
def test_pixels_are_those_shown(viewer):
    viewer.show(image=quarters())
    (cell,) = place(viewer)
    seen = viewer._live.read()
    assert seen.shape == (*SIZE, 3)

    def at(row, column):
        return seen[cell.y + int(row * cell.height), cell.x + int(column * cell.width)].tolist()

    assert at(0.25, 0.25) == [0, 255, 0] and at(0.25, 0.75) == [0, 0, 255]
    assert at(0.75, 0.75) == [255, 0, 0] and at(0.97, 0.03) == [255, 0, 255]


def test_every_pixel_of_a_picture_in_its_own_size(viewer):
    (cell,) = place(viewer)
    picture = torch.randint(0, 256, (cell.height, cell.width, 3), dtype=torch.uint8)
    viewer.show(image=picture)
    seen = viewer._live.read()[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width]
    assert np.array_equal(seen, picture.flip(0).numpy())


def test_a_mesh_is_upright_and_mouse_turns_moves_and_zooms(viewer, display):
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]])
    viewer.mesh(vertices, torch.tensor([[0, 1, 2]]))
    covered = viewer._live.read()[:, : SIZE[1] - PANEL_WIDTH, 0] > 100
    middle = len(covered) // 2
    assert 0 < covered[:middle].sum() < covered[middle:].sum()  # its tip is above
    hands, home = Hands(display, viewer), viewer.camera.pose
    hands.move(200, 200)
    hands.press(1)
    hands.move(250, 200)
    hands.move(300, 200)
    hands.release(1)
    until(lambda: viewer.camera.pose.eye[0] < -0.5, "a camera to the left")
    assert np.allclose(viewer.camera.pose.target, home.target)
    turned = viewer._live.read()[:, : SIZE[1] - PANEL_WIDTH, 0] > 100
    assert (turned != covered).sum() > 0.05 * covered.sum()
    before = viewer.camera.pose
    hands.turn_wheel()
    until(lambda: viewer.camera.pose is not before, "the wheel")
    assert np.linalg.norm(viewer.camera.pose.eye) < 0.95 * np.linalg.norm(before.eye)
    hands.key("r")
    until(lambda: viewer.camera.pose is home, "a camera at home")
    hands.press(3)
    hands.move(300, 150)
    hands.release(3)
    until(lambda: viewer.camera.pose.target[1] < -0.05, "a camera that goes down as the picture goes up")
    before = viewer.camera.pose
    hands.move(SIZE[1] - 20, SIZE[0] - 20)  # over the panel the mouse is the panel's
    hands.press(1)
    hands.move(SIZE[1] - 80, SIZE[0] - 80)
    hands.release(1)
    assert viewer.camera.pose is before


def test_keys_act(viewer, display, tmp_path, monkeypatch, imageio_ffmpeg):
    monkeypatch.chdir(tmp_path)
    hands, controls = Hands(display, viewer), viewer.controls
    viewer.show(image=quarters())
    mode = viewer.choice("mode", ["shaded", "depth"])
    hands.key("space")
    until(lambda: controls.paused, "a pause")
    hands.key("n")
    until(lambda: controls._steps == 1, "a step")
    hands.key("space")
    until(lambda: not controls.paused, "the end of the pause")
    hands.key("m")
    until(lambda: mode.value == "depth", "the next mode")
    hands.key("F12")
    until((tmp_path / "screenshot_0.png").exists, "a screenshot")
    hands.key("F9")
    until(lambda: viewer.recording, "a recording")
    hands.key("F9")
    until(lambda: not viewer.recording and (tmp_path / "recording_0.mp4").exists(), "its end")
    without = viewer._live.read()
    hands.key("F1")
    until(lambda: viewer._live.ask("_window._panel._help"), "the help")
    assert (viewer._live.read() != without).any()
    hands.key("q")
    until(lambda: controls.quitting, "the end")


def test_screenshot_for_the_documentation(display, screenshots):
    with Viewer("window", title="fit", size=(520, 960)) as viewer:
        put_on_show(viewer)
        seen = viewer._live.read()
    Image.fromarray(np.ascontiguousarray(seen)).save(screenshots / "viewer_window.png")
    assert seen[:, : 960 - PANEL_WIDTH].std() > 20


@pytest.fixture
def other(display):
    """A second window; one that is open when its display goes takes the process with it."""
    with Viewer("window", size=SIZE) as made:
        yield made


@in_both_places
def test_closing_the_window_ends_neither_the_loop_nor_other_contexts(viewer, other, display, gl_available):
    glctx = glraster.RasterizeGLContext(device="cpu")
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    done = 0
    for i in viewer.loop(range(30)):  # window and headless context draw in turns, each finding its own
        rast, _ = glraster.rasterize(glctx, pos, tri, (16, 16))
        assert bool((rast[..., 3] == 1).all())
        viewer.show(image=rast[..., :3])
        if i == 10:
            close_by_hand(display, viewer)
            until(lambda: not viewer._live.alive, "a closed window")
        done += 1
    assert done == 30 and other._live.alive
    other.show(image=quarters())
    assert (other._live.read() == [0, 255, 0]).all(-1).any()
    with pytest.raises(RuntimeError, match="the window is closed"):
        viewer._live.read()
    viewer.wait()  # returns at once
    other.close()
    rast, _ = glraster.rasterize(glctx, pos, tri, (16, 16))
    assert bool((rast[..., 3] == 1).all())
    assert glctx._pass.take_error() is None
    glctx.close()


@in_both_places
def test_one_context_held_on_the_loops_thread(viewer, gl_available):
    """Mode 'manual' keeps a headless context current here while the window draws on its thread."""
    glctx = glraster.RasterizeGLContext(mode="manual", device="cpu")
    glctx.set_context()
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    for _ in range(3):
        rast, _ = glraster.rasterize(glctx, pos, torch.tensor([[0, 1, 2]], dtype=torch.int32), (8, 8))
        viewer.show(image=rast[..., :3])
        viewer._live.read()
        assert bool((rast[..., 3] == 1).all())
    glctx.release_context()
    glctx.close()


def resident() -> int:
    """Bytes of memory, less what the C library keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.slow
def test_frames_and_windows_leave_no_memory_behind(display, monkeypatch):
    monkeypatch.setattr("glraster.viewer.window_thread.yield_to_others", lambda: None)  # here the window is the work
    monkeypatch.setattr("glraster.viewer.viewer._open_window", WindowOutput)  # in this process
    sources = [Snapshot.of(torch.rand(1, 128, 128, 3)) for _ in range(2)]
    grown = {}

    def draw(window, count):
        for i in range(count):
            window._viewer.stage.put(image=sources[i % 2])
            window._draw()
            window._glfw.swap_buffers(window._handle)

    def live(count):
        viewer = Viewer("window", size=(300, 500))
        viewer._live._ui.call(draw, viewer._live._window, 5)
        before = resident()
        viewer._live._ui.call(draw, viewer._live._window, count)
        grown["frames"] = resident() - before
        viewer.close()

    for _ in range(4):
        live(1)
    before = resident()
    for _ in range(20):
        live(1)
    grown["windows"] = resident() - before
    live(300)
    assert grown["frames"] < 4e6  # pictures that stayed would take 15e6
    assert grown["windows"] < 12e6  # two framebuffers each that stayed would take 24e6


def test_without_a_display_the_error_names_the_other_outputs(monkeypatch, window_packages):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match="no display for a window.*output='web'.*output='record'"):
        Viewer("window")
    monkeypatch.setenv("DISPLAY", ":987")  # there is no such server
    with pytest.raises(RuntimeError, match="no display for a window.*output='web'.*output='record'"):
        Viewer("window")


def test_auto_takes_what_there_is(monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "viser", None)
    with Viewer() as viewer:
        assert viewer.output == "off"
    assert "Nothing is shown." in capsys.readouterr().out
