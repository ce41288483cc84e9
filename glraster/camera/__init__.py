"""Cameras: matrices from world space to OpenGL's clip space, and other programs' cameras in these terms.

Matrices multiply column vectors: `clip = projection @ view @ world`. A view matrix leads from world space to camera
space, where the camera looks along -Z with X to the right and Y up. Clip space is OpenGL's: inside where
-w <= x, y, z <= w, with y upwards. docs/camera.md has a picture of each convention.
"""

from .files import read_colmap, read_transforms
from .poses import (
    degrees_between,
    directions,
    look_at,
    orbit,
    random_rotations,
    rigid,
    rotations,
    transform,
)
from .projections import frustum, intrinsics, orthographic, perspective
from .views import View, from_opencv, from_opengl, from_pytorch3d

__all__ = [
    "View",
    "degrees_between",
    "directions",
    "from_opencv",
    "from_opengl",
    "from_pytorch3d",
    "frustum",
    "intrinsics",
    "look_at",
    "orbit",
    "orthographic",
    "perspective",
    "random_rotations",
    "read_colmap",
    "read_transforms",
    "rigid",
    "rotations",
    "transform",
]
