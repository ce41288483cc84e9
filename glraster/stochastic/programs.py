"""GLSL programs put together from files, with messages that name the file and line of an error."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from glraster.shaders import load_shader

__all__ = ["Source", "compose", "named_errors", "own", "shipped"]

_FOLDER = "stochastic/"
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
_VERSION = re.compile(r"^\s*#\s*version\b")
# Mesa '1:12(3): error', NVIDIA '1(12) : error', AMD and Intel 'ERROR: 1:12: '.
_PLACE = re.compile(r"^(ERROR: |WARNING: )?(\d+)([:(])(\d+)", re.MULTILINE)

_LINES = 100_000  # to a file: line 7 of file 2 is compiled as line 200007, since Mesa forgets the number of a file

Source = tuple[str, str]  # a name for messages, and GLSL


def shipped(name: str, defines: Mapping[str, object] | None = None) -> list[Source]:
    """A file of shaders/stochastic, with macros that are defined for it alone."""
    defines = defines or {}
    before = "".join(f"#define {macro} {value}\n" for macro, value in defines.items())
    after = "".join(f"#undef {macro}\n" for macro in defines)
    file = (name, load_shader(_FOLDER + name))
    return [(name, before), file, (name, after)] if defines else [file]


def own(path: str | Path) -> Source:
    """A user's file.

    Raises:
        OSError: it cannot be read.
    """
    return str(path), Path(path).read_text()


def compose(sources: Sequence[Source], defines: Sequence[str], names: list[str], extensions: Sequence[str] = ()) -> str:
    """One shader from several sources, which may have `#include "stochastic/FILE"` lines; a file is included once.

    Args:
        sources: the parts, in order.
        defines: macros to define before.
        names: the names of the files are appended; a file's place in this list is in the line numbers of its errors.
        extensions: of GLSL that are required.
    """
    required = [f"#extension {extension} : require" for extension in extensions]
    lines, included = ["#version 430", *required, *(f"#define {macro}" for macro in defines)], set()

    def append(name: str, text: str) -> None:
        first = len(names) * _LINES
        names.append(name)
        lines.append(f"#line {first + 1}")
        for index, line in enumerate(text.splitlines(), 1):
            include = _INCLUDE.match(line)
            if include is None:
                lines.append("" if _VERSION.match(line) else line)
            elif include[1] not in included:
                included.add(include[1])
                append(include[1].removeprefix(_FOLDER), load_shader(include[1]))
                lines.append(f"#line {first + index + 1}")
            else:
                lines.append("")

    for source in sources:
        append(*source)
    return "\n".join(lines) + "\n"


def named_errors(log: str, names: Sequence[str]) -> str:
    """A compiler's log with the names of the files, and the lines in them."""

    def named(match: re.Match) -> str:
        file, line = divmod(int(match[4]), _LINES)
        return f"{match[1] or ''}{names[file]}{match[3]}{line}" if file < len(names) else match[0]

    return _PLACE.sub(named, log).strip()
