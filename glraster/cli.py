"""The command line, one function or module per command: `glraster doctor`, also `python -m glraster doctor`."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from .commands import bake, fit, render, selftest
from .commands import run as run_command
from .doctor import Finding, examine, healthy
from .version import __version__
from .viewer import command as view_command

try:  # for the table; without it the report is plain lines
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text
except ImportError:
    Console = None  # type: ignore[assignment,misc]  # it is optional, which no type of an import says

__all__ = ["main"]

_MARKS = {"ok": ("ok", "green"), "absent": ("--", "yellow"), "broken": ("!!", "red")}
# Beside the doctor: the module that has its options and runs it, a line for the list of commands, and its description.
_COMMANDS: dict[str, tuple[Any, str, str | None]] = {
    "view": (view_command, "look at meshes from all sides, in a window or a browser", None),
    "render": (
        render,
        "mesh files to images: colour, normals, depth, ids, texture coordinates, masks; films",
        "Renders meshes from all sides, or as the cameras of a file see them.",
    ),
    "fit": (
        fit,
        "photos with known cameras to a textured mesh",
        "Finds a mesh, its texture and the light on it that look as photos do.",
    ),
    "bake": (
        bake,
        "a texture for a mesh: of another mesh, of photos with cameras, of colours of vertices",
        "Bakes what another mesh, photos or its own vertices tell into a texture for a mesh.",
    ),
    "run": (
        run_command,
        "run an existing program with glraster in place of nvdiffrast, on request without a GPU",
        "Runs a program as Python does, with glraster under the names nvdiffrast and nvdiffrast.torch.",
    ),
    "selftest": (
        selftest,
        "check what the operations compute on this machine, and time them; a report to paste into an issue",
        "Compares contexts, devices, gradients with finite differences, and repeated runs, and times the operations; "
        "takes less than a minute. The exit code is 1 if something is broken, else 0.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit code of the process."""
    parser = argparse.ArgumentParser(prog="glraster", description="Differentiable rasterization for PyTorch.")
    parser.add_argument("--version", action="version", version=f"glraster {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="examine this machine: what glraster finds, and what to do about what it does not",
        description="Examines this machine. The exit code is 0 if at least one rasterizer context works, else 1.",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON for programs")
    doctor.add_argument("--timeout", type=_seconds, default=120, help="seconds for each check (default: 120)")
    for name, (module, summary, description) in _COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=summary, description=description))
    options = parser.parse_args(arguments)
    if options.command in _COMMANDS:
        return _COMMANDS[options.command][0].run(options)
    return _doctor(options.json, options.timeout)


def _seconds(text: str) -> float:
    """A time limit from the command line."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds greater than 0, got {text!r}")
    return seconds


def _doctor(as_json: bool, timeout: float) -> int:
    findings = examine(timeout)
    works = healthy(findings)
    if as_json:
        print(json.dumps({"works": works, "findings": [dataclasses.asdict(finding) for finding in findings]}, indent=2))
        return 0 if works else 1
    if Console is None or not sys.stdout.isatty():
        _print_lines(findings)
    else:
        _print_table(findings)
    contexts = [
        finding.check for finding in findings if finding.check.startswith("Rasterize") and finding.status == "ok"
    ]
    print(f"Works: {', '.join(contexts)}" if works else "No rasterizer context works on this machine.")
    return 0 if works else 1


def _print_lines(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"{_MARKS[finding.status][0]}  {finding.check}: {finding.found}")
        if finding.advice:
            print(f"      -> {finding.advice}")


def _print_table(findings: Sequence[Finding]) -> None:
    table = Table("", "check", Column("found, and what to do", overflow="fold"))
    for finding in findings:
        mark, colour = _MARKS[finding.status]
        advice = Text(f"\n-> {finding.advice}" if finding.advice else "", style=colour)
        table.add_row(Text(mark, style=colour), Text(finding.check), Text(finding.found) + advice)
    Console().print(table)
