"""Scenes that several tests draw, as clip-space positions and triangles."""

import math

import numpy as np
import torch
import trimesh
from reference import rasterize as reference

EMPTY_TRI = torch.zeros((0, 3), dtype=torch.int32)


def triangles(*rows) -> torch.Tensor:
    """[T, 3] int32 from rows of three indices."""
    return torch.tensor(np.array(rows), dtype=torch.int32).reshape(-1, 3)


def soup(seed: int, num_images: int, num_triangles: int, behind_eye: float = 0.15) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles without shared vertices: float32 [N, 3 T, 4] and int32 [T, 3]; some corners have w < 0."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_images, num_triangles * 3)
    w = 0.5 + 1.5 * torch.rand(shape, generator=generator)
    w[torch.rand(shape, generator=generator) < behind_eye] *= -0.5
    ndc = torch.randn((*shape, 3), generator=generator) * torch.tensor([0.8, 0.8, 0.5])
    pos = torch.cat([ndc * w.abs()[..., None], w[..., None]], -1)
    return pos, torch.arange(num_triangles * 3, dtype=torch.int32).reshape(-1, 3)


def camera(direction: np.ndarray, distance: float = 3.0, fov: float = 40.0) -> torch.Tensor:
    """[4, 4] float32 matrix to clip space of a camera that looks at the origin from `direction`."""
    back = direction / np.linalg.norm(direction)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, np.cross(back, right), back])
    view[2, 3] = -distance
    near, far, scale = 0.1, 10.0, 1 / np.tan(np.radians(fov) / 2)
    projection = np.diag([scale, scale, (far + near) / (near - far), 0.0])
    projection[2, 3], projection[3, 2] = 2 * far * near / (near - far), -1.0
    return torch.tensor(projection @ view, dtype=torch.float32)


def directions(count: int) -> np.ndarray:
    """[count, 3] directions spread evenly over the sphere."""
    i = np.arange(count) + 0.5
    height, angle = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], 1)


def project(points: np.ndarray, matrices: list[torch.Tensor]) -> torch.Tensor:
    """Points [V, 3] in the clip space of each matrix: [N, V, 4]."""
    homogeneous = torch.nn.functional.pad(torch.as_tensor(np.asarray(points), dtype=torch.float32), (0, 1), value=1.0)
    return homogeneous @ torch.stack(matrices).mT


def sphere(subdivisions: int, num_views: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """A closed mesh of 20 * 4^subdivisions triangles seen from several directions: [N, V, 4] and [T, 3]."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=0.9)
    return project(mesh.vertices, [camera(d) for d in directions(num_views)]), triangles(*mesh.faces)


def edge_distance(pos: torch.Tensor, tri: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """How far each pixel's centre is from the nearest edge line of the triangle it shows, in pixels.

    Args:
        pos: [N, V, 4] or [V, 4].
        tri: [T, 3].
        ids: triangle per pixel [N, H, W], -1 for none.

    Returns:
        [N, H, W] float64, infinity where there is no triangle.
    """
    image, row, column = (ids >= 0).nonzero(as_tuple=True)
    height, width = ids.shape[1:]
    corners = tri.long()[ids[image, row, column]]
    corners = (pos[corners] if pos.ndim == 2 else pos[image[:, None], corners]).double()
    x, y, w = corners[..., 0] * width / 2, corners[..., 1] * height / 2, corners[..., 3]
    sx, sy = (column + 0.5 - width / 2)[:, None], (row + 0.5 - height / 2)[:, None]
    (x0, y0, w0), (x1, y1, w1) = (x, y, w), (x.roll(-1, 1), y.roll(-1, 1), w.roll(-1, 1))
    a, b, c = y0 * w1 - w0 * y1, w0 * x1 - x0 * w1, x0 * y1 - y0 * x1  # the line a sx + b sy + c = 0
    distance = (a * sx + b * sy + c).abs() / torch.hypot(a, b)
    empty = torch.full(ids.shape, torch.inf, dtype=torch.float64, device=ids.device)
    return empty.index_put((image, row, column), distance.min(1)[0])


def assert_same_visibility(
    ids: torch.Tensor, expected: torch.Tensor, pos: torch.Tensor, tri: torch.Tensor, *, clips_first: bool = False
) -> None:
    """Asserts equal triangle ids; a rasterizer that snaps may differ where a centre is 1/128 pixel from an edge.

    Args:
        clips_first: it cuts triangles at the near and the far plane, then snaps, and finds depths between what it has
            snapped: cuts and lines where triangles meet move too. Needs pos [N, V, 4] on the CPU.
    """
    differ = ids != expected
    if differ.any():
        distance = torch.minimum(edge_distance(pos, tri, ids), edge_distance(pos, tri, expected))
        wrong = differ & (distance >= 1 / 128)
        if clips_first:
            wrong[wrong.clone()] = ~shown_nearby(wrong, ids, pos, tri)
        places = [(*place.tolist(), int(ids[tuple(place)]), int(expected[tuple(place)])) for place in wrong.nonzero()]
        assert not places, f"{int(differ.sum())} pixels differ; image, row, column, found, expected: {places}"
        assert differ.sum() <= 4 + expected.numel() // 500


def shown_nearby(where: torch.Tensor, ids: torch.Tensor, pos: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    """Which of the pixels `where` show what the reference shows at a point less than 1/128 pixel from their centres.

    Args:
        where: bool [N, H, W].
        ids: triangle per pixel [N, H, W], -1 for none.
        pos: [N, V, 4].
        tri: [T, 3].

    Returns:
        bool, one per pixel of `where`.
    """
    image, row, column = where.nonzero(as_tuple=True)
    height, width = ids.shape[1:]
    angle = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    points = torch.cat([circle / 129, circle / 256])[None]  # in pixels, from the centre
    centre = torch.stack([column + 0.5 - width / 2, row + 0.5 - height / 2], 1)[:, None]
    x, y, z, w = pos.double()[image][:, None].unbind(-1)  # each [pixels, 1, V]
    sx, sy = (centre + points)[..., None].unbind(2)  # each [pixels, points, 1]
    sx, sy, z, w = torch.broadcast_tensors(sx, sy, z, w)
    one_pixel_each = torch.stack([x * width / 2 - sx * w, y * height / 2 - sy * w, z, w], -1)
    found = reference.rasterize(one_pixel_each.flatten(0, 1), tri, (1, 1)).view(len(image), points.shape[1])
    return (found == ids[where][:, None]).any(1)


def drawn_by_a_card(glctx) -> bool:
    """Whether a graphics card rasterizes, by OpenGL."""
    return "NVIDIA" in getattr(glctx, "egl_device", "")


def assert_same_layers(layers: torch.Tensor, expected: torch.Tensor, pos: torch.Tensor, tri: torch.Tensor) -> None:
    """`assert_same_visibility` for ids [L, N, H, W] from depth peeling.

    Where one layer of a pixel differs, all those behind it are moved: what counts is the first.
    """
    first = (layers != expected).int().argmax(0, keepdim=True)
    assert_same_visibility(layers.gather(0, first)[0], expected.gather(0, first)[0], pos, tri)


def flat_soup(seed: int, num_images: int, num_triangles: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles as from `soup`, but each at one depth of its own, so that none crosses the near or the far plane."""
    pos, tri = soup(seed, num_images, num_triangles)
    pos[..., 2] = torch.linspace(-0.9, 0.9, num_triangles).repeat_interleave(3) * pos[..., 3]
    return pos, tri
