"""`glraster render`: mesh files to images, with nobody watching."""

from .command import add_arguments, run

__all__ = ["add_arguments", "run"]
