"""What the benchmark of visibility gradients holds to be true: central differences of supersampled images."""

import functools
from collections.abc import Callable

import torch
from visibility_scenes import Scene, to_clip

import glraster
from glraster.soft import soft_rasterize

__all__ = [
    "Method",
    "by",
    "draw",
    "places",
    "soft",
    "supersampled",
    "true_derivative",
    "true_vertex_gradient",
    "vertex_gradients",
    "weight",
]

# Of a context, a scene, positions [N, V, 4], the corners' colours [3 T, C] and a size makes images [N, size, size, C].
Method = Callable[..., torch.Tensor]
SAMPLES = 8  # of the truth, along each axis of a pixel
PLACES = 4  # of the sample that the methods see
STEP = 1.0  # of central differences, in pixels, for a velocity of one
# Of single vertices, which bend the outline as they move.
VERTEX_SAMPLES, VERTEX_STEP = 16, 0.25


def weight(size: int) -> torch.Tensor:
    """What the loss multiplies the image with, [size, size]."""
    f = (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1
    return 1 + 0.5 * torch.sin(2.1 * f + 0.3)[None] + 0.5 * torch.cos(1.7 * f - 0.4)[:, None]


def draw(glctx, scene: Scene, pos: torch.Tensor, colors: torch.Tensor, size: int, operation: Callable | None = None):
    """Images [N, size, size, C] of the corners' colours [3 T, C], at positions [N, V, 4]."""
    rast, _ = glraster.rasterize(glctx, pos, scene.tri, (size, size), grad_db=False)
    image, _ = glraster.interpolate(colors.to(pos), rast, _corners(colors))
    return image if operation is None else operation(image, rast, pos, scene.tri)


def by(operation: Callable) -> Method:
    """The method that ends with an operation of (color, rast, pos, tri)."""
    return functools.partial(draw, operation=operation)


def soft(glctx, scene: Scene, pos: torch.Tensor, colors: torch.Tensor, size: int) -> torch.Tensor:
    """Soft rasterization with edges that fade over a pixel."""
    depths = {"depth": "z"} if (pos[..., 3] == 1).all() else {"near": 0.5, "far": 10.0}
    attributes = {"attr": colors.to(pos), "attr_tri": _corners(colors)}
    rgba, _ = soft_rasterize(pos, scene.tri, resolution=(size, size), sigma=(2 / size) ** 2, **attributes, **depths)
    return rgba[..., :-1] * rgba[..., -1:]


def _corners(colors: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(colors), dtype=torch.int32).reshape(-1, 3)


def supersampled(glctx, scene: Scene, vertices: torch.Tensor, camera: str, colors: torch.Tensor, size: int):
    """The image [size, size, C] of so many samples per pixel."""
    with torch.no_grad():
        image = draw(glctx, scene, to_clip(vertices, camera)[None].float(), colors, SAMPLES * size)[0]
    return image.reshape(size, SAMPLES, size, SAMPLES, -1).mean((1, 3), dtype=torch.float64)


def true_derivative(glctx, scene: Scene, velocity: torch.Tensor, camera: str, colors: torch.Tensor, size: int):
    """Of the loss of each colour, [C]."""
    step = STEP * 2 / size
    ahead, behind = (
        supersampled(glctx, scene, scene.vertices + s * step * velocity, camera, colors, size) for s in (1, -1)
    )
    return ((ahead - behind) * weight(size)[..., None]).mean((0, 1)) / (2 * step)


def places(pos: torch.Tensor, size: int) -> torch.Tensor:
    """Positions [V, 4] moved so that pixel centres see other places of their pixels: [PLACES^2, V, 4]."""
    offset = ((torch.arange(PLACES) + 0.5) / PLACES - 0.5) * 2 / size
    offset = torch.cartesian_prod(offset, offset).to(pos)
    return torch.cat([pos[None, :, :2] + offset[:, None] * pos[:, 3:], pos[None, :, 2:].expand(len(offset), -1, -1)], 2)


def vertex_gradients(
    glctx, scene: Scene, camera: str, colors: torch.Tensor, size: int, method: Method
) -> list[torch.Tensor]:
    """The method's gradient of the loss of each colour with respect to vertices, [V, 3], mean over the places."""
    vertices = scene.vertices.clone().requires_grad_()
    pos = places(to_clip(vertices, camera), size).float()
    found = []
    for k in range(colors.shape[1]):
        image = method(glctx, scene, pos, colors[:, k : k + 1], size)
        loss = (image[..., 0] * weight(size).float()).mean()
        found.append(torch.autograd.grad(loss, vertices, retain_graph=True)[0])
    return found


def true_vertex_gradient(
    glctx, scene: Scene, vertex: int, camera: str, colors: torch.Tensor, size: int
) -> torch.Tensor:
    """Of the loss of each colour with respect to a vertex, [C, 3]: central differences of the part that it changes."""
    ring = scene.tri.long()[(scene.tri == vertex).any(1)].unique()
    clip = to_clip(scene.vertices[ring], camera)
    pixel = (clip[:, :2] / clip[:, 3:] + 1) / 2 * size
    low = (pixel.amin(0) - 2).floor()
    side = int((pixel.amax(0) + 2 - low).max().ceil())
    centre = (low + side / 2) / size * 2 - 1  # of the square part of the image, in normalised device coordinates
    columns, rows = (slice(max(int(k), 0), min(int(k) + side, size)) for k in low)
    inside = torch.zeros(side, side, 1, dtype=torch.float64)
    inside[
        rows.start - int(low[1]) : rows.stop - int(low[1]), columns.start - int(low[0]) : columns.stop - int(low[0])
    ] = weight(size)[rows, columns, None]
    step, found = VERTEX_STEP * 2 / size, []
    for axis in range(3):
        ends = []
        for sign in (1, -1):
            vertices = scene.vertices.clone()
            vertices[vertex, axis] += sign * step
            pos = to_clip(vertices, camera)
            pos[:, :2] = (pos[:, :2] - centre * pos[:, 3:]) * (size / side)
            with torch.no_grad():
                image = draw(glctx, scene, pos[None].float(), colors, VERTEX_SAMPLES * side)[0]
            ends.append(image.reshape(side, VERTEX_SAMPLES, side, VERTEX_SAMPLES, -1).mean((1, 3), dtype=torch.float64))
        found.append(((ends[0] - ends[1]) * inside).sum((0, 1)) / (2 * step * size**2))
    return torch.stack(found, 1)
