"""Meshes as tensors: files, shapes, edges, normals."""

from .files import load, save
from .geometry import face_normals, normalized, sample_points, tangents, vertex_normals
from .materials import sample_materials
from .shapes import cube, grid, icosphere
from .surface import Mesh, merge, scaled_to_unit_sphere
from .topology import Topology, edges, laplacian, neighbour_mean

__all__ = [
    "Mesh",
    "Topology",
    "cube",
    "edges",
    "face_normals",
    "grid",
    "icosphere",
    "laplacian",
    "load",
    "merge",
    "neighbour_mean",
    "normalized",
    "sample_materials",
    "sample_points",
    "save",
    "scaled_to_unit_sphere",
    "tangents",
    "vertex_normals",
]
