"""The viewer: shows an optimization while it runs, in a browser, in a window or in a file."""

from .camera import Camera
from .viewer import Viewer

__all__ = ["Camera", "Viewer"]
