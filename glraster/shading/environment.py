"""Light from everywhere: environment maps, blurred once for every roughness, and looked up at every pixel."""

import math
from typing import Any

import torch

from glraster.mesh import normalized
from glraster.texture import texture

from .cubes import around, hammersley, spherical, texel_directions
from .lights import dot
from .microfacets import DIELECTRIC, LEAST_ROUGHNESS, distribution, lobe, scattered, shadowing

__all__ = ["EnvironmentLight", "panorama_to_cube", "reflect"]

SMALLEST = 8  # side of the blurriest level
DIFFUSE_SIZE = 16


class EnvironmentLight:
    """An environment as a light, by the split-sum approximation.

    The environment is blurred for some roughnesses, each as wide as a surface seen head-on blurs its reflection; what
    the surface scatters in all is looked up in a table. From the side a surface blurs more, and towards its normal: the
    blurred environment is looked up where the mean direction of the light that it reflects points to, as wide as that
    is short, so that light which changes evenly over the sphere comes out right. Light that microfacets reflect more
    than once is added, so that a white surface under a white sky is exactly white, whatever its roughness. Matt bodies
    get what their glossy coat lets through, which in `ggx`, as in glTF, depends on the angle of each light instead.

    Everything is made of `glraster.texture`, so gradients reach the environment: make the light anew in every step
    that changes it.

    Args:
        cube: [6, s, s, 3] radiance, linear, s a power of two of at least 8; of a panorama, `panorama_to_cube`.
        samples: directions per texel that is blurred.

    Attributes:
        levels: the blurred cube maps, roughness 0 (the environment itself) to 1, each half as wide as the one before.
        diffuse: [6, 16, 16, 3], what a white matt surface reflects.

    Raises:
        ValueError: another shape.

    Source: Karis, "Real Shading in Unreal Engine 4" (2013); Krivanek and Colbert, "Real-time Shading with Filtered
    Importance Sampling" (2008); Fdez-Aguera, "A Multiple-Scattering Microfacet Model for Real-Time Image-based
    Lighting" (2019).
    """

    def __init__(self, cube: torch.Tensor, samples: int = 256):
        size = cube.shape[1] if cube.ndim == 4 else 0
        if cube.ndim != 4 or cube.shape[0] != 6 or cube.shape[2] != size or size < SMALLEST or size & (size - 1):
            need = f"[6, s, s, C] with s a power of two of at least {SMALLEST}"
            raise ValueError(f"EnvironmentLight(): cube must be {need}, got {list(cube.shape)}")
        points = hammersley(samples)
        steps = int(math.log2(size // SMALLEST))
        self.levels, self._spreads = [cube], [0.0]
        for step in range(1, steps + 1):
            lights, density, weights = _mirrored_lobe(points, max(step / steps, LEAST_ROUGHNESS) ** 2)
            self.levels.append(_blurred(cube, size >> step, lights, density, weights))
            self._spreads.append(1 - (lights[:, 2] @ weights / weights.sum()).item())
        cosine = points[:, 0].sqrt()
        self.diffuse = _blurred(
            cube, min(DIFFUSE_SIZE, size), spherical(cosine, points[:, 1]), cosine / math.pi, torch.ones_like(cosine)
        )

    def shade(
        self,
        normal: torch.Tensor,
        view: torch.Tensor,
        base_color: torch.Tensor,
        metallic: torch.Tensor,
        roughness: torch.Tensor,
        *,
        multiple_scattering: bool = True,
    ) -> torch.Tensor:
        """Returns what surfaces reflect to the eye.

        Args:
            normal: [N, H, W, 3] unit vectors; zeros give zeros.
            view: [N, H, W, 3] unit vectors to the eye.
            base_color: [N, H, W, 3] from 0 to 1.
            metallic: [N, H, W, 1] from 0 to 1.
            roughness: [N, H, W, 1] from 0 to 1.
            multiple_scattering: add what microfacets reflect more than once; without it rough metals are darker than
                they are, by more than half at roughness 1.

        Returns:
            [N, H, W, 3]. Gradients reach all arguments and the environment.
        """
        A, B = scattered(dot(normal, view), roughness)
        again = 1 - A - B if multiple_scattering else torch.zeros_like(A)  # what white metal does not reflect at once

        def whole(f0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            """What is reflected once, and more often: a geometric series of the mean reflectance."""
            mean = f0 + (1 - f0) / 21
            single = f0 * A + B
            return single, single * mean / (1 - again * mean) * again

        glass, glass_again = whole(torch.full_like(A, DIELECTRIC))
        metal, metal_again = whole(base_color)
        matt = (1 - metallic) * (1 - glass - glass_again) * base_color
        single = (1 - metallic) * glass + metallic * metal
        further = (1 - metallic) * glass_again + metallic * metal_again
        share, spread = lobe(dot(normal, view), roughness)
        towards = normalized(torch.lerp(normal, reflect(view, normal), share))
        mirrored = self._around(towards, spread)
        return mirrored * single + self.irradiance(normal) * (further + matt)

    def reflection(self, direction: torch.Tensor, roughness: torch.Tensor) -> torch.Tensor:
        """Returns [N, H, W, 3]: the environment in directions [N, H, W, 3], blurred for a roughness [N, H, W, 1]."""
        return self._around(direction, lobe(torch.ones_like(roughness), roughness)[1])

    def _around(self, direction: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """The environment around directions [N, H, W, 3], as wide as a spread [N, H, W, 1] of `lobe`."""
        steps = zip(self._spreads[:-1], self._spreads[1:], strict=True)
        shares = [((spread[..., 0] - low) / (high - low)).clamp(0, 1) for low, high in steps]
        options: dict[str, Any] = {"filter_mode": "linear-mipmap-linear", "boundary_mode": "cube"}
        mip = [level[None] for level in self.levels[1:]]
        if not mip:
            return texture(self.levels[0][None], direction, filter_mode="linear", boundary_mode="cube")
        level = torch.stack(shares).sum(0)
        return texture(self.levels[0][None], direction, mip_level_bias=level, mip=mip, **options)

    def irradiance(self, normal: torch.Tensor) -> torch.Tensor:
        """Returns [N, H, W, 3]: what a white matt surface with a normal [N, H, W, 3] reflects."""
        return texture(self.diffuse[None], normal, filter_mode="linear", boundary_mode="cube")


def panorama_to_cube(panorama: torch.Tensor, size: int | None = None) -> torch.Tensor:
    """Returns a cube map of a panorama.

    Args:
        panorama: [h, w, C], longitude across and latitude up (equirectangular): its middle lies in direction +Z, its
            right quarter in +X, its last row at +Y. Picture files have their first row at the top: flip them.
        size: side of the cube map's faces; None: the power of two with texels about as large as the panorama's.

    Returns:
        [6, size, size, C]. Gradients reach the panorama.

    Raises:
        ValueError: another shape.
    """
    if panorama.ndim != 3:
        raise ValueError(f"panorama_to_cube(): panorama must be [h, w, C], got {list(panorama.shape)}")
    height = panorama.shape[0]
    size = size or max(SMALLEST, 2 ** round(math.log2(max(height / 2, 1))))
    x, y, z = texel_directions(size).unbind(-1)
    s = torch.atan2(x, z) / (2 * math.pi) + 0.5
    t = (y.clamp(-1, 1).asin() / math.pi + 0.5).clamp(0.5 / height, 1 - 0.5 / height)  # not around over the pole
    uv = torch.stack([s, t], dim=-1).view(1, 6 * size, size, 2).to(panorama)
    return texture(panorama[None], uv, filter_mode="linear", boundary_mode="wrap").view(6, size, size, -1)


def reflect(view: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
    """Returns directions to the eye [..., 3] mirrored at normals [..., 3]: what a mirror shows."""
    return 2 * dot(normal, view) * normal - view


def _mirrored_lobe(points: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Directions [S, 3] to the light about +Z that microfacets reflect to an eye there; their density, and weights."""
    wide = torch.tensor(alpha).to(points)
    cosine = ((1 - points[:, 0]) / (1 + (alpha * alpha - 1) * points[:, 0])).sqrt()
    half = spherical(cosine, points[:, 1])
    light = 2 * cosine[:, None] * half - torch.tensor([0.0, 0.0, 1.0]).to(half)
    above = light[:, 2] > 0
    light, nl = light[above], light[above, 2]
    weights = 4 * nl * shadowing(nl, torch.ones_like(nl), wide)
    return light, distribution(cosine[above], wide) / 4, weights


def _blurred(
    cube: torch.Tensor, size: int, directions: torch.Tensor, density: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """[6, size, size, C]: the weighted mean of the environment in directions [S, 3] about every texel's.

    Each is looked up in the mip level whose texels are half as wide as the part of the sphere that it stands for.
    """
    axis = texel_directions(size).to(cube).view(1, -1, 3)
    each = 1 / (len(directions) * density)
    texel = 4 * math.pi / (6 * cube.shape[1] ** 2)
    level = (0.5 * torch.log2(each / texel) - 1).clamp(0, math.log2(cube.shape[1])).to(cube)
    around_all = around(axis, directions)  # [1, 6 s s, S, 3]
    options: dict[str, Any] = {"filter_mode": "linear-mipmap-linear", "boundary_mode": "cube"}
    looked_up = texture(
        cube[None], around_all.contiguous(), mip_level_bias=level.expand(around_all.shape[:3]).contiguous(), **options
    )
    share = (weights / weights.sum()).to(cube)
    return (looked_up * share[:, None]).sum(2).view(6, size, size, -1)
