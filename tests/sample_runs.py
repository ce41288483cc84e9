"""Runs the programs in samples/ as a user does."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["run_sample"]

_FOLDER = Path(__file__).parents[1] / "samples"


def run_sample(name: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess:
    """Runs samples/NAME.py on the CPU and returns what it prints; asserts its exit code.

    On one thread: the pictures are small, and threads would only wait for each other.
    """
    command = [sys.executable, _FOLDER / f"{name}.py", "--device", "cpu", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done
