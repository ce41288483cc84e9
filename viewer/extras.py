"""Packages that an output needs, imported when it is asked for."""

import importlib
from importlib.util import find_spec
from types import ModuleType

__all__ = ["check_installed", "needed"]


def needed(module: str, extra: str) -> ModuleType:
    """Imports `module`, or says which of glraster's extras brings it.

    Raises:
        RuntimeError: it is not installed, or does not work here.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RuntimeError(f"{_advice(module, extra)} ({error})") from error


def check_installed(module: str, extra: str) -> None:
    """Only looks for a package, which another process will import.

    Raises:
        RuntimeError: it is not installed.
    """
    if find_spec(module) is None:
        raise RuntimeError(_advice(module, extra))


def _advice(module: str, extra: str) -> str:
    return f"Viewer: needs {module.partition('.')[0]}: pip install 'glraster[{extra}]'"
