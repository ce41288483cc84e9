"""Reference for soft_rasterize: every pixel against every triangle, after Liu et al., "Soft Rasterizer", ICCV 2019.

Gradients come from autograd; `grad='frozen'` detaches the clamped barycentrics, through which the paper passes none.
Conventions beside the paper's: one unit of distance is half the image's height; colours and texture coordinates are
interpolated perspective-correctly; a triangle without area has distances, and so alpha, but no colour.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def soft_rasterize(
    pos: Tensor,
    tri: Tensor,
    attr: Tensor | None,
    resolution: Sequence[int],
    *,
    sigma: float = 1e-5,
    gamma: float = 1e-4,
    eps: float = 1e-3,
    near: float | None = None,
    far: float | None = None,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    dist: str = "euclidean",
    dist_eps: float = 1e-4,
    agg_rgb: str = "softmax",
    agg_alpha: str = "prod",
    double_sided: bool = True,
    texture: Tensor | None = None,
    attr_tri: Tensor | None = None,
    depth: str = "w",
    grad: str = "full",
) -> tuple[Tensor, Tensor, Tensor]:
    """Renders [N, V, 4] positions; arguments as those of `glraster.soft.soft_rasterize`, without ranges.

    Returns:
        rgba [N, H, W, C + 1], depth [N, H, W] and id [N, H, W] of the nearest triangle that covers the pixel's centre,
        `far` and -1 where there is none. Without attr rgba holds alpha alone, and depth and id are those of colour.
    """
    height, width = resolution
    near = (1.0 if depth == "w" else -1.0) if near is None else near
    far = (100.0 if depth == "w" else 1.0) if far is None else far
    corners = pos.double()[:, tri.long()]  # [N, T, 3, 4]
    w = corners[..., 3]
    scale = w.new_tensor([width / height, 1.0])
    p = corners[..., :2] / w[..., None] * scale  # [N, T, 3, 2]
    x = (2 * torch.arange(width, dtype=torch.float64) + 1 - width) / height
    y = (2 * torch.arange(height, dtype=torch.float64) + 1 - height) / height
    pixel = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).reshape(-1, 2)
    q = p[:, None] - pixel[None, :, None, None]  # [N, P, T, 3, 2]

    area = _cross(p[..., 1, :] - p[..., 0, :], p[..., 2, :] - p[..., 0, :])[:, None]  # [N, 1, T]
    flat = area.detach() == 0
    bary = _cross(q.roll(-1, 3), q.roll(-2, 3)) / torch.where(flat, 1.0, area)[..., None]  # [N, P, T, 3]
    inside = (bary.detach() >= 0).all(-1) & ~flat

    tau = sigma * math.log(1 / dist_eps - 1)
    if dist == "hard":
        covers, coverage = inside, inside.double()
    else:
        square = _edge_distance(q) if dist == "euclidean" else bary.amin(-1).square()
        covers = inside | (square.detach() < tau)
        if dist == "barycentric":
            covers = covers & ~flat
        coverage = torch.sigmoid(torch.where(inside, square, -square) / sigma) * covers

    image = q.shape[0], height, width
    if agg_alpha == "prod":
        alpha = 1 - (1 - coverage).prod(-1)
    elif agg_alpha == "sum":
        alpha = coverage.sum(-1) / tri.shape[0]
    else:
        alpha = inside.any(-1).double()

    clamped = bary.clamp(0, 1)
    wbar = clamped / clamped.sum(-1, keepdim=True).clamp(min=1e-300)
    wbar = wbar.detach() if grad == "frozen" else wbar
    inverse = (wbar / w[:, None]).sum(-1)
    z = 1 / inverse if depth == "w" else (wbar * (corners[..., 2] / w)[:, None]).sum(-1)
    shows = (
        covers & ~flat & (z.detach() >= near) & (z.detach() <= far) & (area.detach() > 0 if not double_sided else True)
    )
    zhat = (far - z) / (far - near)

    nearest = torch.where(shows & inside, z.detach(), math.inf)
    depth_out, triangle = nearest.min(-1) if tri.shape[0] else (torch.full(nearest.shape[:2], math.inf), None)
    hit = depth_out.isfinite()
    ids = torch.where(hit, triangle, -1) if triangle is not None else torch.full(hit.shape, -1)
    depth_out = torch.where(hit, depth_out, far)
    aux = depth_out.reshape(image), ids.reshape(image)
    if attr is None:
        return alpha.reshape(*image, 1), *aux

    attr = attr.double()
    attr_corners = attr[..., (tri if attr_tri is None else attr_tri).long(), :]  # [N or -, T, 3, A]
    attr_corners = attr_corners.expand(q.shape[0], *attr_corners.shape[-3:])
    weights = wbar / w[:, None] / inverse[..., None]
    color = torch.einsum("npti,ntia->npta", weights, attr_corners)
    if texture is not None:
        color = _bilinear(texture.double(), color)
    behind = torch.tensor(background, dtype=torch.float64)
    if agg_rgb == "hard":
        chosen = color.gather(2, ids.clamp(min=0)[..., None, None].expand(-1, -1, 1, color.shape[-1]))[:, :, 0]
        rgb = torch.where(hit[..., None], chosen, behind)
    else:
        logit = torch.where(shows, zhat / gamma, -math.inf)
        top = torch.clamp(logit.detach().amax(-1), min=eps / gamma)
        e = torch.where(shows, coverage * (logit - top[..., None]).exp(), 0.0)
        ground = (eps / gamma - top).exp()
        total = e.sum(-1) + ground
        rgb = (torch.einsum("npt,npta->npa", e, color) + ground[..., None] * behind) / total[..., None]
    return torch.cat([rgb, alpha[..., None]], -1).reshape(*image, -1), *aux


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _edge_distance(q: Tensor) -> Tensor:
    """Squared distance of the origin to the nearest of a triangle's sides, [..., 3, 2] -> [...]."""
    start, side = q, q.roll(-1, -2) - q
    length = side.square().sum(-1)
    t = -(start * side).sum(-1) / torch.where(length.detach() == 0, 1.0, length)
    return (start + t.clamp(0, 1)[..., None] * side).square().sum(-1).amin(-1)


def _bilinear(texture: Tensor, uv: Tensor) -> Tensor:
    """Linear filtering with boundary mode 'wrap': texture [N or 1, h, w, C] at uv [N, P, T, 2]."""
    texture = texture.expand(uv.shape[0], *texture.shape[1:])
    h, w = texture.shape[1:3]
    at = uv * uv.new_tensor([w, h]) - 0.5
    base = at.detach().floor()
    f = at - base
    n = torch.arange(uv.shape[0])[:, None, None]
    total = 0.0
    for dx in (0, 1):
        for dy in (0, 1):
            i, j = (base[..., 0] + dx).long() % w, (base[..., 1] + dy).long() % h
            weight = (f[..., 0] if dx else 1 - f[..., 0]) * (f[..., 1] if dy else 1 - f[..., 1])
            total = total + weight[..., None] * texture[n, j, i]
    return total
