"""Subdivision: four triangles for each, with everything that belongs to them."""

import torch

from .shapes import split_in_four
from .surface import Mesh
from .topology import Topology

__all__ = ["subdivide"]


def subdivide(mesh: Mesh, levels: int = 1, scheme: str = "midpoint") -> Mesh:
    """Splits every triangle of a mesh into four.

    Texture coordinates and colours of vertices are halved along edges; materials go with their triangles. Triangles
    4 i to 4 i + 3 are parts of triangle i.

    Args:
        mesh: any mesh.
        levels: how often.
        scheme: 'midpoint' keeps the shape; 'loop' rounds it, borders included (see
            `glraster.stochastic.loop_subdivision`, which has the matrix).

    Returns:
        A mesh whose first V vertices are those of `mesh`. Gradients reach positions, texture coordinates and colours.

    Raises:
        ValueError: another scheme, or with 'loop' an edge of more than two triangles.
        RuntimeError: scipy, which 'loop' needs, is not installed.

    Source: Loop, "Smooth Subdivision Surfaces Based on Triangles" (1987).
    """
    if scheme not in ("midpoint", "loop"):
        raise ValueError(f"subdivide(): scheme must be 'midpoint' or 'loop', got {scheme!r}")
    for _ in range(levels):
        pos, tri = _halved(mesh.pos, mesh.tri)
        if scheme == "loop":
            pos = _loop_matrix(mesh).to(mesh.pos) @ mesh.pos
        finer: dict[str, torch.Tensor] = {"pos": pos, "tri": tri}
        if mesh.uv is not None and mesh.uv_tri is not None:
            finer["uv"], finer["uv_tri"] = _halved(mesh.uv, mesh.uv_tri)
        if mesh.color is not None and mesh.color_tri is not None:
            finer["color"], finer["color_tri"] = _halved(mesh.color, mesh.color_tri)
        if mesh.material is not None:
            finer["material"] = mesh.material.repeat_interleave(4)
        mesh = mesh.replace(**finer)
    return mesh


def _halved(values: torch.Tensor, tri: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values with those of the edges' middles after them, and the triangles of these."""
    topology = Topology(tri, len(values))
    finer = torch.cat([values, values[topology.edges].mean(1)])
    return finer, split_in_four(tri, topology.edge_of + len(values))


def _loop_matrix(mesh: Mesh) -> torch.Tensor:
    """From the vertices to those of one level more, numbered as by `_halved`."""
    from glraster.stochastic import loop_subdivision

    try:
        matrix = loop_subdivision(mesh.tri.cpu().numpy(), 1, len(mesh.pos)).matrix.tocoo()
    except ImportError as error:
        raise RuntimeError(f"subdivide(): 'loop' needs scipy: pip install 'glraster[mesh]' ({error})") from error
    indices = torch.from_numpy(matrix.coords[0]), torch.from_numpy(matrix.coords[1])
    values = torch.from_numpy(matrix.data)
    return torch.sparse_coo_tensor(torch.stack(indices).long(), values, matrix.shape, check_invariants=False)
