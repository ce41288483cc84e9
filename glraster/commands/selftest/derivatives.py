"""Gradients beside finite differences, in double precision, along a random direction in each argument."""

from collections.abc import Callable

import torch

import glraster

from ...doctor import Finding
from .scene import Scene, make_scene

__all__ = ["gradients_agree"]

SIZE = (40, 44)
STEP = 1e-7  # of arguments of order one; the error of central differences goes with its square
LIMIT = 1e-5  # of the error, relative to the derivative or to 1
DIRECTIONS = 3


def gradients_agree(device: str) -> list[Finding]:
    """A finding for each operation. Which triangle a pixel sees stays as it is, since no derivative knows of that, and
    every edge is a silhouette, since which ones are may change, too."""
    scene = make_scene(subdivisions=None, clutter=12).to(device, torch.float64)
    with glraster.SoftwareRasterizer(device) as glctx:
        return [_finding(device, name, *case) for name, case in _cases(glctx, scene).items()]


def _cases(glctx: glraster.RasterizeContext, scene: Scene) -> dict[str, tuple[Callable, dict[str, torch.Tensor]]]:
    """By operation: a function of tensors, and the tensors."""
    pos, tri, attr, tex, _ = scene
    rast, rast_db = glraster.rasterize(glctx, pos, tri, SIZE)
    inside = _inside(rast)
    out, out_da = glraster.interpolate(attr, rast, tri, rast_db, "all")
    uv, uv_da = out[..., 3:].contiguous(), 4 * out_da[..., 6:].contiguous()
    color = torch.rand(2, *SIZE, 3, generator=torch.Generator().manual_seed(1)).to(pos)

    def rasterize(pos: torch.Tensor) -> list[torch.Tensor]:
        rast, rast_db = glraster.rasterize(glctx, pos, tri, SIZE)
        return [rast[..., :2] * inside, rast_db * inside]  # depth and id have no gradients

    def interpolate(attr: torch.Tensor, rast: torch.Tensor, rast_db: torch.Tensor) -> list[torch.Tensor]:
        return list(glraster.interpolate(attr, rast, tri, rast_db, "all"))

    def texture(filter_mode: str) -> Callable[..., list[torch.Tensor]]:
        return lambda **tensors: [glraster.texture(**tensors, filter_mode=filter_mode)]

    def antialias(color: torch.Tensor, pos: torch.Tensor) -> list[torch.Tensor]:
        return [glraster.antialias(color, rast, pos, tri)]

    return {
        "rasterize": (rasterize, {"pos": pos}),
        "interpolate": (interpolate, {"attr": attr, "rast": rast, "rast_db": rast_db}),
        "texture, linear": (texture("linear"), {"tex": tex, "uv": uv}),
        "texture, mipmapped": (texture("linear-mipmap-linear"), {"tex": tex, "uv": uv, "uv_da": uv_da}),
        "antialias": (antialias, {"color": color, "pos": pos}),
    }


def _inside(rast: torch.Tensor) -> torch.Tensor:
    """[N, H, W, 1], 1 where a small movement changes neither which triangle is seen nor what is clamped."""
    u, v, _, ids = rast.unbind(-1)
    kept = (u > 0.05) & (v > 0.05) & (1 - u - v > 0.05) & (ids > 0)
    return kept[..., None].to(rast)


def _finding(device: str, name: str, operation: Callable, tensors: dict[str, torch.Tensor]) -> Finding:
    errors = {argument: _error(operation, tensors, argument) for argument in tensors}
    worst = max(errors, key=lambda argument: errors[argument])
    found = f"gradients differ from finite differences by {errors[worst]:.1g} at most, those to {worst}"
    check = f"gradients of {name} on {device}"
    if not errors[worst] <= LIMIT:
        return Finding(check, "broken", found, "please report this")
    return Finding(check, "ok", found)


def _error(operation: Callable, tensors: dict[str, torch.Tensor], argument: str) -> float:
    """The greatest error of the derivatives along some directions in one argument."""
    leaf = tensors[argument].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(_weighted_sum(operation(**(tensors | {argument: leaf}))), leaf)
    generator, worst = torch.Generator().manual_seed(2), 0.0
    for _ in range(DIRECTIONS):
        direction = (torch.rand(leaf.shape, generator=generator, dtype=torch.float64) - 0.5).to(leaf.device)
        if argument == "rast":
            direction[..., 2:] = 0
        ahead, behind = (tensors | {argument: leaf.detach() + step * direction} for step in (STEP, -STEP))
        change = _weighted_sum(operation(**ahead)) - _weighted_sum(operation(**behind))
        expected = change.item() / (2 * STEP)
        worst = max(worst, abs((gradient * direction).sum().item() - expected) / max(1.0, abs(expected)))
    return worst


def _weighted_sum(outputs: list[torch.Tensor]) -> torch.Tensor:
    """Of all values, with other weights from pixel to pixel."""
    sums = []
    for output in outputs:
        weights = torch.linspace(-100, 100, output.numel(), dtype=output.dtype, device=output.device).sin()
        sums.append((output.flatten() * weights).sum())
    return torch.stack(sums).sum()
