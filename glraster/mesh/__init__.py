"""Meshes as tensors: files, shapes, edges, normals, and changing them while they are optimized."""

from .adaptive import AdaptiveMesh
from .files import load, save
from .geometry import face_normals, normalized, sample_points, tangents, vertex_normals
from .intersections import self_intersections
from .large_steps import LargeSteps, UniformAdam
from .materials import sample_materials
from .remesh import Remeshed, carry_state, remesh
from .shapes import cube, grid, icosphere
from .subdivision import subdivide
from .surface import Mesh, merge, scaled_to_unit_sphere
from .topology import Topology, edges, laplacian, neighbour_mean
from .unwrap import unwrap

__all__ = [
    "AdaptiveMesh",
    "LargeSteps",
    "Mesh",
    "Remeshed",
    "Topology",
    "UniformAdam",
    "carry_state",
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
    "remesh",
    "sample_materials",
    "sample_points",
    "save",
    "scaled_to_unit_sphere",
    "self_intersections",
    "subdivide",
    "tangents",
    "unwrap",
    "vertex_normals",
]
