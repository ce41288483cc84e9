"""The second part of a fit: colours of vertices become a texture, and the shape gets its last touches."""

from typing import Any

import torch

import glraster
from glraster import bake, losses, mesh
from glraster.mesh import Mesh
from glraster.shading import to_srgb

from .drawing import Albedo, of_texture
from .geometry import Geometry
from .photos import Photos
from .settings import Settings
from .stage import Rates, Stage

__all__ = ["Appearance"]

_EVEN = 0.01  # weight of the texture's total variation


class Appearance(Stage):
    """A texture and light by Adam; vertices in large steps that are short, their triangles as they are.

    Args:
        glctx, photos, matrices, settings: as in `Stage`.
        geometry: what to begin with; None: `restore` follows.
    """

    rates = Rates(shape=0.004, color=0.02, light=0.005)

    def __init__(
        self,
        glctx: glraster.RasterizeContext,
        photos: Photos,
        matrices: torch.Tensor,
        settings: Settings,
        geometry: Geometry | None = None,
    ):
        super().__init__(glctx, photos, matrices, settings)
        if geometry is not None:
            found, size = geometry.mesh(), settings.texture_size
            laid_out = mesh.unwrap(found, resolution=size)
            assert laid_out.uv is not None and laid_out.uv_tri is not None
            self.uv, self.uv_tri = laid_out.uv, laid_out.uv_tri
            roots = _on_texture(glctx, geometry.roots.detach(), found.tri, self.uv, self.uv_tri, size)
            self._take(found.pos, found.tri, roots, geometry.light)

    @property
    def steps(self) -> int:
        """How many there are."""
        return self._settings.texture_steps

    def _albedo(self) -> Albedo:
        return of_texture(self.roots, self.uv, self.uv_tri)

    def _prior(self) -> torch.Tensor:
        return _EVEN * losses.total_variation(self.roots[None])

    def mesh(self) -> Mesh:
        """The mesh as it is now, with an sRGB texture."""
        texture = to_srgb(self.roots.detach().square())
        return Mesh(self.pos().detach(), self.tri, self.uv, self.uv_tri, (texture,))

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        return {**super().state(), "uv": self.uv, "uv_tri": self.uv_tri}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        super().restore(state)
        self.uv, self.uv_tri = (state[name].to(self._glctx.device) for name in ("uv", "uv_tri"))


@torch.no_grad()
def _on_texture(
    glctx: glraster.RasterizeContext,
    values: torch.Tensor,
    tri: torch.Tensor,
    uv: torch.Tensor,
    uv_tri: torch.Tensor,
    size: int,
) -> torch.Tensor:
    """Values of vertices [V, C] as a texture [size, size, C]; between islands, what is around."""
    place = torch.cat([uv * 2 - 1, torch.zeros_like(uv[:, :1]), torch.ones_like(uv[:, :1])], dim=1)
    rast, _ = glraster.rasterize(glctx, place[None], uv_tri, (size, size))
    image, _ = glraster.interpolate(values, rast, tri)
    return bake.fill(image, glraster.mask(rast)[..., 0] > 0)[0]
