"""The drop-in namespace: `import glraster.torch as dr` in programs written for `nvdiffrast.torch`.

`glraster.torch.ops` is the same, for programs that import `nvdiffrast.torch.ops`; `alias` is for programs that nobody
can edit.
"""

import importlib
import importlib.util
import logging
import operator
import sys
import types
from typing import Any

from ..antialias import antialias, antialias_construct_topology_hash
from ..contexts import OpenGLRasterizer, RasterizeContext, SoftwareRasterizer
from ..depth_peeler import DepthPeeler
from ..interpolate import interpolate
from ..mipmap import texture_construct_mip
from ..rasterize import rasterize
from ..texture import texture
from ..version import __version__

__all__ = [
    "DepthPeeler",
    "RasterizeCudaContext",
    "RasterizeGLContext",
    "__version__",
    "alias",
    "antialias",
    "antialias_construct_topology_hash",
    "get_log_level",
    "interpolate",
    "rasterize",
    "set_log_level",
    "texture",
    "texture_construct_mip",
]


class _DropIn(type):
    """The class of a context's other name, whose instances are all contexts of the kind that it stands for."""

    stands_for: type[RasterizeContext]

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__dict__.get("stands_for", ())) or super().__instancecheck__(instance)


class RasterizeCudaContext(SoftwareRasterizer, metaclass=_DropIn):
    """A `SoftwareRasterizer` under the name that existing programs use, on the CPU too.

    Programs ask `isinstance(glctx, RasterizeCudaContext)` to accept contexts of every kind: it is true of every context
    of glraster, an `OpenGLRasterizer` too.
    """

    stands_for = RasterizeContext


class RasterizeGLContext(OpenGLRasterizer, metaclass=_DropIn):
    """An `OpenGLRasterizer` under the name of existing programs; every `OpenGLRasterizer` is an instance of it."""

    stands_for = OpenGLRasterizer


_LEVELS = (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def get_log_level() -> int:
    """Returns the level that `set_log_level` set: 0 info, 1 warning, 2 error, 3 fatal."""
    level = logging.getLogger("glraster").getEffectiveLevel()
    return next((index for index, limit in enumerate(_LEVELS) if level <= limit), len(_LEVELS) - 1)


def set_log_level(level: int) -> None:
    """Accepted for the programs that call it, and without effect on what glraster says: it logs nothing. It reports by
    exceptions, and by Python's `warnings`, which have filters of their own.

    Args:
        level: 0 info, 1 warning, 2 error, 3 fatal. The logger 'glraster' is set to it.

    Raises:
        TypeError: not an integer.
        ValueError: another level.
    """
    need = "set_log_level(): level must be 0, 1, 2 or 3"
    try:
        index = operator.index(level)
    except TypeError:
        raise TypeError(f"{need}, got {level!r}") from None
    if not 0 <= index < len(_LEVELS):
        raise ValueError(f"{need}, got {index}")
    logging.getLogger("glraster").setLevel(_LEVELS[index])


def alias(*, force: bool = False) -> None:
    """Makes `import nvdiffrast.torch` give this package: for programs that nobody can edit, before they are imported.

    Args:
        force: take the name also where nvdiffrast is installed or imported.

    Raises:
        RuntimeError: nvdiffrast is installed or imported, and not `force`.
    """
    name, here = "nvdiffrast", sys.modules[__name__]
    if sys.modules.get(f"{name}.torch") is here:
        return
    if not force and (name in sys.modules or importlib.util.find_spec(name) is not None):
        raise RuntimeError(f"alias(): {name} is installed, and would be hidden: alias(force=True) hides it")
    package: Any = types.ModuleType(name, f"An alias of {__name__}.")
    package.__path__ = []  # a package, in which nothing else is found
    package.__version__, package.torch = __version__, here
    modules = {name: package, f"{name}.torch": here, f"{name}.torch.ops": importlib.import_module(f"{__name__}.ops")}
    sys.modules |= modules
