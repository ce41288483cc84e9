"""Checks of the rasterizer contexts: each draws a triangle, and every pixel is compared with a solution in float64."""

import torch

import glraster

from .finding import Finding

__all__ = ["render"]

_SIZE = 32
# Clip space, with perspective; no pixel centre lies near an edge.
_CORNERS = ((-0.9, -0.7, 0.1, 1.0), (1.5, -0.63, 0.2, 1.9), (0.13, 1.1, -0.4, 1.3))


def render(context: str, device: str) -> list[Finding]:
    """Draws through one kind of context on one kind of device; no finding where PyTorch sees no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        return []
    check = f"{context}(device='{device}')"
    pos = torch.tensor([_CORNERS], device=device)
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    try:
        with getattr(glraster, context)(device=device) as glctx:
            drawn_by = getattr(glctx, "egl_device", None)
            rast, _ = glraster.rasterize(glctx, pos, tri, (_SIZE, _SIZE))
    except Exception as error:  # OpenGL, CUDA and compilers raise errors of many kinds
        return [Finding(check, "broken", f"{type(error).__name__}: {error}", "see the lines above for what is missing")]
    if drawn_by == "none":
        found = "the software rasterizer has taken over, since OpenGL and CUDA do not work together"
        return [Finding(check, "broken", found, "the line on GL-CUDA interop says why")]
    expected = _expected()
    difference = (rast[0].cpu().double() - expected).abs().amax(dim=-1)
    wrong = int((~(difference < 1e-5)).sum())
    if wrong:
        found = f"drew the test triangle wrong in {wrong} of {_SIZE * _SIZE} pixels"
        return [
            Finding(check, "broken", found, "a driver or compiler error: update the driver, or use another context")
        ]
    where = f" on EGL device {drawn_by}" if drawn_by else ""
    return [Finding(check, "ok", f"drew the test triangle right in all {_SIZE * _SIZE} pixels{where}")]


def _expected() -> torch.Tensor:
    """float64 [H, W, 4]: per pixel (u, v, z/w, 1), or zeros. The barycentric weights b of the point (fx, fy) on the
    screen solve sum_i b_i (x_i, y_i, w_i) = (fx, fy, 1), up to scale."""
    corners = torch.tensor(_CORNERS, dtype=torch.float64)
    centres = (2 * torch.arange(_SIZE, dtype=torch.float64) + 1) / _SIZE - 1
    fy, fx = torch.meshgrid(centres, centres, indexing="ij")
    points = torch.stack([fx, fy, torch.ones_like(fx)], dim=-1)
    weights = torch.linalg.solve(corners[:, [0, 1, 3]].T, points.reshape(-1, 3).T).T.reshape(_SIZE, _SIZE, 3)
    depth = (weights @ corners[:, 2]) / (weights @ corners[:, 3])
    shares = weights / weights.sum(dim=-1, keepdim=True)
    image = torch.stack([shares[..., 0], shares[..., 1], depth, torch.ones_like(depth)], dim=-1)
    return image * (weights > 0).all(dim=-1, keepdim=True)
