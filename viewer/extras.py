"""Packages that an output needs, imported when it is asked for."""

import importlib
from types import ModuleType

__all__ = ["needed"]


def needed(module: str, extra: str) -> ModuleType:
    """Imports `module`, or says which of glraster's extras brings it.

    Raises:
        RuntimeError: it is not installed, or does not work here.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise RuntimeError(f"Viewer: needs {package}: pip install 'glraster[{extra}]' ({error})") from error
