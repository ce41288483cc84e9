"""Where the object is: a sphere around it, found from cameras and masks, in whose units the fit works."""

import dataclasses

import torch

from glraster.camera import View

from .photos import Photos

__all__ = ["Frame"]

_SIZE = 64  # of the masks that are looked at
_DEPTHS = 2.0  # radii before and behind the middle that cameras see
_NEAREST = 1e-3  # of the depth range's far end, where a camera is inside of it


@dataclasses.dataclass(frozen=True)
class Frame:
    """A sphere around the object."""

    centre: torch.Tensor  # [3] float64, in the world of the cameras
    radius: float

    @classmethod
    def around(cls, photos: Photos) -> "Frame":
        """Finds the sphere: its middle is nearest to the rays through the middles of the masks, and it holds them all.

        Without masks the middle is what the cameras look at, and the sphere the largest that all of them see whole.

        Raises:
            ValueError: the cameras do not tell where the object is.
        """
        masks = _masks(photos)
        grid = _pixel_centres(*masks.shape[1:])
        eyes = torch.stack([view.eye.double() for view in photos.views])
        weights = masks / masks.sum((1, 2), keepdim=True)
        middles = (weights[..., None] * grid).sum((1, 2))
        through = torch.stack([_directions(view, at) for view, at in zip(photos.views, middles, strict=True)])
        across = torch.eye(3, dtype=torch.float64) - through[:, :, None] * through[:, None, :]
        if torch.linalg.eigvalsh(across.mean(0))[0] < 1e-6:
            raise ValueError("the cameras must see the object from different sides, and all look the same way")
        centre = torch.linalg.solve(across.sum(0), (across @ eyes[:, :, None]).sum(0))[:, 0]
        radii = []
        for view, eye, mask in zip(photos.views, eyes, masks, strict=True):
            where = grid[mask > 0.5] if photos.masked else _border(grid)
            if len(where):
                offset = torch.linalg.cross(_directions(view, where), (centre - eye).expand(len(where), 3))
                radii.append(offset.norm(dim=-1).max() if photos.masked else offset.norm(dim=-1).min())
        if not radii or not max(radii) > 0:
            raise ValueError("the masks are too small to tell where the object is")
        return cls(centre, float(max(radii) if photos.masked else min(radii)))

    def to_world(self, pos: torch.Tensor) -> torch.Tensor:
        """Returns positions [V, 3] of the sphere's units, the origin its middle, in the world of the cameras."""
        return (pos.double() * self.radius + self.centre.to(pos.device)).to(pos.dtype)

    def matrices(self, views: tuple[View, ...]) -> torch.Tensor:
        """Returns [N, 4, 4] float32, from the sphere's units to clip space, with depths for what is near the sphere."""
        from_units = torch.diag(torch.tensor([*[self.radius] * 3, 1.0], dtype=torch.float64))
        from_units[:3, 3] = self.centre
        matrices = []
        for view in views:
            distance = -(view.view[2, :3].double() @ self.centre + view.view[2, 3]).item()
            far = distance + _DEPTHS * self.radius
            if far > 0:
                near = max(distance - _DEPTHS * self.radius, _NEAREST * far)
                view = view.with_depths(near, far)
            matrices.append(view.projection.double() @ view.view.double() @ from_units)
        return torch.stack(matrices).float()


def _masks(photos: Photos) -> torch.Tensor:
    """[N, h, w] float64 from 0 to 1, small."""
    opacity = photos.images[..., 3].double()[:, None] / 255
    height, width = (min(_SIZE, side) for side in opacity.shape[2:])
    return torch.nn.functional.adaptive_avg_pool2d(opacity, (height, width))[:, 0]


def _pixel_centres(height: int, width: int) -> torch.Tensor:
    """[h, w, 2], x and y in clip space."""
    y, x = ((torch.arange(size, dtype=torch.float64) * 2 + 1) / size - 1 for size in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)


def _border(grid: torch.Tensor) -> torch.Tensor:
    return torch.cat([grid[0], grid[-1], grid[:, 0], grid[:, -1]])


def _directions(view: View, at: torch.Tensor) -> torch.Tensor:
    """Unit vectors [..., 3] from the camera through points [..., 2] of its image."""
    inverse = torch.linalg.inv(view.projection.double() @ view.view.double())
    clip = torch.cat([at, torch.zeros_like(at[..., :1]), torch.ones_like(at[..., :1])], dim=-1)
    points = clip @ inverse.mT
    return torch.nn.functional.normalize(points[..., :3] / points[..., 3:] - view.eye.double(), dim=-1)
