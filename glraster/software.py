"""The software rasterizer: which triangle each pixel sees, by the kernels of rasterize.cu."""

import functools
from typing import Any

import torch

from glraster.cuda_kernels.host import release_scratch
from glraster.cuda_kernels.launcher import ENOUGH_BLOCKS, KernelFile, new_output, runs_on_gpu
from glraster.cuda_kernels.upload import to_device

from .scene import CULL_SIGN, Scene, Visibility

__all__ = ["find_visible", "release_scratch"]

KERNELS = KernelFile("rasterize")
# On a GPU. Lists have room for so many triangles; what does not fit is drawn too, but slowly.
_MOST_LEFT, _MOST_RECORDS = 1 << 20, 1 << 17
_RECORD_NUMBERS = 20  # int64 of a record
_THREADS_PER_TILE, _TILE_PIXELS = 32, 256
# Per multiprocessor, which find room at once: for launches that often have nothing to do.
_FEW_BLOCKS = 8
_GUARD_PIXELS = 1 << 20  # coordinates up to here stay unclipped; beyond, x and y are clipped
# In images longer than 2^22 pixels the other axis is clipped nearer, so that edge functions stay below 2^63.
_GUARD_AREA = 1 << 42


def find_visible(
    scene: Scene, behind: Visibility | None = None, *, peeling: bool = False, by_cells: bool | None = None
) -> Visibility:
    """Finds the nearest triangle of every pixel; with `behind`, the nearest behind that layer of the same scene.

    Args:
        scene: what is drawn.
        behind: an earlier result, found with `peeling`.
        peeling: the result is to serve as `behind`: it is keys.
        by_cells: which of two equal ways to take: the one for CPUs, or that for GPUs, which can run on a CPU too.
            None: the one that suits the device.

    Raises:
        MemoryError: on a CPU, there is not enough memory for the lists of triangles.
    """
    if by_cells is None:
        by_cells = not runs_on_gpu(scene.pos.device)
    N, H, W = scene.num_images, scene.height, scene.width
    keys = peeling or not by_cells
    found = new_output(scene.pos, N, H, W, dtype=torch.int64 if keys else torch.int32)
    item_start, first_triangle, num_items = _work_items(scene)
    pixels, V = N * H * W, scene.pos.shape[-2]
    if not pixels or not num_items:
        return Visibility(found.fill_(-1))
    fields: dict[str, Any] = {
        **_numbers(N, H, W, V, scene.tri.shape[0], num_items, scene.pos_stride, scene.cull),
        **{"pos": scene.pos, "tri": scene.tri, "item_start": item_start, "first_triangle": first_triangle},
        **{"previous": None if behind is None else behind.ids, "keys" if keys else "ids": found},
    }
    if by_cells:
        failed = torch.zeros(1, dtype=torch.int64, device="cpu")  # whatever the default device is
        KERNELS.launch("rasterize_cells", max(pixels, num_items), failed=failed, most_left=0, most_records=0, **fields)
        if failed.item():
            raise MemoryError(f"rasterize(): not enough memory for lists of {num_items} triangles")
        return Visibility(found)
    launches, limits, sizes = _steps(pixels, num_items, V if scene.ranges is not None else N * V)
    workspace = found.new_empty(sum(sizes.values()))
    address = workspace.data_ptr()
    for name, size in sizes.items():
        fields[name] = address
        address += 8 * size
    KERNELS.launch_in_turn(launches, **limits, **fields)
    return Visibility(found)


@functools.lru_cache
def _numbers(N: int, H: int, W: int, V: int, T: int, num_items: int, pos_stride: int, cull: str) -> dict[str, Any]:
    """The numbers that kernels take."""
    return {
        **{"N": N, "H": H, "W": W, "V": V, "num_triangles": T, "num_items": num_items, "pos_stride": pos_stride},
        **{"cull": CULL_SIGN[cull], "guard_x": _guard(W, H), "guard_y": _guard(H, W)},
        **{"pixel_x": 1 / W, "pixel_y": 1 / H},
    }


@functools.lru_cache
def _steps(pixels: int, num_items: int, vertices: int) -> tuple[list, dict[str, int], dict[str, int]]:
    """On a GPU: what is launched, the lengths of the lists, and the workspace's parts in int64."""
    most_left, most_records = min(num_items, _MOST_LEFT), min(5 * num_items, _MOST_RECORDS)
    # How much is left, and how many tiles there are, only the GPU knows: its threads find out.
    tiles = (pixels // _TILE_PIXELS + most_records) * _THREADS_PER_TILE
    launches = [
        ("rasterize_vertices", max(vertices, -(-pixels // 2)), ENOUGH_BLOCKS),
        ("rasterize_triangles", num_items, ENOUGH_BLOCKS),
        ("rasterize_left", most_left, _FEW_BLOCKS),
        ("rasterize_tiles", tiles, _FEW_BLOCKS),
    ]
    sizes = {"snapped": 2 * vertices, "records": most_records * _RECORD_NUMBERS, "left": most_left, "counters": 2}
    return launches, {"most_left": most_left, "most_records": most_records}, sizes


def _guard(size: int, other: int) -> float:
    """How many times the view, along an axis of so many pixels, coordinates may lie from its middle unclipped."""
    return max(1.0, 2.0 * min(_GUARD_PIXELS, _GUARD_AREA // other) / size)


def _work_items(scene: Scene) -> tuple[torch.Tensor | None, torch.Tensor | None, int]:
    """In range mode, each image's first work item and first triangle; and the number of items, triangles of images."""
    if scene.ranges is None:
        return None, None, scene.num_images * scene.tri.shape[0]
    first, count = scene.ranges.long().unbind(1)
    ends = count.cumsum(0)
    numbers = to_device(torch.cat([ends.new_zeros(1), ends, first]), scene.pos.device)
    return numbers[: len(ends) + 1], numbers[len(ends) + 1 :], int(count.sum())
