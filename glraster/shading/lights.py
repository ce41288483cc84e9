"""Light from one direction on matt and glossy surfaces."""

import torch

__all__ = ["dot", "lambert", "phong"]


def lambert(normal: torch.Tensor, light: torch.Tensor) -> torch.Tensor:
    """Returns max(n . l, 0), which a matt surface's colour is multiplied with.

    Args:
        normal: [..., 3] unit vectors.
        light: [..., 3] unit vectors to the light, broadcast.

    Returns:
        [..., 1]. Gradients reach both where the light is above the surface.

    Source: Lambert, "Photometria" (1760).
    """
    return dot(normal, light).clamp(min=0)


def phong(
    normal: torch.Tensor, view: torch.Tensor, light: torch.Tensor, shininess: float | torch.Tensor
) -> torch.Tensor:
    """Returns the highlight max(r . v, 0)^shininess, r the light's direction mirrored at the normal.

    Args:
        normal: [..., 3] unit vectors.
        view: [..., 3] unit vectors to the eye, broadcast.
        light: [..., 3] unit vectors to the light, broadcast.
        shininess: at least 1: 10 is satin, 200 polished; a number or [..., 1].

    Returns:
        [..., 1]; zero where the light is behind the surface. Gradients reach all tensors.

    Source: Phong, "Illumination for Computer Generated Pictures" (1975).
    """
    height = dot(normal, light)
    aligned = dot(2 * height * normal - light, view)
    lit = (height > 0) & (aligned > 0)
    return torch.where(lit, torch.where(lit, aligned, 1.0) ** shininess, 0.0)


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[..., 1]."""
    return (a * b).sum(-1, keepdim=True)
