"""Nonlinear least squares on both kinds of derivatives, without matrices."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.autograd import forward_ad

__all__ = ["GaussNewtonResult", "GaussNewtonStep", "gauss_newton"]

_LARGEST_DAMPING = 1e12  # beyond, steps are so short that nothing moves
_MOST_TRIES = 5  # of points along one step


@dataclass(frozen=True)
class GaussNewtonStep:
    """One iteration of `gauss_newton`.

    Attributes:
        cost: half the sum of the squared residuals from where the iteration started.
        gradient_norm: length of the cost's gradient there.
        damping: in the units of `gauss_newton`'s argument.
        cg_iterations: of the conjugate gradients: products with J^T J.
        step_norm: length of the step, as far as it was taken or tried last.
        tries: points along the step where the cost was computed, the first at its end.
        accepted: whether one of them lowers the cost; else the next iteration damps more.
    """

    cost: float
    gradient_norm: float
    damping: float
    cg_iterations: int
    step_norm: float
    tries: int
    accepted: bool


class GaussNewtonResult(NamedTuple):
    """What `gauss_newton` found."""

    params: torch.Tensor | tuple[torch.Tensor, ...]  # in the form in which they were given
    cost: float  # half the sum of the squared residuals there
    history: list[GaussNewtonStep]


def gauss_newton(
    residuals: Callable[..., torch.Tensor],
    params: torch.Tensor | Sequence[torch.Tensor],
    *,
    iterations: int = 20,
    damping: float = 1e-3,
    cg_iterations: int = 20,
    cg_tolerance: float = 0.1,
    tolerance: float = 1e-6,
    stop: Callable[..., bool] | None = None,
) -> GaussNewtonResult:
    """Minimizes half the sum of squared residuals by damped Gauss-Newton steps.

    Each step solves (J^T J + d I) step = -J^T r by conjugate gradients, J the Jacobian of the residuals r. Products
    with J are forward-mode derivatives, those with J^T backward ones; no matrix is formed, so there may be millions of
    residuals. A step that does not lower the cost is shortened, to where a parabola through what is known of the cost
    along it is lowest, and taken back if that does not help either; how well the linear model has predicted the cost
    decides the damping d of the next.

    Args:
        residuals: function of the parameters that returns a floating-point tensor of any shape, such as the difference
            of two images. It is called with and without forward-mode tangents: of `glraster`, every operation has them.
            Operations that round or choose count as constant.
        params: where to start: a floating-point tensor, or several of one dtype on one device. They are not changed.
        iterations: the most steps to try.
        damping: of the first step, 0 or more, relative to the curvature of the cost along its first gradient.
        cg_iterations: the most of them for one step. The number of parameters suffices, up to rounding.
        cg_tolerance: conjugate gradients stop where their residual is this fraction of the gradient.
        tolerance: stops where a step promises to lower the cost by less than this fraction of the first one, or is so
            short that the parameters cannot hold it.
        stop: called with the parameters after every step that was taken; the search ends where it returns True.

    Returns:
        The parameters (without gradients), their cost, and what each iteration did. No gradients flow through this.

    Raises:
        TypeError: wrong type or dtype.
        ValueError: a number out of range, or residuals that are not finite where the search starts.

    Source: Levenberg 1944; Steihaug 1983 (truncated conjugate gradients); Nielsen, "Damping parameter in Marquardt's
        method", 1999 (the rule for the damping); Dennis and Schnabel 1983, section 6.3.2 (shorter steps).
    """
    start = _check_params(params)
    _check_numbers(iterations=iterations, cg_iterations=cg_iterations)
    _check_numbers(damping=damping, cg_tolerance=cg_tolerance, tolerance=tolerance)

    def of_vector(vector: torch.Tensor) -> torch.Tensor:
        return residuals(*_split(vector, start))

    with torch.enable_grad():
        here = _Linearization(of_vector, torch.cat([param.detach().flatten() for param in start]))
        if not here.cost < torch.inf:
            raise ValueError("gauss_newton(): residuals must be finite at params, got infinite or NaN ones")
        enough = tolerance * here.cost
        solve = functools.partial(_solve, limit=cg_iterations, tolerance=cg_tolerance)
        ends = None if stop is None else lambda vector: stop(*_split(vector, start))
        here, history = _descend(of_vector, here, iterations, damping, solve, enough, ends)
    found = tuple(part.clone() for part in _split(here.vector.detach(), start))
    return GaussNewtonResult(found[0] if isinstance(params, torch.Tensor) else found, here.cost, history)


def _check_params(params: object) -> tuple[torch.Tensor, ...]:
    need = "gauss_newton(): params must be a floating-point tensor or several of one dtype on one device, got"
    start = (params,) if isinstance(params, torch.Tensor) else params
    if not isinstance(start, (list, tuple)) or not start:
        raise TypeError(f"{need} {type(params).__name__}{'' if start else ' without elements'}")
    for param in start:
        if not isinstance(param, torch.Tensor):
            raise TypeError(f"{need} {type(param).__name__}")
        if not param.is_floating_point() or (param.dtype, param.device) != (start[0].dtype, start[0].device):
            raise TypeError(f"{need} {', '.join(f'{p.dtype} on {p.device}' for p in start)}")
    return tuple(start)


def _check_numbers(**numbers: object) -> None:
    for name, number in numbers.items():
        whole = name.endswith("iterations")
        if isinstance(number, bool) or not isinstance(number, int if whole else (int, float)):
            raise TypeError(f"gauss_newton(): {name} must be {'an integer' if whole else 'a number'}, got {number!r}")
        if not 0 <= number < float("inf"):
            raise ValueError(f"gauss_newton(): {name} must be 0 or greater and finite, got {number!r}")


def _split(vector: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    parts = vector.split([param.numel() for param in like])
    return [part.view(param.shape) for part, param in zip(parts, like, strict=True)]


class _Linearization:
    """The residuals at a point, and products with their Jacobian J there."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], vector: torch.Tensor):
        self._function = function
        self.vector = vector.detach().requires_grad_()
        self._residuals = function(self.vector)
        if not isinstance(self._residuals, torch.Tensor) or not self._residuals.is_floating_point():
            got = self._residuals.dtype if isinstance(self._residuals, torch.Tensor) else type(self._residuals).__name__
            raise TypeError(f"gauss_newton(): residuals must return a floating-point tensor, got {got}")
        self.cost = 0.5 * self._residuals.detach().double().square().sum().item()

    def gradient(self) -> torch.Tensor:
        """J^T r, the gradient of the cost."""
        return self.pull(self._residuals.detach())

    def push(self, tangent: torch.Tensor) -> torch.Tensor:
        """J tangent."""
        with torch.no_grad(), forward_ad.dual_level():
            moved = forward_ad.unpack_dual(self._function(forward_ad.make_dual(self.vector.detach(), tangent))).tangent
            return torch.zeros_like(self._residuals) if moved is None else moved

    def pull(self, cotangent: torch.Tensor) -> torch.Tensor:
        """J^T cotangent."""
        if not self._residuals.requires_grad:
            return torch.zeros_like(self.vector)
        found = torch.autograd.grad(self._residuals, self.vector, cotangent, retain_graph=True, allow_unused=True)[0]
        return torch.zeros_like(self.vector) if found is None else found


