"""Photos of an object: pictures with what is known of their cameras, and where the object is in them."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glraster.camera import View, read_colmap, read_transforms

__all__ = ["Photos", "read_photos"]

_TRAINING, _HELD_OUT = "transforms_train.json", ("transforms_test.json", "transforms_val.json")  # of NeRF data sets
_ENDINGS = ("", ".png", ".jpg", ".jpeg", ".webp", ".JPG", ".JPEG", ".PNG")  # where a camera file leaves them out


@dataclasses.dataclass(frozen=True)
class Photos:
    """Photos of one size.

    Attributes:
        images: [N, H, W, 4] uint8, sRGB multiplied by opacity, then opacity; row 0 at the bottom.
        views: their cameras, N of them.
        background: [3] sRGB behind the object; None: nothing is, the photos' opacity says where the object is.
    """

    images: torch.Tensor
    views: tuple[View, ...]
    background: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.views)

    @property
    def masked(self) -> bool:
        """Whether it is known where the object is."""
        return self.background is None

    def chosen(self, numbers: Sequence[int]) -> "Photos":
        """Returns some of the photos."""
        return dataclasses.replace(
            self, images=self.images[list(numbers)], views=tuple(self.views[number] for number in numbers)
        )

    def reduced(self, factor: int) -> "Photos":
        """Returns smaller photos, the means of factor x factor pixels; less at the borders if need be."""
        if factor == 1:
            return self
        height, width = (max(1, size // factor) for size in self.images.shape[1:3])
        small = [
            torch.nn.functional.adaptive_avg_pool2d(image.movedim(2, 0).float(), (height, width)).movedim(0, 2)
            for image in self.images
        ]
        return dataclasses.replace(self, images=(torch.stack(small) + 0.5).to(torch.uint8))


def read_photos(
    cameras: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = None,
    resolution: int = 512,
    hold_out: int = 8,
    background: tuple[float, ...] | None = None,
) -> tuple[Photos, Photos]:
    """Reads photos and their cameras.

    Args:
        cameras: a transforms.json, a folder with one, a folder with transforms_train.json and perhaps
            transforms_test.json or transforms_val.json, or a folder of COLMAP's.
        images: the folder of the photos; None: where the camera file says, for COLMAP a folder `images` near it.
        masks: a folder with a picture for each photo, of the same name but for its ending, white where the object is;
            None: the photos' own opacity.
        resolution: pixels along the longer side; larger photos are made smaller.
        hold_out: every so many photos one is held out; 0: none. Where there are photos to test, these are held out.
        background: [3] sRGB from 0 to 1, behind the object in photos that do not tell where it is; None: the median
            colour of their borders.

    Returns:
        Photos to fit to, and photos that are held out, perhaps none.

    Raises:
        FileNotFoundError: no cameras, or a photo or mask is not there.
        ValueError: a file cannot be understood, a photo's size is not that of its camera, or a mask is empty.
        RuntimeError: Pillow is not installed.
    """
    files, colmap = _camera_files(Path(cameras))
    sets = []
    for file in files:
        views, paths = _views(file, colmap, None if images is None else Path(images))
        if not views:
            raise ValueError(f"{file} holds no cameras")
        sets.append((views, paths, [None if masks is None else _mask_of(path, Path(masks)) for path in paths]))
    size = _reduced_size(sets[0][1][0], resolution)
    read = [torch.stack([_read(*one, size) for one in zip(*each, strict=True)]) for each in sets]
    opaque = all(bool((part[..., 3] == 255).all()) for part in read)
    background = (background or _border_color(read[0])) if opaque else None
    parts = [Photos(part, tuple(views), background) for part, (views, *_) in zip(read, sets, strict=True)]
    if len(parts) == 2:
        return parts[0], parts[1]
    held_out = list(range(hold_out // 2, len(parts[0]), hold_out)) if hold_out else []
    kept = [number for number in range(len(parts[0])) if number not in held_out]
    if not kept:
        raise ValueError(f"{files[0]}: of its {len(parts[0])} photos none is left to fit to: a larger hold_out, or 0")
    return parts[0].chosen(kept), parts[0].chosen(held_out)


def _camera_files(path: Path) -> tuple[list[Path], bool]:
    """The files or the folder that name the cameras: to fit to, and to test; and whether they are COLMAP's."""
    if not path.exists():
        raise FileNotFoundError(f"there are no cameras {str(path)!r}")
    if path.is_file():
        return [path], False
    if (path / "transforms.json").is_file():
        return [path / "transforms.json"], False
    if (path / _TRAINING).is_file():
        tests = [path / name for name in _HELD_OUT if (path / name).is_file()]
        return [path / _TRAINING, *tests[:1]], False
    return [path], True


