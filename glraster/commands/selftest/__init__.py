"""`glraster selftest`: whether the operations compute on this machine what they should, and how fast."""

from .command import add_arguments, run

__all__ = ["add_arguments", "run"]
