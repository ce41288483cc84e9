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


def compose(sources: Sequence[Source], defines: Sequence[str] = ()) -> tuple[str, list[str]]:
    """One shader from several sources, which may have `#include "stochastic/FILE"` lines; a file is included once.

    Returns:
        The GLSL, in which #line directives number the files; and the names of the files, by number.
    """
    lines, names, included = ["#version 430", *(f"#define {macro}" for macro in defines)], ["glraster"], set()

    def append(name: str, text: str) -> None:
        names.append(name)
        number = len(names) - 1
        lines.append(f"#line 1 {number}")
        for index, line in enumerate(text.splitlines(), 1):
            include = _INCLUDE.match(line)
            if include is None:
                lines.append("" if _VERSION.match(line) else line)
            elif include[1] not in included:
                included.add(include[1])
                append(include[1].removeprefix(_FOLDER), load_shader(include[1]))
                lines.append(f"#line {index + 1} {number}")
            else:
                lines.append("")

    for source in sources:
        append(*source)
    return "\n".join(lines) + "\n", names


def named_errors(log: str, names: Sequence[str]) -> str:
    """A compiler's log with the names of the files in place of their numbers."""

    def named(match: re.Match) -> str:
        number = int(match[2])
        return f"{match[1] or ''}{names[number] if number < len(names) else number}{match[3]}{match[4]}"

    return _PLACE.sub(named, log).strip()
