"""Machine code of kernels: of the host library by objdump, of a GPU by nvdisasm."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Loop", "cuda_kernels", "double_rate", "host_functions", "instructions_of", "loops"]

# What runs at the rate of double precision, on GeForce cards a sixty-fourth of single precision's.
_DOUBLE_RATE = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)|F2F|I2F\S*F64|F2I\S*F64|MUFU\.\w*64H?")
_SASS = re.compile(r"/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")
_LABEL = re.compile(r"^\s*(\.L_x_\d+):", re.MULTILINE)


@dataclass(frozen=True)
class Loop:
    """An innermost loop.

    Attributes:
        instructions: their names, in order.
    """

    instructions: tuple[str, ...]

    def count(self, pattern: str) -> int:
        return sum(re.match(pattern, name) is not None for name in self.instructions)


def double_rate(instructions: tuple[str, ...]) -> int:
    """How many of them run at the rate of double precision."""
    return sum(_DOUBLE_RATE.match(name) is not None for name in instructions)


def cuda_kernels(nvdisasm: str, cubin: Path) -> dict[str, str]:
    """The listing of every kernel in a cubin, by its name."""
    listing = subprocess.run([nvdisasm, "-c", str(cubin)], check=True, capture_output=True, text=True).stdout
    parts = re.split(r"^\.text\.(\w+):", listing, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def instructions_of(listing: str) -> tuple[str, ...]:
    """The names of a kernel's instructions."""
    return tuple(name for _, name, _ in _SASS.findall(listing))


def loops(listing: str) -> list[Loop]:
    """The innermost loops of a kernel: what lies between a label and a later jump back to it, with none inside."""
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
    inner = [a for a in found if not any(a != b and a[0] <= b[0] and b[1] <= a[1] for b in found)]
    return [Loop(tuple(names[begin:end])) for begin, end in inner]


def host_functions(library: Path, pattern: str) -> dict[str, list[str]]:
    """The instructions, with their operands, of the functions of a host library whose demangled names match."""
    symbols = subprocess.run(
        ["nm", "--demangle", "--print-size", str(library)], check=True, capture_output=True, text=True
    )
    functions: dict[str, list[str]] = {}
    for start, size, name in re.findall(r"^([0-9a-f]+) ([0-9a-f]+) [tT] (.+)$", symbols.stdout, re.MULTILINE):
        if not re.search(pattern, name) or ".cold" in name:
            continue
        place = [f"--start-address=0x{start}", f"--stop-address={int(start, 16) + int(size, 16):#x}"]
        command = ["objdump", "--disassemble", "--no-show-raw-insn", *place, str(library)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        functions[name] = re.findall(r"^ +[0-9a-f]+:\t(.*)$", listing, re.MULTILINE)
    return functions
