"""From photos with known cameras to a textured mesh: what `glraster fit` does, for programs."""

from .fitting import Fitted, fit_mesh
from .frame import Frame
from .photos import Photos, read_photos
from .results import Quality, comparison, measure, save_whole
from .settings import LIGHTING, Settings

__all__ = [
    "LIGHTING",
    "Fitted",
    "Frame",
    "Photos",
    "Quality",
    "Settings",
    "comparison",
    "fit_mesh",
    "measure",
    "read_photos",
    "save_whole",
]
