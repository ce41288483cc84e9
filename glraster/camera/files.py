"""Cameras from files: COLMAP's sparse models, and the transforms.json of Blender and NeRF programs."""

import json
import math
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .projections import FAR, NEAR, intrinsics
from .views import View, from_opencv

__all__ = ["read_colmap", "read_transforms"]

# COLMAP's models by number: name, and how many of the parameters are focal lengths. All begin with these and (cx, cy).
_MODELS = {0: ("SIMPLE_PINHOLE", 1, 3), 1: ("PINHOLE", 2, 4), 2: ("SIMPLE_RADIAL", 1, 4), 3: ("RADIAL", 1, 5)}
_MODELS |= {4: ("OPENCV", 2, 8), 5: ("OPENCV_FISHEYE", 2, 8), 6: ("FULL_OPENCV", 2, 12), 7: ("FOV", 2, 5)}
_MODELS |= {8: ("SIMPLE_RADIAL_FISHEYE", 1, 4), 9: ("RADIAL_FISHEYE", 1, 5), 10: ("THIN_PRISM_FISHEYE", 2, 12)}
_BY_NAME = {name: (focals, count) for name, focals, count in _MODELS.values()}
_NEVER_STRAIGHT = ("FISHEYE", "FOV")  # distort even where all their coefficients are zero


class _Camera(NamedTuple):
    model: str
    width: int
    height: int
    params: list[float]


class _Image(NamedTuple):
    quaternion: list[float]  # w, x, y, z
    translation: list[float]
    camera: int
    name: str


def read_colmap(folder: str | os.PathLike, near: float = NEAR, far: float = FAR) -> list[View]:
    """Reads the cameras of a COLMAP model, text or binary.

    Args:
        folder: that of cameras.txt and images.txt, or cameras.bin and images.bin; or one with these in sparse/0 or
            sparse.
        near, far: distances along the view between which things are seen.

    Returns:
        A view of each image, float32, sorted by name.

    Raises:
        FileNotFoundError: no model there.
        ValueError: a file cannot be understood, or a camera has distortion; the message names the file.
    """
    for place in (Path(folder), Path(folder, "sparse", "0"), Path(folder, "sparse")):
        for ending, read_cameras, read_images in (
            (".bin", _binary_cameras, _binary_images),
            (".txt", _text_cameras, _text_images),
        ):
            paths = place / f"cameras{ending}", place / f"images{ending}"
            if all(path.is_file() for path in paths):
                cameras = {number: camera for number, camera in _read(paths[0], read_cameras)}
                images = list(_read(paths[1], read_images))
                views = [_colmap_view(image, cameras, paths, near, far) for image in images]
                return sorted(views, key=lambda view: view.name)
    raise FileNotFoundError(f"{folder}: no COLMAP model (cameras and images, .bin or .txt) there or in sparse/0")


