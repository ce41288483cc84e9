"""Soft rasterization as an operator: bins of triangles, and the kernels of soft_rasterize.cu over them."""

import math
from typing import Any, NamedTuple

import torch

from glraster.cuda_kernels.launcher import KernelFile, new_output, new_zeros, runs_on_gpu, threads_for
from glraster.cuda_kernels.upload import to_device

from .checks import validating
from .operators import Operator, new_gradients, save
from .scene import Scene
from .texel_sums import sum_of_copies
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


class _Inputs(NamedTuple):
    """The operator's arguments, checked, in the order of its schema; see `glraster.soft.soft_rasterize`."""

    pos: torch.Tensor
    tri: torch.Tensor
    attr: torch.Tensor | None
    attr_tri: torch.Tensor | None
    texture: torch.Tensor | None
    ranges: torch.Tensor | None
    height: int
    width: int
    background: list[float]
    sigma: float
    gamma: float
    eps: float
    near: float
    far: float
    dist_eps: float
    dist: str
    agg_rgb: str
    agg_alpha: str
    depth: str
    double_sided: bool
    full: bool
    validate: bool | None

    @property
    def scene(self) -> Scene:
        return Scene(self.pos, self.tri, self.height, self.width, self.ranges, "none")

    @property
    def channels(self) -> int:
        """Of colour."""
        color = self.attr if self.texture is None else self.texture
        return 0 if color is None else color.shape[-1]


def _forward(*inputs):
    outputs = _fake(*inputs)
    work = _Work(_Inputs(*inputs))
    work.launch("soft_fwd", work.num_pixels, **dict(zip(("rgba", "depth", "nearest", "state"), outputs, strict=True)))
    return outputs


def _fake(*inputs):
    i = _Inputs(*inputs)
    image = i.scene.num_images, i.height, i.width
    aux = (0,) if i.attr is None else image
    state = 1 if i.attr is None else 3
    return (
        new_output(i.pos, *image, i.channels + 1),
        new_output(i.pos, *aux),
        new_output(i.pos, *aux, dtype=torch.int32),
        new_output(i.pos, *image, state),
    )


def _setup(ctx, inputs, output):
    tensors, ctx.rest = inputs[:6], inputs[6:]
    rgba, _, nearest, state = output
    save(ctx, *tensors, rgba, nearest, state)


def _backward(ctx, needs, grad_rgba, *_):
    *tensors, rgba, nearest, state = ctx.saved_tensors
    wanted = [needs[0], needs[2], needs[4]]
    grads: tuple[torch.Tensor | None, ...] = (None, None, None)
    if grad_rgba is not None:
        grads = _render_bwd(grad_rgba, rgba, nearest, state, *tensors, *ctx.rest, wanted)
    return grads[0], None, grads[1], None, grads[2], *[None] * (len(ctx.rest) + 1)


def _bwd(grad_rgba, rgba, nearest, state, *inputs_and_wanted):
    *inputs, wanted = inputs_and_wanted
    i = _Inputs(*inputs)
    work = _Work(i)
    partial = new_output(i.pos, work.num_entries, work.num_partial)
    grad_texture = work.new_texture_gradient(i.texture) if wanted[2] else None
    pixels = {"grad_rgba": grad_rgba, "rgba": rgba, "nearest": nearest, "state": state}
    count = work.num_entries if runs_on_gpu(i.pos.device) else work.num_pixels
    work.launch("soft_bwd", count, **pixels, partial=partial, grad_texture=grad_texture)
    grad_pos, grad_attr, _ = new_gradients((i.pos, i.attr, None), (*wanted[:2], False))
    if grad_pos is not None:
        work.gather("soft_gather_pos", i.tri, i.pos.shape[-2], grad_pos.numel() // 4, partial, grad_pos=grad_pos)
    if grad_attr is not None:
        work.gather("soft_gather_attr", i.attr_tri, i.attr.shape[-2], grad_attr.numel(), partial, grad_attr=grad_attr)
    return grad_pos, grad_attr, sum_of_copies(grad_texture, i.pos.dtype)


def _fake_bwd(grad_rgba, rgba, nearest, state, pos, tri, attr, attr_tri, texture, *rest):
    return new_gradients((pos, attr, texture), rest[-1])


class _Work:
    """The triangles of all images, binned, and the kernels' fields.

    An item is a triangle of an image, an entry an item in a bin: a rectangle of pixels. On a GPU bins are small, since
    each pixel looks at all entries of its bin. On a CPU they are as large as the fast memory holds, and a work item.
    """

    def __init__(self, i: _Inputs):
        scene = i.scene
        validate_ranges("soft_rasterize", scene)
        if validating(i.validate):
            validate_geometry("soft_rasterize", scene)
        self.pos = i.pos
        N, H, W = scene.num_images, i.height, i.width
        self.num_pixels = N * H * W
        self.threads = threads_for(self.num_pixels, i.pos.device)
        blend = "NO_COLOR" if i.attr is None else RGB_AGGREGATES[i.agg_rgb]
        self.constants = ("SOFT_DISTANCE", DISTANCES[i.dist]), ("SOFT_BLEND", blend)
        item_start, first_triangle, num_items = _items(scene)
        V_attr, A = (0, 0) if i.attr is None else i.attr.shape[-2:]
        self.num_partial = _SILHOUETTE_NUMBERS if i.attr is None else _GEOMETRY_NUMBERS + 3 * A
        bin_width, bin_height = _bin_size(N, H, W, runs_on_gpu(i.pos.device))
        num_bins = N * -(-W // bin_width) * -(-H // bin_height)
        h, w = (0, 0) if i.texture is None else i.texture.shape[1:3]
        names = (
            "pos",
            "tri",
            "attr",
            "attr_tri",
            "texture",
            "double_sided",
            "full",
            "sigma",
            "gamma",
            "eps",
            "near",
            "far",
        )
        self.fields: dict[str, Any] = {name: getattr(i, name) for name in names} | {
            **{"background": i.pos.new_tensor(i.background), "cutoff": i.sigma * math.log(1 / i.dist_eps - 1)},
            **{"item_start": item_start, "first_triangle": first_triangle, "num_items": num_items, "num_entries": 0},
            **{"N": N, "H": H, "W": W, "V": i.pos.shape[-2], "A": A, "C": i.channels, "h": h, "w": w},
            **{"num_triangles": i.tri.shape[0], "num_attr_vertices": V_attr, "num_partial": self.num_partial},
            **{"num_bins": num_bins, "bin_width": bin_width, "bin_height": bin_height, "scratch_size": 0},
            **{"pos_stride": scene.pos_stride, "attr_stride": _stride(i.attr, 3)},
            **{"texture_stride": _stride(i.texture, 4), "copies": 1, "shared_gradient": 1},
            **{"distance": list(DISTANCES).index(i.dist), "blend": _BLENDS.index(blend)},
            **{"alpha": ALPHA_AGGREGATES.index(i.agg_alpha), "depth_is_w": i.depth == "w"},
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

    def new_texture_gradient(self, texture: torch.Tensor) -> torch.Tensor:
        """Zeros [copies, N or 1, h, w, C] float64: a copy per thread, or a single one to which all add atomically."""
        threads = threads_for(self.num_pixels, self.pos.device, adds=True)
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
    ranges = torch.tensor([[0, T]], device="cpu").expand(N, 2) if scene.ranges is None else scene.ranges.long()
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
