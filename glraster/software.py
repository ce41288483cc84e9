"""The software rasterizer: which triangle each pixel sees, by the kernels of rasterize.cu."""

from typing import Any

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output, runs_on_gpu, threads_for
from glraster.cuda_kernels.upload import to_device

from .scene import CULL_SIGN, Scene, Visibility

__all__ = ["find_visible"]

KERNELS = KernelFile("rasterize")
_THREADS_PER_TILE = 32  # on a GPU


def find_visible(scene: Scene, behind: Visibility | None = None, by_bands: bool | None = None) -> Visibility:
    """Finds the nearest triangle of every pixel; with `behind`, the nearest behind that layer of the same scene.

    Args:
        scene: what is drawn.
        behind: an earlier result.
        by_bands: which of the two equal kernels draws large triangles; None: the one that suits the device.
    """
    N, H, W, T = scene.num_images, scene.height, scene.width, scene.tri.shape[0]
    device = scene.pos.device
    keys = new_output(scene.pos, N, H, W, dtype=torch.int64).fill_(-1)
    item_start, first_triangle, num_items = _work_items(scene)
    if keys.numel() and num_items:
        tiles = keys.new_empty(num_items)
        fields: dict[str, Any] = {
            **{"pos": scene.pos, "tri": scene.tri, "item_start": item_start, "first_triangle": first_triangle},
            **{"previous": None if behind is None else behind.ids, "keys": keys, "tiles": tiles, "large": None},
            **{"N": N, "H": H, "W": W, "V": scene.pos.shape[-2], "num_triangles": T, "num_items": num_items},
            **{"num_large": 0, "pos_stride": scene.pos_stride, "cull": CULL_SIGN[scene.cull]},
        }
        threads = threads_for(num_items, device)
        alone = threads is not None and N % threads == 0  # each thread has as many images as the others
        kernel = "rasterize_images" if alone else "rasterize_triangles"
        KERNELS.launch(kernel, num_items, threads=threads, **fields)
        if by_bands or (by_bands is None and not runs_on_gpu(device)):
            large = tiles.nonzero()
            if len(large):
                fields |= {"large": large, "num_large": len(large)}
                KERNELS.launch("rasterize_bands", keys.numel(), **fields)
        else:
            tiles.cumsum_(0)
            most = max(keys.numel(), _THREADS_PER_TILE * num_items)  # how many there are, only the GPU knows
            KERNELS.launch("rasterize_tiles", most, **fields)
    return Visibility(keys)


def _work_items(scene: Scene) -> tuple[torch.Tensor | None, torch.Tensor | None, int]:
    """In range mode, each image's first work item and first triangle; and the number of items, triangles of images."""
    if scene.ranges is None:
        return None, None, scene.num_images * scene.tri.shape[0]
    first, count = scene.ranges.long().unbind(1)
    ends = count.cumsum(0)
    numbers = to_device(torch.cat([ends.new_zeros(1), ends, first]), scene.pos.device)
    return numbers[: len(ends) + 1], numbers[len(ends) + 1 :], int(count.sum())
