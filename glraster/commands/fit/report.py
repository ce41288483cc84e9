"""What `glraster fit` reports, for people and for programs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

import glraster

from ...fit import Fitted, Photos, Quality, Settings, measure
from ...whole_files import whole

__all__ = ["Report"]


@dataclasses.dataclass(frozen=True)
class Report:
    """How a fit went."""

    fitted: Fitted
    settings: Settings
    size: tuple[int, int]  # (height, width) of the photos
    training: Quality
    held_out: Quality | None

    @classmethod
    def of(
        cls, fitted: Fitted, photos: Photos, held_out: Photos, settings: Settings, glctx: glraster.RasterizeContext
    ) -> "Report":
        """Measures."""
        size = (photos.images.shape[1], photos.images.shape[2])
        unseen = measure(fitted, held_out, glctx) if len(held_out) else None
        return cls(fitted, settings, size, measure(fitted, photos, glctx), unseen)

    def content(self) -> dict[str, Any]:
        """For programs."""
        mesh, light = self.fitted.mesh, self.fitted.light
        return {
            "photos": len(self.training.names),
            "size": {"width": self.size[1], "height": self.size[0]},
            "seconds": round(self.fitted.seconds, 1),
            "vertices": len(mesh.pos),
            "triangles": len(mesh.tri),
            "held_out": None if self.held_out is None else _quality(self.held_out),
            "training": _quality(self.training),
            "light": None if light is None else light.tolist(),
            "settings": dataclasses.asdict(self.settings),
        }

    def text(self) -> str:
        """For people."""
        mesh, (height, width) = self.fitted.mesh, self.size
        lines = [
            f"{len(self.training.names)} photos of {width} x {height} pixels, fitted in {self.fitted.seconds:.0f} s",
            f"{len(mesh.pos):,} vertices, {len(mesh.tri):,} triangles, a texture of {_texels(mesh.textures[0])} texels",
        ]
        for name, quality in (("held-out", self.held_out), ("training", self.training)):
            if quality is not None:
                iou = "" if quality.mean_iou is None else f"IoU {quality.mean_iou:.4f}, "
                worst = f"{min(quality.psnr):.2f} at worst"
                lines.append(f"{len(quality.names)} {name} photos: {iou}PSNR {quality.mean_psnr:.2f} dB ({worst})")
        return "\n".join(lines) + "\n"

    def write(self, out: Path, comparison: torch.Tensor) -> None:
        """Writes report.json, report.txt and comparison.png."""
        from PIL import Image

        pixels = (comparison * 255).round().to(torch.uint8).flip(0).numpy()
        with whole(out / "comparison.png") as partial:
            Image.fromarray(pixels).save(partial)
        with whole(out / "report.txt") as partial:
            partial.write_text(self.text())
        with whole(out / "report.json") as partial:
            partial.write_text(json.dumps(self.content(), indent=1))


def _quality(quality: Quality) -> dict[str, Any]:
    photos = [
        {"name": name, "psnr": psnr} | ({} if quality.iou is None else {"iou": quality.iou[number]})
        for number, (name, psnr) in enumerate(zip(quality.names, quality.psnr, strict=True))
    ]
    return {"iou": quality.mean_iou, "psnr": quality.mean_psnr, "photos": photos}


def _texels(texture: torch.Tensor) -> str:
    return f"{texture.shape[1]} x {texture.shape[0]}"
