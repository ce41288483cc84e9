"""Mesh files, read and written by trimesh: OBJ, PLY, GLB, STL and whatever else it knows."""

import importlib
import os
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from .surface import Mesh, scaled_to_unit_sphere

__all__ = ["load", "save"]

GREY = (0.75, 0.75, 0.75)  # of what has no material
_TEXTURED = (".glb", ".obj")  # formats that keep materials


def load(path: str | os.PathLike, *, vertices: str = "welded", normalize: bool = False) -> Mesh:
    """Reads a mesh file.

    A scene of several parts becomes one mesh, each part moved as the scene says; polygons become triangles; materials
    become textures, those of one colour of one texel. Vertices at exactly the same place become one, however their
    texture coordinates, normals, colours and materials differ: these have triangles of their own. Without that, seams
    would be silhouettes to `antialias`.

    Args:
        path: the file. Pictures and materials that it names are looked for beside it.
        vertices: 'welded': vertices at one place become one, and triangles that this leaves without area are dropped.
            'split': one for every texture coordinate, normal and colour that the file has there, and `uv_tri` is `tri`.
            'file': as they are numbered in the file; of an OBJ file's texture coordinates each vertex then keeps one,
            so that textures are wrong along seams.
        normalize: move and scale the mesh to touch the unit sphere from inside, its bounding box centred. Computed in
            float64, before positions become float32: that keeps what lies far from the origin, as maps do, in shape.

    Returns:
        A mesh on the CPU, float32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or holds no surface that could be seen: points or lines only, no triangle
            with an area, positions that are not finite. The message names the file. Also another word for `vertices`.
        RuntimeError: trimesh is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, or is no file")
    if vertices not in ("welded", "split", "file"):
        raise ValueError(f"load(): vertices must be 'welded', 'split' or 'file', got {vertices!r}")
    parts = _read(path, in_order=vertices == "file")
    pos = np.concatenate([part.vertices for part in parts]).astype(np.float64)
    tri = _counted_on([(part.faces, len(part.vertices)) for part in parts])
    if not np.isfinite(pos[tri]).all():
        raise ValueError(f"{path} has triangles with positions that are not finite numbers")
    mesh = _appearance(parts, torch.from_numpy(tri.astype(np.int32)))
    mesh = mesh.replace(pos=torch.from_numpy(pos))
    if vertices == "welded":
        mesh = _welded(mesh)
    a, b, c = mesh.pos[mesh.tri.long()].unbind(1)
    if not torch.linalg.cross(b - a, c - a).any():
        raise ValueError(f"{path} holds no visible surface: none of its {len(tri)} triangles has an area")
    exact = mesh.pos
    if normalize:
        used = mesh.tri.unique().long()
        centred = torch.zeros_like(exact)
        centred[used] = scaled_to_unit_sphere(exact[used])
        exact = centred
    return mesh.replace(pos=exact.float())


def save(path: str | os.PathLike, mesh: Mesh) -> None:
    """Writes a mesh in the format that the file name ends in; makes its folder.

    OBJ (with .mtl and pictures beside it) and GLB keep textures and materials, PLY keeps colours of vertices.
    Vertices are written once for every texture coordinate and material that they have: `load` welds them again.

    Args:
        path: the file.
        mesh: on any device.

    Raises:
        ValueError: a format that trimesh does not write.
        RuntimeError: trimesh is not installed.
    """
    path, trimesh = Path(path), _needed("trimesh")
    writable = set(trimesh.exchange.export._mesh_exporters) - {"gltf"}  # which is many files
    if path.suffix.lower()[1:] not in writable:
        raise ValueError(f"save(): {path} must end in one of {', '.join('.' + name for name in sorted(writable))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh = mesh.detach().to("cpu")
    if mesh.uv is None or not mesh.textures or path.suffix.lower() not in _TEXTURED:
        trimesh.Trimesh(mesh.pos.numpy(), mesh.tri.numpy(), process=False, vertex_colors=_colors(mesh)).export(path)
        return
    material = torch.zeros_like(mesh.tri[:, 0]) if mesh.material is None else mesh.material
    scene = trimesh.Scene()
    for number, texture in enumerate(mesh.textures):
        if bool((chosen := material == number).any()):
            scene.add_geometry(_textured(trimesh, mesh, chosen, texture, f"{path.stem}_{number}"))
    names = {"mtl_name": f"{path.stem}.mtl"} if path.suffix.lower() == ".obj" else {}
    parts = list(scene.geometry.values())
    (parts[0] if len(parts) == 1 else scene).export(path, **names)


def _needed(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RuntimeError(f"glraster.mesh: files need {module}: pip install 'glraster[mesh]' ({error})") from error


def _read(path: Path, in_order: bool) -> list[Any]:
    """The file's parts that have triangles, where the scene puts them."""
    trimesh = _needed("trimesh")
    size = path.stat().st_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers that are none, which are looked at here
            scene = trimesh.load_scene(path, process=False, maintain_order=in_order)
            parts = scene.dump()
    except Exception as error:  # every format has its own
        what = "is empty" if size == 0 else f"cannot be read ({type(error).__name__}: {error}): truncated, or no mesh"
        raise ValueError(f"{path} {what}") from error
    meshes = [part for part in parts if len(getattr(part, "faces", ()))]
    if not meshes:
        points = sum(len(part.vertices) for part in parts if hasattr(part, "vertices"))
        what = f"{points} points and no triangles" if points else "no triangles; truncated, or not of its format"
        raise ValueError(f"{path} {'is empty' if size == 0 else f'holds no surface: {what}'}")
    for part in meshes:
        if part.faces.min() < 0 or part.faces.max() >= len(part.vertices):
            raise ValueError(f"{path} has triangles of vertices that it does not have: truncated?")
    return meshes