def _views(file: Path, colmap: bool, images: Path | None) -> tuple[list[View], list[Path]]:
    """The cameras, and the files of their photos, all of which are there."""
    if colmap:
        near = [folder / "images" for folder in (file, file.parent, file.parent.parent)]
        folder = images or next((folder for folder in near if folder.is_dir()), near[0])
        views = read_colmap(file)
    else:
        folder = images or file.parent
        views = read_transforms(file, _first_size(file, folder, images is not None))
    return views, [_photo(view.name, folder, images is not None) for view in views]


def _photo(name: str, folder: Path, flat: bool) -> Path:
    """The file of a photo; where the folder was given, it may lack the folders of the name."""
    places = [folder / name, folder / Path(name).name] if flat else [folder / name]
    for place in places:
        for ending in _ENDINGS:
            if (found := place.with_name(place.name + ending)).is_file():
                return found
    raise FileNotFoundError(f"there is no photo {str(places[-1])!r}")


def _mask_of(photo: Path, folder: Path) -> Path:
    """The mask of a photo: of its name with whatever ending, or with one more, as COLMAP has them."""
    for stem in (photo.stem, photo.name):
        for ending in _ENDINGS[1:]:
            if (found := folder / (stem + ending)).is_file():
                return found
    raise FileNotFoundError(f"there is no mask {str(folder / photo.stem) + '.png'!r} for the photo {photo.name}")


def _first_size(file: Path, folder: Path, flat: bool) -> tuple[int, int] | None:
    """(height, width) of the first photo, for camera files that do not tell it; None: the file is no camera file."""
    try:
        name = json.loads(file.read_text())["frames"][0]["file_path"]
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    with _open(_photo(name, folder, flat)) as picture:
        return picture.height, picture.width


def _open(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise RuntimeError(f"photos need Pillow: pip install 'glraster[fit]' ({error})") from error
    try:
        return Image.open(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from error


def _reduced_size(path: Path, resolution: int) -> tuple[int, int]:
    """(height, width) of a picture, or less."""
    with _open(path) as picture:
        scale = min(1.0, resolution / max(picture.size))
        return max(1, round(picture.height * scale)), max(1, round(picture.width * scale))


def _read(view: View, path: Path, mask: Path | None, size: tuple[int, int]) -> torch.Tensor:
    """[H, W, 4] uint8, sRGB times opacity, the bottom row first; pixels are wider than high if `size` wants that."""
    with _open(path) as picture:
        height, width = view.resolution
        if abs(picture.width * height - picture.height * width) > max(width, height):  # more than rounding does
            need = f"{width} x {height} pixels as its camera says, or both in proportion"
            raise ValueError(f"{path} must have {need}, got {picture.width} x {picture.height}")
        try:
            image = picture.convert("RGBA")
            if mask is not None:
                image.putalpha(_read_mask(mask, image.size))
        except OSError as error:
            raise ValueError(f"{path} cannot be read as a picture: {error}") from error
    if not np.asarray(image)[..., 3].any():
        raise ValueError(f"{mask or path} shows no object: its mask is empty; leave it out of the cameras")
    from PIL import Image

    pixels = np.array(image.convert("RGBa").resize(size[::-1], Image.Resampling.BOX))
    return torch.from_numpy(pixels).flip(0)


def _read_mask(path: Path, size: tuple[int, int]) -> Any:
    """A picture of one channel; of those with opacity, that."""
    with _open(path) as picture:
        if picture.size != size:
            of = f"{size[0]} x {size[1]} pixels as its photo"
            raise ValueError(f"the mask {path} must have {of}, got {picture.width} x {picture.height}")
        return picture.getchannel("A") if "A" in picture.getbands() else picture.convert("L")


def _border_color(images: torch.Tensor) -> tuple[float, ...]:
    sides = [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]]
    border = torch.cat([side[..., :3].reshape(-1, 3) for side in sides]).float() / 255
    return tuple(border.median(dim=0)[0].tolist())
