"""A textured quad for the tests of the stochastic optimizer, and what else they share."""

import numpy as np

from glraster.stochastic import MeshScene, Parameter

__all__ = ["HEAD_ON", "QUAD", "TRIANGLES", "quad", "ramp", "shader", "textured"]

QUAD = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
TRIANGLES = [[0, 1, 2], [0, 2, 3]]
HEAD_ON = np.eye(4)[None]  # shows [-1, 1]^2


def quad(fragment="albedo", size=1.0, **options) -> MeshScene:
    """The square [-1, 1]^2 times `size`, textured with v upwards."""
    return MeshScene(TRIANGLES, {"position": size * QUAD, "uv": (QUAD[:, :2] + 1) / 2}, fragment=fragment, **options)


def shader(path, body: str, declarations: str = "") -> str:
    """Writes a fragment shader to a file; returns its path."""
    path.write_text(f"#version 430\n{declarations}\nout vec4 color;\nvoid main() {{\n    {body}\n}}\n")
    return str(path)


def ramp(size: int, channels: int = 3) -> np.ndarray:
    """A smooth texture [size, size, channels]."""
    y, x = np.mgrid[:size, :size] / size
    return np.stack([x, y, 1 - x, x * y], -1)[..., :channels].astype(np.float32)


def textured(optimizer, seed=0, **options):
    """An optimizer that takes a grey texture to a ramp."""
    start = np.full((16, 16, 3), 0.5)
    opt = optimizer([Parameter("albedo", start, "texel", lr=0.1)], quad(), views=2, seed=seed, **options)
    opt.set_views(np.repeat(HEAD_ON, 3, 0), np.repeat(ramp(16)[None], 3, 0))
    return opt
