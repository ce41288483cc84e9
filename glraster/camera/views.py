"""Cameras of other programs, as a pair of matrices: world to camera, camera to clip space."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from .poses import rigid
from .projections import FAR, NEAR, check_depths, check_resolution, intrinsics, perspective

__all__ = ["View", "from_opencv", "from_opengl", "from_pytorch3d"]


@dataclass(frozen=True)
class View:
    """A camera, or several of one resolution.

    Attributes:
        view: [..., 4, 4], world to camera: X right, Y up, the view along -Z.
        projection: [..., 4, 4], camera to OpenGL's clip space.
        resolution: (height, width) of its image, in pixels.
        name: of its image file, where it comes from a list of them.
    """

    view: torch.Tensor
    projection: torch.Tensor
    resolution: tuple[int, int]
    name: str = ""

    @property
    def matrix(self) -> torch.Tensor:
        """[..., 4, 4], world to clip space."""
        return self.projection @ self.view

    @property
    def eye(self) -> torch.Tensor:
        """[..., 3], where the camera is, in world space."""
        return -(self.view[..., :3, :3].mT @ self.view[..., :3, 3:])[..., 0]

    def with_depths(self, near: float, far: float) -> "View":
        """Returns this view, of perspective, with another depth range: depths say most where nothing is wasted.

        Raises:
            ValueError: a depth range that is none.
        """
        check_depths("View.with_depths", near, far)
        projection = self.projection.clone()
        projection[..., 2, :] = perspective(90.0, 1.0, near, far)[2]
        return replace(self, projection=projection)


def from_opengl(
    view: torch.Tensor | Sequence[float],
    projection: torch.Tensor | Sequence[float],
    resolution: Sequence[int],
    *,
    column_major: bool = False,
) -> View:
    """Makes a view of OpenGL's two matrices.

    Args:
        view: [..., 4, 4] or the 16 numbers of one: world to camera, OpenGL's "modelview".
        projection: the same, camera to clip space.
        resolution: (height, width).
        column_major: whether the numbers stand column after column, as OpenGL has them in memory (glGetFloatv,
            glUniformMatrix4fv without transposition, GLM), not row after row.

    Raises:
        ValueError: another shape.
    """
    matrices = []
    for name, given in (("view", view), ("projection", projection)):
        matrix = given if isinstance(given, torch.Tensor) else torch.tensor(given, dtype=torch.float32)
        matrix = matrix.unflatten(-1, (4, 4)) if matrix.shape == (16,) else matrix
        if matrix.shape[-2:] != (4, 4):
            raise ValueError(f"from_opengl(): {name} must be [..., 4, 4] or 16 numbers, got {list(matrix.shape)}")
        matrices.append(matrix.mT if column_major else matrix)
    return View(matrices[0], matrices[1], check_resolution("from_opengl", resolution))


def from_opencv(
    K: torch.Tensor,
    world_to_camera: torch.Tensor,
    resolution: Sequence[int],
    near: float = NEAR,
    far: float = FAR,
    *,
    pixel_centre: float = 0.0,
) -> View:
    """Makes a view of OpenCV's matrices, for images without distortion (undistort others first).

    OpenCV's camera looks along +Z with X to the right and Y down. Of a rotation vector and a translation,
    `rigid(rotations(rvec), tvec)` is `world_to_camera`.

    Args:
        K: [..., 3, 3] intrinsic matrix, in pixels.
        world_to_camera: [..., 3, 4] or [..., 4, 4]: (R | t).
        resolution: (height, width) of the image that K is for.
        near, far: distances along the view between which things are seen.
        pixel_centre: as in `intrinsics`: 0 in OpenCV, 0.5 in COLMAP.

    Gradients reach K and `world_to_camera`.

    Raises:
        ValueError: another shape, or a depth range that is none.
    """
    if world_to_camera.shape[-2:] not in ((3, 4), (4, 4)):
        need = "[..., 3, 4] or [..., 4, 4]"
        raise ValueError(f"from_opencv(): world_to_camera must be {need}, got {list(world_to_camera.shape)}")
    turn = torch.tensor([1.0, -1.0, -1.0]).to(world_to_camera)  # half a turn about X
    view = rigid(turn[:, None] * world_to_camera[..., :3, :3], turn * world_to_camera[..., :3, 3])
    projection = intrinsics(K, resolution, near, far, pixel_centre=pixel_centre)
    return View(view, projection, check_resolution("from_opencv", resolution))


def from_pytorch3d(
    R: torch.Tensor,
    T: torch.Tensor,
    resolution: Sequence[int],
    *,
    fov_degrees: float | torch.Tensor | None = None,
    focal_length: torch.Tensor | None = None,
    principal_point: torch.Tensor | None = None,
    in_ndc: bool = True,
    near: float = NEAR,
    far: float = FAR,
) -> View:
    """Makes a view of what PyTorch3D's perspective cameras are made of.

    PyTorch3D multiplies row vectors, X_camera = X R + T; its camera looks along +Z with X to the **left** and Y up.
    One unit of its normalised coordinates is half the shorter side of the image.

    Args:
        R: [..., 3, 3].
        T: [..., 3].
        resolution: (height, width), PyTorch3D's `image_size`.
        fov_degrees: of FoVPerspectiveCameras (aspect ratio 1): the angle across the shorter side.
        focal_length: [..., 2] or [...], of PerspectiveCameras, instead of `fov_degrees`.
        principal_point: [..., 2], with `focal_length`; by default the middle of the image.
        in_ndc: whether these two are in normalised coordinates; else in pixels, the point from the top left corner.
        near, far: distances along the view between which things are seen.

    Gradients reach the tensors.

    Raises:
        ValueError: neither or both of `fov_degrees` and `focal_length`, another shape, or a depth range that is none.
    """
    check_depths("from_pytorch3d", near, far)
    height, width = check_resolution("from_pytorch3d", resolution)
    if (fov_degrees is None) == (focal_length is None):
        raise ValueError("from_pytorch3d(): one of fov_degrees and focal_length is needed, and not both")
    if R.shape[-2:] != (3, 3) or T.shape[-1:] != (3,):
        raise ValueError(f"from_pytorch3d(): R, T must be [..., 3, 3], [..., 3], got {list(R.shape)}, {list(T.shape)}")
    half = min(height, width) / 2  # pixels of one normalised unit
    if focal_length is None:
        focal = half / torch.tan(torch.as_tensor(fov_degrees).to(R) * (math.pi / 360))
    else:
        focal = focal_length * half if in_ndc else focal_length
    focal = focal if focal.shape[-1:] == (2,) else focal[..., None].expand(*focal.shape, 2)
    middle = torch.tensor([width / 2, height / 2]).to(R)
    if principal_point is None:
        point = middle.expand_as(focal)
    else:
        point = middle - principal_point * half if in_ndc else principal_point
    zero, one = torch.zeros_like(focal[..., 0]), torch.ones_like(focal[..., 0])
    rows = [focal[..., 0], zero, point[..., 0], zero, focal[..., 1], point[..., 1], zero, zero, one]
    K = torch.stack(torch.broadcast_tensors(*rows), dim=-1).unflatten(-1, (3, 3))
    turn = torch.tensor([-1.0, 1.0, -1.0]).to(R)  # half a turn about Y
    view = rigid(turn[:, None] * R.mT, turn * T)
    return View(view, intrinsics(K, resolution, near, far, pixel_centre=0.5), (height, width))
