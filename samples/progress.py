"""Progress of long work: a bar in a terminal, a line now and then where the output goes to a file or a pipe."""

import sys

from tqdm import tqdm


class _Lines:
    """Takes what tqdm draws over itself, and writes it as lines."""

    def write(self, text: str) -> None:
        line = text.strip("\r\n")
        if line.strip():
            sys.stderr.write(f"{line.rstrip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def steps(*bounds: int, desc: str) -> tqdm:
    """Iterates over range(*bounds) and shows how far that is; `set_postfix(..., refresh=False)` adds numbers to it."""
    if sys.stderr.isatty():
        return tqdm(range(*bounds), desc=desc)
    form = "{desc}: {n_fmt} of {total_fmt} in {elapsed}{postfix}"
    return tqdm(range(*bounds), desc=desc, file=_Lines(), mininterval=10, maxinterval=10, bar_format=form)