def _descend(function, here, iterations, damping, solve, enough, ends) -> tuple[_Linearization, list[GaussNewtonStep]]:
    history: list[GaussNewtonStep] = []
    gradient, growth, unit = here.gradient(), 2.0, None
    while len(history) < iterations and damping < _LARGEST_DAMPING:
        gradient_norm = gradient.norm().item()
        unit = _curvature(here, gradient) if unit is None else unit
        if not (gradient_norm > 0 and unit > 0):
            break
        step, promised, products = solve(here, -gradient, damping * unit)
        step_norm, smallest = step.norm().item(), torch.finfo(step.dtype).eps * here.vector.detach().norm().item()
        if not (promised > enough and step_norm > smallest):
            break
        there, share, tries = _try_along(function, here, step, gradient.dot(step).item())
        gain = (here.cost - there.cost) / promised  # 1: as predicted; NaN where the residuals are not finite
        accepted = gain > 0
        history.append(
            GaussNewtonStep(here.cost, gradient_norm, damping, products, share * step_norm, tries, accepted),
        )
        if accepted:
            here = there
            if ends is not None and ends(here.vector.detach()):
                break
            gradient = here.gradient()
            damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
        else:
            damping, growth = max(damping, 1e-6) * growth, 2 * growth
    return here, history


def _try_along(function, here, step, slope) -> tuple[_Linearization, float, int]:
    """The first point along a step at which the cost is lower, or the last of those tried.

    Args:
        slope: of the cost along the step, where it begins.

    Returns:
        The point, its share of the step, and the number of points tried.
    """
    share, tries = 1.0, 0
    while True:
        there = _Linearization(function, here.vector.detach() + share * step)
        tries += 1
        if there.cost < here.cost or tries == _MOST_TRIES:
            return there, share, tries
        bend = there.cost - here.cost - share * slope  # of the parabola with that slope through both costs
        lowest = -slope * share**2 / (2 * bend) if bend < float("inf") else 0.0
        share = min(max(lowest, 0.1 * share), 0.5 * share)


def _curvature(here: _Linearization, direction: torch.Tensor) -> float:
    """Of the cost along a direction, by the linear model: |J direction|^2 / |direction|^2."""
    return (here.push(direction).double().square().sum() / direction.double().square().sum()).item()


def _solve(here, rhs, damping, limit, tolerance):
    """Conjugate gradients for (J^T J + damping I) step = rhs.

    Returns:
        The step, by how much the linear model without damping lowers the cost there, and the number of products.
    """
    step, remainder, direction = torch.zeros_like(rhs), rhs, rhs
    square, products = rhs.dot(rhs), 0
    enough = tolerance**2 * square
    while products < limit and square > enough:
        image = here.pull(here.push(direction)) + damping * direction
        products += 1
        curvature = direction.dot(image)
        if not curvature > 0:  # by rounding
            break
        length = square / curvature
        step, remainder = step + length * direction, remainder - length * image
        before, square = square, remainder.dot(remainder)
        direction = remainder + square / before * direction
    promised = 0.5 * step.dot(rhs + remainder) + 0.5 * damping * step.dot(step)
    return step, promised.item(), products
