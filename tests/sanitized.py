"""A small set of every operation on a GPU, to run under NVIDIA's compute-sanitizer:

PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --report-api-errors no python tests/sanitized.py
"""

import torch
from cuda_scene import inputs, step
from scenes import soup

import glraster


def look_up(device: torch.device) -> None:
    """Every filter and boundary mode, forward and backward."""
    for boundary_mode in ("wrap", "clamp", "zero", "cube"):
        D, shape = (3, (1, 6, 8, 8, 3)) if boundary_mode == "cube" else (2, (1, 8, 16, 3))
        tensors = [torch.randn(sizes, device=device) for sizes in (shape, (2, 9, 11, D), (2, 9, 11, 2 * D))]
        leaves = [tensor.requires_grad_() for tensor in tensors]
        for filter_mode in ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear", "anisotropic"):
            glraster.texture(*leaves, filter_mode=filter_mode, boundary_mode=boundary_mode).sum().backward()
    volume, uvw = torch.randn((1, 3, 4, 5, 2), device=device), torch.randn((2, 9, 11, 3), device=device)
    for filter_mode in ("nearest", "linear"):
        glraster.texture3d(volume.requires_grad_(), uvw.requires_grad_(), filter_mode).sum().backward()


def draw(device: torch.device) -> None:
    """Ranges, and layers behind one another, with triangles of all sizes and some that are broken."""
    pos, tri = (tensor.to(device) for tensor in soup(0, 1, 50))
    pos[0, 7, 0], tri[5, 1], tri[9, 2] = torch.nan, -1, 10**6
    context = glraster.RasterizeCudaContext(device)
    ranges = torch.tensor([[0, 20], [10, 40], [3, 0]], dtype=torch.int32)
    rast, rast_db = glraster.rasterize(context, pos[0], tri, (61, 73), ranges=ranges)
    glraster.interpolate(pos[0], rast, tri, rast_db, [0, 3])
    with glraster.DepthPeeler(context, pos, tri, (61, 73)) as peeler:
        for _ in range(3):
            peeler.rasterize_next_layer()


def main() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    for deterministic in (False, True):
        torch.use_deterministic_algorithms(deterministic)
        step(glraster.RasterizeCudaContext(device), inputs(device))
        look_up(device)
        draw(device)
    torch.cuda.synchronize()
    print("all ran")


if __name__ == "__main__":
    main()
