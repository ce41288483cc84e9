"""`glraster fit`: photos with known cameras to a textured mesh."""

from .command import add_arguments, run

__all__ = ["add_arguments", "run"]
