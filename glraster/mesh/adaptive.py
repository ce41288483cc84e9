"""Gradient descent on a mesh whose triangles change with it: coarse and fast at first, fine and slow in the end."""

import torch

from .remesh import remesh
from .surface import Mesh
from .topology import Topology, neighbour_mean

__all__ = ["AdaptiveMesh"]

GAIN, PACE = 0.2, 0.3  # how fast wanted lengths change, and the pace, from 0 to 1, at which they stay
LEAST = 0.1  # of the mean gradient: smaller ones make smaller steps


class AdaptiveMesh:
    """The vertices of a mesh, an optimizer for them, and remeshing that keeps the optimizer's state.

    Every vertex has a wanted length for the edges around it, from `shortest` to `longest`, and its steps are a part of
    that. Where gradients keep their direction, the surface is on its way: edges grow, and with them the steps. Where
    they change direction from step to step, it has arrived: edges shrink, and details appear. So parts that grow never
    run out of triangles, and nobody needs to know beforehand how many they need. What makes gradients change direction
    is a constant `lr`, whose steps lead too far in the end, or a loss of other pictures in every step.

    With g the gradient of a vertex, m and v running means of g and of its square (as in Adam, but one v for all three
    numbers) and D x the mean of a vertex's neighbours less x, a step is ::

        x <- x - lr (length u + smoothing D D x),    u = m / (sqrt(v) + 0.1 mean of sqrt(v)),

    and then the wanted length grows by a factor of `1 + 0.2 (|u| - 0.3)`, within its limits, and is averaged with those
    of the neighbours. D D x keeps vertices even and the surface smooth, without shrinking it as D x would.

    Args:
        mesh: where to start, such as a sphere; of its tensors `pos` and `tri` count.
        shortest, longest: limits of the wanted lengths, in units of `pos`.
        lr: the longest step in units of the wanted length. It may be changed at any time, like the attribute.
        betas: decay of the first and second moment.
        smoothing: weight of the last term.

    Attributes:
        pos: [V, 3], a leaf that requires gradients: another one after every `step` and `remesh`.
        tri: [T, 3] int32: others after `remesh`.
        length: [V, 1], the wanted lengths.
        lr: as above.

    Raises:
        ValueError: limits that are not positive or not in order.

    Source: Palfinger, "Continuous Remeshing for Inverse Rendering" (2022). Smoothing and constants are ours.
    """

    def __init__(
        self,
        mesh: Mesh,
        *,
        shortest: float,
        longest: float,
        lr: float = 0.3,
        betas: tuple[float, float] = (0.8, 0.95),
        smoothing: float = 1 / 3,
    ):
        if not 0 < shortest <= longest < float("inf"):
            need = "positive, finite and in order"
            raise ValueError(f"AdaptiveMesh(): shortest and longest must be {need}, got {shortest} and {longest}")
        self.lr, self._betas, self._smoothing, self._limits = lr, betas, smoothing, (shortest, longest)
        self._change(mesh.pos, mesh.tri)
        self.length = torch.full_like(self.pos[:, :1], longest, requires_grad=False)
        self._first, self._second, self._steps = torch.zeros_like(self.pos), torch.zeros_like(self.length), 0

    def _change(self, pos: torch.Tensor, tri: torch.Tensor) -> None:
        self.pos, self.tri = pos.detach().clone().requires_grad_(), tri
        self._topology = Topology(tri, len(pos))

    @torch.no_grad()
    def step(self) -> None:
        """Moves the vertices against `pos.grad`; nothing happens without one."""
        if self.pos.grad is None:
            return
        (b1, b2), grad = self._betas, self.pos.grad
        self._steps += 1
        self._first.lerp_(grad, 1 - b1)
        self._second.lerp_(grad.square().sum(1, keepdim=True), 1 - b2)
        size = (self._second / (1 - b2**self._steps)).sqrt()
        move = (
            self._first / (1 - b1**self._steps) / (size + LEAST * size.mean()).clamp(min=torch.finfo(size.dtype).tiny)
        )
        pos = self.pos.detach() - self.lr * self.length * move
        twice = self._outwards(self._outwards(pos))
        self.pos = (pos - self.lr * self._smoothing * twice).requires_grad_()
        length = (self.length * (1 + GAIN * (move.norm(dim=1, keepdim=True) - PACE))).clamp(*self._limits)
        self.length = (length + neighbour_mean(length, self._topology)) / 2

    def _outwards(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of each vertex's neighbours less its own value."""
        return neighbour_mean(values, self._topology) - values

    def remesh(self, rounds: int = 3) -> None:
        """Brings edges closer to their wanted lengths; the optimizer goes on. Call it every few steps.

        Args:
            rounds: of collapses and of flips, the most of each.
        """
        found = remesh(self.pos, self.tri, self.length[:, 0], collapses=rounds, flips=rounds, relax=0.1)
        self.length, self._first, self._second = (
            found.weights @ values for values in (self.length, self._first, self._second)
        )
        self._change(found.pos, found.tri)
