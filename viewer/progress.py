"""Progress of long work: a bar in a terminal, a line now and then where the output goes to a file or a pipe."""

import sys
import time
from collections.abc import Iterable
from typing import Protocol

from .plots import Plots

__all__ = ["Progress", "new_bar"]

PERIOD = 0.25  # seconds between two readings of logged numbers, which a GPU may have to be waited for


class _Bar(Protocol):
    def update(self) -> object: ...

    def set_postfix(self, values: dict[str, float], *, refresh: bool) -> object: ...

    def close(self) -> object: ...


class _Lines:
    """Takes what tqdm draws over itself, and writes it as lines."""

    def write(self, text: str) -> None:
        line = text.strip("\r\n")
        if line.strip():
            sys.stderr.write(f"{line.rstrip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def new_bar(iterable: Iterable | None = None, *, total: int | None = None, desc: str | None = None):
    """A bar of tqdm's, which must be installed; `set_postfix(..., refresh=False)` adds numbers to it."""
    from tqdm import tqdm

    if sys.stderr.isatty():
        return tqdm(iterable, total=total, desc=desc)
    form = "{desc}: {n_fmt} of {total_fmt} in {elapsed}{postfix}"
    return tqdm(iterable, total=total, desc=desc, file=_Lines(), mininterval=10, maxinterval=10, bar_format=form)


class Progress:
    """A bar with the newest logged numbers; none where tqdm is not installed."""

    def __init__(self, plots: Plots, total: int | None, desc: str | None):
        self._plots, self._read = plots, float("-inf")
        self._bar: _Bar | None = None
        try:
            self._bar = new_bar(total=total, desc=desc or "iterations")
        except ImportError:
            return

    def update(self) -> None:
        """After an iteration."""
        if self._bar is not None:
            self._bar.update()
            if time.monotonic() - self._read > PERIOD:
                self._note(self._bar)

    def close(self) -> None:
        """After the last one."""
        if self._bar is not None:
            self._note(self._bar)
            self._bar.close()

    def _note(self, bar: _Bar) -> None:
        bar.set_postfix(self._plots.newest(), refresh=False)
        self._read = time.monotonic()
