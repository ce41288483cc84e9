"""Projections: matrices from camera space (X right, Y up, the view along -Z) to OpenGL's clip space."""

import math
from collections.abc import Sequence

import torch

__all__ = ["FAR", "NEAR", "check_depths", "check_resolution", "frustum", "intrinsics", "orthographic", "perspective"]

NEAR, FAR = 0.1, 100.0  # the default depth range, in units of the scene

Number = float | torch.Tensor


def perspective(fov_degrees: Number = 40.0, aspect: Number = 1.0, near: float = NEAR, far: float = FAR) -> torch.Tensor:
    """Returns projections with a vertical angle of view, their axis in the middle of the image.

    Args:
        fov_degrees: the whole vertical angle, between 0 and 180; a number, or a tensor [...].
        aspect: width / height of the image, broadcast with `fov_degrees`.
        near, far: distances along the view between which things are seen, 0 < near < far.

    Returns:
        [..., 4, 4], float32 unless a tensor is of another dtype. Gradients reach `fov_degrees` and `aspect`.

    Raises:
        ValueError: a depth range that is none, or a number outside of 0..180 degrees.
    """
    check_depths("perspective", near, far)
    if not isinstance(fov_degrees, torch.Tensor) and not 0 < fov_degrees < 180:
        raise ValueError(f"perspective(): fov_degrees must lie between 0 and 180, got {fov_degrees}")
    scale = 1 / torch.tan(_tensor(fov_degrees) * (math.pi / 360))
    return _projection(scale / aspect, 0.0, 0.0, scale, 0.0, near, far)


def frustum(
    left: Number, right: Number, bottom: Number, top: Number, near: float = NEAR, far: float = FAR
) -> torch.Tensor:
    """Returns the projections that OpenGL's glFrustum makes: the sides of the image on the plane at distance `near`.

    Args:
        left, right, bottom, top: numbers or tensors [...]; the axis goes through (0, 0).
        near, far: as in `perspective`.

    Returns:
        [..., 4, 4]. Gradients reach the sides.

    Raises:
        ValueError: a depth range that is none.
    """
    check_depths("frustum", near, far)
    left, right, bottom, top = map(_tensor, (left, right, bottom, top))
    width, height = right - left, top - bottom
    x, y = (right + left) / width, (top + bottom) / height
    return _projection(2 * near / width, 0.0, x, 2 * near / height, y, near, far)


def orthographic(height: Number = 2.0, aspect: Number = 1.0, near: float = NEAR, far: float = FAR) -> torch.Tensor:
    """Returns parallel projections, along the view and centred on it.

    Args:
        height: of what the image shows, in units of the scene; a number or a tensor [...].
        aspect: width / height of the image.
        near, far: as in `perspective`, but any two numbers with near < far: negative distances lie behind the eye.

    Returns:
        [..., 4, 4]. Gradients reach `height` and `aspect`.

    Raises:
        ValueError: a depth range that is none.
    """
    if not near < far:
        raise ValueError(f"orthographic(): near must be less than far, got {near} and {far}")
    scale = 2 / _tensor(height)
    depth = far - near
    return _matrix(
        [[scale / aspect, 0, 0, 0], [0, scale, 0, 0], [0, 0, -2 / depth, -(far + near) / depth], [0, 0, 0, 1]]
    )


def intrinsics(
    K: torch.Tensor, resolution: Sequence[int], near: float = NEAR, far: float = FAR, *, pixel_centre: float = 0.0
) -> torch.Tensor:
    """Returns the projections of intrinsic matrices K, as OpenCV has them, free of distortion.

    K maps directions with x to the right, y **down** and z forward to pixels counted from the top left. The result
    still takes camera space as all projections here do: `from_opencv` turns the axes.

    Args:
        K: [..., 3, 3]: ((fx, skew, cx), (0, fy, cy), (0, 0, 1)), in pixels.
        resolution: (height, width) of the image that K is for, in pixels. The image drawn may have another.
        near, far: as in `perspective`.
        pixel_centre: the coordinate of the first pixel's centre: 0 in OpenCV, 0.5 in COLMAP and in most programs that
            put cx at width / 2.

    Returns:
        [..., 4, 4]. Gradients reach K.

    Raises:
        ValueError: another shape, or a depth range that is none.
    """
    check_depths("intrinsics", near, far)
    height, width = check_resolution("intrinsics", resolution)
    if K.shape[-2:] != (3, 3):
        raise ValueError(f"intrinsics(): K must be [..., 3, 3], got {list(K.shape)}")
    corner = 0.5 - pixel_centre  # from the coordinates of K to those where the image begins at 0
    x = 1 - (K[..., 0, 2] + corner) * (2 / width)
    y = (K[..., 1, 2] + corner) * (2 / height) - 1
    skew = K[..., 0, 1] * (-2 / width)
    return _projection(K[..., 0, 0] * (2 / width), skew, x, K[..., 1, 1] * (2 / height), y, near, far)


def check_depths(op: str, near: float, far: float) -> None:
    """Raises ValueError unless 0 < near < far."""
    if not 0 < near < far < math.inf:
        raise ValueError(f"{op}(): near and far must be 0 < near < far, got {near} and {far}")


def check_resolution(op: str, resolution: Sequence[int]) -> tuple[int, int]:
    """Returns (height, width), or raises ValueError."""
    sizes = [int(size) for size in resolution]
    if len(sizes) != 2 or min(sizes) < 1:
        raise ValueError(f"{op}(): resolution must be (height, width), both positive, got {tuple(resolution)}")
    return sizes[0], sizes[1]


def _projection(x: Number, skew: Number, x0: Number, y: Number, y0: Number, near: float, far: float) -> torch.Tensor:
    """Perspective with scales x and y; x0 and y0 are what z adds to clip space's x and y."""
    depth = near - far
    return _matrix(
        [[x, skew, x0, 0], [0, y, y0, 0], [0, 0, (near + far) / depth, 2 * near * far / depth], [0, 0, -1, 0]]
    )


def _matrix(rows: list[list[Number]]) -> torch.Tensor:
    """A matrix [..., 4, 4] of numbers and tensors, which are broadcast."""
    tensors = [entry for row in rows for entry in row if isinstance(entry, torch.Tensor)]
    like = sum(tensors, torch.zeros((), dtype=tensors[0].dtype, device=tensors[0].device))
    flat = [entry if isinstance(entry, torch.Tensor) else torch.full_like(like, entry) for row in rows for entry in row]
    return torch.stack(torch.broadcast_tensors(*flat), dim=-1).unflatten(-1, (4, 4))


def _tensor(number: Number) -> torch.Tensor:
    if isinstance(number, torch.Tensor):
        return number if number.is_floating_point() else number.float()
    return torch.tensor(float(number))
