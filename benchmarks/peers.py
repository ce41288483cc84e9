"""What other libraries need for the same, as pairs of calls: ours and theirs, timed in turn. Those that cannot be
imported are left out."""

import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from operations import flat_uv, sphere
from torch.nn import functional

import glraster

__all__ = ["Pair", "pairs"]

TEXELS, VOLUME, CHANNELS = 1024, 128, 4


@dataclass(frozen=True)
class Pair:
    """The same work, done by us and by another.

    Attributes:
        work: what is done.
        peer: who else does it.
        ours: our call.
        theirs: the peer's ways to do it, of which the fastest counts.
    """

    work: str
    peer: str
    ours: Callable[[], object]
    theirs: tuple[Callable[[], object], ...]


def pairs(contexts: dict, images: int, size: int) -> Iterator[Pair]:
    """All peers that are there, on minibatches of `images` of size^2 pixels."""
    if "OpenGL" in contexts:
        yield from rasterizers(contexts, images, size)
    coordinates = {"tilted planes": planes(images, size), "random points": torch.rand(images, size, size, 2)}
    for name, uv in coordinates.items():
        yield from lookups(f"texture, {name}", torch.rand(1, TEXELS, TEXELS, CHANNELS), uv)
        uvw = torch.cat([uv, uv.mean(-1, keepdim=True)], -1)[:, ::2, ::2].contiguous()
        yield from lookups(f"texture3d, {name}", torch.rand(1, VOLUME, VOLUME, VOLUME, CHANNELS), uvw)
    for name, module in (("deodr", deodr), ("pytorch3d", pytorch3d), ("drtk", drtk)):
        if importlib.util.find_spec(name) is not None:
            yield from module(contexts["software"], images, size)


def rasterizers(contexts: dict, images: int, size: int) -> Iterator[Pair]:
    for triangles in (1_000, 20_000, 300_000):
        scene = sphere(triangles, images, torch.device("cpu"))

        def draw(context, scene=scene):
            return lambda: glraster.rasterize(context, *scene, (size, size))

        ours, theirs = draw(contexts["software"]), draw(contexts["OpenGL"])
        yield Pair(f"rasterize, {triangles:,} triangles", "OpenGL", ours, (theirs,))


def planes(images: int, size: int) -> torch.Tensor:
    """uv [N, size, size, 2] of a plane that turns from image to image and shows about 0.6 of the texture."""
    pixel = (torch.arange(size) + 0.5) / size - 0.5
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    turns = [(0.6 * math.cos(0.3 * n), 0.6 * math.sin(0.3 * n)) for n in range(images)]
    return torch.stack([torch.stack([c * x - s * y + 0.5, s * x + c * y + 0.5], -1) for c, s in turns])


def lookups(work: str, tex: torch.Tensor, points: torch.Tensor) -> Iterator[Pair]:
    """Bilinear or trilinear lookups beside grid_sample, which gets its own layout, channels first: the texture expanded
    to the minibatch, or the minibatch as one tall image."""
    images, D = points.shape[0], points.shape[-1]
    ours_in = [tex.clone().requires_grad_(), points.clone().requires_grad_()]
    first = tex.movedim(-1, 1).contiguous().requires_grad_()
    grid = (points * 2 - 1).requires_grad_()
    look_up = glraster.texture if D == 2 else glraster.texture3d

    def ours():
        return look_up(*ours_in, filter_mode="linear", boundary_mode="clamp")

    def sample(volume, grid):
        shaped = grid if D == 2 else grid[:, None]
        return functional.grid_sample(volume, shaped, padding_mode="border", align_corners=False)

    def expanded():
        return sample(first.expand(images, *first.shape[1:]), grid)

    def tall():
        return sample(first, grid.flatten(0, 1)[None])

    torch.testing.assert_close(
        ours(), expanded().reshape(images, -1, *points.shape[1:3]).movedim(1, -1), rtol=0, atol=1e-3
    )
    no_grad = [torch.no_grad()(call) for call in (ours, expanded, tall)]
    yield Pair(f"{work}, forward", "grid_sample", no_grad[0], tuple(no_grad[1:]))
    both = [with_gradient(ours, ours_in), *(with_gradient(call, [first, grid]) for call in (expanded, tall))]
    yield Pair(f"{work}, forward and backward", "grid_sample", both[0], tuple(both[1:]))


