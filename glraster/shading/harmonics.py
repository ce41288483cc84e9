"""Spherical harmonics of order 2: nine numbers that hold what matt surfaces see of an environment."""

import math

import torch

from .cubes import texel_directions, texel_solid_angles

__all__ = ["harmonics_irradiance", "project_environment", "spherical_harmonics"]

_LAMBERT = (1.0, 2 / 3, 1 / 4)  # what is left of orders 0, 1 and 2 of the light on a matt surface


def spherical_harmonics(directions: torch.Tensor) -> torch.Tensor:
    """Returns the nine real spherical harmonics up to order 2, orthonormal over the sphere.

    Args:
        directions: [..., 3] unit vectors.

    Returns:
        [..., 9], in the order 1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2. Gradients reach the directions.
    """
    x, y, z = directions.unbind(-1)
    zero, first = math.sqrt(1 / (4 * math.pi)), math.sqrt(3 / (4 * math.pi))
    second = math.sqrt(15 / (4 * math.pi))
    functions = [torch.full_like(x, zero), first * y, first * z, first * x, second * x * y, second * y * z]
    functions += [math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1), second * x * z, second / 2 * (x * x - y * y)]
    return torch.stack(functions, dim=-1)


def project_environment(cube: torch.Tensor) -> torch.Tensor:
    """Returns the coefficients [9, C] of a cube map [6, s, s, C]: its integral with each harmonic. Differentiable."""
    size = cube.shape[1]
    basis = spherical_harmonics(texel_directions(size).to(cube)) * texel_solid_angles(size).to(cube)[..., None]
    return torch.einsum("fijk,fijc->kc", basis, cube)


def harmonics_irradiance(normal: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Returns the light that a white matt surface reflects: 1 / pi of the irradiance, from harmonics.

    Args:
        normal: [..., 3] unit vectors.
        coefficients: [9, C], of `project_environment` or to be found.

    Returns:
        [..., C]. Gradients reach both.

    Source: Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps" (2001).
    """
    orders = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2], device=normal.device)
    weights = torch.tensor(_LAMBERT).to(normal)[orders]
    return (spherical_harmonics(normal) * weights) @ coefficients
