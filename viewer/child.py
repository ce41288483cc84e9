"""The process of a page or window: what `process` starts. No torch here, nor anything else that only loops need."""

import contextlib
import io
import operator
import os
import signal
import threading
import warnings
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, cast

from .mirror import Mirror, Pixels

__all__ = ["main"]

PERIOD = 0.1  # seconds between two looks at whether the output still lives
MODEST = 19  # added to the niceness: where the loop takes all cores, an output gets what is left


def main(kind: str, parent: int, handles: list[int]) -> None:
    """Opens an output and serves it until it is closed, or the loop's process is gone.

    Args:
        kind: 'web' or 'window'.
        parent: id of the loop's process.
        handles: the ends of three connections - frames, calls, questions - and shared memory.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the loop, whose end ends this
    frames, calls, questions = (Connection(handle) for handle in handles[:3])
    settings, state = questions.recv()
    mirror = Mirror(settings, state, frames, calls, Pixels(handles[3]))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            output = _open(kind, mirror)
    except Exception as error:
        questions.send(error)
        os._exit(1)
    warnings.showwarning = partial(_pass_on, mirror)
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + MODEST, 19))
    questions.send((said.getvalue(), getattr(output, "port", None)))
    with contextlib.suppress(EOFError, OSError):
        while output.alive and os.getppid() == parent:
            if questions.poll(PERIOD) and not _answer(questions, output, mirror):
                break
        mirror.post("end")
    with contextlib.suppress(EOFError, OSError):
        output.close()
    os._exit(0)  # threads of packages that still run would only be in each other's way


def _pass_on(mirror: Mirror, message: Warning | str, *_: Any, **__: Any) -> None:
    with contextlib.suppress(OSError):
        mirror.post("warn", str(message))


def _open(kind: str, mirror: Mirror) -> Any:
    viewer = cast(Any, mirror)
    if kind == "web":
        from .web import WebOutput

        return WebOutput(viewer)
    from .window import WindowOutput

    output = WindowOutput(viewer)
    threading.Thread(target=mirror.follow, name="glraster pictures", daemon=True).start()
    return output


def _answer(questions: Connection, output: Any, mirror: Mirror) -> bool:
    """Answers one question; False if the output is to end."""
    version, name, arguments = questions.recv()
    if name == "end":
        return False
    try:
        if version is not None:
            mirror.stage.wait_for(version)
        found = operator.attrgetter(name)(output)
        questions.send(found(*arguments) if callable(found) else found)
    except Exception as error:
        questions.send(error)
    return True
