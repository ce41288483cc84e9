"""Pages and windows in a process of their own, whose work and whose hold on Python's lock keep no loop waiting."""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .camera import Pose
from .grid import largest_shape
from .mirror import Header, Pixels, State
from .pictures import Source, make_pictures, picture_state
from .record import yield_to_others

if TYPE_CHECKING:
    from .viewer import Viewer

__all__ = ["ProcessOutput"]

PATIENCE = 10.0  # seconds for an output to close
PLOT_PERIOD = 0.3  # between two updates of the curves
_NAMES = {"web": "page", "window": "window"}
_CONTROLS = ("paused", "speed", "iteration", "total", "quitting", "looping")
# Packages as bare folders: to import them would be to import torch.
_START = """
import sys, types
sys.path[:] = {path!r}
for name, folder in {packages!r}:
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from glraster.viewer.child import main
main({kind!r}, {parent!r}, {handles!r})
"""


class ProcessOutput:
    """Opens a page or window in a process of its own, and serves it on two threads.

    One gives states and pictures when they are asked for: as nothing is sent that is not, the newest picture wins.
    The other does what people ask for. If the process dies, there is one warning, and the loop goes on; if this
    process dies, that one ends too.

    Args:
        kind: 'web' or 'window'.
        viewer: what it shows.

    Attributes:
        alive: whether the output is there.
        watched: whether somebody sees it.
        port: of a page.
        shown: how many times it has been given new pictures.

    Raises:
        RuntimeError: the output does not open; the message says why.
    """

    def __init__(self, kind: str, viewer: "Viewer"):
        self._kind, self._viewer = kind, viewer
        self.alive, self.watched = False, kind == "window"
        self._closing, self._moves, self.shown = False, 0, 0
        self._sent: dict[str, tuple[tuple, Source]] = {}  # what the output has of each name
        self._curves: dict[str, tuple[int, float, float]] = {}
        self._plotted = float("-inf")
        self._asking, self._threads = threading.Lock(), list[threading.Thread]()
        handle = os.memfd_create("glraster pictures")
        self._pixels = Pixels(handle)
        self._frames, self._calls, self._questions = self._start(handle)
        try:
            self.port, said = self._greet()
        except BaseException:
            self._process.kill()
            self._release()
            raise
        self.alive = True
        self._threads = [
            threading.Thread(target=target, name=f"glraster {kind}", daemon=True)
            for target in (self._serve_frames, self._serve_calls)
        ]
        for thread in self._threads:
            thread.start()
        if said:
            print(said, end="", flush=True)

    def _start(self, pixels: int) -> tuple[Connection, Connection, Connection]:
        import glraster

        pipes = [Pipe() for _ in range(3)]
        handles = [theirs.fileno() for _, theirs in pipes] + [pixels]
        folder = Path(__file__).parent
        packages = [("glraster", str(Path(glraster.__file__).parent)), ("glraster.viewer", str(folder))]
        code = _START.format(path=sys.path, packages=packages, kind=self._kind, parent=os.getpid(), handles=handles)
        # One thread for OpenGL on the CPU: a second one would take the loop's core.
        environment = {"LP_NUM_THREADS": "1"} | os.environ
        self._process = subprocess.Popen(
            [get_executable(), "-c", code], pass_fds=handles, stdin=subprocess.DEVNULL, env=environment
        )
        for _, theirs in pipes:
            theirs.close()
        frames, calls, questions = (ours for ours, _ in pipes)
        return frames, calls, questions

    def _greet(self) -> tuple[int | None, str]:
        """Sends what the output is, and returns its port and what it has to say."""
        viewer = self._viewer
        settings = {name: getattr(viewer, name) for name in ("title", "fps", "host", "port", "size")}
        try:
            self._questions.send((settings, self._state(viewer.stage.version)))
            answer = self._questions.recv()
        except (EOFError, OSError) as error:
            code = self._process.wait(PATIENCE)
            raise RuntimeError(f"Viewer: the process of the {_NAMES[self._kind]} ended at once, code {code}") from error
        if isinstance(answer, Exception):
            raise answer
        said, port = answer
        return port, said

    @property
    def pid(self) -> int:
        """Id of the output's process."""
        return self._process.pid

    def ask(self, name: str, *arguments: Any, fresh: bool = False) -> Any:
        """Reads an attribute of the output, or calls a method; with `fresh`, once it has the newest pictures.

        Raises:
            RuntimeError: it is closed.
        """
        version = self._viewer.stage.version if fresh else None
        with self._asking:
            try:
                if not self.alive:
                    raise EOFError
                self._questions.send((version, name, arguments))
                answer = self._questions.recv()
            except (EOFError, OSError):
                raise RuntimeError(f"Viewer: the {_NAMES[self._kind]} is closed") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self) -> np.ndarray:
        """What a window shows, drawn anew: uint8 [H, W, 3], the top row first."""
        return self.ask("read", fresh=True)

    def close(self) -> None:
        """Ends the output and its process."""
        self._closing = True
        with self._asking, contextlib.suppress(OSError):  # it has ended
            self._questions.send((None, "end", ()))
        self._release()
        self._end()

    def _release(self) -> None:
        """Ends the process, and gives back what led there."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(PATIENCE)  # not long: the process is gone
        for end in (self._frames, self._calls, self._questions, self._pixels):
            end.close()

    def _end(self) -> None:
        self.alive = self.watched = False
        self._viewer.stage.touch()

    def _serve_frames(self) -> None:
        yield_to_others()
        try:
            while True:
                version, self.watched, size = self._frames.recv()
                if size is None:
                    self._frames.send(self._state(self._viewer.stage.wait_newer(version, timeout=0.5)))
                else:
                    self._frames.send(self._make_pictures(size))
        except (EOFError, OSError):
            return
        except Exception as error:  # what one watches must not stop an optimization
            self._fail(repr(error))
            self._process.terminate()

    def _state(self, version: int) -> State:
        viewer, camera = self._viewer, self._viewer.camera
        moves, pose = self._moves, camera.pose
        return State(
            version=version,
            controls={name: getattr(viewer.controls, name) for name in _CONTROLS},
            choices=[(choice.name, choice.options, choice.value) for choice in list(viewer.controls.choices.values())],
            pose=pose,
            home=camera.home,
            at_home=pose is camera.home,
            fov=camera.fov,
            moves=moves,
            recording=viewer.recording,
            curves=self._new_curves(),
        )

    def _new_curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        plots, now = self._viewer.plots, time.monotonic()
        if now - self._plotted < PLOT_PERIOD and self._viewer.controls.looping:
            return {}
        self._plotted = now
        found = {}
        for name in plots.names():
            xs, ys = plots.curve(name)
            known = len(xs), xs[-1], ys[-1]
            if self._curves.get(name) != known:
                self._curves[name] = known
                found[name] = xs, ys
        return found

    def _make_pictures(self, size: tuple[int, int]) -> list[Header]:
        """Puts the pictures that have changed into the shared memory."""
        sources, camera = self._viewer.stage.sources(), self._viewer.camera
        mesh_size = largest_shape(len(sources), size)
        states = {name: picture_state(source, camera, mesh_size) for name, source in sources.items()}
        new = {name: source for name, source in sources.items() if self._sent.get(name, ((),))[0] != states[name]}
        pictures = dict(zip(new, make_pictures(new, camera, mesh_size), strict=True))
        self._sent = {name: (states[name], source) for name, source in sources.items()}
        self.shown += bool(pictures)
        ends = [0, *itertools.accumulate(picture.pixels.size for picture in pictures.values())]
        headers = {name: Header(name, None) for name in sources}
        room = self._pixels(ends[-1]) if pictures else np.empty(0, np.uint8)
        for (name, picture), start in zip(pictures.items(), ends[:-1], strict=True):
            shape = picture.pixels.shape
            np.copyto(room[start : start + picture.pixels.size].reshape(shape), picture.pixels)
            headers[name] = Header(name, picture.name, picture.legend, shape, start)
        return list(headers.values())

    def _serve_calls(self) -> None:
        yield_to_others()
        viewer, controls = self._viewer, self._viewer.controls
        known: dict[str, Callable] = {name: getattr(controls, name) for name in ("pause", "step", "quit", "set_speed")}
        known |= {"choose": controls.choose, "touch": viewer.stage.touch, "move": self._move, "end": self._end}
        known |= {name: getattr(viewer, name) for name in ("pictures", "toggle_recording", "numbered_screenshot")}
        known["warn"] = self._warn
        try:
            while True:
                answered, name, arguments = self._calls.recv()
                try:
                    answer = known[name](*arguments)
                except Exception as error:
                    answer = error
                if answered:
                    self._calls.send(answer)
        except (EOFError, OSError):
            if self.alive and not self._closing:
                self._fail(f"its process ended, code {self._process.wait(PATIENCE)}")

    def _move(self, moves: int, pose: Pose | None) -> None:
        camera = self._viewer.camera
        self._moves = moves
        camera.reset() if pose is None else camera.place(*pose)

    def _warn(self, message: str) -> None:
        warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _fail(self, reason: str) -> None:
        self._end()
        if not self._closing:
            self._warn(f"Viewer: the {_NAMES[self._kind]} ends: {reason}")
