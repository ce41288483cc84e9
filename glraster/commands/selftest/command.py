"""The report of `glraster selftest`."""

import argparse
import platform
import sys
from collections.abc import Callable, Iterator

import torch

from ...doctor import Finding
from ...version import __version__
from .agreement import contexts_agree, devices_agree
from .derivatives import gradients_agree
from .repetition import outputs_repeat
from .speed import IMAGES, SIZE, TRIANGLES, Row, measure

__all__ = ["add_arguments", "run"]

_MARKS = {"ok": "ok", "absent": "--", "broken": "!!"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `glraster selftest`."""
    parser.add_argument("--device", choices=["cpu", "cuda"], help="this device alone (default: all that there are)")
    parser.add_argument("--no-speed", action="store_true", help="leave out the table of times")


def run(options: argparse.Namespace) -> int:
    """Prints the report line by line as it comes; returns 1 if something is broken."""
    gpu = torch.cuda.is_available()
    if options.device == "cuda" and not gpu:
        print("error: PyTorch sees no CUDA device: `glraster doctor` says why", file=sys.stderr)
        return 2
    devices = [options.device] if options.device else ["cpu", *(["cuda"] if gpu else [])]
    _print(f"```text\nglraster selftest: {_machine()}\n")
    broken = 0
    for finding in _findings(devices):
        broken += finding.status == "broken"
        _print(f"{_MARKS[finding.status]}  {finding.check}: {finding.found}")
        if finding.advice:
            _print(f"      -> {finding.advice}")
    if not options.no_speed:
        for device in devices:
            _print(_table(device))
    works = (
        "all well" if not broken else f"{broken} of the checks failed: please report them, with all that stands here"
    )
    _print(f"\n{works}\n```")
    return 1 if broken else 0


def _print(text: str) -> None:
    print(text, flush=True)


def _machine() -> str:
    """One line on what runs here."""
    words = [f"glraster {__version__}", f"PyTorch {torch.__version__}", f"Python {platform.python_version()}"]
    words += [platform.platform(), f"{_processor()}, {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        words.append(f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    return ", ".join(words)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _findings(devices: list[str]) -> Iterator[Finding]:
    for device in devices:
        yield from _checked(f"contexts agree on {device}", contexts_agree, device)
        if device != "cpu":
            yield from _checked(f"{device} agrees with cpu", devices_agree, device)
        yield from _checked(f"gradients on {device}", gradients_agree, device)
        yield from _checked(f"repetition on {device}", outputs_repeat, device)


def _checked(check: str, examine: Callable[[str], list[Finding]], device: str) -> list[Finding]:
    """The findings of a check, or one that says how it failed."""
    try:
        return examine(device)
    except Exception as error:  # drivers and compilers raise errors of many kinds
        return [Finding(check, "broken", f"{type(error).__name__}: {error}", "`glraster doctor` may say why")]


def _table(device: str) -> str:
    lines = [f"\n{IMAGES} images of {SIZE} x {SIZE} pixels, {TRIANGLES:,} triangles, on {device}; median ms"]
    lines.append(f"{'':28}{'forward':>10}{'backward':>10}")
    try:
        lines += [_line(row) for row in measure(device)]
    except Exception as error:  # as above
        lines.append(f"not measured: {type(error).__name__}: {error}")
    return "\n".join(lines)


def _line(row: Row) -> str:
    backward = "" if row.backward is None else f"{row.backward:10.1f}"
    return f"{row.operation:28}{row.forward:10.1f}{backward}"