def _read(path: Path, reader: Any) -> list[Any]:
    try:
        return list(reader(path))
    except (struct.error, IndexError, KeyError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is not a file of COLMAP's, or not all of one: {error}") from error


def _text_cameras(path: Path) -> Iterator[tuple[int, _Camera]]:
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            number, model, width, height, *params = line.split()
            if len(params) != _BY_NAME[model][1]:
                raise ValueError(f"{model} has {_BY_NAME[model][1]} parameters, got {line!r}")
            yield int(number), _Camera(model, int(width), int(height), [float(p) for p in params])


def _text_images(path: Path) -> Iterator[_Image]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    for line in lines[::2]:  # every second one lists points, and may be empty
        if line.strip():
            words = line.split(maxsplit=9)
            numbers = [float(word) for word in words[1:8]]
            yield _Image(numbers[:4], numbers[4:], int(words[8]), words[9].strip())


def _binary_cameras(path: Path) -> Iterator[tuple[int, _Camera]]:
    data, at = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        number, model, width, height = struct.unpack_from("<iiQQ", data, at)
        name, _, count = _MODELS[model]
        params = struct.unpack_from(f"<{count}d", data, at + 24)
        at += 24 + 8 * count
        yield number, _Camera(name, width, height, list(params))


def _binary_images(path: Path) -> Iterator[_Image]:
    data, at = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", data)[0]):
        _, *numbers, camera = struct.unpack_from("<i7di", data, at)
        end = data.index(b"\0", at + 64)
        (points,) = struct.unpack_from("<Q", data, end + 1)
        yield _Image(numbers[:4], numbers[4:], camera, data[at + 64 : end].decode())
        at = end + 9 + 24 * points


def _colmap_view(image: _Image, cameras: dict[int, _Camera], paths: tuple[Path, Path], near: float, far: float) -> View:
    if image.camera not in cameras:
        raise ValueError(f"{paths[1]}: {image.name} has camera {image.camera}, which {paths[0]} does not have")
    camera = cameras[image.camera]
    focals, _ = _BY_NAME[camera.model]
    *focal, cx, cy = camera.params[: focals + 2]
    if any(camera.params[focals + 2 :]) or any(word in camera.model for word in _NEVER_STRAIGHT):
        cure = "undistort the images first (colmap image_undistorter)"
        raise ValueError(f"{paths[0]}: camera {image.camera} is a {camera.model} with distortion: {cure}")
    K = torch.tensor([[focal[0], 0, cx], [0, focal[-1], cy], [0, 0, 1]], dtype=torch.float64)
    w, x, y, z = torch.nn.functional.normalize(torch.tensor(image.quaternion, dtype=torch.float64), dim=0).tolist()
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose = torch.tensor([[*row, t] for row, t in zip(rotation, image.translation, strict=True)], dtype=torch.float64)
    view = from_opencv(K, pose, (camera.height, camera.width), near, far, pixel_centre=0.5)
    return View(view.view.float(), view.projection.float(), view.resolution, image.name)


def read_transforms(
    path: str | os.PathLike, resolution: Sequence[int] | None = None, near: float = NEAR, far: float = FAR
) -> list[View]:
    """Reads the cameras of a transforms.json, as Blender's NeRF data sets, instant-ngp and nerfstudio write them.

    Each frame has a matrix from camera to world, with OpenGL's axes. The angle of view is `camera_angle_x` (across the
    width), or the focal lengths are `fl_x` and `fl_y` in pixels; both may stand at the top or in a frame.

    Args:
        path: the file.
        resolution: (height, width) where the file does not tell `h` and `w`: Blender's files do not.
        near, far: distances along the view between which things are seen.

    Returns:
        A view of each frame, float32, in the order of the file; `name` is its file_path.

    Raises:
        ValueError: the file cannot be understood, a size is missing, or a camera has distortion.
    """
    try:
        content = json.loads(Path(path).read_text())
        frames = content["frames"]
        return [_frame_view({**content, **frame}, resolution, near, far) for frame in frames]
    except KeyError as error:
        raise ValueError(f"{path} has no {error}") from error
    except (UnicodeDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _frame_view(frame: dict[str, Any], resolution: Sequence[int] | None, near: float, far: float) -> View:
    name = str(frame.get("file_path", ""))
    if "w" in frame and "h" in frame:
        height, width = round(float(frame["h"])), round(float(frame["w"]))
    elif resolution is not None:
        height, width = resolution
    else:
        raise ValueError("tells no w and h: give the resolution of its images")
    distortion = [key for key in ("k1", "k2", "k3", "k4", "p1", "p2") if frame.get(key)]
    if distortion or "FISHEYE" in str(frame.get("camera_model", "")).upper():
        raise ValueError(f"{name} has distortion ({', '.join(distortion) or 'fisheye'}): undistort its image first")
    fx = _focal(frame, "x", width, None)
    fy = _focal(frame, "y", height, fx)
    cx, cy = float(frame.get("cx", width / 2)), float(frame.get("cy", height / 2))
    K = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    pose = torch.tensor(frame["transform_matrix"], dtype=torch.float64)
    if pose.shape not in ((4, 4), (3, 4)) or not pose.isfinite().all():
        raise ValueError(f"{name} has a transform_matrix that is no 4 x 4 numbers")
    pose = torch.cat([pose[:3], torch.tensor([[0.0, 0, 0, 1]], dtype=torch.float64)])
    projection = intrinsics(K, (height, width), near, far, pixel_centre=0.5)
    return View(torch.linalg.inv(pose).float(), projection.float(), (height, width), name)


def _focal(frame: dict[str, Any], axis: str, size: int, otherwise: float | None) -> float:
    """In pixels, from what the file tells of an axis."""
    if f"fl_{axis}" in frame:
        return float(frame[f"fl_{axis}"])
    if f"camera_angle_{axis}" in frame or otherwise is None:
        return size / 2 / math.tan(float(frame[f"camera_angle_{axis}"]) / 2)
    return otherwise
