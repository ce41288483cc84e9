"""The command line, one function or module per command: `glraster doctor`, also `python -m glraster doctor`."""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from importlib.metadata import version

from .commands import bake, fit, render, selftest
from .commands import run as run_command
from .doctor import Finding, examine, healthy
from .viewer import command as view_command

try:  # for the table; without it the report is plain lines
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text
except ImportError:
    Console = None  # type: ignore[assignment,misc]  # it is optional, which no type of an import says

__all__ = ["main"]

_MARKS = {"ok": ("ok", "green"), "absent": ("--", "yellow"), "broken": ("!!", "red")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit code of the process."""
    parser = argparse.ArgumentParser(prog="glraster", description="Differentiable rasterization for PyTorch.")
    parser.add_argument("--version", action="version", version=f"glraster {version('glraster')}")
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="examine this machine: what glraster finds, and what to do about what it does not",
        description="Examines this machine. The exit code is 0 if at least one rasterizer context works, else 1.",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON for programs")
    doctor.add_argument("--timeout", type=_seconds, default=120, help="seconds for each check (default: 120)")
    view = commands.add_parser("view", help="look at meshes from all sides, in a window or a browser")
    view_command.add_arguments(view)
    images = commands.add_parser(
        "render",
        help="mesh files to images: colour, normals, depth, ids, texture coordinates, masks; films",
        description="Renders meshes from all sides, or as the cameras of a file see them.",
    )
    render.add_arguments(images)
    mesh = commands.add_parser(
        "fit",
        help="photos with known cameras to a textured mesh",
        description="Finds a mesh, its texture and the light on it that look as photos do.",
    )
    fit.add_arguments(mesh)
    texture = commands.add_parser(
        "bake",
        help="a texture for a mesh: of another mesh, of photos with cameras, of colours of vertices",
        description="Bakes what another mesh, photos or its own vertices tell into a texture for a mesh.",
    )
    bake.add_arguments(texture)
    run = commands.add_parser(
        "run",
        help="run an existing program with glraster in place of nvdiffrast, on request without a GPU",
        description="Runs a program as Python does, with glraster under the names nvdiffrast and nvdiffrast.torch.",
    )
    run_command.add_arguments(run)
    test = commands.add_parser(
        "selftest",
        help="check what the operations compute on this machine, and time them; a report to paste into an issue",
        description="Compares contexts, devices, gradients with finite differences, and repeated runs, and times the "
        "operations; takes less than a minute. The exit code is 1 if something is broken, else 0.",
    )
    selftest.add_arguments(test)
    options = parser.parse_args(arguments)
    others = {"view": view_command, "render": render, "fit": fit, "bake": bake, "run": run_command}
    others["selftest"] = selftest
    if options.command in others:
        return others[options.command].run(options)
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
