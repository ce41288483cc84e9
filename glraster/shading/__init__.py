"""Shading of interpolated buffers: from normals, directions and materials to colours.

All directions are unit vectors that point away from the surface: to the eye, to the light. Colours are linear: send
sRGB pictures through `to_linear` first, and results through `to_srgb`.
"""

from .environment import EnvironmentLight, panorama_to_cube, reflect
from .harmonics import harmonics_irradiance, project_environment, spherical_harmonics
from .lights import lambert, phong
from .microfacets import ggx, scattered
from .srgb import to_linear, to_srgb

__all__ = [
    "EnvironmentLight",
    "ggx",
    "harmonics_irradiance",
    "lambert",
    "panorama_to_cube",
    "phong",
    "project_environment",
    "reflect",
    "scattered",
    "spherical_harmonics",
    "to_linear",
    "to_srgb",
]
