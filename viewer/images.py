"""From tensors to pictures: checks, colours, colour maps and their legends. Row 0 of a tensor is the bottom row."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from glraster.cuda_kernels.launcher import new_output_like

from .extras import needed
from .grid import Legend, Picture

__all__ = ["Snapshot", "checked", "colored", "tiled", "to_picture"]

MAGENTA = (255, 0, 255)  # what is not a number
DARK = (24, 24, 24)  # no scalar, no id
MOST_IMAGES = 64  # of a minibatch
SPARES = 3  # snapshots of one name that live at a time: on show, being drawn, being made
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64)
_SHOWN = frozenset((*_FLOATS, *_INTEGERS, torch.uint8, torch.bool))


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An image tensor as it was when it was shown."""

    tensor: torch.Tensor  # [N, H, W, C]
    count: int  # images that there were, of which N are kept
    ready: torch.cuda.Event | None = None  # CUDA event after which the copy is whole
    legend: Legend | None = None  # of images that are colours already
    spares: "list[torch.Tensor] | None" = None  # where its memory goes when nobody looks at it any more

    @classmethod
    def of(cls, tensor: torch.Tensor, spares: "list[torch.Tensor] | None" = None) -> "Snapshot":
        """Copies a checked tensor; on a GPU without waiting for it.

        Args:
            tensor: [N, H, W, C].
            spares: memory of earlier snapshots on a CPU, of which new pages would be half of the work.
        """
        kept = tensor.detach()
        if len(kept) > MOST_IMAGES:
            kept = kept[:MOST_IMAGES]
        if kept.is_cuda:
            copy, ready = torch.empty_like(kept).copy_(kept), torch.cuda.Event()
            ready.record(torch.cuda.current_stream(kept.device))
            return cls(copy, len(tensor), ready)
        copy = spares.pop() if spares else new_output_like(kept)
        if copy.shape != kept.shape or copy.dtype != kept.dtype:
            copy = new_output_like(kept)
        return cls(copy.copy_(kept), len(tensor), spares=spares)

    def __del__(self):
        if self.spares is not None and len(self.spares) < SPARES:
            self.spares.append(self.tensor)

    def label(self, name: str) -> str:
        """The name, and how much of a minibatch is shown."""
        kept = self.tensor.shape[0]
        return name if kept == self.count else f"{name} ({kept} of {self.count})"

    def wait(self) -> torch.Tensor:
        """The tensor, for use on the calling thread's stream."""
        if self.ready is not None:
            torch.cuda.current_stream(self.tensor.device).wait_event(self.ready)
        return self.tensor


def checked(name: str, image: object) -> torch.Tensor:
    """Returns an image as a tensor [N, H, W, C] that shares its memory.

    Args:
        name: what errors call it.
        image: a tensor or array [H, W], [H, W, C] or [N, H, W, C], C from 1 to 4.

    Raises:
        TypeError: not a tensor or array, or of another type than floats, integers and bools.
        ValueError: another shape, or no pixels.
    """
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.ascontiguousarray(image))
    if not isinstance(image, torch.Tensor):
        raise TypeError(f"show(): {name} must be a tensor or an array, got {type(image).__name__}")
    if image.dtype not in _SHOWN:
        raise TypeError(f"show(): {name} must be of floats, integers or bools, got {image.dtype}")
    shape = image.shape
    if image.ndim == 2:
        image = image.unsqueeze(-1)
    if image.ndim not in (3, 4) or not 1 <= image.shape[-1] <= 4:
        raise ValueError(f"show(): {name} must be [H, W, C] or [N, H, W, C] with C from 1 to 4, got {list(shape)}")
    if image.numel() == 0:
        raise ValueError(f"show(): {name} has no pixels, got {list(shape)}")
    if image.dtype in _INTEGERS and image.shape[-1] != 1:
        raise TypeError(f"show(): {name} has {image.shape[-1]} channels and must be float or uint8, got {image.dtype}")
    return image if image.ndim == 4 else image.unsqueeze(0)


