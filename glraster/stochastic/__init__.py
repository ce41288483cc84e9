"""Stochastic gradient estimation: gradients of any renderer from pairs of perturbed pictures."""

from .credit import texel_credit, vertex_credit
from .estimator import stochastic_grad

__all__ = ["stochastic_grad", "texel_credit", "vertex_credit"]
