"""Metals and dielectrics: the GGX microfacet model with metallic and roughness, as glTF has it."""

import functools
import math

import torch

from glraster.mesh import normalized
from glraster.texture import texture

from .cubes import hammersley, spherical
from .lights import dot

__all__ = ["DIELECTRIC", "distribution", "ggx", "lobe", "scattered", "shadowing"]

DIELECTRIC = 0.04  # reflected by glass and plastic at normal incidence
LEAST_ROUGHNESS = 0.03  # a mirror's highlight would be a point
_TABLE, _SAMPLES = 32, 512  # of what all directions together reflect


def ggx(
    normal: torch.Tensor,
    view: torch.Tensor,
    light: torch.Tensor,
    base_color: torch.Tensor,
    metallic: torch.Tensor | float,
    roughness: torch.Tensor | float,
) -> torch.Tensor:
    """Returns what a surface reflects to the eye of light from one direction: the BRDF times n . l.

    Multiply by pi and the colour of a directional light that a white matt surface should show as it is, or by the
    radiance and the solid angle of a small one.

    Args:
        normal: [..., 3] unit vectors.
        view: [..., 3] unit vectors to the eye, broadcast.
        light: [..., 3] unit vectors to the light, broadcast.
        base_color: [..., 3] from 0 to 1: of a matt body, or of a metal's reflection.
        metallic: from 0 to 1: a number or [..., 1].
        roughness: from 0 to 1, its square the model's alpha: a number or [..., 1].

    Returns:
        [..., 3]; zero where light or eye are behind the surface. Gradients reach all tensors.

    Source: Walter et al., "Microfacet Models for Refraction through Rough Surfaces" (2007); Heitz, "Understanding the
    Masking-Shadowing Function" (2014); Schlick, "An Inexpensive BRDF Model" (1994).
    """
    half = normalized(view + light)
    nl, nv = dot(normal, light), dot(normal, view)
    seen = (nl > 0) & (nv > 0)
    nl, nv = torch.where(seen, nl, 1.0), torch.where(seen, nv, 1.0)
    alpha = _alpha(roughness, normal)
    fresnel = (1 - dot(view, half)).clamp(0, 1) ** 5
    lobe = distribution(dot(normal, half).clamp(0, 1), alpha) * shadowing(nl, nv, alpha)
    dielectric = DIELECTRIC + (1 - DIELECTRIC) * fresnel
    metal = base_color + (1 - base_color) * fresnel
    reflected = torch.lerp(dielectric.expand_as(metal), metal, _expanded(metallic, metal)) * lobe
    matt = (1 - metallic) * (1 - dielectric) * base_color / math.pi
    return torch.where(seen, (reflected + matt) * nl, 0.0)


