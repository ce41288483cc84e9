"""Pictures of the samples. Image tensors have row 0 at the bottom; picture files have it at the top."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import torch
from matplotlib.figure import Figure


def to_bytes(image: torch.Tensor) -> np.ndarray:
    """Returns image [H, W, 1 or 3] of values in 0..1 as uint8 [H, W, 3], top row first."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.flip(0).expand(-1, -1, 3).numpy()


def save(path: str | Path, image: torch.Tensor) -> None:
    """Writes image [H, W, 1 or 3], values in 0..1, to a picture file; makes its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, to_bytes(image))


def grid(rows: list[torch.Tensor], gap: int = 4, background: float = 1.0) -> torch.Tensor:
    """Returns one image of many: each element [N, H, W, C] of `rows` is a row, the first one at the top."""
    padding = (0, 0, gap, gap, gap, gap)
    lines = [torch.cat(list(torch.nn.functional.pad(row, padding, value=background)), dim=1) for row in rows]
    return torch.cat(lines[::-1], dim=0)


def shrink(images: torch.Tensor, factor: int) -> torch.Tensor:
    """Returns [N, H, W, C] images made smaller by averaging factor x factor pixels."""
    N, H, W, C = images.shape
    return images.reshape(N, H // factor, factor, W // factor, factor, C).mean(dim=(2, 4))


def enlarge(images: torch.Tensor, size: int) -> torch.Tensor:
    """Returns [N, H, W, C] images as [N, size, size, C] by repeating pixels."""
    return torch.nn.functional.interpolate(images.movedim(3, 1), (size, size), mode="nearest").movedim(1, 3)


def save_curve(path: str | Path, values: list[float], label: str) -> None:
    """Draws values over iterations, on a logarithmic scale."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(values)
    axes.set(xlabel="iteration", ylabel=label)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
