"""What stands in the kernels' source files: their parameter structs, and a digest of all of them.

Python lays parameters out as the struct in the .cu file says: there is no second list of fields to keep in step. Needs
the standard library alone: the package's build runs this file before anything is installed.
"""

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

__all__ = ["Field", "Source", "digest", "read_source", "stamp"]

FOLDER = Path(__file__).parent
_STRUCT = re.compile(r"^(template <class T>\n)?struct (\w+Params) \{\n(.*?)^\};", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"(const )?(\w+)(\*?) (.+)")
_COUNT = re.compile(r"(\w+)(?:\[(\w+)\])?")
_CONSTANT = re.compile(r"constexpr int(?:32_t|64_t)? (\w+) = (\d+);")
_NUMBERS = {"int64_t": "q", "double": "d"}  # codes of Python's module struct; all take 8 bytes


@dataclass(frozen=True)
class Field:
    """A field of a parameter struct.

    Attributes:
        name: as in the struct.
        type: of what it points to ("T", "int32_t", ...), or of the number.
        written: whether kernels may write to what it points to.
        code: "P" for pointers, "q" or "d" for numbers: that of Python's module struct.
        length: None, or the number of elements of an array.
    """

    name: str
    type: str
    written: bool
    code: str
    length: int | None


@dataclass(frozen=True)
class Source:
    """One .cu file.

    Attributes:
        file: where it lies.
        struct: the name of its parameter struct.
        typed: whether it has instances for float and double.
        fields: of the struct, in order.
    """

    file: Path
    struct: str
    typed: bool
    fields: tuple[Field, ...]


@functools.cache
def read_source(stem: str) -> Source:
    """Reads the parameter struct of `stem`.cu.

    Raises:
        ValueError: there is not exactly one, or a field of a kind that parameters do not have.
    """
    file = FOLDER / f"{stem}.cu"
    text = file.read_text()
    structs = _STRUCT.findall(text)
    if len(structs) != 1:
        raise ValueError(f"{file.name} must have one struct ...Params, has {[name for _, name, _ in structs]}")
    template, name, body = structs[0]
    constants = {constant: int(value) for constant, value in _CONSTANT.findall(text)}
    fields = []
    for declaration in re.sub(r"//.*", "", body).replace("\n", " ").split(";")[:-1]:
        found = _FIELD.fullmatch(declaration.strip())
        if found is None:
            raise ValueError(f"{file.name}: {name} has a field that is not understood: {declaration.strip()!r}")
        const, kind, star, names = found.groups()
        if not star and kind not in _NUMBERS:
            raise ValueError(f"{file.name}: {name} must have pointers, int64_t and double alone, has {kind}")
        for item in names.split(","):
            field, length = cast(re.Match[str], _COUNT.fullmatch(item.strip(" *"))).groups()
            code = "P" if star else _NUMBERS[kind]
            fields.append(Field(field, kind, bool(star and not const), code, constants[length] if length else None))
    return Source(file, name, bool(template), tuple(fields))


@functools.cache
def digest(*files: Path) -> str:
    """A digest of the given files and of the headers that they share; without `files`, of every file here."""
    found = hashlib.sha256()
    every = sorted(FOLDER.glob("*.cu")) + sorted(FOLDER.glob("*.cpp"))
    for file in [*(files or every), *sorted((FOLDER / "common").glob("*.cuh"))]:
        found.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()


def stamp(flags: list[str]) -> str:
    """C++ that makes the host library tell what it was built from: `digest()`, a blank, and the compiler's flags."""
    text = f"{digest()} {' '.join(flags)}".replace("\\", "\\\\").replace('"', '\\"')
    return f'extern "C" __attribute__((visibility("default"))) const char* glr_built_from() {{ return "{text}"; }}\n'
