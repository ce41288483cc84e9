"""Named pictures side by side: where each goes, and all of them drawn as one image."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .extras import needed

__all__ = ["Cell", "Legend", "Picture", "arrange", "compose", "largest_shape", "legend_texts", "natural_size"]

LABEL, LEGEND, GAP = 22, 20, 6  # pixels: the name above a picture, the legend below it, the space around it
BACKGROUND, INK = (32, 34, 38), (225, 228, 232)
SMALL = 256  # pictures below this size are enlarged in files


@dataclass(frozen=True)
class Legend:
    """What the colours of a scalar picture mean."""

    kind: str  # 'range': colors from low to high; 'ids': colors in turn
    low: float
    high: float
    colors: np.ndarray  # uint8 [K, 3]


@dataclass(frozen=True)
class Picture:
    """What an output shows under one name."""

    name: str
    pixels: np.ndarray  # uint8 [H, W, 3], the top row first
    legend: Legend | None = None


class Cell(NamedTuple):
    """Where a picture goes, in pixels from the top left corner of the whole."""

    x: int
    y: int
    width: int
    height: int


def largest_shape(count: int, size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of each of `count` pictures that fill an image of `size` when arranged in it."""
    boxes = []
    for columns in range(1, max(count, 1) + 1):
        height, width = _box(size, -(-max(count, 1) // columns), columns)
        boxes.append((min(height, width), height, width))  # the one in which a square is largest
    return max(boxes)[1:]


def arrange(shapes: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[Cell]:
    """Places pictures of the shapes (height, width) in an image of `size` (height, width), as large as they fit."""
    if not shapes:
        return []
    best: list[Cell] = []
    for columns in range(1, len(shapes) + 1):
        rows = -(-len(shapes) // columns)
        box_h, box_w = _box(size, rows, columns)
        cells = []
        for index, (height, width) in enumerate(shapes):
            scale = min(box_w / width, box_h / height)
            w, h = max(1, round(width * scale)), max(1, round(height * scale))
            row, column = divmod(index, columns)
            x = column * (size[1] // columns) + GAP + (box_w - w) // 2
            y = row * (size[0] // rows) + GAP + LABEL + (box_h - h) // 2
            cells.append(Cell(x, y, w, h))
        if not best or min(c.width * c.height for c in cells) > min(c.width * c.height for c in best):
            best = cells
    return best


def _box(size: tuple[int, int], rows: int, columns: int) -> tuple[int, int]:
    """Height and width of the room for each picture."""
    return max(size[0] // rows - 2 * GAP - LABEL - LEGEND, 1), max(size[1] // columns - 2 * GAP, 1)


def natural_size(shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The (height, width) of an image in which no picture has to shrink; both even, as video needs them."""
    columns = max(1, round(len(shapes) ** 0.5 + 0.49))
    rows = -(-len(shapes) // columns) or 1
    enlarged = [max(1, SMALL // max(shape)) for shape in shapes]
    height = max((k * h for k, (h, _) in zip(enlarged, shapes, strict=True)), default=SMALL)
    width = max((k * w for k, (_, w) in zip(enlarged, shapes, strict=True)), default=SMALL)
    whole = rows * (height + 2 * GAP + LABEL + LEGEND), columns * (width + 2 * GAP)
    return whole[0] + whole[0] % 2, whole[1] + whole[1] % 2


def compose(pictures: Sequence[Picture], size: tuple[int, int] | None = None) -> np.ndarray:
    """Draws pictures with their names and legends: uint8 [H, W, 3], the top row first.

    Args:
        pictures: in the order in which they go, row by row.
        size: height and width of the whole; None takes what shows every pixel.
    """
    shapes = [picture.pixels.shape[:2] for picture in pictures]
    size = size or natural_size(shapes)
    canvas = np.empty((*size, 3), np.uint8)
    row = np.tile(np.array(BACKGROUND, np.uint8), size[1])  # pixel by pixel takes 20 times as long
    canvas.reshape(size[0], -1)[:] = row
    for picture, cell in zip(pictures, arrange(shapes, size), strict=True):
        canvas[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width] = _resized(picture.pixels, cell)
        _write(canvas, picture.name, cell.x, cell.y - 4)
        if picture.legend is not None:
            _draw_legend(canvas, picture.legend, cell)
    return canvas


def _resized(pixels: np.ndarray, cell: Cell) -> np.ndarray:
    """The picture in the size of its cell; enlarged, every pixel stays a square."""
    height, width, _ = pixels.shape
    if (height, width) == (cell.height, cell.width):
        return pixels
    if cell.width >= width:  # by numpy, which lets other threads go on meanwhile
        rows, columns = (_nearest(new, old) for new, old in ((cell.height, height), (cell.width, width)))
        return pixels.take(columns, axis=1)[rows]
    image_module = needed("PIL.Image", "record")
    smaller = image_module.fromarray(pixels).resize((cell.width, cell.height), image_module.Resampling.BOX)
    return np.asarray(smaller)


def _nearest(count: int, of: int) -> np.ndarray:
    """Which of so many pixels in a row each of `count` that take their place shows."""
    return (2 * np.arange(count) + 1) * of // (2 * count)


class _Text(NamedTuple):
    """A line of text, drawn."""

    opacity: np.ndarray  # float32 [H, W, 1]
    left: int  # of its first pixel, from where it begins
    top: int  # of its first row, from its base line
    length: float  # to where another would follow


@functools.lru_cache(256)  # drawing holds up all threads of Python
def _drawn(text: str) -> _Text:
    font = needed("PIL.ImageFont", "record").load_default(13)
    left, top, right, bottom = map(int, font.getbbox(text, anchor="ls"))
    image = needed("PIL.Image", "record").new("L", (max(right - left, 1), max(bottom - top, 1)))
    needed("PIL.ImageDraw", "record").Draw(image).text((-left, -top), text, 255, font, "ls")
    return _Text(np.asarray(image, np.float32)[..., None] / 255, left, top, font.getlength(text))


def _write(canvas: np.ndarray, text: str, x: float, y: int, from_right: bool = False) -> float:
    """Writes a line that begins (or ends) at x, on the base line y, and returns its length."""
    drawn = _drawn(text)
    left, top = int(x - drawn.length * from_right) + drawn.left, y + drawn.top
    place = canvas[max(top, 0) : max(top + len(drawn.opacity), 0), max(left, 0) : left + drawn.opacity.shape[1]]
    opacity = drawn.opacity[max(-top, 0) :, max(-left, 0) :][: place.shape[0], : place.shape[1]]
    place[...] = place + opacity * (np.array(INK, np.float32) - place) + 0.5
    return drawn.length


def legend_texts(legend: Legend) -> tuple[str, str]:
    """What stands at the two ends of a legend."""
    if legend.kind == "ids":
        return f"id {legend.low:.0f}", f"{legend.high:.0f}"
    return f"{legend.low:.4g}", f"{legend.high:.4g}"


def _draw_legend(canvas: np.ndarray, legend: Legend, cell: Cell) -> None:
    low, high = legend_texts(legend)
    y, end = cell.y + cell.height + 4, cell.x + cell.width
    left = int(cell.x + _write(canvas, low, cell.x, y + 11) + 6)
    right = int(end - _write(canvas, high, end, y + 11, from_right=True) - 6)
    if right - left >= 4:
        colors = legend.colors[_nearest(right - left, len(legend.colors))]
        canvas[y : y + 11, left:right] = colors
