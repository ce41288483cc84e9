"""Losses and measures of images [N, H, W, C]."""

import torch
import torch.nn.functional as F

__all__ = ["psnr", "silhouette_iou", "silhouette_iou_loss", "ssim", "total_variation"]

WINDOW, SIGMA = 11, 1.5  # of the structural similarity, in pixels
K1, K2 = 0.01, 0.03  # what keeps its quotients finite, in parts of the range of values


def silhouette_iou(coverage: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns the intersection over union of silhouettes: sum(p t) / sum(p + t - p t).

    Args:
        coverage: [N, ...] floats from 0 to 1, such as an alpha channel.
        target: the same shape.

    Returns:
        [N], from 0 to 1; 1 where both are empty. Gradients reach both.

    Raises:
        ValueError: different shapes.
    """
    _check_alike("silhouette_iou", coverage, target)
    both = (coverage * target).flatten(1).sum(1)
    either = (coverage + target).flatten(1).sum(1) - both
    empty = either == 0
    return torch.where(empty, 1.0, both / torch.where(empty, 1.0, either))


def silhouette_iou_loss(coverage: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns 1 - `silhouette_iou`, mean over the minibatch: a scalar."""
    return 1 - silhouette_iou(coverage, target).mean()


def total_variation(image: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference between vertical neighbours plus that between horizontal ones.

    Args:
        image: [N, H, W, C] floats: pictures, or a texture to keep smooth.

    Returns:
        A scalar; a direction without neighbours counts nothing. Gradients reach `image`.

    Source: Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal algorithms" (1992), anisotropic.
    """
    _check_image("total_variation", image)
    steps = image.diff(dim=1), image.diff(dim=2)
    return sum((step.abs().mean() for step in steps if step.numel()), image.new_zeros(()))


def psnr(image: torch.Tensor, target: torch.Tensor, *, peak: float = 1.0) -> torch.Tensor:
    """Returns the peak signal-to-noise ratio, -10 log10(mean squared error / peak^2).

    Args:
        image: [N, ...] floats.
        target: the same shape.
        peak: the largest value there may be.

    Returns:
        [N] decibels; infinite where they are equal, with gradients that are not finite.

    Raises:
        ValueError: different shapes.
    """
    _check_alike("psnr", image, target)
    return -10 * ((image - target).square().flatten(1).mean(1) / peak**2).log10()


def ssim(image: torch.Tensor, target: torch.Tensor, *, peak: float = 1.0) -> torch.Tensor:
    """Returns the structural similarity: of means, contrast and structure in Gaussian windows of 11 x 11 pixels.

    Only windows within the image count.

    Args:
        image: [N, H, W, C] floats, at least 11 pixels high and wide.
        target: the same shape.
        peak: the largest value there may be, less the smallest.

    Returns:
        [N], at most 1, which equal images have: mean over windows and channels. Gradients reach both.

    Raises:
        ValueError: different shapes, or images that are smaller than a window.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to Structural
    Similarity" (2004).
    """
    _check_alike("ssim", image, target)
    _check_image("ssim", image)
    N, H, W, C = image.shape
    if min(H, W) < WINDOW:
        raise ValueError(f"ssim(): images must be at least {WINDOW} x {WINDOW} pixels, got {H} x {W}")
    stack = torch.stack([image, target, image * image, target * target, image * target])
    blurred = _blur(stack.movedim(4, 2).reshape(-1, 1, H, W)).unflatten(0, (5, N, C))
    mean_a, mean_b, square_a, square_b, product = blurred[:, :, :, 0]
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    variances = square_a - mean_a**2 + square_b - mean_b**2
    similar = (2 * mean_a * mean_b + c1) * (2 * (product - mean_a * mean_b) + c2)
    return (similar / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))).flatten(1).mean(1)


def _blur(images: torch.Tensor) -> torch.Tensor:
    """[M, 1, H, W] through the Gaussian window, one axis after the other."""
    x = torch.arange(WINDOW, dtype=images.dtype, device=images.device) - WINDOW // 2
    weights = torch.exp(-(x**2) / (2 * SIGMA**2))
    weights = (weights / weights.sum())[None, None]
    return F.conv2d(F.conv2d(images, weights[..., None]), weights[..., None, :])


def _check_alike(op: str, a: torch.Tensor, b: torch.Tensor) -> None:
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(f"{op}(): both must be of one shape [N, ...], got {list(a.shape)} and {list(b.shape)}")


def _check_image(op: str, image: torch.Tensor) -> None:
    if image.ndim != 4:
        raise ValueError(f"{op}(): images must be [N, H, W, C], got {list(image.shape)}")