def scattered(cosine: torch.Tensor, roughness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what a surface reflects of light from everywhere at once: F0 A + B, F0 its colour at normal incidence.

    Args:
        cosine: [N, H, W, 1], n . v, from 0 to 1.
        roughness: [N, H, W, 1], from 0 to 1.

    Returns:
        A and B, [N, H, W, 1]; light that is reflected more than once is not in them. Gradients reach both arguments.
        Interpolated in a table of 32 x 32 that is integrated at the first use.

    Source: Karis, "Real Shading in Unreal Engine 4" (2013); Heitz, "Sampling the GGX Distribution of Visible Normals"
    (2018).
    """
    A, B, _, _ = _tabulated(cosine, roughness)
    return A, B


def lobe(cosine: torch.Tensor, roughness: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns where the light comes from that a white metal reflects once: the mean of its directions, a vector.

    Args:
        cosine: [N, H, W, 1], n . v, from 0 to 1.
        roughness: [N, H, W, 1], from 0 to 1.

    Returns:
        share: [N, H, W, 1], how far its direction lies from the normal, 0, to the mirrored eye, 1, on the straight way.
        spread: [N, H, W, 1], one minus its length: 0 where all light comes from one direction, as in a mirror.
        Gradients reach both arguments. From the same table as `scattered`.
    """
    _, _, share, spread = _tabulated(cosine, roughness)
    return share, spread


def distribution(cosine: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """GGX: the density of microfacets' normals at an angle of the given cosine to the surface's."""
    # (n . h)^2 (alpha^2 - 1) + 1, without the cancellation near n . h = 1.
    squared = alpha * alpha
    return squared / (math.pi * ((1 - cosine * cosine) + cosine * cosine * squared) ** 2)


def shadowing(nl: torch.Tensor, nv: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Smith's shadowing and masking, height-correlated, over 4 (n . l) (n . v)."""
    squared = alpha * alpha
    light = nv * (nl * nl * (1 - squared) + squared).sqrt()
    eye = nl * (nv * nv * (1 - squared) + squared).sqrt()
    return 0.5 / (light + eye)


def _alpha(roughness: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    rough = roughness if isinstance(roughness, torch.Tensor) else torch.tensor(float(roughness)).to(like)
    return rough.clamp(LEAST_ROUGHNESS, 1) ** 2


def _expanded(value: torch.Tensor | float, like: torch.Tensor) -> torch.Tensor:
    return value.expand_as(like) if isinstance(value, torch.Tensor) else torch.full_like(like, value)


def _tabulated(cosine: torch.Tensor, roughness: torch.Tensor) -> tuple[torch.Tensor, ...]:
    uv = (torch.cat([cosine, roughness], dim=-1).clamp(0, 1) * (_TABLE - 1) + 0.5) / _TABLE  # texels at 0 and 1
    values = texture(_scattering_table(uv.device, uv.dtype), uv, filter_mode="linear", boundary_mode="clamp")
    return values.split(1, dim=-1)


@functools.lru_cache
def _scattering_table(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """[1, roughness, n . v, 4]: A and B of `scattered`, share and spread of `lobe`."""
    place = torch.linspace(0, 1, _TABLE, dtype=torch.float64)
    limits = {"min": 1e-3, "max": 1 - 1e-6}  # head-on, the share is a quotient of two zeros
    alpha, nv = torch.meshgrid(place.clamp(min=LEAST_ROUGHNESS) ** 2, place.clamp(**limits), indexing="ij")
    rows = [_scattering(a, c) for a, c in zip(alpha, nv, strict=True)]
    return torch.stack(rows)[None].to(device, dtype)


def _scattering(alpha: torch.Tensor, nv: torch.Tensor) -> torch.Tensor:
    """[K, 4] of alpha [K] and n . v [K]: means over sampled visible normals h, with weights G2 / G1."""
    sine = (1 - nv * nv).sqrt()
    view = torch.stack([sine, torch.zeros_like(nv), nv], dim=1)
    half = _visible_normals(alpha, view)  # [K, S, 3]
    vh = (half * view[:, None]).sum(-1)
    light = 2 * vh[..., None] * half - view[:, None]
    squared, c, nl = (alpha * alpha)[:, None], nv[:, None], light[..., 2]
    one = 2 * c / (c + (squared + (1 - squared) * c * c).sqrt())  # masking alone
    above = nl > 0
    both = 4 * nl * c * shadowing(torch.where(above, nl, 1.0), c, alpha[:, None])
    weight = torch.where(above, both / one, 0.0)
    fresnel = (1 - vh).clamp(0, 1) ** 5
    mean = (weight[..., None] * light).sum(1) / weight.sum(1, keepdim=True)
    slope = -mean[:, 0] / mean[:, 2]  # the mirrored eye is at (-sine, 0, nv)
    share = slope / (sine + slope * (1 - nv))
    parts = (weight * (1 - fresnel)).mean(1), (weight * fresnel).mean(1), share, 1 - mean.norm(dim=1)
    return torch.stack(parts, dim=-1)


def _visible_normals(alpha: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """[K, S, 3] of alpha [K] and views [K, 3] in the plane y = 0: Heitz 2018, listing 1."""
    u, turn = hammersley(_SAMPLES).unbind(1)
    # Stretch the view, take a point of the half disc that it sees, and unstretch.
    stretch = torch.stack([alpha, alpha, torch.ones_like(alpha)], dim=1)
    stretched = normalized(view * stretch)
    side = torch.tensor([0.0, 1.0, 0.0]).to(view).expand_as(view)
    other = torch.linalg.cross(stretched, side)
    disc = u.sqrt()[:, None] * spherical(torch.zeros_like(turn), turn)[:, :2]  # [S, 2]
    x, y = disc[:, 0].expand(len(view), -1), disc[:, 1].expand(len(view), -1)
    share = 0.5 * (1 + stretched[:, 2:])
    y = (1 - share) * (1 - x * x).sqrt() + share * y
    z = (1 - x * x - y * y).clamp(min=0).sqrt()
    half = x[..., None] * side[:, None] + y[..., None] * other[:, None] + z[..., None] * stretched[:, None]
    return normalized(half * stretch[:, None])
