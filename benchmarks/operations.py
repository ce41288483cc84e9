"""Scenes of any size, and every operation on them, forward and backward, with the bytes that it must move."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

import glraster

RADIUS = 0.65  # of the sphere, from -1 to 1: it covers a third of the image, as objects often do

__all__ = ["Case", "backward", "cases", "flat_uv", "nbytes", "sphere"]


def sphere(triangles: int, images: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Clip-space positions [N, V, 4] of a sphere, turned from image to image, and its triangles [T, 3]."""
    rings = max(2, round(math.sqrt(triangles / 4)))
    polar = torch.linspace(0, math.pi, rings + 1, device=device)
    azimuth = torch.linspace(0, 2 * math.pi, 2 * rings + 1, device=device)
    a, b = torch.meshgrid(polar, azimuth, indexing="ij")
    vertices = torch.stack([a.sin() * b.cos(), a.cos(), a.sin() * b.sin()], -1).reshape(-1, 3)
    cell = torch.arange(2 * rings * rings, device=device)
    corner = cell // (2 * rings) * (2 * rings + 1) + cell % (2 * rings)
    lower = torch.stack([corner, corner + 1, corner + 2 * rings + 1], 1)
    upper = torch.stack([corner + 1, corner + 2 * rings + 2, corner + 2 * rings + 1], 1)
    pos = torch.ones((images, len(vertices), 4), device=device)
    for n in range(images):
        c, s = math.cos(0.3 * n), math.sin(0.3 * n)
        turn = torch.tensor([[RADIUS * c, 0, RADIUS * s], [0, RADIUS, 0], [-0.5 * s, 0, 0.5 * c]], device=device)
        pos[n, :, :3] = vertices @ turn.T
    return pos, torch.cat([lower, upper]).int()


def flat_uv(pos: torch.Tensor) -> torch.Tensor:
    """Texture coordinates [V, 2] that lay a texture flat over the first image: its neighbours read neighbours."""
    return 0.5 + 0.5 * pos[0, :, :2].detach()


def nbytes(*tensors: torch.Tensor) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@dataclass(frozen=True)
class Case:
    """One operation on one scene: what to run, and the bytes that it must move."""

    operation: str
    run: Callable[[], object]
    bytes: int


def backward(output: torch.Tensor, inputs: list[torch.Tensor], grad: torch.Tensor) -> Callable[[], object]:
    return lambda: torch.autograd.grad(output, inputs, grad, retain_graph=True)


def cases(
    contexts: dict, images: int, size: int, triangles: int, device: torch.device, channels: int = 3
) -> Iterator[Case]:
    """Every operation, forward and backward, each on the results of the one before.

    Args:
        contexts: by name; "software" must be there.
        images: in the minibatch.
        size: of an image's sides, in pixels.
        triangles: about so many in every image.
        channels: of attributes and textures.
    """
    pos, tri = sphere(triangles, images, device)
    pos.requires_grad_()
    for name, context in contexts.items():

        def draw(context=context):
            return glraster.rasterize(context, pos.detach(), tri, (size, size))

        yield Case(f"rasterize, {name}", draw, nbytes(pos, tri, *draw()))
    rast, rast_db = glraster.rasterize(contexts["software"], pos, tri, (size, size))
    ids = rast.nbytes // 4
    yield Case("rasterize backward", backward(rast, [pos], rast.detach()), 2 * nbytes(pos) + rast.nbytes + ids)
    fixed = rast.detach().requires_grad_()
    attr = flat_uv(pos).requires_grad_()
    fixed_db = rast_db.detach()
    uv, uv_da = glraster.interpolate(attr, fixed, tri, fixed_db, "all")
    arguments = attr.detach(), fixed.detach(), tri, fixed_db, "all"
    moved = nbytes(attr, fixed, tri, fixed_db, uv, uv_da)
    yield Case("interpolate, derivatives", lambda a=arguments: glraster.interpolate(*a), moved)
    uv_da = uv_da.detach()
    uv = uv.detach().requires_grad_()
    attr = torch.rand((pos.shape[1], channels), device=device, requires_grad=True)
    out, _ = glraster.interpolate(attr, fixed, tri)
    moved = nbytes(attr, fixed, tri, out)
    yield Case("interpolate", lambda: glraster.interpolate(attr.detach(), fixed.detach(), tri), moved)
    moved += nbytes(attr, fixed)
    yield Case("interpolate backward", backward(out, [attr, fixed], out.detach()), moved)
    del out
    tex = torch.rand((1, 1024, 1024, channels), device=device, requires_grad=True)
    color = glraster.texture(tex, uv, filter_mode="linear")
    moved = nbytes(uv, tex, color)
    yield Case("texture", lambda: glraster.texture(tex.detach(), uv.detach(), filter_mode="linear"), moved)
    yield Case("texture backward", backward(color, [tex, uv], color.detach()), moved + nbytes(uv, tex))
    yield from mipmapped(tex, uv, uv_da.requires_grad_())
    color = color.detach().requires_grad_()
    topology = glraster.antialias_construct_topology_hash(tri)
    moved = nbytes(tri, *(part for part in vars(topology).values() if isinstance(part, torch.Tensor)))
    yield Case("antialias, topology", lambda: glraster.antialias_construct_topology_hash(tri), moved)
    smooth = glraster.antialias(color, fixed, pos, tri, topology)
    moved = nbytes(color, fixed, smooth)
    arguments = color.detach(), fixed.detach(), pos.detach(), tri, topology
    yield Case("antialias", lambda: glraster.antialias(*arguments), moved)
    yield Case("antialias backward", backward(smooth, [color, pos], smooth.detach()), moved + nbytes(color))
    edges = glraster.edge_gradients(color, fixed, pos, tri, topology_hash=topology)
    yield Case("edge_gradients backward", backward(edges, [color, pos], smooth.detach()), moved + nbytes(color))


def mipmapped(tex: torch.Tensor, uv: torch.Tensor, uv_da: torch.Tensor) -> Iterator[Case]:
    """Trilinear lookups. The levels above the texture add a third to its bytes, written and read again."""
    color = glraster.texture(tex, uv, uv_da)
    moved = nbytes(uv, uv_da, color) + nbytes(tex) * 5 // 3
    arguments = tex.detach(), uv.detach(), uv_da.detach()
    yield Case("texture, mipmapped", lambda: glraster.texture(*arguments), moved)
    moved += nbytes(uv, uv_da) + nbytes(tex) * 5 // 3
    yield Case("texture, mipmapped, backward", backward(color, [tex, uv, uv_da], color.detach()), moved)
