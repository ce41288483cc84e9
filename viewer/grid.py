"""Named pictures side by side: where each goes, and all of them drawn as one image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .extras import needed
from .images import Legend, Picture

__all__ = ["Cell", "arrange", "compose", "largest_shape", "legend_texts", "natural_size"]

LABEL, LEGEND, GAP = 22, 20, 6  # pixels: the name above a picture, the legend below it, the space around it
BACKGROUND, INK = (32, 34, 38), (225, 228, 232)
SMALL = 256  # pictures below this size are enlarged in files


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
    image_module = needed("PIL.Image", "record")
    draw_module, font_module = needed("PIL.ImageDraw", "record"), needed("PIL.ImageFont", "record")
    shapes = [picture.pixels.shape[:2] for picture in pictures]
    size = size or natural_size(shapes)
    canvas = image_module.new("RGB", (size[1], size[0]), BACKGROUND)
    draw, font = draw_module.Draw(canvas), font_module.load_default(13)
    for picture, cell in zip(pictures, arrange(shapes, size), strict=True):
        pixels = image_module.fromarray(picture.pixels)
        enlarge = cell.width >= pixels.width
        method = image_module.Resampling.NEAREST if enlarge else image_module.Resampling.BOX
        canvas.paste(pixels if pixels.size == cell[2:] else pixels.resize(cell[2:], method), cell[:2])
        draw.text((cell.x, cell.y - 4), picture.name, INK, font, "ls")
        if picture.legend is not None:
            _draw_legend(canvas, draw, font, picture.legend, cell, image_module)
    return np.asarray(canvas)


def legend_texts(legend: Legend) -> tuple[str, str]:
    """What stands at the two ends of a legend."""
    if legend.kind == "ids":
        return f"id {legend.low:.0f}", f"{legend.high:.0f}"
    return f"{legend.low:.4g}", f"{legend.high:.4g}"


def _draw_legend(canvas, draw, font, legend: Legend, cell: Cell, image_module) -> None:
    low, high = legend_texts(legend)
    left, right = cell.x + draw.textlength(low, font) + 6, cell.x + cell.width - draw.textlength(high, font) - 6
    y = cell.y + cell.height + 4
    draw.text((cell.x, y + 11), low, INK, font, "ls")
    draw.text((cell.x + cell.width, y + 11), high, INK, font, "rs")
    if right - left >= 4:
        bar = image_module.fromarray(legend.colors[None]).resize(
            (int(right - left), 11), image_module.Resampling.NEAREST
        )
        canvas.paste(bar, (int(left), y))
