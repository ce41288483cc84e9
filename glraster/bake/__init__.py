"""Textures made of what a mesh, photos of it, or another mesh tell."""

from .fill import fill
from .texels import Texels, sew, texels

__all__ = ["Texels", "fill", "sew", "texels"]
