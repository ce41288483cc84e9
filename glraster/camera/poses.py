"""Where cameras and things are: rotations, rigid motions, cameras that look at a point."""

import math

import torch
from torch.nn.functional import normalize, pad

__all__ = [
    "degrees_between",
    "directions",
    "look_at",
    "orbit",
    "random_rotations",
    "rigid",
    "rotations",
    "transform",
]

_PARALLEL = 1e-6  # sine of the angle below which two directions count as one


def look_at(eye: torch.Tensor, target: torch.Tensor | None = None, up: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the view matrices of cameras that see a point in the middle of their image.

    Args:
        eye: [..., 3] camera positions in world space.
        target: [..., 3] or [3] points to look at; the origin by default.
        up: [..., 3] or [3] directions that point up in the image; +Y by default. Where one lies along the view, any
            horizon is taken.

    Returns:
        [..., 4, 4], world to camera. Gradients reach all arguments.
    """
    target = torch.zeros_like(eye) if target is None else target.expand_as(eye)
    up = torch.tensor([0.0, 1.0, 0.0]).to(eye) if up is None else up
    back = normalize(eye - target, dim=-1)
    up = normalize(up, dim=-1).expand_as(eye)
    across = torch.linalg.cross(up, back)
    other = torch.where(back[..., :1].abs() < 0.9, *torch.eye(3).to(eye)[[0, 2]])
    parallel = across.norm(dim=-1, keepdim=True) < _PARALLEL
    right = normalize(torch.where(parallel, torch.linalg.cross(other, back), across), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(back, right), back], dim=-2)
    return rigid(rotation, -(rotation @ eye[..., None])[..., 0])


def orbit(
    azimuth_degrees: float | torch.Tensor,
    elevation_degrees: float | torch.Tensor,
    distance: float | torch.Tensor,
    target: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the view matrices of cameras on spheres around a point, which they look at.

    Args:
        azimuth_degrees: [...], around +Y: 0 sees the target from +Z, 90 from +X.
        elevation_degrees: [...], above the horizon: 90 sees it from +Y, with -Z up in the image for an azimuth of 0.
        distance: [...], from the target.
        target: [..., 3] or [3]; the origin by default.

    Returns:
        [..., 4, 4], world to camera. Gradients reach all arguments.
    """
    tensors = [torch.as_tensor(value) for value in (azimuth_degrees, elevation_degrees, distance)]
    dtype = next((tensor.dtype for tensor in tensors if tensor.ndim and tensor.is_floating_point()), torch.float32)
    angles = [tensor.to(dtype) * (math.pi / 180) for tensor in tensors[:2]]
    azimuth, elevation, radius = torch.broadcast_tensors(*angles, tensors[2].to(dtype))
    level = torch.stack([azimuth.sin(), torch.zeros_like(azimuth), azimuth.cos()], dim=-1)
    vertical = torch.tensor([0.0, 1.0, 0.0]).to(level)
    cos, sin = elevation.cos()[..., None], elevation.sin()[..., None]
    target = torch.zeros(3).to(level) if target is None else target
    eye = target + radius[..., None] * (level * cos + vertical * sin)
    return look_at(eye, target, vertical * cos - level * sin)


def rigid(rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """Returns the [..., 4, 4] matrices of a rotation [..., 3, 3] followed by a translation [..., 3] (or [3])."""
    matrix = torch.eye(4).to(rotation).repeat(*rotation.shape[:-2], 1, 1)
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    return matrix


def rotations(vectors: torch.Tensor) -> torch.Tensor:
    """Returns the [..., 3, 3] rotations about the axes `vectors` [..., 3] by their lengths, in radians.

    These are OpenCV's rotation vectors, too (Rodrigues). Differentiable everywhere, at zero as well.
    """
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(cross)


def random_rotations(count: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Returns [count, 3, 3] uniformly distributed rotations (QR factors of Gaussian matrices, Stewart 1980)."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]  # makes the factor unique, hence uniform
    return q * torch.linalg.det(q)[:, None, None]


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


def transform(points: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Returns points [V, 3] in the space that each matrix [N, 4, 4] leads to: [N, V, 4], as `rasterize` wants them."""
    return pad(points, (0, 1), value=1.0) @ matrices.mT
