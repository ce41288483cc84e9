"""Runs the checks, each in a process of its own, because the drivers they touch may crash or hang."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from typing import Any

from .child import ANSWER, Check, run
from .finding import Finding

__all__ = ["examine", "healthy"]

_BEFORE_DEVICES = ("python", "pytorch", "host_library", "gpu_driver", "egl_library", "egl_vendors")
_AFTER_DEVICES = ("pycuda", "nvcc", "nvrtc", "kernel_folders", "gpu_kernels", "gl_cuda_interop")
_TITLES = {
    "python": "Python",
    "pytorch": "PyTorch",
    "host_library": "Host library",
    "gpu_driver": "NVIDIA driver",
    "egl_library": "EGL library",
    "egl_vendors": "EGL vendor files",
    "egl_devices": "EGL devices",
    "egl_device": "EGL device",
    "pycuda": "PyCUDA",
    "nvcc": "nvcc",
    "nvrtc": "NVRTC",
    "kernel_folders": "Compiled kernels",
    "gpu_kernels": "GPU kernels",
    "gl_cuda_interop": "GL-CUDA interop",
}
_CONTEXTS = ("RasterizeGLContext", "RasterizeCudaContext")


def examine(timeout: float = 120) -> list[Finding]:
    """Runs all checks, several at a time.

    It forks, so that PyTorch need not be imported once per check: call it in a process that has not yet used OpenGL,
    CUDA or threads, as the command line does.

    Args:
        timeout: seconds after which a check counts as hanging and is ended.

    Returns:
        The findings in the order of the report. What is wrong with the machine becomes a finding, never an exception.
    """
    (devices,) = _run_all([("egl_devices",)], timeout)
    per_device = [("egl_device", str(index)) for index in range(devices)] if isinstance(devices, int) else []
    before = [(name,) for name in _BEFORE_DEVICES]
    after = [(name,) for name in _AFTER_DEVICES]
    renders = [("render", context, device) for device in ("cpu", "cuda") for context in _CONTEXTS]
    answers = _run_all([*before, *per_device, *after, *renders], timeout)
    if not isinstance(devices, int):
        answers.insert(len(before), devices)
    return [Finding(**fields) for answer in answers for fields in answer]


def healthy(findings: list[Finding]) -> bool:
    """Whether at least one rasterizer context drew its triangle right."""
    return any(finding.status == "ok" and finding.check.startswith(_CONTEXTS) for finding in findings)


class _Child:
    """A running check."""

    def __init__(self, check: Check, timeout: float):
        self._check, self._timeout = check, timeout
        self._deadline = time.monotonic() + timeout
        # Not a pipe: what the check starts may outlive it, and hold a pipe open.
        self._output = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            run(check, self._output.fileno())

    def answer(self) -> Any:
        """What the check answered, or a list of one finding that says how it failed; None while it runs."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            return self._end() if time.monotonic() > self._deadline else None
        self._output.seek(0)
        lines = [line.strip() for line in self._output if line.strip()]
        self._output.close()
        for line in reversed(lines):
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        last = f"; its last words: {lines[-1]}" if lines else ""
        return self._failed(f"the check {_ending(os.waitstatus_to_exitcode(status))}{last}")

    def _end(self) -> list[dict[str, str]]:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, os.WNOHANG)  # no more than a try: a driver may hold it in the kernel for good
        self._output.close()
        return self._failed(
            f"no answer within {self._timeout:g} seconds", "if the machine is just slow: --timeout SECONDS"
        )

    def _failed(self, found: str, hint: str = "") -> list[dict[str, str]]:
        advice = f"a driver or library is broken: update or reinstall it{'; ' + hint if hint else ''}"
        return [{"check": _title(*self._check), "status": "broken", "found": found, "advice": advice}]


def _title(name: str, *arguments: str) -> str:
    """What a check calls its finding."""
    if name == "render":
        return "{}(device='{}')".format(*arguments)
    return " ".join((_TITLES[name], *arguments))


def _run_all(checks: list[Check], timeout: float) -> list[Any]:
    """Runs checks, as many at a time as there are processors, and returns their answers in the order given."""
    answers: dict[int, Any] = {}
    running: dict[int, _Child] = {}
    waiting = list(enumerate(checks))
    while waiting or running:
        while waiting and len(running) < max(2, os.cpu_count() or 1):
            index, check = waiting.pop(0)
            running[index] = _Child(check, timeout)
        for index, child in list(running.items()):
            answer = child.answer()
            if answer is not None:
                answers[index] = answer
                del running[index]
        time.sleep(0.01)
    return [answers[index] for index in range(len(checks))]


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended without an answer (exit code {code})"
    return f"crashed ({signal.strsignal(-code) or f'signal {-code}'})"
