"""In what the gradients of texels are summed: in how many copies, and how precisely."""

from collections.abc import Sequence

import torch

from glraster.cuda_kernels.launcher import new_output, rounded, runs_on_gpu

__all__ = ["gradient_copies", "receives_many", "sum_of_copies"]

MANY_ADDITIONS = 2**20  # in all: from there on it is worth looking whether they go to the same texels
SAMPLED_PIXELS = 8192
FEW_ADDITIONS = 1024  # to each texel, on average: so many cost a sum of float32 at most 3e-5 of it


def gradient_copies(uv: torch.Tensor, levels: Sequence[torch.Tensor], threads: int | None, corners: int = 4) -> int:
    """How many copies of the levels' gradients are filled and then summed: one per thread, unless that would take
    longer than atomic additions to a single one, `corners` for every sample."""
    samples = uv.shape[:3].numel()
    texels = sum(level.shape[:-1].numel() for level in levels)
    return threads if threads is not None and threads * texels <= corners * samples else 1


def receives_many(level: torch.Tensor, uv: torch.Tensor, most_additions: int) -> bool:
    """Whether texels receive so many gradients that they are to be summed in float64.

    Sums of float32 lose what is small beside them: thousands of additions to a texel cost the fourth digit, and from
    2^24 of equal size on they stand still. Large textures, whose texels receive few, stay as they are.

    Args:
        level: the texels.
        uv: the pixels that read them.
        most_additions: that one pixel makes.
    """
    additions = uv.shape[:3].numel() * most_additions
    if additions > FEW_ADDITIONS * level.shape[:-1].numel():
        return True
    return additions >= MANY_ADDITIONS and _most_on_one_texel(uv, level) * most_additions > 4 * FEW_ADDITIONS


def _most_on_one_texel(uv: torch.Tensor, level: torch.Tensor) -> int:
    """About how many pixels read the texel that most of them read, from a sample of them: a background, say, whose
    coordinates are constant. On a GPU 0, since the answer would have to be waited for."""
    if runs_on_gpu(uv.device):
        return 0
    D = uv.shape[-1]
    stride = max(1, uv.shape[:3].numel() // SAMPLED_PIXELS) | 1  # odd: not the same columns in every row
    points = uv.detach().reshape(-1, D)[::stride].double().nan_to_num()
    if D == 3 and level.ndim == 5 and level.shape[1] == 6:  # directions
        points = points / points.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    cells = (points * points.new_tensor(level.shape[-1 - D : -1]).flip(0)).floor()
    numbers = cells @ points.new_tensor([1.0, 2.0**20 + 7, 2.0**40 + 9][:D])
    most = int(numbers.unique(return_counts=True)[1].max())
    return most * stride if most > 3 else 0


def sum_of_copies(grad: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """The sum over the first dimension, [copies, ...] -> [...]."""
    if grad is None:
        return None
    total = grad[0] if len(grad) == 1 else torch.sum(grad, 0, out=new_output(grad, *grad.shape[1:]))
    return rounded(total, dtype)
