"""Pictures with smooth edges, by either way of giving visibility its gradients."""

import torch

import glraster


def by_antialias(image, rast, pos, triangles, topology=None) -> torch.Tensor:
    """Gradients of silhouettes that lie on the very triangles that pixels show."""
    return glraster.antialias(image, rast, pos, triangles, topology)


def by_edge_gradients(image, rast, pos, triangles, topology=None) -> torch.Tensor:
    """Gradients for triangles of any size, and of intersections; the same picture."""
    topology = topology or glraster.antialias_construct_topology_hash(triangles)
    image = glraster.edge_gradients(image, rast, pos, triangles, topology_hash=topology)
    return glraster.antialias(image, rast, pos.detach(), triangles, topology)
