"""One step of an optimization with every operation in it, for the tests that need a GPU."""

import torch
from scenes import sphere

import glraster

__all__ = ["SIZE", "assert_close", "inputs", "step"]

SIZE = (120, 200)


def inputs(device: torch.device, seed: int = 0, images: int = 2) -> dict[str, torch.Tensor]:
    """A scene with triangles of all sizes, attributes, a texture, and what is to be painted."""
    generator = torch.Generator().manual_seed(seed)
    pos, tri = sphere(3, images)
    attr = torch.rand((pos.shape[1], 2), generator=generator) * 3
    tex = torch.rand((1, 64, 64, 3), generator=generator)
    target = torch.rand((images, *SIZE, 3), generator=generator)
    tensors = {"pos": pos, "tri": tri, "attr": attr, "tex": tex, "target": target}
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def render(context, pos, tri, attr, tex, target=None, topology=None) -> torch.Tensor:
    rast, rast_db = glraster.rasterize(context, pos, tri, SIZE)
    uv, uv_da = glraster.interpolate(attr, rast, tri, rast_db, "all")
    color = glraster.texture(tex, uv, uv_da, filter_mode="linear-mipmap-linear")
    return glraster.antialias(color, rast, pos, tri, topology_hash=topology)


def step(context, tensors: dict[str, torch.Tensor], topology=None) -> list[torch.Tensor]:
    """Image and gradients of one step of an optimization."""
    leaves = [tensors[name].detach().requires_grad_() for name in ("pos", "attr", "tex")]
    image = render(context, leaves[0], tensors["tri"], *leaves[1:], topology=topology)
    return [image.detach(), *torch.autograd.grad((image - tensors["target"]).square().sum(), leaves)]


def assert_close(found: list[torch.Tensor], expected: list[torch.Tensor], outputs: int = 1) -> None:
    """Outputs to 1e-5 of values of order one, gradients to 1e-4 of their largest element."""
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        limit = 1e-5 * max(1.0, float(b.abs().max())) if index < outputs else 1e-4 * float(b.abs().max())
        assert a.shape == b.shape and float((a.cpu() - b.cpu()).abs().max()) <= limit, index
