"""Soft rasterization as an operator: bins of triangles, and the kernels of soft_rasterize.cu over them."""

import math
from typing import Any

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output, new_zeros, runs_on_gpu, threads_for
from glraster.cuda_kernels.upload import to_device

from .checks import validating
from .operators import Operator, new_gradients
from .scene import Scene
from .texture import sum_of_copies
from .validate import validate_geometry, validate_ranges

__all__ = ["ALPHA_AGGREGATES", "DISTANCES", "RGB_AGGREGATES", "render"]

DISTANCES = {"euclidean": "EUCLIDEAN", "barycentric": "BARYCENTRIC", "hard": "INSIDE"}
RGB_AGGREGATES = {"softmax": "SOFTMAX", "hard": "NEAREST_COLOR"}
ALPHA_AGGREGATES = ("prod", "sum", "hard")
_BLENDS = ("NO_COLOR", *RGB_AGGREGATES.values())  # as the kernels number them
_TRIANGLE_NUMBERS = 18  # kTriangleNumbers of the kernels
_SILHOUETTE_NUMBERS, _GEOMETRY_NUMBERS = 6, 12  # of an entry's gradients, without and with colour
_ENOUGH_BINS = 64  # for several threads
_MOST_COPIES = 1 << 22  # numbers of the texture's gradient, if there is one copy per thread

KERNELS = KernelFile(
    "soft_rasterize",
    adds_to=("grad_texture",),
    constants={"SOFT_DISTANCE": tuple(DISTANCES.values()), "SOFT_BLEND": _BLENDS},
)


def _forward(*inputs):
    outputs = _fake(*inputs)
    work = _Work(*inputs)
    work.launch("soft_fwd", work.num_pixels, **dict(zip(("rgba", "depth", "nearest", "state"), outputs, strict=True)))
    return outputs


def _fake(pos, tri, attr, attr_tri, texture, ranges, height, width, *rest):
    image = pos.shape[0] if ranges is None else ranges.shape[0], height, width
    channels = 0 if attr is None else (attr if texture is None else texture).shape[-1]
    colored = attr is not None
    return (
        new_output(pos, *image, channels + 1),
        new_output(pos, *(image if colored else (0,))),
        new_output(pos, *(image if colored else (0,)), dtype=torch.int32),
        new_output(pos, *image, 3 if colored else 1),
    )


def _setup(ctx, inputs, output):
    tensors, ctx.rest = inputs[:6], inputs[6:]
    rgba, _, nearest, state = output
    ctx.save_for_backward(*tensors, rgba, nearest, state)
    ctx.set_materialize_grads(False)


def _backward(ctx, needs, grad_rgba, *_):
    *tensors, rgba, nearest, state = ctx.saved_tensors
    wanted = [needs[0], needs[2], needs[4]]
    grads: tuple[torch.Tensor | None, ...] = (None, None, None)
    if grad_rgba is not None:
        grads = _render_bwd(grad_rgba, rgba, nearest, state, *tensors, *ctx.rest, wanted)
    return grads[0], None, grads[1], None, grads[2], *[None] * (len(ctx.rest) + 1)