def _counted_on(parts: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Triangles one after another, their indices counted on by the number of values of those before."""
    firsts = np.cumsum([0] + [count for _, count in parts])
    return np.concatenate([np.asarray(tri) + first for (tri, _), first in zip(parts, firsts[:-1], strict=True)])


def _appearance(parts: list[Any], tri: torch.Tensor) -> Mesh:
    """A mesh without positions yet."""
    mesh = Mesh(torch.zeros(0, 3, dtype=torch.float64), tri)
    looks = [_look(part) for part in parts]
    if any(look is not None for look in looks):
        white = torch.tensor([[GREY]])
        material = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part.faces) for part in parts]))
        textures = tuple(white if look is None else look for look in looks)
        mesh = mesh.replace(textures=textures, material=material.int())
    uvs = [getattr(part.visual, "uv", None) for part in parts]
    if any(uv is not None for uv in uvs):
        both = zip(uvs, parts, strict=True)
        filled = [np.zeros((len(part.vertices), 2)) if uv is None else uv[:, :2] for uv, part in both]
        mesh = mesh.replace(uv=_tensor(np.concatenate(filled)), uv_tri=tri)
    if any(part.visual.kind in ("vertex", "face") for part in parts):
        colors = [_vertex_colors(part, look) for part, look in zip(parts, looks, strict=True)]
        mesh = mesh.replace(color=torch.cat(colors), color_tri=tri)
    return mesh


def _look(part: Any) -> torch.Tensor | None:
    """The texture [h, w, 3] of a part, of one texel if its material is a colour; trimesh has two kinds of material."""
    material = getattr(part.visual, "material", None)
    if material is None or _is_placeholder(material):
        return None
    factor = getattr(material, "main_color", None)
    rgb = torch.tensor(GREY if factor is None else [float(c) / 255 for c in np.asarray(factor)[:3]])
    image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if image is None:
        return rgb.view(1, 1, 3)
    texture = _tensor(np.asarray(image.convert("RGB"))[::-1]) / 255  # a picture's first row is its top
    return texture if getattr(material, "baseColorFactor", None) is None else texture * rgb


def _is_placeholder(material: Any) -> bool:
    """Whether trimesh put the material where the file has texture coordinates and none."""
    image = getattr(material, "image", None)
    blank = _needed("trimesh.visual.material").empty_material().image
    return image is not None and image.size == blank.size and image.tobytes() == blank.tobytes()


def _vertex_colors(part: Any, look: torch.Tensor | None) -> torch.Tensor:
    if part.visual.kind in ("vertex", "face"):
        return _tensor(part.visual.vertex_colors[:, :3]) / 255
    rgb = torch.tensor(GREY) if look is None else look.mean((0, 1))
    return rgb.expand(len(part.vertices), 3)


def _welded(mesh: Mesh) -> Mesh:
    """The mesh with one vertex per place, in the order of their first appearance, those that no triangle uses left."""
    pos = mesh.pos + 0.0  # of -0.0 and 0.0, one
    _, group = pos.unique(dim=0, return_inverse=True)
    used = mesh.tri.unique().long()
    first = torch.full((int(group.max()) + 1,), len(pos)).scatter_reduce(0, group[used], used, "amin")
    kept, number = first[first < len(pos)].sort()[0], torch.zeros(len(pos), dtype=torch.int32)
    number[kept] = torch.arange(len(kept), dtype=torch.int32)
    tri = number[first[group[mesh.tri.long()]]]
    whole = (tri != tri.roll(1, dims=1)).all(dim=1)  # the others have become lines or points
    per_triangle = {"tri": tri, "uv_tri": mesh.uv_tri, "color_tri": mesh.color_tri, "material": mesh.material}
    return mesh.replace(pos=mesh.pos[kept], **{k: v[whole] if v is not None else None for k, v in per_triangle.items()})


def _textured(trimesh: ModuleType, mesh: Mesh, chosen: torch.Tensor, texture: torch.Tensor, name: str) -> Any:
    """The chosen triangles as trimesh has them, one vertex for each pair of position and texture coordinate."""
    assert mesh.uv is not None and mesh.uv_tri is not None
    corners = torch.stack([mesh.tri[chosen], mesh.uv_tri[chosen]], dim=-1).reshape(-1, 2)
    pairs, tri = corners.unique(dim=0, return_inverse=True)
    pixels = (texture.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).flip(0).numpy()
    image = _needed("PIL.Image").fromarray(pixels)
    material = trimesh.visual.material.PBRMaterial(name=name, baseColorTexture=image, metallicFactor=0.0)
    pos, uv = mesh.pos[pairs[:, 0].long()].numpy(), mesh.uv[pairs[:, 1].long()].numpy()
    look = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return trimesh.Trimesh(pos, tri.view(-1, 3).numpy(), visual=look, process=False)


def _colors(mesh: Mesh) -> np.ndarray | None:
    """Colours of vertices as bytes; of those that a vertex has several of, one."""
    if mesh.color is None or mesh.color_tri is None:
        return None
    color = torch.ones(len(mesh.pos), 3)
    color[mesh.tri.flatten().long()] = mesh.color[mesh.color_tri.flatten().long()].float()
    return (color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
