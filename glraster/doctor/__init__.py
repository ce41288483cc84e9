"""Examines a machine: what glraster needs, what is there, and what to do about the difference."""

from .examine import examine, healthy
from .finding import Finding

__all__ = ["Finding", "examine", "healthy"]
