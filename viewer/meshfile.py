"""Mesh files with their materials, read by trimesh."""

import os
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from .draw import Part
from .extras import needed

__all__ = ["MeshFile", "load"]


@dataclass(frozen=True)
class MeshFile:
    """All triangles of a file in one mesh, in the order of the file."""

    vertices: torch.Tensor  # [V, 3] float32, in world space
    faces: torch.Tensor  # [T, 3] int32
    uv: torch.Tensor | None  # [V, 2], t upwards
    colors: torch.Tensor | None  # [V, 3] from 0 to 1
    parts: tuple[Part, ...]  # one per material


def load(path: str | os.PathLike) -> MeshFile:
    """Reads any file that trimesh reads (GLB, OBJ, PLY, STL, ...).

    Raises:
        ValueError: the file cannot be read, or holds no triangles.
    """
    trimesh = needed("trimesh", "viewer")
    try:
        scene = trimesh.load_scene(path, process=False, maintain_order=True)
        meshes = [mesh for mesh in scene.dump() if len(getattr(mesh, "faces", ()))]
    except Exception as error:  # every format has its own
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not meshes:
        raise ValueError(f"{path} holds no triangles")
    parts, faces, first_vertex, first_face = [], [], 0, 0
    for mesh in meshes:
        parts.append(_part(mesh, first_face))
        faces.append(np.asarray(mesh.faces) + first_vertex)
        first_vertex, first_face = first_vertex + len(mesh.vertices), first_face + len(mesh.faces)
    return MeshFile(
        _tensor(np.concatenate([mesh.vertices for mesh in meshes])),
        torch.from_numpy(np.concatenate(faces).astype(np.int32)),
        _uv(meshes),
        _colors(meshes, parts),
        tuple(parts),
    )


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _part(mesh: Any, first: int) -> Part:
    """The material: trimesh has one for files of old and one for glTF."""
    material = getattr(mesh.visual, "material", None)
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    texture = _tensor(np.asarray(image.convert("RGB"))[::-1]) / 255 if image is not None else None
    color = getattr(material, "main_color", None)
    rgb = (0.75, 0.75, 0.75) if color is None else tuple(float(c) / 255 for c in np.asarray(color)[:3])
    if texture is not None and getattr(material, "baseColorFactor", None) is not None:
        texture = texture * torch.tensor(rgb)
    return Part(first, len(mesh.faces), cast(tuple[float, float, float], rgb), texture)


def _uv(meshes: list[Any]) -> torch.Tensor | None:
    found = [getattr(mesh.visual, "uv", None) for mesh in meshes]
    if all(uv is None for uv in found):
        return None
    return torch.cat(
        [
            torch.zeros(len(mesh.vertices), 2) if uv is None else _tensor(uv)
            for mesh, uv in zip(meshes, found, strict=True)
        ]
    )


def _colors(meshes: list[Any], parts: list[Part]) -> torch.Tensor | None:
    """Colours of vertices where a mesh has them, else of its material."""
    if not any(mesh.visual.kind in ("vertex", "face") for mesh in meshes):
        return None
    colors = []
    for mesh, part in zip(meshes, parts, strict=True):
        if mesh.visual.kind in ("vertex", "face"):
            colors.append(_tensor(mesh.visual.vertex_colors[:, :3]) / 255)
        else:
            colors.append(torch.tensor(part.color).expand(len(mesh.vertices), 3))
    return torch.cat(colors)
