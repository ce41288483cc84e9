"""How good a fit is, and its files."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import torch

import glraster
from glraster import losses
from glraster.mesh import Mesh, save

from .fitting import Fitted
from .photos import Photos

__all__ = ["Quality", "comparison", "measure", "save_whole"]

_WHITE = 1.0  # what photos are compared before, as is usual


@dataclasses.dataclass(frozen=True)
class Quality:
    """How like photos a fit is, photo by photo.

    Attributes:
        iou: intersection over union of where the object is; None where the photos do not tell that.
        psnr: decibels, of sRGB values; before white, if the photos have opacity.
    """

    names: tuple[str, ...]
    iou: tuple[float, ...] | None
    psnr: tuple[float, ...]

    @property
    def mean_iou(self) -> float | None:
        """The mean over the photos."""
        return None if self.iou is None else sum(self.iou) / len(self.iou)

    @property
    def mean_psnr(self) -> float:
        """The mean over the photos."""
        return sum(self.psnr) / len(self.psnr)


def measure(fitted: Fitted, photos: Photos, glctx: glraster.RasterizeContext | None = None) -> Quality:
    """Compares what the cameras of photos see of a fit with the photos; on the CPU by default."""
    drawn = fitted.draw(glctx or glraster.SoftwareRasterizer("cpu"), photos)
    iou = None
    if photos.masked:
        covered = drawn[..., 3] > 0.5, photos.images[..., 3] > 127
        iou = tuple(losses.silhouette_iou(*(each.float() for each in covered)).tolist())
    psnr = losses.psnr(*_before(drawn, photos)).tolist()
    return Quality(tuple(view.name for view in photos.views), iou, tuple(psnr))


def _before(drawn: torch.Tensor, photos: Photos) -> tuple[torch.Tensor, torch.Tensor]:
    """The drawn images [N, H, W, 3] and the photos, before one background."""
    behind = drawn.new_tensor([_WHITE] * 3 if photos.background is None else photos.background)
    values = photos.images.float() / 255
    before, wanted = (image[..., :3] + (1 - image[..., 3:]) * behind for image in (drawn.clamp(0, 1), values))
    return before, wanted


def comparison(fitted: Fitted, photos: Photos, glctx: glraster.RasterizeContext | None = None) -> torch.Tensor:
    """Returns one picture [H, W, 3]: some of the photos, and below them what the same cameras see of the fit."""
    chosen = photos.chosen(range(min(len(photos), 5)))
    drawn, wanted = _before(fitted.draw(glctx or glraster.SoftwareRasterizer("cpu"), chosen), chosen)
    return torch.cat([torch.cat(list(drawn), dim=1), torch.cat(list(wanted), dim=1)])


def save_whole(path: Path, mesh: Mesh) -> None:
    """Writes a mesh file and what belongs to it, each file whole, the mesh itself last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.stem}."))
    try:
        save(folder / path.name, mesh)
        for file in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            os.replace(file, path.parent / file.name)
    finally:
        shutil.rmtree(folder)
