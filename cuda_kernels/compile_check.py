"""Compiles every kernel with nvcc and prints what each needs of a GPU: `python -m glraster.cuda_kernels.compile_check`.

Needs neither a GPU nor a driver, nor PyCUDA. Fails on errors, on warnings, and on registers spilled to memory.
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import glraster  # noqa: F401 - its modules say which kernel files there are

from .compiler import Constants, Kernel, options_for, source_of
from .launcher import kernel_files
from .sources import read_source

__all__ = ["Job", "KernelUse", "compile_with_nvcc", "jobs_for", "main"]

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
_MAX_CHARACTERS = 2000  # of what nvcc says about one file
_USE = re.compile(
    r"Compiling entry function '(\w+)' for '\w+'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Job:
    """One call of nvcc: a file with all its entries, or with those of some of its kernels in float32."""

    file: Path
    architecture: str
    constants: Constants = ()
    deterministic: bool = False
    kernels: tuple[str, ...] = ()

    @property
    def variant(self) -> str:
        """The constants' values, and which of the variants for sums."""
        return " ".join([str(value) for _, value in self.constants] + ["deterministic"] * self.deterministic)


@dataclass(frozen=True)
class KernelUse:
    """What one kernel needs: per thread, and of shared memory per block."""

    entry: str
    registers: int
    stack: int  # bytes of arrays that are indexed at run time
    spilled: int  # bytes written and read because there were too few registers
    shared: int = 0  # bytes


def jobs_for(architectures: list[str]) -> list[Job]:
    """All that is to be compiled; the deterministic variants for the last architecture only."""
    jobs = []
    for _, kernels in sorted(kernel_files().items()):
        file, constants = kernels.source.file, kernels.constants
        for values in itertools.product(*constants.values()):
            pairs = tuple(zip(constants, values, strict=True))
            jobs += [Job(file, arch, pairs, False) for arch in architectures]
            jobs += [Job(file, architectures[-1], pairs, True)] * bool(kernels.adds_to)
    return jobs


def compile_with_nvcc(job: Job, cubin: Path) -> list[KernelUse]:
    """Compiles to `cubin`.

    Raises:
        RuntimeError: nvcc reports errors or warnings; the message holds them.
    """
    file = job.file
    if job.kernels:
        source, file = read_source(job.file.stem), cubin.with_suffix(".cu")
        suffix = "_f32" if source.typed else "_entry"
        file.write_text(source_of(*(Kernel(job.file, name, suffix, source.struct) for name in job.kernels)))
    command = ["nvcc", *options_for(job.constants, job.deterministic), "-arch", job.architecture, "-cubin"]
    command += ["-Xptxas", "-v", "-Werror", "all-warnings", "-o", str(cubin), str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        where = f"{job.file.name} {job.variant} for {job.architecture}"
        raise RuntimeError(f"nvcc could not compile {where}:\n{(done.stdout + done.stderr)[:_MAX_CHARACTERS]}")
    uses = [(name, *(int(number or 0) for number in numbers)) for name, *numbers in _USE.findall(done.stderr)]
    return [
        KernelUse(name, registers, stack, stores + loads, shared)
        for name, stack, stores, loads, registers, shared in uses
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=list(ARCHITECTURES), help="GPU architectures, sm_XY")
    wanted = parser.parse_args(arguments)
    if shutil.which("nvcc") is None:
        print("compile_check: no nvcc on the PATH")
        return 2

    def run(job: Job) -> list[KernelUse] | RuntimeError:
        with tempfile.TemporaryDirectory() as folder:
            try:
                return compile_with_nvcc(job, Path(folder, "kernels.cubin"))
            except RuntimeError as error:
                return error

    failed, jobs = False, jobs_for(wanted.arch)
    rows: dict[str, dict[str, KernelUse]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for job, uses in zip(jobs, pool.map(run, jobs), strict=True):
            if isinstance(uses, RuntimeError):
                failed = True
                print(uses)
                continue
            for use in uses:
                failed |= use.spilled > 0
                if not job.deterministic:
                    rows.setdefault(f"{use.entry} {job.variant}", {})[job.architecture] = use
    _print_table(rows, wanted.arch)
    print("failed" if failed else f"compiled {len(rows)} kernels for {', '.join(wanted.arch)}, no registers spilled")
    return int(failed)


def _print_table(rows: dict[str, dict[str, KernelUse]], architectures: list[str]) -> None:
    print("registers / bytes of stack / bytes spilled")
    print(f"{'':<36}" + "".join(f"{arch:>16}" for arch in architectures))
    for name, uses in sorted(rows.items()):
        cells = [uses[arch] for arch in architectures if arch in uses]
        print(f"{name:<36}" + "".join(f"{f'{use.registers} / {use.stack} / {use.spilled}':>16}" for use in cells))


if __name__ == "__main__":
    sys.exit(main())
