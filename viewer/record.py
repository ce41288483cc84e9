"""Recording: ffmpeg writes MP4, or numbered PNG files, in its own process while the loop runs."""

import collections
import os
import threading
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from .extras import needed
from .grid import Picture, compose

__all__ = ["Recorder", "check_path", "yield_to_others"]

WAITING = 4  # frames between the loop and the encoder; beyond that the oldest goes


def check_path(path: str | os.PathLike | None) -> Path:
    """Returns where a recording goes.

    Raises:
        ValueError: neither an .mp4 file nor a folder.
    """
    if path is None:
        raise ValueError("Viewer(): output='record' needs path=, an .mp4 file or a folder for PNG files, got None")
    path = Path(path)
    if path.suffix.lower() != ".mp4" and (path.suffix or path.is_file()):
        raise ValueError(f"Viewer(): path must be an .mp4 file or a folder for PNG files, got {str(path)!r}")
    return path


def yield_to_others() -> None:
    """Lets the other threads of this machine go first; what this thread starts inherits that."""
    thread = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, thread, min(os.getpriority(os.PRIO_PROCESS, thread) + 10, 19))


class Recorder:
    """Writes frames on a thread of its own. An error ends the recording with one warning, and nothing else.

    Args:
        path: an .mp4 file, or a folder, which gets frame_000000.png and so on.
        fps: pictures per second of the video.

    Raises:
        RuntimeError: a package is missing.
        OSError: the folder cannot be made.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self._fps = path, fps
        needed("PIL.Image", "record")
        self._ffmpeg: Any = needed("imageio_ffmpeg", "record")
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
        self._waiting: collections.deque[Callable[[], list[Picture]]] = collections.deque()
        self._changed = threading.Condition()
        self._closing = False
        self.written = self.dropped = 0
        self.failed: Exception | None = None
        self._size: tuple[int, int] | None = None
        self._writer: Generator[None, Any, None] | None = None
        self._thread = threading.Thread(target=self._run, name="glraster recorder", daemon=True)
        self._thread.start()

    def put(self, frame: Callable[[], list[Picture]], wait: bool = False) -> None:
        """Hands over a frame, as a function that makes its pictures. A full queue loses its oldest, unless `wait`."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: len(self._waiting) < WAITING or self.failed or self._closing)
            if self._closing or self.failed:
                return
            if len(self._waiting) == WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(frame)
            self._changed.notify_all()

    def close(self) -> None:
        """Writes what waits, and ends the file."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            yield_to_others()
            while (frame := self._next()) is not None:
                if pictures := frame():
                    self._write(pictures)
                    self.written += 1
        except Exception as error:
            self._fail(error)
        finally:
            self._end()

    def _next(self) -> Callable[[], list[Picture]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            frame = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return frame

    def _write(self, pictures: list[Picture]) -> None:
        film = bool(self.path.suffix)
        image = compose(pictures, self._size if film else None)  # all frames of a film have the size of the first
        if self._writer is None or self._size != image.shape[:2]:
            if self._writer is not None:
                self._writer.close()
            self._size = image.shape[:2]
            self._writer = self._open(*self._size)
        self._writer.send(np.ascontiguousarray(image))

    def _open(self, height: int, width: int) -> Generator[None, Any, None]:
        target, how = (_film if self.path.suffix else _files)(self.path, self._fps, self.written)
        how["output_params"] += ["-threads", "1"]
        common = {"quality": None, "macro_block_size": 1, "ffmpeg_log_level": "error"}
        writer = self._ffmpeg.write_frames(target, (width, height), **common, **how)
        writer.send(None)
        return writer

    def _end(self) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self.failed is None:
            with self._changed:
                self.failed = error
                self._changed.notify_all()
            reason = str(error).strip().splitlines()
            message = f"Viewer: the recording to {self.path} ends: {reason[-1] if reason else type(error).__name__}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)


def _film(path: Path, fps: float, first: int) -> tuple[str, dict[str, Any]]:
    """Where and how ffmpeg writes a film."""
    # Fragments of a second: what has been written so far plays, however the process ends.
    fragments = ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", str(max(1, round(fps)))]
    how = {"codec": "libx264", "fps": fps, "output_params": ["-preset", "veryfast", "-crf", "18", *fragments]}
    return str(path), how


def _files(path: Path, fps: float, first: int) -> tuple[str, dict[str, Any]]:
    """Where and how ffmpeg writes files, each of them whole or not there; `first` is the number of the first."""
    numbers = ["-start_number", str(first), "-atomic_writing", "1"]
    fast = ["-compression_level", "1", "-pred", "up"]
    target = str(path).replace("%", "%%") + "/frame_%06d.png"
    return target, {"codec": "png", "pix_fmt_out": "rgb24", "fps": 30, "output_params": fast + numbers}
