"""`glraster bake`: a texture for a mesh, of another mesh, of photos, or of the colours of its vertices."""

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

import torch

import glraster

from .. import bake, camera
from ..camera import View
from ..interpolate import interpolate
from ..mesh import Mesh, load, save, unwrap
from ..triangle_id import triangle_id
from ..whole_files import whole
from .arguments import as_device, as_positive, as_resolution
from .render.cameras import bounding_sphere, with_depths
from .render.files import needed, read_picture

__all__ = ["add_arguments", "run"]

_MESHES, _PICTURES = (".glb", ".obj"), (".png",)
_ENDINGS = (".png", ".jpg", ".jpeg")  # of photos that a transforms.json names without one, as Blender's do
_ASPECT = 0.01  # by which a photo's may differ from its camera's
_OVERLAP = 0.01  # of the layout, from which on it is worth a warning

_EPILOG = """Where the target has no texture coordinates xatlas makes some, and the result must be a mesh. What no photo
shows is filled from around it, along the surface. The exit code is 1 if something cannot be read, baked or written, and
2 if the command line makes no sense."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `glraster bake`."""
    parser.epilog = _EPILOG
    parser.add_argument("target", help="the mesh that gets a texture: GLB, OBJ, PLY, STL, ...")
    sources = parser.add_argument_group("where colours come from (default: the colours of the target's vertices)")
    source = sources.add_mutually_exclusive_group()
    source.add_argument("--from", dest="source", metavar="MESH", help="a mesh at the same place, as dense as you like")
    cameras = "photos: a transforms.json (NeRF, instant-ngp, nerfstudio) or a folder of COLMAP's; undistorted"
    source.add_argument("--cameras", metavar="PATH", help=cameras)
    images = "where the photos are (default: where transforms.json says, or images/ in COLMAP's folder)"
    sources.add_argument("--images", metavar="FOLDER", help=images)
    facing = "with --from: only where both surfaces face the same way, for sheets with two sides"
    sources.add_argument("--facing", action="store_true", help=facing)
    distance = "with --from: only what is not farther away, in units of the mesh (default: no limit)"
    sources.add_argument("--max-distance", type=as_positive, default=float("inf"), metavar="LENGTH", help=distance)
    result = parser.add_argument_group("the texture")
    out = "a mesh with its texture (.glb, .obj) or the texture alone (.png) (default: TARGET_baked.glb)"
    result.add_argument("--out", type=Path, metavar="FILE", help=out)
    size = "texels: 1024, or 1024x512, width first (default: 1024)"
    result.add_argument("--resolution", type=as_resolution, default=(1024, 1024), metavar="SIZE", help=size)
    maps = "colours; or with --from normals, in the space of the tangents or of the mesh, as a PNG (default: color)"
    result.add_argument("--map", choices=["color", "tangent-normals", "normals"], default="color", help=maps)
    new = "new texture coordinates by xatlas also where there are some, which overlap or are badly cut"
    result.add_argument("--unwrap", action="store_true", help=new)
    result.add_argument("--device", type=as_device, help="cpu, cuda or cuda:N (default: cuda where there is one)")


