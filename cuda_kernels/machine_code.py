"""Machine code of kernels for a GPU, as nvdisasm lists it: what they do there can be read without one."""

import functools
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .compile_check import Job, KernelUse, compile_with_nvcc

__all__ = [
    "CompiledKernel",
    "Loop",
    "compile_job",
    "double_rate",
    "find_nvdisasm",
    "instructions_of",
    "loops",
    "outer_loop",
]

# What runs at the rate of double precision, on GeForce cards a sixty-fourth of single precision's.
_DOUBLE_RATE = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)|F2F|I2F\S*F64|F2I\S*F64|MUFU\.\w*64H?")
_SASS = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")
_LABEL = re.compile(r"^\s*(\.L_x_\d+):", re.MULTILINE)


@dataclass(frozen=True)
class Loop:
    """A loop: what lies between a label and a later jump back to it.

    Attributes:
        instructions: their names, in order.
        place: of the first among the kernel's instructions.
    """

    instructions: tuple[str, ...]
    place: int = 0

    def count(self, pattern: str) -> int:
        return sum(re.match(pattern, name) is not None for name in self.instructions)


def double_rate(instructions: tuple[str, ...]) -> int:
    """How many of them run at the rate of double precision."""
    return sum(_DOUBLE_RATE.match(name) is not None for name in instructions)


def find_nvdisasm() -> str | None:
    """NVIDIA's disassembler: on the PATH, or from the package nvidia-cuda-nvdisasm; None if there is none."""
    found = shutil.which("nvdisasm")
    package = importlib.util.find_spec("nvidia")
    for folder in package.submodule_search_locations if package and package.submodule_search_locations else ():
        found = found or next(map(str, Path(folder).glob("*/bin/nvdisasm")), None)
    return found


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel for a GPU: what it needs of one, and its listing."""

    use: KernelUse
    listing: str

    @functools.cached_property
    def instructions(self) -> tuple[str, ...]:
        return instructions_of(self.listing)

    @functools.cached_property
    def loops(self) -> list[Loop]:
        return loops(self.listing)

    def count(self, pattern: str) -> int:
        """How many of its instructions match."""
        return Loop(self.instructions).count(pattern)


def compile_job(job: Job, nvdisasm: str, folder: Path) -> dict[str, CompiledKernel]:
    """What nvcc makes of a job, by the kernels' names without the suffix; files are written to `folder`.

    Raises:
        RuntimeError: nvcc reports errors or warnings.
    """
    cubin = folder / f"{job.file.stem}-{job.architecture}.cubin"
    uses = compile_with_nvcc(job, cubin)
    listing = subprocess.run([nvdisasm, "-c", str(cubin)], check=True, capture_output=True, text=True).stdout
    parts = re.split(r"^\.text\.(\w+):", listing, flags=re.MULTILINE)
    listings = dict(zip(parts[1::2], parts[2::2], strict=True))
    kernels = {use.entry: CompiledKernel(use, listings[use.entry]) for use in uses if not use.entry.endswith("_f64")}
    return {entry.removesuffix("_f32").removesuffix("_entry"): kernel for entry, kernel in kernels.items()}


def instructions_of(listing: str) -> tuple[str, ...]:
    """The names of a kernel's instructions."""
    return tuple(name for _, name, _ in _SASS.findall(listing))


def loops(listing: str) -> list[Loop]:
    """The innermost loops of a kernel, those with no other inside."""
    found = _all_loops(listing)
    spans = [(loop.place, loop.place + len(loop.instructions)) for loop in found]
    inner = [not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in spans) for a in spans]
    return [loop for loop, is_inner in zip(found, inner, strict=True) if is_inner]


def outer_loop(listing: str) -> Loop:
    """The longest loop of a kernel, in which its threads go from one element to the next."""
    return max(_all_loops(listing), key=lambda loop: len(loop.instructions))


def _all_loops(listing: str) -> list[Loop]:
    places = [(m.start(), "label", m.group(1)) for m in _LABEL.finditer(listing)]
    places += [(m.start(), m.group(2), m.group(3)) for m in _SASS.finditer(listing)]
    labels: dict[str, int] = {}
    names: list[str] = []
    found: list[tuple[int, int]] = []
    for _, name, rest in sorted(places):
        if name == "label":
            labels[rest] = len(names)
            continue
        names.append(name)
        target = re.search(r"\.L_x_\d+", rest)
        if name.startswith("BRA") and target and target.group() in labels:
            found.append((labels[target.group()], len(names)))
    return [Loop(tuple(names[begin:end]), begin) for begin, end in found]
