"""What the two parts of a fit have in common: a surface that moves in large steps, its colours, and the light."""

import dataclasses
import math
from typing import Any, NamedTuple

import torch

import glraster
from glraster import mesh

from .drawing import Albedo, difference, draw
from .photos import Photos
from .settings import Settings

__all__ = ["EVEN", "Rates", "Stage", "Step"]

EVEN = math.sqrt(4 * math.pi)  # the first harmonic of light that is 1 on average
_SLOWER = 0.1  # steps at the end, of those at the start


@dataclasses.dataclass(frozen=True)
class Rates:
    """Lengths of the first steps, about: of vertices, of roots of colours, of light."""

    shape: float
    color: float
    light: float


class Step(NamedTuple):
    """What a step did."""

    loss: torch.Tensor
    image: torch.Tensor  # [B, H, W, 4], drawn
    photo: torch.Tensor  # [B, H, W, 4] uint8
    pos: torch.Tensor  # [V, 3], before the step


class Stage:
    """Steps of gradient descent: drawing some of the photos, comparing, and moving what was drawn.

    Args:
        glctx: the context.
        photos: what to fit to.
        matrices: [N, 4, 4], of the photos' cameras, from units in which the object fits the unit sphere.
        settings: see `Settings`.

    Attributes:
        tri: [T, 3] int32.
        roots: square roots of linear colours, [V, 3] or [h, w, 3].
        light: [9, 3], or None.

    Source: Nicolet, Jacobson and Jakob, "Large Steps in Inverse Rendering of Geometry" (2021).
    """

    rates: Rates
    light: torch.Tensor | None

    def __init__(self, glctx: glraster.RasterizeContext, photos: Photos, matrices: torch.Tensor, settings: Settings):
        self._glctx, self._photos, self._matrices, self._settings = glctx, photos, matrices, settings
        self._generator = torch.Generator().manual_seed(settings.seed)

    def _take(self, pos: torch.Tensor, tri: torch.Tensor, roots: torch.Tensor, light: torch.Tensor | None) -> None:
        """Begins with these."""
        self._take_triangles(tri)
        self.unknowns = self._smooth.to_unknowns(pos).requires_grad_()
        self.roots, self.light = _parameter(roots), None if light is None else _parameter(light)
        self._make_optimizers()

    def _take_triangles(self, tri: torch.Tensor) -> None:
        self.tri = tri
        self._smooth = mesh.LargeSteps(tri, strength=self._settings.smoothness)
        self._topology = glraster.antialias_construct_topology_hash(tri)

    def _make_optimizers(self) -> None:
        self._shape = mesh.UniformAdam([{"params": [self.unknowns], "first": self.rates.shape}], lr=0.0)
        groups: list[dict[str, Any]] = [{"params": [self.roots], "first": self.rates.color}]
        groups += [] if self.light is None else [{"params": [self.light], "first": self.rates.light}]
        self._look = torch.optim.Adam(groups)

    def pos(self) -> torch.Tensor:
        """[V, 3], where the vertices are now."""
        return self._smooth.to_positions(self.unknowns)

    def step(self, number: int) -> Step:
        """Does one step."""
        gone = number / self.steps
        self._prepare(number, gone)
        photos = self._photos_at(gone)
        chosen = torch.randperm(len(photos), generator=self._generator)[: self._settings.batch]
        wanted = photos.images[chosen].to(self._glctx.device)
        height, width = wanted.shape[1:3]
        pos, matrices = self.pos(), self._matrices[chosen].to(wanted.device)
        image = draw(self._glctx, pos, self.tri, matrices, (height, width), self._albedo(), self.light, self._topology)
        loss = difference(image, wanted, photos.background)
        self._descend(loss + self._prior(), _SLOWER**gone)
        return Step(loss.detach(), image.detach(), wanted, pos.detach())

    def _descend(self, loss: torch.Tensor, slower: float) -> None:
        for optimizer in (self._shape, self._look):
            optimizer.zero_grad()
        loss.backward()
        for optimizer in (self._shape, self._look):
            for group in optimizer.param_groups:
                group["lr"] = group["first"] * slower
            optimizer.step()
        with torch.no_grad():
            self.roots.clamp_(0, 1)
            if self.light is not None:  # else twice the light on half the colours would be the same
                self.light[0] = EVEN

    @property
    def steps(self) -> int:
        """How many there are."""
        raise NotImplementedError

    def _albedo(self) -> Albedo:
        raise NotImplementedError

    def _photos_at(self, gone: float) -> Photos:
        return self._photos

    def _prepare(self, number: int, gone: float) -> None:
        """What comes before a step."""

    def _prior(self) -> torch.Tensor | float:
        """What is added to the loss."""
        return 0.0

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        return {
            "tri": self.tri,
            "unknowns": self.unknowns.detach(),
            "roots": self.roots.detach(),
            "light": None if self.light is None else self.light.detach(),
            "shape": self._shape.state_dict(),
            "look": self._look.state_dict(),
            "generator": self._generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state."""
        device = self._glctx.device
        self._take_triangles(state["tri"].to(device))
        self.unknowns, self.roots = (_parameter(state[name].to(device)) for name in ("unknowns", "roots"))
        self.light = None if state["light"] is None else _parameter(state["light"].to(device))
        self._make_optimizers()
        self._shape.load_state_dict(state["shape"])
        self._look.load_state_dict(state["look"])
        self._generator.set_state(state["generator"])


def _parameter(value: torch.Tensor) -> torch.Tensor:
    """A copy for an optimizer to change."""
    return value.detach().clone().requires_grad_()
