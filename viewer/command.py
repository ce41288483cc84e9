"""`glraster view`: meshes from files, to look at from all sides."""

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from .draw import MeshView
from .mesh_arguments import MODES
from .meshfile import MeshFile, load
from .viewer import Viewer

__all__ = ["add_arguments", "run"]

TURNTABLE = 180  # frames of a recording, once around


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `glraster view`."""
    parser.add_argument("meshes", nargs="+", metavar="mesh", help="files that trimesh reads: GLB, OBJ, PLY, STL, ...")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--web", dest="output", action="store_const", const="web", help="a page for browsers")
    where.add_argument("--window", dest="output", action="store_const", const="window", help="a window")
    where.add_argument("--record", metavar="PATH", help="once around, to an .mp4 file or a folder of PNG files")
    parser.set_defaults(output="auto")
    parser.add_argument(
        "--mode", choices=MODES, default=None, help="what to begin with (default: texture, else shaded)"
    )
    gradients = "vectors [V, 3] at the vertices of the first mesh, from torch.save or np.save, for the mode gradients"
    parser.add_argument("--gradients", metavar="FILE", help=gradients)
    parser.add_argument("--host", default="127.0.0.1", help="with --web: address to listen at (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="with --web (default: 8080)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")


def run(options: argparse.Namespace) -> int:
    """Shows the meshes until the window is closed, or somebody quits; returns the exit code."""
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        first = options.meshes[0]
        files = {path: load(path, in_order=bool(options.gradients) and path == first) for path in options.meshes}
        vectors = _load_vectors(options.gradients, files[first]) if options.gradients else None
        views = _make_views(files, vectors, device)
        modes = _modes(views, options.mode)
        output = "record" if options.record else options.output
        viewer = Viewer(output, path=options.record, title="glraster view", host=options.host, port=options.port)
    except (OSError, RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    with viewer:
        choice = viewer.choice("mode", modes)
        for view in views:
            view.follow(choice)
        viewer.add_views(views)
        _turn_around(viewer) if options.record else viewer.wait()
    return 0


def _make_views(files: dict[str, MeshFile], vectors: torch.Tensor | None, device: str) -> list[MeshView]:
    views: list[MeshView] = []
    names: set[str] = set()
    for path, file in files.items():
        name = Path(path).stem
        while name in names:
            name += "'"
        names.add(name)
        tensors = {what: getattr(file, what) for what in ("vertices", "faces", "uv", "colors")}
        tensors = {what: None if tensor is None else tensor.to(device) for what, tensor in tensors.items()}
        views.append(MeshView(name, **tensors, parts=file.parts, vectors=None if views else vectors))
    return views


def _modes(views: list[MeshView], first: str | None) -> list[str]:
    """The modes that there is something for, the one to begin with first."""
    possible = [mode for mode in MODES if any(mode in view.modes() for view in views)]
    first = first or next(mode for mode in ("gradients", "texture", "shaded") if mode in possible)
    if first not in possible:
        raise ValueError(f"--mode {first} needs what these meshes do not have; possible: {', '.join(possible)}")
    return [first, *(mode for mode in possible if mode != first)]


def _load_vectors(path: str, mesh: MeshFile) -> torch.Tensor:
    """Vectors at the vertices; numbers become vectors along the normals."""
    try:
        loaded = np.load(path) if path.endswith(".npy") else torch.load(path, map_location="cpu", weights_only=True)
        vectors = torch.as_tensor(loaded).detach().float()
    except Exception as error:  # many kinds
        raise ValueError(f"--gradients: {path} holds no tensor: {error}") from error
    V = len(mesh.vertices)
    if vectors.shape in ((V,), (V, 1)):
        return MeshView("mesh", mesh.vertices, mesh.faces).normals * vectors.view(V, 1)
    if vectors.shape != (V, 3):
        raise ValueError(f"--gradients: must be [{V}, 3], one row per vertex, got {list(vectors.shape)}")
    return vectors


def _turn_around(viewer: Viewer) -> None:
    for _ in viewer.loop(range(TURNTABLE), desc="recording"):
        viewer.camera.orbit(2 * math.pi / TURNTABLE, 0)
        viewer.record_frame(wait=True)
