"""The viewer as an output sees it from a process of its own. `process` is the loop's side; no torch here."""

import mmap
import os
import threading
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from .camera import Camera, Pose
from .controls import Choice
from .grid import Legend, Picture

__all__ = ["Header", "Mirror", "Pixels", "State"]

PATIENCE = 10.0  # seconds for the newest pictures to come


@dataclass(frozen=True)
class State:
    """All that outputs show or ask, but the pictures."""

    version: int
    controls: dict[str, Any]  # the attributes of `Controls` by name
    choices: list[tuple[str, tuple[str, ...], str]]  # name, options, value
    pose: Pose
    home: Pose
    at_home: bool
    fov: float
    moves: int  # of those of the output's camera, how many the loop's camera has made
    recording: bool
    curves: dict[str, tuple[np.ndarray, np.ndarray]]  # those that have grown


@dataclass(frozen=True)
class Header:
    """A picture without its pixels, or with None the one that came before under this name."""

    name: str
    label: str | None
    legend: Legend | None = None
    shape: tuple[int, ...] = ()
    start: int = 0  # of its bytes in the memory that both sides share


class Pixels:
    """Memory that both processes have mapped, in a file without a name: it goes with the last of them."""

    def __init__(self, handle: int):
        self._handle = handle
        self._map: mmap.mmap | None = None

    def close(self) -> None:
        """Gives this side's share of it back."""
        self._map = None
        os.close(self._handle)

    def __call__(self, size: int) -> np.ndarray:
        """The first bytes of it, uint8 [size]; it grows as needed."""
        if self._map is None or len(self._map) < size:
            if os.fstat(self._handle).st_size < size:
                os.ftruncate(self._handle, size)
            self._map = mmap.mmap(self._handle, os.fstat(self._handle).st_size)
        return np.frombuffer(self._map, np.uint8, size)


class Mirror:
    """Has what outputs use of a `Viewer`, under the same names.

    Args:
        settings: title, fps, host, port and size of the viewer.
        state: how things stand.
        frames: asked for states and pictures, by one thread.
        calls: takes what is asked of the loop, from any thread.
        pixels: of the pictures.
    """

    def __init__(self, settings: dict[str, Any], state: State, frames: Connection, calls: Connection, pixels: Pixels):
        self.title, self.fps = settings["title"], settings["fps"]
        self.host, self.port, self.size = settings["host"], settings["port"], settings["size"]
        self._frames, self._calls, self._pixels = frames, calls, pixels
        self._sending = threading.Lock()
        self._pictures: dict[str, Picture] = {}
        self.watched = True
        self.recording = False
        self.camera = _Camera(self.post)
        self.controls = _Controls(self.post)
        self.plots = _Plots()
        self.stage = _Stage(self)
        self.toggle_recording = partial(self.call, "toggle_recording")
        self.numbered_screenshot = partial(self.call, "numbered_screenshot")
        self._take(state)

    def post(self, name: str, *arguments: Any) -> None:
        """Asks something of the loop's side, without an answer."""
        with self._sending:
            self._calls.send((False, name, arguments))

    def call(self, name: str, *arguments: Any) -> Any:
        """Asks something of the loop's side; returns its answer or raises its error."""
        with self._sending:
            self._calls.send((True, name, arguments))
            answer = self._calls.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def refresh(self, version: int) -> int:
        """Waits a while for what is newer than `version`, and returns the version that there is then."""
        self._frames.send((version, self.watched, None))
        state = self._frames.recv()
        self._take(state)
        return state.version

    def pictures(self, size: tuple[int, int] | None = None) -> list[Picture]:
        """As those of `Viewer`. With a size: on the thread that calls `refresh`."""
        return self.call("pictures") if size is None else list(self.fetch(size).values())

    def fetch(self, size: tuple[int, int]) -> dict[str, Picture]:
        """The newest pictures by the names under which they are shown; those that are not new are the same objects."""
        self._frames.send((0, self.watched, size))
        found: dict[str, Picture] = {}
        headers: list[Header] = self._frames.recv()
        for header in headers:
            if header.label is None:
                found[header.name] = self._pictures[header.name]
                continue
            count = int(np.prod(header.shape))
            pixels = self._pixels(header.start + count)[header.start :].reshape(header.shape).copy()
            found[header.name] = Picture(header.label, pixels, header.legend)
        self._pictures = found
        return found

    def follow(self) -> None:
        """Puts the newest pictures on the stage, whenever the last ones have been taken. Ends with the loop's side."""
        version = -1
        try:
            while True:
                begun = time.monotonic()
                newest = self.refresh(version)
                if newest != version:
                    version = newest
                    self.stage.put(version, self.fetch(self.stage.room))
                time.sleep(max(0.0, 1 / self.fps - (time.monotonic() - begun)))
        except (EOFError, OSError):
            return

    def _take(self, state: State) -> None:
        for name, value in state.controls.items():
            setattr(self.controls, name, value)
        for name, options, value in state.choices:
            self.controls.choices.setdefault(name, Choice(name, options, value)).value = value
        self.recording = state.recording
        self.plots.curves |= state.curves
        self.camera.take(state)


