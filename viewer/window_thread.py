"""The one thread of this process on which GLFW and imgui live."""

import os
import queue
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from .extras import needed
from .record import yield_to_others

__all__ = ["Frame", "UiThread", "check_display", "ui_thread"]

ADVICE = "use output='web' for a browser, or output='record' for a file"


class Frame(Protocol):
    """What the thread draws again and again."""

    def frame(self) -> None:
        """Draws, if there is something new."""


class UiThread:
    """Runs while there are windows; GLFW belongs to it. Everything else asks it through `call`."""

    def __init__(self):
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[tuple[Future, Callable]] = queue.SimpleQueue()
        self._windows: list[Frame] = []
        self._thread: threading.Thread | None = None
        self.period = 1 / 120  # seconds between two looks at what is new; input wakes it earlier

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function on the thread, which starts if need be, and returns what it returns or raises."""
        if threading.current_thread() is self._thread:
            return function(*arguments)
        done: Future = Future()
        with self._lock:
            self._requests.put((done, lambda: function(*arguments)))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="glraster window", daemon=True)
                self._thread.start()
        return done.result()

    def add(self, window: Frame) -> None:
        """Draws a window from now on; on the thread."""
        self._windows.append(window)

    def remove(self, window: Frame) -> None:
        """Ends that; on the thread."""
        if window in self._windows:
            self._windows.remove(window)

    def _run(self) -> None:
        yield_to_others()
        glfw: Any = None
        started = False
        try:
            glfw = needed("glfw", "viewer")
            start_glfw(glfw)
            started = True
        except Exception as error:
            failure = error
        while True:
            try:
                done, function = self._requests.get(block=not self._windows and not started, timeout=1)
                try:
                    if not started:
                        raise failure
                    done.set_result(function())
                except BaseException as error:
                    done.set_exception(error)
            except queue.Empty:
                pass
            for window in list(self._windows):
                window.frame()
            with self._lock:
                if self._requests.empty() and not self._windows:
                    if started:
                        glfw.terminate()
                    self._thread = None
                    return
            if self._requests.empty():
                glfw.wait_events_timeout(self.period)


def check_display() -> None:
    """Asks whether there may be a display.

    Raises:
        RuntimeError: there is none.
    """
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise RuntimeError(f"Viewer: no display for a window, DISPLAY and WAYLAND_DISPLAY are not set: {ADVICE}")


def start_glfw(glfw: Any) -> None:
    """Starts GLFW.

    Raises:
        RuntimeError: there is no display.
    """
    check_display()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error has the same words
        if not glfw.init():
            reason = glfw.get_error()[1] or b"GLFW does not start"
            raise RuntimeError(f"Viewer: no display for a window, {reason.decode()}: {ADVICE}")


_shared = UiThread()


def ui_thread() -> UiThread:
    """The thread of this process."""
    return _shared
