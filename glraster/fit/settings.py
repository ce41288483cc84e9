"""What one may choose about a fit."""

import dataclasses

__all__ = ["LIGHTING", "Settings"]

LIGHTING = ("sh", "none")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How long and how finely to fit.

    Attributes:
        geometry_steps: steps that find the shape, with a colour for each vertex.
        texture_steps: steps that find the texture, and refine the shape.
        batch: photos that a step looks at.
        triangles: of the mesh, about.
        smoothness: strength of the large steps, see `glraster.mesh.LargeSteps`.
        texture_size: texels along a side of the texture.
        lighting: 'sh': the light around, in spherical harmonics of order 2, is found, too, and the texture is without
            it; 'none': the texture is as the photos show the object.
        seed: of the order of the photos.

    Raises:
        ValueError: a number that is too small, or another kind of lighting.
    """

    geometry_steps: int = 500
    texture_steps: int = 200
    batch: int = 4
    triangles: int = 15000
    smoothness: float = 3.0
    texture_size: int = 1024
    lighting: str = "sh"
    seed: int = 0

    def __post_init__(self):
        least = {"geometry_steps": 1, "texture_steps": 1, "batch": 1, "triangles": 20, "texture_size": 1}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"Settings(): {name} must be at least {number}, got {getattr(self, name)}")
        if not self.smoothness > 0:
            raise ValueError(f"Settings(): smoothness must be positive, got {self.smoothness}")
        if self.lighting not in LIGHTING:
            raise ValueError(f"Settings(): lighting must be one of {', '.join(LIGHTING)}, got {self.lighting!r}")