def run(options: argparse.Namespace) -> int:
    """Bakes; returns 1 if something fails, 2 if the command line makes no sense."""
    try:
        out = _check(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        _bake(options, out)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _check(options: argparse.Namespace) -> Path:
    """The file to write."""
    out = options.out or Path(f"{Path(options.target).stem}_baked{'.glb' if options.map == 'color' else '.png'}")
    kinds = _MESHES + _PICTURES if options.map == "color" else _PICTURES
    if out.suffix.lower() not in kinds:
        raise ValueError(f"--out must end in {' or '.join(kinds)} with --map {options.map}, got {str(out)!r}")
    if options.map != "color" and options.source is None:
        raise ValueError(f"--map {options.map} needs --from")
    if options.images is not None and options.cameras is None:
        raise ValueError("--images needs --cameras")
    if options.unwrap and out.suffix.lower() in _PICTURES:
        raise ValueError("--unwrap needs a mesh for --out: the picture would belong to texture coordinates nobody has")
    if options.device is None:
        options.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return out


def _bake(options: argparse.Namespace, out: Path) -> None:
    mesh = load(options.target).to(options.device)
    if options.unwrap or mesh.uv is None:
        if out.suffix.lower() in _PICTURES:
            raise ValueError(f"{options.target} has no texture coordinates: bake into a mesh first (.glb, .obj)")
        colors = None if options.source or options.cameras or not mesh.textures else mesh
        if colors is not None:
            raise ValueError(f"{options.target} has textures of its own: give --from {options.target}")
        mesh = unwrap(mesh, resolution=max(options.resolution))
    with glraster.context(options.device, "software") as glctx:
        texels = bake.texels(glctx, mesh, options.resolution)
        _warn_of_overlap(texels, options)
        texture, known = _values(options, glctx, texels)
    found = (known & texels.inside).sum().item() / max(1, texels.inside.sum().item())
    if not known.any():
        raise ValueError(f"{options.cameras or options.source} shows nothing of {options.target}: other coordinates?")
    texture = bake.fill(texture, known, texels)
    if options.map != "color":
        texture = (glraster.mesh.normalized(texture) + 1) / 2
    _write(out, mesh, texture[0])
    height, width = options.resolution
    print(f"{out}: {width} x {height} texels, {texels.inside.float().mean():.1%} of them on the surface;")
    print(f"{found:.1%} of these have a value of their own, the others are filled")


def _values(options: argparse.Namespace, glctx, texels: bake.Texels) -> tuple[torch.Tensor, torch.Tensor]:
    """The texture [1, H, W, 3], and where it is known [1, H, W]."""
    limits = {"facing": options.facing, "max_distance": options.max_distance}
    if options.cameras is not None:
        views, images, masks = _photos(options, texels.mesh)
        texture, weight = bake.from_views(glctx, texels, views, images, masks)
        return texture, weight > 0
    if options.source is None:
        if texels.mesh.color is None:
            raise ValueError(f"{options.target} has no colours of vertices: give --from or --cameras")
        return bake.colors(texels.mesh.replace(textures=()), texels.rast), texels.covered
    source = load(options.source).to(options.device)
    if options.map == "color":
        return bake.from_mesh(texels, source, **limits)
    rast = bake.closest_to(texels, source, **limits)
    normals, _ = interpolate(source.vertex_normals(), rast, source.tri)
    normals = bake.in_tangent_space(normals, texels) if options.map == "tangent-normals" else normals
    return normals, triangle_id(rast) >= 0


def _photos(
    options: argparse.Namespace, mesh: Mesh
) -> tuple[list[View], list[torch.Tensor], list[torch.Tensor] | None]:
    """Views, their photos [h, w, 3] and, where these have opacity, masks [h, w]."""
    path = Path(options.cameras)
    folder = Path(options.images) if options.images else path / "images" if path.is_dir() else path.parent
    views = camera.read_colmap(path) if path.is_dir() else camera.read_transforms(path, _first_size(path, folder))
    if not views:
        raise ValueError(f"{path} holds no cameras")
    sphere = bounding_sphere(mesh.pos, mesh.tri)
    pictures = []
    for view in views:
        file = _file_of(folder, view.name)
        picture = read_picture(file)
        height, width = picture.shape[:2]
        if abs(width / height / (view.resolution[1] / view.resolution[0]) - 1) > _ASPECT:
            want = f"{view.resolution[1]} x {view.resolution[0]}"
            raise ValueError(f"{file} is {width} x {height}, its camera in {path} is for {want}")
        pictures.append(picture.to(mesh.pos.device))
    masks = [p[..., 3] if p.shape[-1] == 4 else torch.ones_like(p[..., 0]) for p in pictures]
    return [with_depths(view, sphere) for view in views], [p[..., :3] for p in pictures], masks


def _file_of(folder: Path, name: str) -> Path:
    path = folder / name
    found = [p for p in (path, *(Path(f"{path}{ending}") for ending in _ENDINGS)) if p.is_file()]
    if not found:
        raise FileNotFoundError(f"there is no photo {path}: give --images")
    return found[0]


def _first_size(path: Path, folder: Path) -> tuple[int, int] | None:
    """(height, width) of the first photo, for files that do not tell; what is wrong with these is told elsewhere."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        name = json.loads(path.read_text())["frames"][0]["file_path"]
        with needed("PIL.Image").open(_file_of(folder, name)) as picture:
            return picture.height, picture.width
    return None


def _warn_of_overlap(texels: bake.Texels, options: argparse.Namespace) -> None:
    mesh = texels.mesh
    assert mesh.uv is not None and mesh.uv_tri is not None
    a, b, c = mesh.uv.double()[mesh.uv_tri.long()].unbind(1)
    (x1, y1), (x2, y2) = (b - a).unbind(1), (c - a).unbind(1)
    area = (x1 * y2 - x2 * y1).abs().sum().item() / 2
    overlap = 1 - texels.inside.double().mean().item() / max(area, 1e-12)
    if overlap > _OVERLAP:
        what = f"{overlap:.0%} of the layout of {options.target} lies over other parts of it"
        print(f"warning: {what}, which then show the same: --unwrap makes another", file=sys.stderr)


def _write(out: Path, mesh: Mesh, texture: torch.Tensor) -> None:
    """Writes the texture, or the mesh with it and the files that go with it: these first, each whole."""
    if out.suffix.lower() in _PICTURES:
        pixels = (texture.clamp(0, 1) * 255).round().to(torch.uint8).flip(0).cpu().numpy()
        with whole(out) as partial:
            needed("PIL.Image").fromarray(pixels).save(partial)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}.", dir=out.parent) as folder:
        save(Path(folder, out.name), mesh.replace(textures=(texture,), material=None, color=None, color_tri=None))
        files = sorted(Path(folder).iterdir(), key=lambda file: (file.name == out.name, file.name))
        for file in files:
            file.replace(out.parent / file.name)