def _bwd(grad_rgba, rgba, nearest, state, *inputs):
    *inputs, wanted = inputs
    pos, tri, attr, attr_tri, texture, *_ = inputs
    work = _Work(*inputs)
    partial = new_output(pos, work.num_entries, work.num_partial)
    grad_texture = work.new_texture_gradient() if wanted[2] else None
    pixels = {"grad_rgba": grad_rgba, "rgba": rgba, "nearest": nearest, "state": state}
    count = work.num_entries if runs_on_gpu(pos.device) else work.num_pixels
    work.launch("soft_bwd", count, **pixels, partial=partial, grad_texture=grad_texture)
    grad_pos, grad_attr, _ = new_gradients((pos, attr, None), (*wanted[:2], False))
    if grad_pos is not None:
        work.gather("soft_gather_pos", tri, pos.shape[-2], grad_pos.numel() // 4, partial, grad_pos=grad_pos)
    if grad_attr is not None:
        work.gather("soft_gather_attr", attr_tri, attr.shape[-2], grad_attr.numel(), partial, grad_attr=grad_attr)
    return grad_pos, grad_attr, sum_of_copies(grad_texture, pos.dtype)


def _fake_bwd(grad_rgba, rgba, nearest, state, pos, tri, attr, attr_tri, texture, *rest):
    return new_gradients((pos, attr, texture), rest[-1])


class _Work:
    """The triangles of all images, binned, and the kernels' fields.

    An item is a triangle of an image, an entry an item in a bin: a rectangle of pixels. On a GPU bins are small, since
    each pixel looks at all entries of its bin. On a CPU they are as large as the fast memory holds, and a work item.
    """

    def __init__(
        self,
        *tensors_and_size,
    ):
        pos, tri, attr, attr_tri, texture, ranges, height, width, background, *numbers_and_modes = tensors_and_size
        sigma, gamma, eps, near, far, dist_eps, dist, agg_rgb, agg_alpha, depth, double_sided, full, validate = (
            numbers_and_modes
        )
        scene = Scene(pos, tri, height, width, ranges, "none")
        validate_ranges("soft_rasterize", scene)
        if validating(validate):
            validate_geometry("soft_rasterize", scene)
        self.pos, self.texture = pos, texture
        N, T = scene.num_images, tri.shape[0]
        self.num_pixels = N * height * width
        self.threads = threads_for(self.num_pixels, pos.device)
        self.blend = "NO_COLOR" if attr is None else RGB_AGGREGATES[agg_rgb]
        self.constants = ("SOFT_DISTANCE", DISTANCES[dist]), ("SOFT_BLEND", self.blend)
        starts, first, num_items = _items(scene)
        A = 0 if attr is None else attr.shape[-1]
        C = A if texture is None else texture.shape[-1]
        h, w = (0, 0) if texture is None else texture.shape[1:3]
        self.num_partial = _SILHOUETTE_NUMBERS if attr is None else _GEOMETRY_NUMBERS + 3 * A
        bin_width, bin_height = _bin_size(N, height, width, runs_on_gpu(pos.device))
        num_bins = N * -(-width // bin_width) * -(-height // bin_height)
        self.fields: dict[str, Any] = {
            **{"pos": pos, "tri": tri, "attr": attr, "attr_tri": attr_tri, "texture": texture},
            **{"item_start": starts, "first_triangle": first},
            **{"N": N, "H": height, "W": width, "V": pos.shape[-2], "A": A, "C": C, "num_triangles": T},
            **{
                "num_attr_vertices": 0 if attr is None else attr.shape[-2],
                "num_items": num_items,
                "num_bins": num_bins,
            },
            **{"num_partial": self.num_partial, "bin_width": bin_width, "bin_height": bin_height, "h": h, "w": w},
            "background": pos.new_tensor(background),
            "pos_stride": scene.pos_stride,
            "attr_stride": _stride(attr, 3),
            "texture_stride": _stride(texture, 4),
            "copies": 1,
            "shared_gradient": 1,
            "distance": list(DISTANCES).index(dist),
            "blend": _BLENDS.index(self.blend),
            "alpha": ALPHA_AGGREGATES.index(agg_alpha),
            **{"depth_is_w": depth == "w", "double_sided": double_sided, "full": full},
            **{"sigma": sigma, "gamma": gamma, "eps": eps, "near": near, "far": far},
            "cutoff": sigma * math.log(1 / dist_eps - 1),
            **{"num_entries": 0, "scratch_size": 0},
        }
        self._bin(num_items, num_bins)

    def _bin(self, num_items: int, num_bins: int) -> None:
        """Lists each bin's triangles, in ascending order."""
        boxes = {
            "triangles": new_output(self.pos, num_items, _TRIANGLE_NUMBERS),
            "boxes": new_output(self.pos, num_items, 4, dtype=torch.int32),
            "ends": new_output(self.pos, num_items, dtype=torch.int64),
        }
        self.launch("soft_boxes", num_items, **boxes)
        boxes["ends"].cumsum_(0)
        self.num_entries = int(boxes["ends"][-1]) if num_items else 0
        entry_bin, entry_triangle = (
            new_output(self.pos, self.num_entries, dtype=torch.int32) for _ in ("bin", "triangle")
        )
        self.fields |= boxes | {"entry_bin": entry_bin, "entry_triangle": entry_triangle}
        self.fields["num_entries"] = self.num_entries
        self.launch("soft_entries", num_items if self.num_entries else 0)
        self.fields["order"], self.fields["bin_start"] = _sorted_groups(entry_bin, num_bins)

    def new_texture_gradient(self) -> torch.Tensor:
        """Zeros [copies, N or 1, h, w, C] float64: a copy per thread, or a single one to which all add atomically."""
        texture, threads = self.texture, threads_for(self.num_pixels, self.pos.device, adds=True)
        copies = threads if threads is not None and threads * texture.numel() <= _MOST_COPIES else 1
        self.threads = threads
        self.fields |= {"copies": copies, "shared_gradient": copies == 1 and threads != 1}
        return new_zeros(texture, copies, *texture.shape, dtype=torch.float64)

    def gather(self, kernel, tri, num_vertices, count, partial, **grad) -> None:
        """Adds up what the entries hold for each vertex."""
        order, start = _sorted_groups(tri.flatten(), num_vertices)
        self.launch(kernel, count, corner_order=order, corner_start=start, partial=partial, **grad)

    def launch(self, kernel: str, count: int, **fields) -> None:
        planes_of_scratch = {"soft_fwd": 6 + self.fields["C"], "soft_bwd": 5 + 2 * self.fields["C"]}
        if self.threads is not None and kernel in planes_of_scratch:
            lanes = 64 // self.pos.element_size()  # kLanes
            plane = (self.fields["bin_width"] + lanes) * self.fields["bin_height"]
            size = planes_of_scratch[kernel] * plane + self.num_partial * lanes
            fields |= {"scratch": new_output(self.pos, self.threads, size), "scratch_size": size}
        KERNELS.launch(
            kernel,
            count,
            threads=self.threads,
            constants=self.constants if kernel in planes_of_scratch else (),
            **self.fields | fields,
        )


def _items(scene: Scene) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Items before each image, [N + 1]; each image's first triangle, [N]; and the number of items."""
    N, T = scene.num_images, scene.tri.shape[0]
    ranges = torch.tensor([[0, T]]).expand(N, 2) if scene.ranges is None else scene.ranges.long()
    first, count = ranges.unbind(1)
    ends = count.cumsum(0)
    numbers = to_device(torch.cat([ends.new_zeros(1), ends, first]), scene.pos.device)
    return numbers[: N + 1], numbers[N + 1 :], int(ends[-1]) if N else 0


def _sorted_groups(keys: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The order that sorts `keys`, equal ones as they come, and where each of the keys 0..count begins in it."""
    ordered, order = torch.sort(keys, stable=True)
    bounds = torch.arange(count + 1, device=keys.device, dtype=keys.dtype)
    return order, torch.searchsorted(ordered, bounds)


def _bin_size(N: int, height: int, width: int, on_gpu: bool) -> tuple[int, int]:
    """Width and height of bins in pixels: not a matter of how many threads there are, nor are the results."""
    if on_gpu:
        return 16, 16
    bin_width, bin_height = min(width, 256), 32
    while bin_height > 4 and N * -(-width // bin_width) * -(-height // bin_height) < _ENOUGH_BINS:
        bin_height //= 2
    return bin_width, min(bin_height, height)


def _stride(tensor: torch.Tensor | None, dims: int) -> int:
    """Elements from one image's part of a tensor to the next; 0 where all images share it."""
    return tensor[0].numel() if tensor is not None and tensor.ndim == dims and tensor.shape[0] > 1 else 0


_inputs = (
    "Tensor pos, Tensor tri, Tensor? attr, Tensor? attr_tri, Tensor? texture, Tensor? ranges, SymInt height, "
    "SymInt width, float[] background, float sigma, float gamma, float eps, float near, float far, float dist_eps, "
    "str dist, str agg_rgb, str agg_alpha, str depth, bool double_sided, bool full, bool? validate"
)
render = Operator(
    f"soft_rasterize({_inputs}) -> (Tensor, Tensor, Tensor, Tensor)", _forward, _fake, setup=_setup, backward=_backward
)
_render_bwd = Operator(
    f"soft_rasterize_bwd(Tensor grad_rgba, Tensor rgba, Tensor nearest, Tensor state, {_inputs}, bool[] wanted) -> "
    "(Tensor, Tensor, Tensor)",
    _bwd,
    _fake_bwd,
)