def colored(images: torch.Tensor) -> tuple[torch.Tensor, Legend | None]:
    """Gives images their colours, on the device that they are on.

    One channel of floats is a scalar (colour map viridis from the least to the greatest finite value, minus infinity
    dark), one of integers holds ids (colours in turn, ids below 0 dark), one of uint8 or bool is grey. Two channels are
    red and green; a fourth is opacity, over grey. Floats go from 0 to 1; what is not a number becomes magenta.

    Returns:
        uint8 [N, H, W, 3] in the order of the rows given, and a legend for scalars and ids.
    """
    channels = images.shape[-1]
    if images.dtype == torch.bool:
        images = images.to(torch.uint8) * 255
    if channels == 1 and images.dtype in _INTEGERS:
        return _ids(images[..., 0])
    if channels == 1 and images.dtype != torch.uint8:
        return _scalars(images[..., 0].float())
    if images.dtype == torch.uint8 and channels in (1, 3):
        return images.expand(*images.shape[:3], 3), None
    values = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    values = torch.clamp(values, 0, 1, out=new_output_like(values))  # keeps NaN
    nan = values.isnan().any(-1) if math.isnan(values.sum().item()) else None  # seldom, and slower than the rest
    if channels == 2:
        values = torch.nn.functional.pad(values, (0, 1))
    elif channels == 4:
        values = values[..., :3] * values[..., 3:] + 0.5 * (1 - values[..., 3:])
    colors = values.mul_(255).add_(0.5).to(torch.uint8)
    return colors if nan is None else _mark(colors, nan), None


def to_picture(name: str, shown: Snapshot) -> Picture:
    """A picture of the images of a minibatch beside one another, flipped: the top row first."""
    pixels, legend = colored(shown.wait())
    return Picture(shown.label(name), tiled(pixels.flip(1)).cpu().numpy(), legend or shown.legend)


def tiling(count: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns for `count` images, so that the whole is about as wide as high."""
    columns = min(count, max(1, round((count * height / width) ** 0.5)))
    return -(-count // columns), columns


def tiled(images: torch.Tensor) -> torch.Tensor:
    """[N, H, W, 3] as one image [h, w, 3], row by row from the top left."""
    N, H, W, _ = images.shape
    if N == 1:
        return images[0]
    rows, columns = tiling(N, H, W)
    whole = images.new_full((rows * columns, H, W, 3), 40)
    whole[:N] = images
    return whole.view(rows, columns, H, W, 3).transpose(1, 2).reshape(rows * H, columns * W, 3)


def _scalars(values: torch.Tensor) -> tuple[torch.Tensor, Legend]:
    finite = values.isfinite()
    low = torch.where(finite, values, torch.inf).min().item()
    high = torch.where(finite, values, -torch.inf).max().item()
    if low > high:  # nothing finite
        low, high = 0.0, 1.0
    span = max(high - low, torch.finfo(torch.float32).tiny)
    steps = ((values - low) / span * 255).add(0.5).clamp(0, 255).nan_to_num(0).long()
    table = _color_map("viridis", 256)
    colors = torch.from_numpy(table).to(values.device)[steps]
    colors = _mark(colors, values == -torch.inf, DARK)
    return _mark(colors, values.isnan()), Legend("range", low, high, table)


def _ids(ids: torch.Tensor) -> tuple[torch.Tensor, Legend]:
    table = _color_map("tab20", 20)
    colors = torch.from_numpy(table).to(ids.device)[ids.long() % len(table)]
    return _mark(colors, ids < 0, DARK), Legend("ids", max(ids.min().item(), 0), ids.max().item(), table)


def _mark(colors: torch.Tensor, where: torch.Tensor, color: tuple[int, int, int] = MAGENTA) -> torch.Tensor:
    return torch.where(where[..., None], colors.new_tensor(color), colors)


def _color_map(name: str, steps: int) -> np.ndarray:
    """The colours of one of matplotlib's maps, uint8 [steps, 3]."""
    colormap = needed("matplotlib", "record").colormaps[name]
    return (colormap(np.arange(steps))[:, :3] * 255).round().astype(np.uint8)
