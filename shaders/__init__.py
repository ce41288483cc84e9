"""GLSL, one file per stage."""

import functools
from importlib.resources import files

__all__ = ["load_shader"]


@functools.cache
def load_shader(name: str) -> str:
    """The text of one shader file, such as 'visibility.vert'."""
    return files(__name__).joinpath(name).read_text()
