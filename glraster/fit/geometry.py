"""The first part of a fit: a sphere becomes the object's shape, with a colour for each vertex."""

import math

import torch

import glraster
from glraster import mesh
from glraster.mesh import Mesh
from glraster.shading import to_linear

from .drawing import Albedo, of_vertices
from .photos import Photos
from .settings import Settings
from .stage import EVEN, Rates, Stage

__all__ = ["Geometry"]

_RADIUS, _SUBDIVISIONS = 0.6, 3  # of the sphere at the start, in units of that around the object
_FACTORS = {0.4: 4, 0.8: 2, 1.0: 1}  # up to which part of the steps photos are how many times smaller
_EVERY = 8  # steps from one remeshing to the next
_GROWTH, _LAST = 0.8, 0.95  # parts of the steps after which there are all triangles, and after which they stay
_RELAX = 0.1


class Geometry(Stage):
    """Large steps with remeshing, from small photos to large ones: triangles go where the surface grows.

    Source: Palfinger, "Continuous Remeshing for Inverse Rendering" (2022).
    """

    rates = Rates(shape=0.08, color=0.02, light=0.02)

    def __init__(self, glctx: glraster.RasterizeContext, photos: Photos, matrices: torch.Tensor, settings: Settings):
        super().__init__(glctx, photos, matrices, settings)
        self._reduced = {part: photos.reduced(factor) for part, factor in _FACTORS.items()}
        sphere = mesh.icosphere(_SUBDIVISIONS).to(glctx.device)
        roots = _mean_color(photos).sqrt().to(sphere.pos).repeat(len(sphere.pos), 1)
        self._take(_RADIUS * sphere.pos, sphere.tri, roots, _even_light(glctx.device, settings.lighting))

    @property
    def steps(self) -> int:
        """How many there are."""
        return self._settings.geometry_steps

    def _albedo(self) -> Albedo:
        return of_vertices(self.roots, self.tri)

    def _photos_at(self, gone: float) -> Photos:
        return next(photos for part, photos in self._reduced.items() if gone < part)

    def _prepare(self, number: int, gone: float) -> None:
        """Brings the triangles to the number that there are to be by now."""
        if not number or number % _EVERY or gone > _LAST:
            return
        pos, first = self.pos().detach(), 20 * 4**_SUBDIVISIONS
        count = first * (self._settings.triangles / first) ** min(1.0, gone / _GROWTH)
        area = mesh.face_normals(pos, self.tri, unit=False).norm(dim=1).sum().item() / 2
        length = math.sqrt(area / count * 4 / math.sqrt(3))  # of the sides of so many equilateral triangles
        found = mesh.remesh(pos, self.tri, length, relax=_RELAX)
        self._take_triangles(found.tri)
        moved = self._smooth.to_unknowns(found.pos)
        share = len(pos) / len(moved)  # of a vertex in the loss: the more there are, the less each counts
        self.unknowns = mesh.carry_state(self._shape, self.unknowns, moved, found.weights)
        state = self._shape.state[self.unknowns]
        state["first"] *= share
        state["second"] *= share**2
        self.roots = mesh.carry_state(self._look, self.roots, found.weights @ self.roots.detach(), found.weights)

    def mesh(self) -> Mesh:
        """The mesh as it is now, with linear colours of vertices."""
        return Mesh(self.pos().detach(), self.tri, color=self.roots.detach().square(), color_tri=self.tri)


def _even_light(device: torch.device, lighting: str) -> torch.Tensor | None:
    """White from everywhere, [9, 3]; None for lighting 'none'."""
    if lighting == "none":
        return None
    light = torch.zeros(9, 3, device=device)
    light[0] = EVEN
    return light


def _mean_color(photos: Photos) -> torch.Tensor:
    """[3], linear, of what is in the masks."""
    sums = photos.images.float().sum((0, 1, 2))
    return to_linear(sums[:3] / sums[3])
