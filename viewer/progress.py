"""The progress bar of `Viewer.loop`: tqdm's, where that is installed."""

import time
from typing import Protocol

from .plots import Plots

__all__ = ["Progress"]

PERIOD = 0.25  # seconds between two readings of logged numbers, which a GPU may have to be waited for


class _Bar(Protocol):
    def update(self) -> object: ...

    def set_postfix(self, values: dict[str, float], *, refresh: bool) -> object: ...

    def close(self) -> object: ...


class Progress:
    """A bar with the newest logged numbers; nothing where standard error is no terminal."""

    def __init__(self, plots: Plots, total: int | None, desc: str | None):
        self._plots, self._read = plots, float("-inf")
        self._bar: _Bar | None = None
        try:
            from tqdm import tqdm
        except ImportError:
            return
        self._bar = tqdm(total=total, desc=desc, disable=None)

    def update(self) -> None:
        """After an iteration."""
        if self._bar is not None:
            self._bar.update()
            if time.monotonic() - self._read > PERIOD:
                self._note()

    def close(self) -> None:
        """After the last one."""
        if self._bar is not None:
            self._note()
            self._bar.close()

    def _note(self) -> None:
        self._bar.set_postfix(self._plots.newest(), refresh=False)
        self._read = time.monotonic()
