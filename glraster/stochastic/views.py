"""The cameras and target pictures of an optimization, and which of them each step uses."""

from typing import TYPE_CHECKING

import numpy as np

from .parameters import to_array

if TYPE_CHECKING:
    from .device import Device

__all__ = ["Views", "chosen_views", "pack_cameras"]

PAIR = np.dtype([("view", "i4"), ("unused", "i4"), ("jitter", "f4", 2)])


def pack_cameras(cameras: object) -> np.ndarray:
    """The buffer `Views` of views.glsl for world-to-clip matrices [N, 4, 4] (column vectors).

    Raises:
        TypeError, ValueError: they are not that, or have no inverse.
    """
    cameras = to_array("StochasticOptimizer: cameras", cameras, np.float64)
    if cameras.ndim != 3 or cameras.shape[1:] != (4, 4) or len(cameras) == 0:
        raise ValueError(f"StochasticOptimizer: cameras must be [N, 4, 4], got {list(cameras.shape)}")
    try:
        inverse = np.linalg.inv(cameras)
    except np.linalg.LinAlgError:
        raise ValueError("StochasticOptimizer: cameras must have an inverse, got a singular matrix") from None
    eye = inverse[:, :, 2]  # what projects to (0, 0, z, 0)
    finite = np.abs(eye[:, 3:]) > 1e-6 * np.abs(eye[:, :3]).max(1, keepdims=True)
    eye = np.where(finite, eye / np.where(finite, eye[:, 3:], 1), eye * [1, 1, 1, 0])
    matrices = [m.swapaxes(1, 2).reshape(-1, 16) for m in (cameras, inverse)]  # columns first
    return np.concatenate([*matrices, eye], 1).astype(np.float32)


class Views:
    """Cameras with the pictures taken by them, on the GPU.

    Args:
        device: whose context is current.
        cameras: [N, 4, 4].
        targets: [N, H, W, 1, 3 or 4], uint8 (0 to 255 for 0 to 1) or floating point; row 0 is the bottom row. With
            fewer than four channels the others do not count.
    """

    def __init__(self, device: "Device", cameras: object, targets: object):
        self._device = device
        packed = pack_cameras(cameras)
        is_bytes = str(getattr(targets, "dtype", "")).rsplit(".", 1)[-1] == "uint8"
        targets = to_array("StochasticOptimizer: targets", targets, np.uint8 if is_bytes else np.float32)
        shape = targets.shape
        if targets.ndim != 4 or len(targets) != len(packed) or shape[3] not in (1, 3, 4) or 0 in shape:
            need = f"[{len(packed)}, H, W, 1, 3 or 4], a picture for each camera"
            raise ValueError(f"StochasticOptimizer: targets must be {need}, got {list(shape)}")
        self.count, self.height, self.width, channels = shape
        self.channels = tuple(float(c < channels) for c in range(4))
        texels = np.zeros((*shape[:3], 4), targets.dtype)
        texels[..., :channels] = targets
        kind = "f1" if is_bytes else device.float_type
        texels = texels if is_bytes or kind == "f4" else texels.astype(np.float16)
        size = (self.width, self.height)
        self.targets = device.layers(size, self.count, kind, texels.tobytes(), "targets")
        self.cameras = device.buffer(packed)

    def release(self) -> None:
        self._device.drop(self.targets, self.cameras)


def chosen_views(seed: int, step: int, count: int, total: int) -> np.ndarray:
    """The views of a step: all of them in random order, again and again in other orders."""
    order: list[int] = []
    for place in range(step * count, (step + 1) * count):
        epoch, index = divmod(place, total)
        order.append(np.random.default_rng((seed, epoch)).permutation(total)[index])
    return np.array(order, np.int32)
