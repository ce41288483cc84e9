"""The process in which one check runs."""

import dataclasses
import json
import os
import traceback

from . import compilers, opengl, rendering, system

__all__ = ["ANSWER", "Check", "run"]

Check = tuple[str, ...]  # the name of a check and its arguments
ANSWER = "glraster-answer:"  # starts the line of output that is meant for the parent; drivers may print others
_CHECKS = {name: getattr(module, name) for module in (system, compilers, opengl, rendering) for name in module.__all__}


def run(check: Check, output: int) -> None:
    """Runs a check in a process that has just been forked, writes its answer to a file descriptor, and ends it."""
    code = 1
    try:
        os.setsid()  # so that the parent can end it together with what it starts
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        name, *arguments = check
        answer = _CHECKS[name](*arguments)
        if isinstance(answer, list):
            answer = [dataclasses.asdict(finding) for finding in answer]
        os.write(1, f"\n{ANSWER}{json.dumps(answer)}\n".encode())
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)
