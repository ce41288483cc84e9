"""The window's panel, help, keys and mouse, all through imgui."""

from typing import TYPE_CHECKING, Any

import numpy as np

from .grid import Cell, Legend, legend_texts

if TYPE_CHECKING:
    from .mirror import Mirror
    from .viewer import Viewer

__all__ = ["PANEL_WIDTH", "WindowPanel", "draw_legend"]

PANEL_WIDTH = 300  # pixels at the right
FASTEST = 60.0  # iterations per second, at the end of the slider, which is no limit
HELP = (
    ("left drag", "turn the camera"),
    ("right drag", "move the camera sideways"),
    ("wheel", "nearer and farther"),
    ("R", "reset the camera"),
    ("Space", "pause and go on"),
    ("N", "one iteration"),
    ("Q", "quit the loop"),
    ("M, Shift+M", "next and previous mode"),
    ("F12", "screenshot"),
    ("F9", "begin and end a recording"),
    ("F1", "this help"),
)


class WindowPanel:
    """Draws the panel and does what keys and mouse ask for."""

    def __init__(self, viewer: "Viewer | Mirror", imgui: Any, implot: Any):
        self._viewer, self._imgui, self._implot = viewer, imgui, implot
        self._help = False
        self._note = "F1: help"

    def act(self, height: int) -> None:
        """Turns the camera by the mouse, and obeys the keys. Within a frame; `height` is that of the pictures."""
        imgui, camera = self._imgui, self._viewer.camera
        io = imgui.get_io()
        if not io.want_capture_mouse:
            dx, dy = io.mouse_delta.x / height, io.mouse_delta.y / height
            if imgui.is_mouse_dragging(imgui.MouseButton_.left, 0) and (dx or dy):
                camera.orbit(-np.pi * dx, np.pi * dy)
            elif (dx or dy) and any(imgui.is_mouse_dragging(button, 0) for button in (1, 2)):
                camera.pan(-dx, dy)
            if io.mouse_wheel:
                camera.zoom(1.1**io.mouse_wheel)
        if not io.want_capture_keyboard:
            self._obey_keys(io)

    def _obey_keys(self, io: Any) -> None:
        viewer, controls, key = self._viewer, self._viewer.controls, self._imgui.Key
        actions = {
            key.space: lambda: controls.pause(not controls.paused),
            key.n: controls.step,
            key.q: controls.quit,
            key.r: viewer.camera.reset,
            key.m: lambda: self._next_choice(-1 if io.key_shift else 1),
            key.f1: self._toggle_help,
            key.f9: viewer.toggle_recording,
            key.f12: self._take_screenshot,
        }
        for pressed, action in actions.items():
            if self._imgui.is_key_pressed(pressed, False):
                action()

    def _toggle_help(self) -> None:
        self._help = not self._help

    def _take_screenshot(self) -> None:
        self._note = f"Wrote {self._viewer.numbered_screenshot()}"

    def _next_choice(self, step: int) -> None:
        for choice in list(self._viewer.controls.choices.values())[:1]:
            index = (choice.options.index(choice.value) + step) % len(choice.options)
            self._viewer.controls.choose(choice.name, choice.options[index])

    def draw(self, size: tuple[int, int]) -> None:
        """Draws the panel at the right of a window of this width and height, and the help over it."""
        imgui = self._imgui
        flags = imgui.WindowFlags_
        imgui.set_next_window_pos((size[0] - PANEL_WIDTH, 0))
        imgui.set_next_window_size((PANEL_WIDTH, size[1]))
        if imgui.begin("panel", flags=flags.no_title_bar | flags.no_resize | flags.no_move | flags.no_nav):
            self._draw_loop()
            self._draw_choices()
            self._draw_buttons()
            imgui.text_wrapped(self._note)
            self._draw_plots()
        imgui.end()
        if self._help:
            self._draw_help()

    def _draw_loop(self) -> None:
        imgui, controls = self._imgui, self._viewer.controls
        if not (controls.looping or controls.iteration):
            return
        total = controls.total
        state = "paused" if controls.paused else "running" if controls.looping else "ended"
        imgui.text(f"Iteration {controls.iteration}{f' of {total}' if total else ''}, {state}")
        if total:
            imgui.progress_bar((controls.iteration + 1) / total)
        if imgui.button("Continue" if controls.paused else "Pause"):
            controls.pause(not controls.paused)
        imgui.same_line()
        if imgui.button("Step"):
            controls.step()
        imgui.same_line()
        if imgui.button("Quit the loop"):
            controls.quit()
        changed, speed = imgui.slider_float("it/s", controls.speed or FASTEST, 1.0, FASTEST, "%.0f")
        if changed:
            controls.set_speed(0 if speed >= FASTEST else speed)

    def _draw_choices(self) -> None:
        for choice in list(self._viewer.controls.choices.values()):
            index = choice.options.index(choice.value)
            changed, index = self._imgui.combo(choice.name, index, list(choice.options))
            if changed:
                self._viewer.controls.choose(choice.name, choice.options[index])

    def _draw_buttons(self) -> None:
        imgui = self._imgui
        if imgui.button("Screenshot"):
            self._take_screenshot()
        imgui.same_line()
        if imgui.button("Stop recording" if self._viewer.recording else "Record"):
            self._viewer.toggle_recording()
        imgui.same_line()
        if imgui.button("Reset view"):
            self._viewer.camera.reset()

    def _draw_plots(self) -> None:
        implot = self._implot
        fit = implot.AxisFlags_.auto_fit
        for name in self._viewer.plots.names():
            xs, ys = self._viewer.plots.curve(name)
            if implot.begin_plot(name, (-1, 180), implot.Flags_.no_legend | implot.Flags_.no_menus):
                implot.setup_axes("", "", fit, fit)
                implot.plot_line(name, xs, ys)
                implot.end_plot()

    def _draw_help(self) -> None:
        imgui = self._imgui
        imgui.set_next_window_pos((20, 20), imgui.Cond_.appearing)
        shown, self._help = imgui.begin("Keys and mouse", True, imgui.WindowFlags_.always_auto_resize)
        if shown and imgui.begin_table("keys", 2):
            for key, meaning in HELP:
                imgui.table_next_row()
                for column, text in enumerate((key, meaning)):
                    imgui.table_set_column_index(column)
                    imgui.text(text)
            imgui.end_table()
        imgui.end()


def draw_legend(imgui: Any, canvas: Any, legend: Legend, cell: Cell) -> None:
    """Draws the colours of a legend below a picture, between the texts of its ends."""
    low, high = legend_texts(legend)
    y, text = cell.y + cell.height + 3, 0xFFE8E4E1
    left = cell.x + imgui.calc_text_size(low).x + 6
    right = cell.x + cell.width - imgui.calc_text_size(high).x - 6
    canvas.add_text((cell.x, y), text, low)
    canvas.add_text((right + 6, y), text, high)
    colors = legend.colors[:: max(1, len(legend.colors) // 64)]
    step = max(right - left, 0) / len(colors)
    for index, (r, g, b) in enumerate(colors.tolist()):
        x = left + index * step
        canvas.add_rect_filled((x, y + 1), (x + step + 0.5, y + 12), imgui.IM_COL32(r, g, b, 255))
