"""Textures made of what a mesh, photos of it, or another mesh tell."""

from .texels import Texels, sew, texels

__all__ = ["Texels", "sew", "texels"]
