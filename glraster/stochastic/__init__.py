"""Stochastic gradient estimation: gradients of any renderer from pairs of perturbed pictures.

`stochastic_grad` works in PyTorch. The optimizer works in OpenGL: pip install 'glraster[stochastic]'.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .credit import texel_credit, vertex_credit
from .estimator import stochastic_grad

if TYPE_CHECKING:
    from .mesh_scene import MeshScene
    from .optimizer import StochasticOptimizer
    from .parameters import Parameter
    from .splat_scene import SplatScene
    from .subdivision import catmull_clark_subdivision, loop_subdivision
    from .volume_scene import VolumeScene

__all__ = [
    "MeshScene",
    "Parameter",
    "SplatScene",
    "StochasticOptimizer",
    "VolumeScene",
    "catmull_clark_subdivision",
    "loop_subdivision",
    "stochastic_grad",
    "texel_credit",
    "vertex_credit",
]

_OPENGL = {
    "MeshScene": "mesh_scene",
    "Parameter": "parameters",
    "SplatScene": "splat_scene",
    "StochasticOptimizer": "optimizer",
    "VolumeScene": "volume_scene",
    "catmull_clark_subdivision": "subdivision",
    "loop_subdivision": "subdivision",
}


def __getattr__(name: str) -> Any:
    """What needs OpenGL is imported at its first use."""
    if name not in _OPENGL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_OPENGL[name]}"), name)
