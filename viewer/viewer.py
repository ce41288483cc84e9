"""The viewer: one API, four outputs."""

import atexit
import collections
import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from .camera import Camera
from .controls import Choice, Controls, Stage
from .draw import SIZE, MeshView
from .extras import check_installed, needed
from .grid import Picture, compose, largest_shape
from .images import Snapshot, checked
from .mesh_arguments import check_mesh
from .pictures import Source, enclosing_sphere, make_pictures
from .plots import Plots
from .progress import Progress
from .record import Recorder, check_path

if TYPE_CHECKING:
    from .process import ProcessOutput
    from .window import WindowOutput

__all__ = ["Viewer"]

T = TypeVar("T")
BUDGET = 0.03  # of the loop's time that copies of pictures may take: large ones are taken more seldom
UNWATCHED = 0.5  # seconds between two pictures while nobody watches
OUTPUTS = ("auto", "web", "window", "record", "off")


class Viewer:
    """Shows an optimization while it runs. Nothing here waits for those who watch: they get the newest picture::

        viewer = Viewer("web")
        for i in viewer.loop(range(1000)):
            ...
            viewer.show(image=image, target=target)
            viewer.log(loss=loss)

    Args:
        output: 'web': a page for browsers. 'window': a window on this machine's display. 'record': a file. 'off':
            nothing but the progress bar. 'auto': a window where there is a display, else the page, else off, as the
            packages that are installed allow.
        title: of the window or page.
        path: for 'record': an .mp4 file, or a folder for numbered PNG files.
        fps: the most pictures a second that are taken of each name; recordings play at this rate. Within a loop page
            and window get fewer where copying them would take more than 3 % of its time, and 2 while nobody watches.
        host, port: for 'web': the address to listen at. Others than this machine reach it only if `host` lets them, for
            instance '0.0.0.0'. A port in use moves to the next.
        size: height and width of the window, in pixels.

    Attributes:
        camera: the `Camera` that the outputs turn.

    Raises:
        RuntimeError: the output needs a package that is not installed, or a display that is not there.
        ValueError: another output, or a path that is neither.
    """

    def __init__(
        self,
        output: str = "auto",
        *,
        title: str = "glraster",
        path: str | os.PathLike | None = None,
        fps: float = 30.0,
        host: str = "127.0.0.1",
        port: int = 8080,
        size: Sequence[int] = (720, 1280),
    ):
        if output not in OUTPUTS:
            raise ValueError(f"Viewer(): output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        if not fps > 0:
            raise ValueError(f"Viewer(): fps must be positive, got {fps}")
        self.title, self.fps, self.host, self.port = title, float(fps), host, port
        self.size = tuple(int(side) for side in size)
        self.camera = Camera()
        self.stage = Stage()
        self.controls = Controls(self.stage)
        self.plots = Plots()
        self.camera.on_change(self.stage.touch)
        self._late: dict[str, Callable[[], Source]] = {}  # shown too soon after the last one
        self._taken: dict[str, float] = {}  # when, but for what the loop was late
        self._spares: dict[str, list[torch.Tensor]] = collections.defaultdict(list)
        self._costs: dict[str, float] = {}  # seconds of the loop's thread for one picture
        self._frame_version = 0
        self._recorder: Recorder | None = None
        self._live: ProcessOutput | WindowOutput | None = None
        self.closed = False
        self.output = self._open(output, path)
        atexit.register(self.close)  # also after Ctrl-C

    def _open(self, output: str, path: str | os.PathLike | None) -> str:
        if output == "record":
            self._recorder = Recorder(check_path(path), self.fps)
        elif output == "web":
            self._live = _open_page(self)
        elif output == "window":
            self._live = _open_window(self)
        elif output == "auto":
            reasons = []
            for candidate in ("window", "web"):
                try:
                    return self._open(candidate, None)
                except RuntimeError as error:
                    reasons.append(str(error))
            print(f"Nothing is shown. {' '.join(reasons)}")
            return "off"
        return output

    def show(self, **images: object) -> None:
        """Shows images under their names, beside those shown before.

        Args:
            images: tensors or arrays [H, W], [H, W, C] or [N, H, W, C] on any device, row 0 at the bottom. Floats from
                0 to 1 or uint8 with 2 (red, green), 3 or 4 channels are colours; one channel of floats is a scalar, as
                depth is, and gets a colour map; one of integers holds ids; one of uint8 or bool is grey. What is not a
                number is magenta. Of a minibatch the first 64 are shown.

        Raises:
            TypeError, ValueError: another type or shape; the message names the image.
        """
        tensors = {name: checked(name, image) for name, image in images.items()}
        if self._idle:
            return
        spares = self._spares
        self._offer({name: partial(Snapshot.of, t.detach(), spares[name]) for name, t in tensors.items()})

    def _offer(self, sources: dict[str, Callable[[], Source]]) -> None:
        """Takes what is shown, or keeps it for later where the last of its name was taken just before."""
        now, period = time.monotonic(), self._period()
        soon = {name for name in sources if now - self._taken.get(name, float("-inf")) < period}
        self._late.update((name, sources[name]) for name in soon)
        self._take({name: source for name, source in sources.items() if name not in soon}, now, period)
        if not self.controls.looping:
            self.record_frame()

    def _period(self) -> float:
        """Seconds between two pictures of a name."""
        if self._live is None or self._recorder is not None or not self.controls.looping:
            return 1 / self.fps
        return max(1 / self.fps, sum(self._costs.values()) / BUDGET, 0 if self._live.watched else UNWATCHED)

    def _take(self, sources: dict[str, Callable[[], Source]], now: float, period: float) -> None:
        """Copies, and puts the copies on show."""
        if not sources:
            return
        for name in sources:
            self._late.pop(name, None)
            due = self._taken.get(name, float("-inf")) + period
            self._taken[name] = due if now < due + period else now  # so that the mean is right, not only the least
        made = {}
        for name, source in sources.items():
            begun = time.thread_time()
            made[name] = source()
            cost = time.thread_time() - begun
            self._costs[name] = 0.8 * self._costs.get(name, cost) + 0.2 * cost
        bounds = [view.bounds() for view in made.values() if isinstance(view, MeshView)] if self.camera.at_home else []
        if bounds and not any(isinstance(source, MeshView) for source in self.stage.sources().values()):
            self.camera.look_at_sphere(*enclosing_sphere(bounds))  # the first meshes, and nobody has moved the camera
        self.stage.put(**made)
        self._frame_version += 1

    def flush(self) -> None:
        """Takes what came too soon to be shown at once. The loop does so whenever there is time, and at its end."""
        self._take(dict(self._late), time.monotonic(), 0.0)

    def log(self, **values: object) -> None:
        """Adds a point to each named curve; over the iterations, inside of `loop`.

        Args:
            values: numbers, or tensors of one element, which the loop does not wait for.

        Raises:
            TypeError, ValueError: not one number; the message names it.
        """
        for name, value in values.items():
            self.plots.append(name, self.controls.iteration if self.controls.looping else None, value)
        if not self._idle:
            self.stage.touch()

    def mesh(self, vertices: torch.Tensor, faces: torch.Tensor, *, name: str = "mesh", **look: Any) -> None:
        """Shows a mesh, seen by `camera` and drawn by glraster itself, again whenever the camera moves.

        Args:
            vertices: [V, 3] floats, in world space.
            faces: [T, 3] integers.
            name: what it is called among the pictures.
            look: colors [V, 3], normals [V, 3], uv [V, 2], texture [H, W, 3], vectors [V, 3], mode; see `MeshView`.

        Raises:
            TypeError, ValueError: another type or shape; the message names the argument.
        """
        check_mesh(name, vertices, faces, **look)
        if not self._idle:
            self._offer({name: partial(MeshView, name, vertices, faces, **look)})

    def add_views(self, views: Sequence[MeshView]) -> None:
        """Shows meshes that are made already."""
        if not self._idle:
            self._offer({view.name: partial(_same, view) for view in views})

    def loop(self, iterable: Iterable[T], total: int | None = None, desc: str | None = None) -> Iterator[T]:
        """Iterates with a progress bar; the outputs' buttons pause, step, slow down and end it.

        Args:
            iterable: what to iterate over.
            total: its length, where it has none.
            desc: what stands before the bar.
        """
        controls = self.controls
        controls.total = total if total is not None or not hasattr(iterable, "__len__") else len(cast(Sized, iterable))
        bar = Progress(self.plots, controls.total, desc)
        controls.quitting, controls.looping = False, True
        try:
            for iteration, item in enumerate(iterable):
                self._between_iterations()
                if not controls.wait_turn(iteration):
                    break
                yield item
                bar.update()
        finally:
            controls.looping = False
            bar.close()
            self.flush()
            self.record_frame()
            self.stage.touch()

    def _between_iterations(self) -> None:
        now = time.monotonic()
        waits = self.controls.paused or self.controls.speed  # then there is time for all of them
        period = self._period() if self._late else 0.0
        due = {name: late for name, late in self._late.items() if waits or now - self._taken[name] >= period}
        self._take(due, now, period)
        self.record_frame()

    def choice(self, name: str, options: Sequence[str]) -> Choice:
        """Offers a list of options at the outputs; `.value` of what this returns is the one chosen."""
        chosen = Choice(name, tuple(options), options[0])
        self.controls.choices[name] = chosen
        self.stage.touch()
        return chosen

    def pictures(self, size: tuple[int, int] | None = None) -> list[Picture]:
        """What is on show now, on the CPU; `size`: height and width of the whole in which it will be composed."""
        sources = self.stage.sources()
        return make_pictures(sources, self.camera, largest_shape(len(sources), size) if size else SIZE)

    def screenshot(self, path: str | os.PathLike) -> None:
        """Writes what is on show to a picture file, with names and legends."""
        if not self.controls.looping:
            self.flush()
        needed("PIL.Image", "record").fromarray(compose(self.pictures())).save(path)

    def numbered_screenshot(self) -> str:
        """Writes a screenshot to the first free name screenshot_0.png, screenshot_1.png and so on; returns it."""
        path = _free_name("screenshot", "png")
        self.screenshot(path)
        return path

    def record(self, path: str | os.PathLike) -> None:
        """Records beside the output, from now until `stop_recording`; path as in the constructor."""
        self.stop_recording()
        self._recorder = Recorder(check_path(path), self.fps)
        self._frame_version += 1
        self.record_frame()
        self.stage.touch()

    def stop_recording(self) -> None:
        """Ends the file of `record`."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()
            if recorder.dropped and recorder.failed is None:
                print(f"{recorder.path}: the encoder was too slow for {recorder.dropped} of the pictures.")
            self.stage.touch()

    def toggle_recording(self) -> None:
        """Begins a recording to the first free name recording_0.mp4, recording_1.mp4 and so on; or ends one."""
        if self.recording:
            self.stop_recording()
            return
        path = _free_name("recording", "mp4")
        self.record(path)
        print(f"Recording to {path}.")

    @property
    def recording(self) -> bool:
        """Whether a recording is being written."""
        recorder = self._recorder
        return recorder is not None and recorder.failed is None

    def wait(self) -> None:
        """Keeps a page or window until somebody quits or closes it, or Ctrl-C; returns at once where there is none."""
        self.flush()
        with contextlib.suppress(KeyboardInterrupt):
            self._wait()

    def _wait(self) -> None:
        version = self.stage.version
        while self._live is not None and self._live.alive and not self.controls.wait_quit(1 / min(self.fps, 60)):
            if self.stage.version != version:  # somebody has turned the camera
                version = self.stage.version
                self._frame_version += 1
                self.record_frame()

    def close(self) -> None:
        """Ends output and recording; the file is whole afterwards. A second call does nothing."""
        if self.closed:
            return
        atexit.unregister(self.close)
        self.flush()
        self.record_frame()
        self.stop_recording()
        if self._live is not None:
            self._live.close()
        self.closed = True

    def __enter__(self) -> "Viewer":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def _idle(self) -> bool:
        return self.closed or (self._live is None and self._recorder is None)

    def record_frame(self, wait: bool = False) -> None:
        """Records what is on show, if that is new; with `wait`, surely: once the encoder has room for it."""
        recorder = self._recorder  # another thread may end it
        if recorder is not None and (self._frame_version or wait):
            self._frame_version = 0
            sources, camera = self.stage.sources(), self.camera.copy()
            recorder.put(lambda: make_pictures(sources, camera), wait)


def _free_name(stem: str, suffix: str) -> str:
    return next(name for i in itertools.count() if not os.path.exists(name := f"{stem}_{i}.{suffix}"))


def _same(view: MeshView) -> MeshView:
    return view


def _open_page(viewer: Viewer) -> "ProcessOutput":
    from .process import ProcessOutput
    from .web import check_address

    check_installed("viser", "web")
    check_address(viewer.host, viewer.port)
    return ProcessOutput("web", viewer)


def _open_window(viewer: Viewer) -> "ProcessOutput | WindowOutput":
    """In a process of its own, unless there may be pictures that need not leave the GPU."""
    from .process import ProcessOutput
    from .window_thread import check_display

    for module in ("glfw", "moderngl", "imgui_bundle"):
        check_installed(module, "viewer")
    check_display()
    if torch.cuda.is_available():
        from .window import WindowOutput

        return WindowOutput(viewer)
    return ProcessOutput("window", viewer)
