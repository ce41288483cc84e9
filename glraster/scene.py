"""What every rasterizer takes and gives back: a checked scene, and which triangle each pixel sees."""

import functools
from typing import Any, NamedTuple

import torch

__all__ = ["CULL_SIGN", "Scene", "Visibility", "fields_of_ids"]

CULL_SIGN = {"none": 0, "front": 1, "back": -1}  # of the screen-space areas that are dropped


class Scene(NamedTuple):
    """Checked arguments of one rasterization: what is drawn, and where."""

    pos: torch.Tensor  # [N, V, 4], or [V, 4] with ranges
    tri: torch.Tensor  # [T, 3] int32
    height: int
    width: int
    ranges: torch.Tensor | None  # [N, 2] int32 on the CPU: first triangle, count
    cull: str

    @property
    def num_images(self) -> int:
        return self.pos.shape[0] if self.ranges is None else self.ranges.shape[0]

    @property
    def pos_stride(self) -> int:
        """Elements from one image's positions to the next; 0 where all images share them."""
        return self.pos.shape[-2] * 4 if self.ranges is None else 0


class Visibility(NamedTuple):
    """What a context found: per pixel a triangle id, -1 for none; in keys together with what orders them by depth."""

    ids: torch.Tensor  # int32 [N, H, W], or int64 [N, H, W] keys with the id in their low half


def fields_of_ids(pos: torch.Tensor, tri: torch.Tensor, ids: torch.Tensor) -> dict[str, Any]:
    """What kernels over the pixels of `Visibility.ids` take of it and of the geometry."""
    keys = ids.dtype is torch.int64
    numbers = _numbers_of_ids(ids.shape, pos.shape, tri.shape[0], 2 if keys else 1)
    return {"pos": pos, "tri": tri, "ids": ids.view(torch.int32) if keys else ids, **numbers}


@functools.lru_cache
def _numbers_of_ids(ids_shape, pos_shape, num_triangles: int, id_stride: int) -> dict[str, int]:
    """Sizes and strides; `id_stride` is the int32 elements from one pixel's id to the next."""
    (N, H, W), V = ids_shape, pos_shape[-2]
    sizes = {"N": N, "H": H, "W": W, "V": V, "num_triangles": num_triangles}
    return sizes | {"id_stride": id_stride, "pos_stride": V * 4 if len(pos_shape) == 3 else 0}
