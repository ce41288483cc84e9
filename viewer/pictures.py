"""What may be on show, and how it becomes pictures."""

import math
from collections.abc import Sequence

from .camera import Camera
from .draw import SIZE, MeshView
from .grid import Picture
from .images import Snapshot, to_picture

__all__ = ["Source", "enclosing_sphere", "make_pictures", "picture_state"]

Source = Snapshot | MeshView


def make_pictures(sources: dict[str, Source], camera: Camera, mesh_size: tuple[int, int] = SIZE) -> list[Picture]:
    """Turns what is on show into pictures; meshes are drawn as `camera` sees them, in `mesh_size` (height, width)."""
    pictures = []
    for name, source in sources.items():
        if isinstance(source, MeshView):
            images, legend = source.draw(camera, mesh_size)
            source = Snapshot(images, len(images), legend=legend)
        pictures.append(to_picture(name, source))
    return pictures


def picture_state(source: Source, camera: Camera, mesh_size: tuple[int, int]) -> tuple[object, ...]:
    """What a picture depends on: it needs to be made anew when this changes, as long as `source` is kept."""
    if isinstance(source, MeshView):
        return id(source), source.mode, *(tuple(vector) for vector in camera.pose), camera.fov, mesh_size
    return (id(source),)


def enclosing_sphere(spheres: Sequence[tuple[list[float], float]]) -> tuple[list[float], float]:
    """Centre and radius of a sphere around spheres, about the middle of their centres."""
    centre = [sum(c) / len(spheres) for c in zip(*(c for c, _ in spheres), strict=True)]
    return centre, max(math.dist(centre, c) + radius for c, radius in spheres)