def with_gradient(run: Callable[[], torch.Tensor], inputs: list[torch.Tensor]) -> Callable[[], object]:
    grad = torch.rand_like(run())
    return lambda: torch.autograd.grad(run(), inputs, grad)


def textured_render(context, pos, tri, attr, tex, size: int) -> Callable[[], object]:
    """Forward and backward of a textured, antialiased render, gradients to positions and texture."""
    leaves = [pos.clone().requires_grad_(), tex.clone().requires_grad_()]
    topology = glraster.antialias_construct_topology_hash(tri)
    grad = torch.rand(len(pos), size, size, tex.shape[-1])

    def run():
        rast, _ = glraster.rasterize(context, leaves[0], tri, (size, size), grad_db=False)
        color = glraster.texture(leaves[1], glraster.interpolate(attr, rast, tri)[0], filter_mode="linear")
        return torch.autograd.grad(glraster.antialias(color, rast, leaves[0], tri, topology), leaves, grad)

    return run


def deodr(context, images: int, size: int) -> Iterator[Pair]:
    """The same sphere as deodr's scenes in the plane, one for each image; deodr runs on one thread."""
    import numpy as np
    from deodr.differentiable_renderer import Scene2D

    pos, tri = sphere(20_000, images, torch.device("cpu"))
    attr, tex = flat_uv(pos), torch.rand(1, TEXELS, TEXELS, 3)
    faces, V = tri.numpy().astype(np.uint32), pos.shape[1]
    scenes = []
    for image in pos:
        corners = (image[:, :2] + 1) * (size / 2) - 0.5
        scenes.append(
            Scene2D(
                *(faces, faces, corners.double().numpy(), image[:, 2].double().numpy() + 2),
                *(np.ones(len(faces), bool), (attr * (TEXELS - 3) + 1).double().numpy(), np.ones(V)),
                *(np.zeros((V, 3)), np.zeros(len(faces), bool), silhouettes(image, tri).numpy()),
                *(size, size, 3, tex[0].double().numpy()),
                background_color=np.zeros(3),
                backface_culling=False,
            )
        )
    grad = np.random.default_rng(0).random((size, size, 3))

    def theirs():
        for scene in scenes:
            scene.clear_gradients()
            scene.render(1)
            scene.render_backward(grad)

    yield Pair("render, forward and backward", "deodr", textured_render(context, pos, tri, attr, tex, size), (theirs,))


def silhouettes(image: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    """Which sides of front-facing triangles, bool [T, 3], have a back behind them; [V, 4] in clip space with w = 1."""
    a, b, c = image[tri.long(), :2].unbind(1)
    front = (b - a)[:, 0] * (c - a)[:, 1] > (b - a)[:, 1] * (c - a)[:, 0]
    sides = torch.stack([tri, tri.roll(-1, 1)], -1).long().sort(-1).values.reshape(-1, 2)
    _, edge = torch.unique(sides, dim=0, return_inverse=True)
    of_front = torch.zeros(int(edge.max()) + 1).index_add_(0, edge, front.repeat_interleave(3).float())
    return ((of_front == 1)[edge].reshape(-1, 3)) & front[:, None]


def pytorch3d(context, images: int, size: int) -> Iterator[Pair]:
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    pos, tri = sphere(20_000, images, torch.device("cpu"))
    points = torch.cat([-pos[..., :2], pos[..., 2:3] + 2], -1)  # there X points to the left and Z away
    meshes = Meshes(points, tri.long().expand(images, -1, -1))

    def theirs():
        return rasterize_meshes(meshes, image_size=size, blur_radius=0.0, faces_per_pixel=1)

    def ours():
        return glraster.rasterize(context, pos, tri, (size, size), grad_db=False)

    yield Pair("rasterize, 20,000 triangles", "pytorch3d", ours, (theirs,))


def drtk(context, images: int, size: int) -> Iterator[Pair]:
    import drtk as library

    pos, tri = sphere(20_000, images, torch.device("cpu"))
    pixels = torch.cat([(pos[..., :2] + 1) * (size / 2) - 0.5, pos[..., 2:3] + 2], -1).contiguous()

    def theirs():
        index = library.rasterize(pixels, tri, height=size, width=size)
        return library.render(pixels, tri, index)

    def ours():
        return glraster.rasterize(context, pos, tri, (size, size), grad_db=False)

    yield Pair("rasterize, 20,000 triangles", "drtk", ours, (theirs,))
