"""Recording: MP4 through ffmpeg, or numbered PNG files, written while the loop runs."""

import collections
import os
import threading
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from .extras import needed
from .grid import compose
from .images import Picture

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
        self._ffmpeg: Any = needed("imageio_ffmpeg", "record") if path.suffix else None
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
        if self._ffmpeg is None:
            whole = needed("PIL.Image", "record").fromarray(compose(pictures))
            target = self.path / f"frame_{self.written:06d}.png"
            partial = target.with_suffix(".partial")
            whole.save(partial, format="png", compress_level=1)
            partial.replace(target)  # no half files
            return
        image = compose(pictures, self._size)  # all frames of a video have the size of the first
        if self._writer is None:
            self._size = image.shape[:2]
            self._writer = self._open(*self._size)
        self._writer.send(np.ascontiguousarray(image))

    def _open(self, height: int, width: int) -> Generator[None, Any, None]:
        # Fragments of a second: what has been written so far plays, however the process ends.
        fragments = ["-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", str(max(1, round(self._fps)))]
        writer = self._ffmpeg.write_frames(
            str(self.path),
            (width, height),
            fps=self._fps,
            codec="libx264",
            quality=None,
            macro_block_size=1,
            output_params=["-preset", "veryfast", "-crf", "18", "-threads", "1", *fragments],
            ffmpeg_log_level="error",
        )
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