class _Controls:
    """The loop's, as they were a moment ago; what is asked of them goes there."""

    def __init__(self, post):
        self.paused = self.quitting = self.looping = False
        self.speed, self.iteration = 0.0, 0
        self.total: int | None = None
        self.choices: dict[str, Choice] = {}
        self.pause, self.step, self.quit = (partial(post, name) for name in ("pause", "step", "quit"))
        self.set_speed, self.choose = partial(post, "set_speed"), partial(post, "choose")


class _Plots:
    """Curves, as `Plots` gives them."""

    def __init__(self):
        self.curves: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def names(self) -> list[str]:
        return list(self.curves)

    def curve(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.curves[name]


class _Camera(Camera):
    """Follows the loop's, and tells it of its own moves."""

    def __init__(self, post):
        super().__init__()
        self._post, self._moves = post, 0

    def _change(self, change) -> None:
        with self._lock:
            self._pose = change(self._pose)
            self._moves += 1
            self._post("move", self._moves, None if self._pose is self._home else self._pose)

    def take(self, state: State) -> None:
        """Goes to where the loop's camera is, unless moves are on their way there."""
        with self._lock:
            if state.moves != self._moves:
                return
            self.fov = state.fov
            if not _equal(self._home, state.home):
                self._home = state.home
            if state.at_home:
                self._pose = self._home
            elif self._pose is self._home or not _equal(self._pose, state.pose):
                self._pose = state.pose  # else the same object: outputs see by it whether it has moved


def _equal(a: Pose, b: Pose) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


class _Stage:
    """What is on show."""

    def __init__(self, mirror: Mirror):
        self._mirror = mirror
        self._changed = threading.Condition()
        self._sources: dict[str, Picture] = {}
        self._taken = True
        self.version = -1
        self.room: tuple[int, int] = mirror.size

    def touch(self) -> None:
        """Something has changed here: the loop's side answers as if it had changed there."""
        self._mirror.post("touch")

    def make_room(self, room: tuple[int, int]) -> None:
        """Says in what height and width the pictures are to be shown."""
        if room != self.room:
            self.room = room
            self.touch()

    def wait_newer(self, version: int, timeout: float) -> int:
        """As that of `Stage`."""
        return self._mirror.refresh(version)

    def put(self, version: int, sources: dict[str, Picture]) -> None:
        """Shows pictures, once those before have been taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken, PATIENCE)
            self._taken = False
            self._sources, self.version = sources, version
            self._changed.notify_all()

    def sources(self) -> dict[str, Picture]:
        """The newest of every name."""
        with self._changed:
            self._taken = True
            self._changed.notify_all()
            return self._sources

    def wait_for(self, version: int) -> None:
        """Waits until what was newest at `version` is on show."""
        with self._changed:
            self._changed.wait_for(lambda: self.version >= version, PATIENCE)
