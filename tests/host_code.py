"""Machine code of the host library, by objdump."""

import re
import subprocess
from pathlib import Path

__all__ = ["host_functions"]


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
