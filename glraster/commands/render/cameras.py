"""Where the cameras of `glraster render` are: around each mesh, or where a file says."""

import argparse
import dataclasses
import json
import math
from pathlib import Path

import torch

from ... import camera
from ...camera import View

__all__ = ["Sphere", "bounding_sphere", "make_views", "transforms", "with_depths"]

_MARGIN = 1.05  # by which what a camera sees is larger than the mesh
_NEAREST = 1e-3  # of the depth range's far end, where a camera is inside of the mesh


@dataclasses.dataclass(frozen=True)
class Sphere:
    """A sphere around a mesh, about the middle of its bounding box."""

    centre: torch.Tensor  # [3] float64
    radius: float


def bounding_sphere(pos: torch.Tensor, tri: torch.Tensor) -> Sphere:
    """The sphere around the vertices [V, 3] that triangles use."""
    used = pos[tri.unique().long()].double().cpu()
    low, high = used.aminmax(dim=0)
    centre = (low + high) / 2
    return Sphere(centre, (used - centre).norm(dim=1).max().item())


def make_views(options: argparse.Namespace, mesh: Sphere | None = None) -> list[View]:
    """The cameras, each with a name that no other has; in front of and behind a mesh there is just room for it.

    Args:
        options: of the command line.
        mesh: what they look at. Without it only names and resolutions count.

    Raises:
        ValueError, OSError: there is no such file of cameras, or it cannot be understood.
    """
    mesh = Sphere(torch.zeros(3, dtype=torch.float64), 1.0) if mesh is None else mesh
    views = _around(options, mesh) if options.cameras is None else _from_file(options.cameras, options.resolution)
    return [with_depths(view, mesh) for view in views]


def _around(options: argparse.Namespace, mesh: Sphere) -> list[View]:
    height, width = options.resolution or (512, 512)
    up = torch.eye(3, dtype=torch.float64)["xyz".index(options.up)]
    aside = torch.eye(3, dtype=torch.float64)["zxy".index(options.up)]  # where the first camera is
    if options.around == "turntable":
        azimuths = torch.arange(options.views, dtype=torch.float64) * (2 * math.pi / options.views)
        elevation = torch.full_like(azimuths, math.radians(options.elevation))
    else:
        y_up = camera.directions(options.views).double()
        azimuths, elevation = torch.atan2(y_up[:, 0], y_up[:, 2]), y_up[:, 1].asin()
    azimuths, elevation = azimuths[:, None], elevation[:, None]
    level = aside * azimuths.cos() + torch.linalg.cross(up, aside) * azimuths.sin()
    directions = level * elevation.cos() + up * elevation.sin()
    narrow = math.tan(math.radians(options.fov) / 2) * min(1.0, width / height)
    eyes = mesh.centre + directions * (mesh.radius * _MARGIN / math.sin(math.atan(narrow)))
    matrices = camera.look_at(eyes, mesh.centre, up.expand_as(eyes) * elevation.cos() - level * elevation.sin())
    projection = camera.perspective(options.fov, width / height).double()
    digits = max(3, len(str(options.views - 1)))
    return [View(matrix, projection, (height, width), f"{i:0{digits}}") for i, matrix in enumerate(matrices)]


def _from_file(path: str, resolution: tuple[int, int] | None) -> list[View]:
    views = camera.read_colmap(path) if Path(path).is_dir() else camera.read_transforms(path, resolution)
    if not views:
        raise ValueError(f"{path} holds no cameras")
    names = [Path(view.name).stem or f"{index:03}" for index, view in enumerate(views)]
    if len(set(names)) < len(names):  # those of several folders
        names = ["_".join(Path(view.name).with_suffix("").parts) for view in views]
    if len(set(names)) < len(names):
        names = [f"{index:03}_{name}" for index, name in enumerate(names)]
    return [
        View(view.view.double(), view.projection.double(), resolution or view.resolution, name)
        for view, name in zip(views, names, strict=True)
    ]


def with_depths(view: View, mesh: Sphere) -> View:
    """The same view with the depth range that the mesh takes, which says most about its depths."""
    to_view = view.view[2].double().cpu()
    distance = -(to_view[:3] @ mesh.centre + to_view[3]).item()
    far = distance + mesh.radius * _MARGIN
    if far <= 0:  # behind the camera
        return view
    near = max(distance - mesh.radius * _MARGIN, _NEAREST * far)
    return view.with_depths(near, far)


def transforms(options: argparse.Namespace, views: list[View]) -> str:
    """The text of a transforms.json, from which others take these cameras around a mesh, and their pictures."""
    height, width = views[0].resolution
    output = "color" if "color" in options.outputs else options.outputs[0]
    focal = views[0].projection[1, 1].item() * height / 2
    frames = [
        {
            "file_path": f"{output}/{view.name}.{options.format}",
            "transform_matrix": torch.linalg.inv(view.view).tolist(),
        }
        for view in views
    ]
    return json.dumps({"w": width, "h": height, "fl_x": focal, "fl_y": focal, "frames": frames}, indent=1)
