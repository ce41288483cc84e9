"""Textures made of what a mesh, photos of it, or another mesh tell; docs/bake.md shows how they go together."""

from .fill import fill
from .source import closest, closest_to, colors, from_mesh, in_tangent_space
from .texels import Texels, sew, texels
from .views import from_views

__all__ = [
    "Texels",
    "closest",
    "closest_to",
    "colors",
    "fill",
    "from_mesh",
    "from_views",
    "in_tangent_space",
    "sew",
    "texels",
]
