"""`glraster run`: an existing program, unmodified, with this package in place of nvdiffrast."""

import argparse
import contextlib
import os
import runpy
import sys

from ..torch import alias
from .on_cpu import on_cpu

__all__ = ["add_arguments", "run"]

_EPILOG = """The program's own arguments stand behind its name. Its exit code is that of this command, and its errors
are shown as Python shows them. Processes that the program starts do not inherit this, unless they are forked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `glraster run`."""
    parser.epilog = _EPILOG
    cpu = "send what the program sends to a GPU to the CPU: device='cuda', .cuda(), torch.cuda.Event and the like"
    parser.add_argument("--cpu", action="store_true", help=cpu)
    parser.add_argument("-m", dest="module", action="store_true", help="the program is a module, as in `python -m`")
    parser.add_argument("program", metavar="script", help="a Python file (or a module, with -m)")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program gets as its arguments")


def run(options: argparse.Namespace) -> int:
    """Runs the program; what ends it ends this process the same way."""
    program = options.program
    if not options.module and not os.path.exists(program):
        print(f"error: there is no file {program!r}", file=sys.stderr)
        return 2
    alias(force=True)
    sys.argv = [program, *options.arguments]
    if not getattr(sys.flags, "safe_path", False):  # from Python 3.11 on
        sys.path[0] = os.getcwd() if options.module else os.path.dirname(os.path.abspath(program))
    with on_cpu() if options.cpu else contextlib.nullcontext():
        try:
            if options.module:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(program, run_name="__main__")
        except Exception as error:
            return _report(error)
    return 0


def _report(error: Exception) -> int:
    """Shows an error as Python does, without the lines of those who called the program."""
    part = error.__traceback__
    while part is not None and _calls_programs(part.tb_frame.f_code.co_filename):
        part = part.tb_next
    if part is None and not isinstance(error, SyntaxError):  # there was no program
        print(f"error: {error}", file=sys.stderr)
    else:
        sys.excepthook(type(error), error.with_traceback(part), part)
    return 1


def _calls_programs(file: str) -> bool:
    return file in (__file__, runpy.__file__, "<frozen runpy>")
