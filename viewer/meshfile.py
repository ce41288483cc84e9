"""Mesh files with their materials, as the viewer draws them."""

import os
from dataclasses import dataclass
from typing import cast

import torch

from glraster.mesh import load as load_mesh

from .draw import Part

__all__ = ["MeshFile", "load"]


@dataclass(frozen=True)
class MeshFile:
    """All triangles of a file in one mesh, in the order of the file."""

    vertices: torch.Tensor  # [V, 3] float32, in world space
    faces: torch.Tensor  # [T, 3] int32
    uv: torch.Tensor | None  # [V, 2], t upwards
    colors: torch.Tensor | None  # [V, 3] from 0 to 1
    parts: tuple[Part, ...]  # one per material


def load(path: str | os.PathLike, *, in_order: bool = False) -> MeshFile:
    """Reads any file that `glraster.mesh.load` reads.

    Args:
        path: the file.
        in_order: whether vertices are those of the file, as tensors of their values need it; of an OBJ file they are
            else split along the seams of its textures.

    Raises:
        FileNotFoundError, ValueError: the file is not there, cannot be read, or holds nothing to see.
    """
    mesh = load_mesh(path, vertices="file" if in_order else "split")
    if mesh.material is None:
        parts = [Part(0, len(mesh.tri))]
    else:
        runs, counts = mesh.material.unique_consecutive(return_counts=True)
        firsts = counts.cumsum(0) - counts
        looks = [_look(mesh.textures[number]) for number in runs.tolist()]
        numbers = zip(firsts.tolist(), counts.tolist(), looks, strict=True)
        parts = [Part(first, count, color, texture) for first, count, (color, texture) in numbers]
    return MeshFile(mesh.pos, mesh.tri, mesh.uv, mesh.color, tuple(parts))


def _look(texture: torch.Tensor) -> tuple[tuple[float, float, float], torch.Tensor | None]:
    """A colour, and the texture if it is of more texels than one."""
    color = cast(tuple[float, float, float], tuple(texture.mean((0, 1)).tolist()))
    return color, texture if texture.shape[:2] != (1, 1) else None
