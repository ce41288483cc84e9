"""Gradients of vertices on the host, in each of the places where threads add them (common/vertex_sums.cuh)."""

import pytest
import torch

from glraster import interpolate

CASES = {  # images, image side, vertices, attributes, whether each image has attributes of its own
    "in place, of one image each": (2, 96, 500, 4, True),
    "in place, more images than threads": (9, 48, 50, 8, True),
    "in a copy each": (1, 128, 300, 3, False),
    "in a copy each, images with their own": (3, 96, 300, 5, True),
    "of few vertices at a time": (1, 128, 60_000, 3, False),
    "of few vertices at a time, images with their own": (3, 96, 20_000, 4, True),
    "one vertex": (2, 96, 1, 1, False),
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_sums_are_right(case, threads):
    """Of random triangles in random pixels, against PyTorch's index_add in float64."""
    images, side, vertices, width, own = CASES[case]
    random = torch.Generator().manual_seed(0)
    tri = torch.randint(vertices, (2000, 3), generator=random, dtype=torch.int32)
    shape = (images, side, side)
    ids = torch.randint(-500, 2000, shape, generator=random).clamp(min=-1)
    ids[:, ::2, 1:] = ids[:, ::2, :1]  # long runs of one triangle as well
    uv = torch.rand(*shape, 2, generator=random, dtype=torch.float64)
    rast = torch.cat([uv, torch.zeros_like(uv[..., :1]), ids[..., None] + 1.0], -1)
    attr = torch.rand(*([images] if own else []), vertices, width, generator=random, dtype=torch.float64)
    grad_out = torch.rand(*shape, width, generator=random, dtype=torch.float64)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out, _ = interpolate(attr.requires_grad_(), rast, tri)
        (grad,) = torch.autograd.grad(out, attr, grad_out)
    finally:
        torch.set_num_threads(before)
    expected = torch.zeros(images * vertices if own else vertices, width, dtype=torch.float64)
    image = torch.arange(images)[:, None, None].expand(shape)[ids >= 0]
    weights = torch.cat([uv, 1 - uv.sum(-1, keepdim=True)], -1)[ids >= 0]
    for corner in range(3):
        vertex = tri[ids[ids >= 0], corner].long() + (image * vertices if own else 0)
        expected.index_add_(0, vertex, weights[:, corner, None] * grad_out[ids >= 0])
    torch.testing.assert_close(grad, expected.view_as(grad), rtol=1e-12, atol=1e-12)
