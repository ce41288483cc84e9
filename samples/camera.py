"""Camera matrices of the samples: column vectors, OpenGL clip space, a camera that looks along -Z with Y up."""

import math

import torch


def perspective(fov_degrees: float = 40.0, aspect: float = 1.0, near: float = 0.1, far: float = 10.0) -> torch.Tensor:
    """Returns the [4, 4] OpenGL projection; `fov_degrees` is the whole vertical angle, `aspect` width / height."""
    scale = 1.0 / math.tan(math.radians(fov_degrees) / 2)
    depth = near - far
    return torch.tensor(
        [
            [scale / aspect, 0.0, 0.0, 0.0],
            [0.0, scale, 0.0, 0.0],
            [0.0, 0.0, (near + far) / depth, 2 * near * far / depth],
            [0.0, 0.0, -1.0, 0.0],
        ]
    )


def look_at(eye: torch.Tensor, target: torch.Tensor | None = None, up: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the [..., 4, 4] world-to-camera matrices of cameras at `eye` that see `target` in the middle.

    Args:
        eye: [..., 3] camera positions.
        target: [..., 3] or [3] points to look at; the origin by default.
        up: [..., 3] or [3] directions that point up in the image, not along the view; +Y by default.
    """
    target = torch.zeros_like(eye) if target is None else target.expand_as(eye)
    up = torch.tensor([0.0, 1.0, 0.0]).to(eye) if up is None else up
    back = torch.nn.functional.normalize(eye - target, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(up.expand_as(eye), back), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(back, right), back], dim=-2)
    return rigid(rotation, -(rotation @ eye[..., None])[..., 0])


def rigid(rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """Returns the [..., 4, 4] matrices of a rotation [..., 3, 3] followed by a translation [..., 3] (or [3])."""
    matrix = torch.eye(4).to(rotation).repeat(*rotation.shape[:-2], 1, 1)
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    return matrix


def random_rotations(count: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Returns [count, 3, 3] uniformly distributed rotations (QR factors of Gaussian matrices, Stewart 1980)."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]  # makes the factor unique, hence uniform
    return q * torch.linalg.det(q)[:, None, None]


def rotations(vectors: torch.Tensor) -> torch.Tensor:
    """Returns the [..., 3, 3] rotations about the axes `vectors` [..., 3] by their lengths, in radians."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(cross)


def degrees_between(a: torch.Tensor, b: torch.Tensor) -> float:
    """Returns the angle of the rotation that leads from one rotation [3, 3] to another."""
    return math.degrees(2 * math.asin(min(1.0, (a - b).norm().item() / math.sqrt(8))))


def directions(count: int) -> torch.Tensor:
    """Returns [count, 3] unit vectors evenly spread over the sphere (a Fibonacci lattice), none of them along Y."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    y = 1 - 2 * index / count
    azimuth = index * math.pi * (3 - math.sqrt(5))
    ring = (1 - y * y).sqrt()
    return torch.stack([ring * azimuth.sin(), y, ring * azimuth.cos()], dim=-1).float()


def orbit(eyes: torch.Tensor, fov_degrees: float = 40.0) -> torch.Tensor:
    """Returns the [N, 4, 4] world-to-clip matrices of cameras at `eyes` [N, 3] that look at the origin."""
    return perspective(fov_degrees).to(eyes) @ look_at(eyes)


def transform(points: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Returns points [V, 3] in the clip space of each matrix [N, 4, 4]: [N, V, 4], as `rasterize` wants them."""
    return torch.nn.functional.pad(points, (0, 1), value=1.0) @ matrices.mT
