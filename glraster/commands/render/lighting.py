"""The light of `glraster render`: what a diffuse surface sends on, by its normal."""

import math

import torch

__all__ = ["Lighting"]


class Lighting:
    """Diffuse light from all around.

    Args:
        coefficients: [9, 3] float, of the radiance in real spherical harmonics up to degree 2, linear RGB.

    Source: Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps", 2001.
    """

    def __init__(self, coefficients: torch.Tensor):
        self._coefficients = coefficients.double()

    @classmethod
    def studio(cls, up: str = "y") -> "Lighting":
        """A bright sky, and less from below."""
        coefficients = torch.zeros(9, 3)
        coefficients[0] = 0.72 * math.sqrt(4 * math.pi)
        coefficients[{"y": 1, "z": 2, "x": 3}[up]] = 0.45
        return cls(coefficients)

    def irradiance(self, normals: torch.Tensor) -> torch.Tensor:
        """[..., 3], what unit normals [..., 3] receive, divided by pi: white in even light of 1 becomes 1."""
        cosine = torch.tensor([1.0] + [2 / 3] * 3 + [1 / 4] * 5, dtype=torch.float64)  # transfer by degree, over pi
        weighted = (self._coefficients * cosine[:, None]).to(normals)
        return (harmonics(normals) @ weighted).clamp(min=0)


def harmonics(directions: torch.Tensor) -> torch.Tensor:
    """[..., 9]: the real spherical harmonics up to degree 2 of unit vectors [..., 3]."""
    x, y, z = directions.unbind(-1)
    one = torch.ones_like(x)
    basis = [math.sqrt(1 / (4 * math.pi)) * one]
    basis += [math.sqrt(3 / (4 * math.pi)) * value for value in (y, z, x)]
    basis += [math.sqrt(15 / (4 * math.pi)) * value for value in (x * y, y * z)]
    basis += [math.sqrt(5 / (16 * math.pi)) * (3 * z * z - 1)]
    basis += [math.sqrt(15 / (4 * math.pi)) * x * z, math.sqrt(15 / (16 * math.pi)) * (x * x - y * y)]
    return torch.stack(basis, dim=-1)
