"""How long the operations take here."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

import glraster

from .scene import make_scene

__all__ = ["IMAGES", "SIZE", "TRIANGLES", "Row", "measure"]

IMAGES, SIZE, _SUBDIVISIONS = 8, 512, 5
_TEXTURE = (1024, 1024, 4)
TRIANGLES = 20 * 4**_SUBDIVISIONS
_SECONDS = 8.0  # for all cases of a device
_LEAST = 3  # runs of each, after one that does not count


class Row(NamedTuple):
    """Median milliseconds of an operation on 8 images of 512 x 512 pixels; None where there is nothing to time."""

    operation: str
    forward: float
    backward: float | None


def measure(device: str) -> list[Row]:
    """Times the operations, which take turns, so that a drift of the machine meets them all."""
    forward, backward = _cases(device)
    runs = {(name, "forward"): run for name, run in forward.items()}
    runs |= {(name, "backward"): run for name, run in backward.items()}
    times: dict[tuple[str, str], list[float]] = {case: [] for case in runs}
    end, rounds = time.perf_counter() + _SECONDS, 0
    while rounds < _LEAST + 1 or time.perf_counter() < end:
        for case, run in runs.items():
            _wait(device)
            begin = time.perf_counter()
            run()
            _wait(device)
            times[case].append(1000 * (time.perf_counter() - begin))
        rounds += 1
    medians = {case: statistics.median(values[1:]) for case, values in times.items()}
    return [Row(name, medians[name, "forward"], medians.get((name, "backward"))) for name in forward]


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _cases(device: str) -> tuple[dict[str, Callable], dict[str, Callable]]:
    """Forward and backward passes by name."""
    scene = make_scene(_SUBDIVISIONS, clutter=0).to(device)
    pos, tri = scene.pos.repeat(IMAGES // 2, 1, 1).requires_grad_(), scene.tri
    attr, tex = scene.attr.requires_grad_(), torch.rand(1, *_TEXTURE, device=device, requires_grad=True)
    software = glraster.SoftwareRasterizer(device)
    rast, rast_db = glraster.rasterize(software, pos, tri, (SIZE, SIZE))
    seen, seen_db = rast.detach(), rast_db.detach()
    uv, uv_da = glraster.interpolate(attr.detach()[:, :2].contiguous(), seen, tri, seen_db, "all")
    topology = glraster.antialias_construct_topology_hash(tri)
    color = glraster.interpolate(attr, seen, tri)[0]
    forward: dict[str, Callable] = {"rasterize, software": lambda: glraster.rasterize(software, pos, tri, (SIZE, SIZE))}
    try:
        glctx = glraster.OpenGLRasterizer(device=device)
        if glctx.egl_device != "none":
            forward["rasterize, OpenGL"] = lambda: glraster.rasterize(glctx, pos, tri, (SIZE, SIZE))
    except RuntimeError:
        pass  # the comparison of contexts says so
    forward |= {
        "interpolate, 5 attributes": lambda: (glraster.interpolate(attr, seen, tri)[0],),
        "texture, linear": lambda: (glraster.texture(tex, uv, filter_mode="linear"),),
        "texture, mipmapped": lambda: (glraster.texture(tex, uv, uv_da, filter_mode="linear-mipmap-linear"),),
        "antialias, 5 channels": lambda: (glraster.antialias(color, seen, pos, tri, topology),),
    }
    leaves = {"rasterize": [pos], "interpolate": [attr], "texture": [tex], "antialias": [color, pos]}
    backward: dict[str, Callable] = {}
    for name, run in forward.items():
        if name != "rasterize, OpenGL":  # the other one's backward pass
            output = run()[0]
            grad = torch.rand_like(output)
            backward[name] = _backward(output, leaves[name.partition(",")[0]], grad)
    return forward, backward


def _backward(output: torch.Tensor, leaves: list[torch.Tensor], grad: torch.Tensor) -> Callable:
    return lambda: torch.autograd.grad(output, leaves, grad, retain_graph=True)
