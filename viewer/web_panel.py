"""The page's panel: buttons, sliders and plots, the same for all who watch."""

import io
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from .extras import needed
from .grid import compose

if TYPE_CHECKING:
    from .mirror import Mirror

__all__ = ["Panel"]

PLOT_PERIOD = 0.3  # seconds between two updates of the plots
FASTEST = 60.0  # iterations per second, at the end of the slider, which is no limit
COLORS = ("#4dabf7", "#ff922b", "#69db7c", "#f06595", "#b197fc", "#ffd43b")


class Panel:
    """Builds the panel; `update` brings it up to date."""

    def __init__(self, server, viewer: "Mirror"):
        self._server, self._viewer, self._controls = server, viewer, viewer.controls
        gui = server.gui
        gui.main_panel.dock_right()
        self._status = gui.add_markdown("")
        self._bar = gui.add_progress_bar(0.0)
        self._pause = gui.add_button("Pause")
        self._step = gui.add_button("Step")
        self._quit = gui.add_button("Quit the loop", color="red")
        self._speed = gui.add_slider("Iterations / s", min=1.0, max=FASTEST, step=1.0, initial_value=FASTEST)
        self._screenshot = gui.add_button("Screenshot")
        self._record = gui.add_button("Record")
        self._reset = gui.add_button("Reset the camera")
        self._plots: dict[str, Any] = {}
        self._choices: dict[str, object] = {}
        self._plotted = 0.0
        self._shown: dict[object, object] = {}
        self._pause.on_click(lambda _: self._controls.pause(not self._controls.paused))
        self._step.on_click(lambda _: self._controls.step())
        self._quit.on_click(lambda _: self._controls.quit())
        self._speed.on_update(lambda _: self._limit(self._speed.value))
        self._screenshot.on_click(self._send_screenshot)
        self._record.on_click(lambda _: viewer.toggle_recording())
        self._reset.on_click(lambda _: viewer.camera.reset())

    def update(self) -> None:
        """Shows the state of the loop, the plots and the choices."""
        controls, total = self._controls, self._controls.total
        of = f" of {total}" if total else ""
        state = "paused" if controls.paused else "running" if controls.looping else "ended"
        known = controls.looping or controls.iteration
        self._set(self._status, "content", f"Iteration {controls.iteration}{of}, {state}" if known else "")
        done = (controls.iteration + 1) / total if total and known else 0.0
        self._set(self._bar, "value", min(100.0, 100.0 * done))
        self._set(self._pause, "label", "Continue" if controls.paused else "Pause")
        self._set(self._record, "label", "Stop recording" if self._viewer.recording else "Record")
        for choice in list(controls.choices.values()):
            if choice.name not in self._choices:
                self._add_choice(choice)
        if time.monotonic() - self._plotted > PLOT_PERIOD or not controls.looping:
            self._plotted = time.monotonic()
            for name in self._viewer.plots.names():
                self._draw_plot(name)

    def _set(self, handle, what: str, value: object) -> None:
        """Sends only what has changed."""
        if self._shown.get((id(handle), what)) != value:
            self._shown[id(handle), what] = value
            setattr(handle, what, value)

    def _limit(self, speed: float) -> None:
        self._controls.set_speed(0 if speed >= FASTEST else speed)

    def _add_choice(self, choice) -> None:
        dropdown = self._server.gui.add_dropdown(choice.name, choice.options, initial_value=choice.value, order=-1)
        dropdown.on_update(lambda _: self._controls.choose(choice.name, dropdown.value))
        self._choices[choice.name] = dropdown

    def _draw_plot(self, name: str) -> None:
        xs, ys = self._viewer.plots.curve(name)
        if self._shown.get(name) == (len(xs), xs[-1], ys[-1]):
            return
        self._shown[name] = len(xs), xs[-1], ys[-1]
        if name in self._plots:
            self._plots[name].data = (xs, ys)
            return
        uplot = needed("viser.uplot", "web")
        color = COLORS[len(self._plots) % len(COLORS)]
        series = uplot.Series(label="iteration"), uplot.Series(label=name, stroke=color, width=2)
        axes = tuple(uplot.Axis(stroke="#adb5bd") for _ in range(2))
        self._plots[name] = self._server.gui.add_uplot(
            (xs, ys), series, title=name, scales={"x": uplot.Scale(time=False)}, axes=axes, aspect=1.8
        )

    def _send_screenshot(self, event) -> None:
        image_module, buffer = needed("PIL.Image", "record"), io.BytesIO()
        image_module.fromarray(np.ascontiguousarray(compose(self._viewer.pictures()))).save(buffer, "png")
        event.client.send_file_download("screenshot.png", buffer.getvalue(), save_immediately=True)
