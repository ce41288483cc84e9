"""What people at the outputs ask of the loop, and what the loop tells them; shared between threads."""

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .pictures import Source

__all__ = ["Choice", "Controls", "Stage"]


class Stage:
    """What is on show, by name, and a count of all changes. Nothing here waits for an output."""

    def __init__(self):
        self._changed = threading.Condition()
        self._sources: dict[str, Source] = {}
        self.version = 0
        self.room: tuple[int, int] | None = None

    def put(self, **sources: "Source") -> None:
        """Replaces what is shown under these names."""
        with self._changed:
            self._sources |= sources
        self.touch()

    def remove(self, name: str) -> None:
        """Shows a name no longer."""
        with self._changed:
            self._sources.pop(name, None)
        self.touch()

    def sources(self) -> "dict[str, Source]":
        """The newest of every name, in the order of their first showing."""
        with self._changed:
            return dict(self._sources)

    def touch(self) -> None:
        """Wakes the outputs: pictures, camera, plots or controls have changed."""
        with self._changed:
            self.version += 1
            self._changed.notify_all()

    def make_room(self, room: tuple[int, int]) -> None:
        """Says in what height and width the pictures are shown."""
        self.room = room

    def wait_newer(self, version: int, timeout: float) -> int:
        """Waits until there is something newer than `version`; returns the version then."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version, timeout)
            return self.version


@dataclass
class Choice:
    """A value to choose at the outputs, shown as a list."""

    name: str
    options: tuple[str, ...]
    value: str


@dataclass
class Controls:
    """Buttons and sliders. The loop asks `wait_turn` before every iteration."""

    stage: Stage
    paused: bool = False
    speed: float = 0.0  # iterations per second at most; 0: as fast as it goes
    iteration: int = 0
    total: int | None = None
    quitting: bool = False
    looping: bool = False
    choices: dict[str, Choice] = field(default_factory=dict)
    _steps: int = 0
    _last: float = float("-inf")

    def __post_init__(self):
        self._asked = threading.Condition()

    def pause(self, paused: bool = True) -> None:
        """Stops the loop before its next iteration, or lets it go on."""
        self._set(paused=paused)

    def step(self) -> None:
        """Lets a paused loop do one iteration; pauses a running one."""
        self._set(paused=True, _steps=self._steps + 1 if self.paused else 0)

    def quit(self) -> None:
        """Ends the loop before its next iteration."""
        self._set(quitting=True)

    def set_speed(self, speed: float) -> None:
        """Limits the iterations per second; 0 ends that."""
        self._set(speed=max(0.0, float(speed)))

    def choose(self, name: str, value: str) -> None:
        """Takes one of the options of a choice."""
        if value not in self.choices[name].options:
            raise ValueError(f"{name} must be one of {self.choices[name].options}, got {value!r}")
        self.choices[name].value = value
        self._set()

    def wait_turn(self, iteration: int) -> bool:
        """Waits as long as the loop is paused or ahead of its speed; False if it is to end."""
        with self._asked:
            self.iteration = iteration
            while not self.quitting:
                if self.paused and self._steps == 0:
                    self._asked.wait()
                    continue
                early = self._last + (1 / self.speed if self.speed else 0) - time.monotonic()
                if early <= 0 or self.paused:
                    break
                self._asked.wait(early)
            self._steps = max(0, self._steps - 1)
            self._last = time.monotonic()
            return not self.quitting

    def wait_quit(self, timeout: float | None = None) -> bool:
        """Waits until somebody quits."""
        with self._asked:
            return self._asked.wait_for(lambda: self.quitting, timeout)

    def _set(self, **values: object) -> None:
        with self._asked:
            for name, value in values.items():
                setattr(self, name, value)
            self._asked.notify_all()
        self.stage.touch()
