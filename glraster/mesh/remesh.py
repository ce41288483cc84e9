"""Isotropic remeshing during an optimization: long edges are split, short ones collapsed, and edges flipped.

Every step acts on all edges at once, on those of them that do not disturb each other, in operations on whole tensors.
"""

from typing import Any, NamedTuple

import torch

from .geometry import face_normals, normalized, vertex_normals
from .remesh_steps import collapse, corners_of_border, flip, split
from .topology import Topology, neighbour_mean

__all__ = ["Remeshed", "carry_state", "remesh"]


class Remeshed(NamedTuple):
    """What `remesh` made."""

    pos: torch.Tensor  # [V', 3]
    tri: torch.Tensor  # [T', 3] int32
    weights: torch.Tensor  # sparse [V', V]: any other attribute [V, C] of the old vertices is `weights @ attribute` now
    length: torch.Tensor  # [V'], the wanted lengths, carried over


@torch.no_grad()
def remesh(
    pos: torch.Tensor,
    tri: torch.Tensor,
    length: float | torch.Tensor,
    *,
    collapses: int = 3,
    flips: int = 3,
    relax: float = 0.0,
) -> Remeshed:
    """Brings the edges of a mesh close to a wanted length, and its vertices close to six neighbours each.

    Edges longer than 4/3 of the wanted length are split at their middle. Those shorter than 4/5 of it are collapsed
    where that neither folds the surface nor changes its topology: borders stay, their corners too. Then edges are
    flipped where that evens out the numbers of neighbours and the surface is flat enough. One call goes one step of the
    way, which is what an optimization needs that calls it again and again; call it several times for a mesh that is
    to arrive.

    Args:
        pos: [V, 3] floats.
        tri: [T, 3] integers. Edges at which more than two triangles meet are left as they are.
        length: wanted lengths of edges in units of `pos`: one, or [V], of an edge the mean of its ends.
        collapses, flips: the most rounds of each; 0: none.
        relax: from 0 to 1, how far vertices then move towards the mean of their neighbours, within the surface.

    Returns:
        A `Remeshed`, without gradients. `carry_state` applies its weights to an optimizer.

    Raises:
        ValueError: a length that is not positive, or of another shape.

    Source: Botsch and Kobbelt, "A Remeshing Approach to Multiresolution Modeling" (2004); Palfinger, "Continuous
    Remeshing for Inverse Rendering" (2022).
    """
    wanted = torch.as_tensor(length, dtype=pos.dtype, device=pos.device)
    if wanted.shape not in ((), pos.shape[:1]) or not bool((wanted > 0).all()):
        raise ValueError(f"remesh(): length must be positive, a number or [{len(pos)}], got {list(wanted.shape)}")
    values = torch.cat([pos, wanted.expand(len(pos))[:, None]], dim=1)  # [V, 4]
    tri = tri.long()
    weights = _identity(len(pos), pos)
    for step in [split] + [collapse] * collapses:
        mixed, tri = step(values, tri)
        if mixed is not None:
            values, weights = mixed.apply(values), mixed.compose(weights)
        elif step is collapse:
            break
    for _ in range(flips):
        tri, changed = flip(values, tri)
        if not changed:
            break
    pos = values[:, :3]
    if relax:
        pos = _relaxed(pos, tri, relax)
    return Remeshed(pos.contiguous(), tri.int(), weights, values[:, 3].contiguous())


@torch.no_grad()
def carry_state(
    optimizer: torch.optim.Optimizer, old: torch.Tensor, new: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Makes an optimizer go on with a parameter of other vertices.

    Its state of `old` becomes that of `new`: tensors with a row for each vertex are multiplied by the weights, so that
    moments go on where they were, all else is kept.

    Args:
        optimizer: any of PyTorch's.
        old: [V, ...], a parameter of it.
        new: [V', ...], its values from now on.
        weights: sparse [V', V], of `remesh`.

    Returns:
        The new parameter: `new`, detached, a leaf that requires gradients.

    Raises:
        ValueError: old is no parameter of the optimizer.
    """
    parameter = new.detach().clone().requires_grad_()
    for group in optimizer.param_groups:
        for index, param in enumerate(group["params"]):
            if param is old:
                group["params"][index] = parameter
                state = optimizer.state.pop(old, {})
                optimizer.state[parameter] = {name: _carried(value, len(old), weights) for name, value in state.items()}
                return parameter
    raise ValueError("carry_state(): old must be a parameter of the optimizer")


def _carried(value: Any, num_vertices: int, weights: torch.Tensor) -> Any:
    if not isinstance(value, torch.Tensor) or value.shape[:1] != (num_vertices,):
        return value
    carried = weights.to(value.dtype) @ value.reshape(num_vertices, -1)
    return carried.view(-1, *value.shape[1:])


def _identity(count: int, like: torch.Tensor) -> torch.Tensor:
    index = torch.arange(count, device=like.device)
    ones = torch.ones(count, dtype=like.dtype, device=like.device)
    return torch.sparse_coo_tensor(index.expand(2, -1), ones, (count, count), check_invariants=False).coalesce()


def _relaxed(pos: torch.Tensor, tri: torch.Tensor, share: float) -> torch.Tensor:
    topology = Topology(tri, len(pos))
    step = neighbour_mean(pos, topology) - pos
    normals = vertex_normals(pos, tri)
    step = share * (step - normals * (step * normals).sum(1, keepdim=True))
    step[corners_of_border(pos, topology)] = 0
    moved = pos + step
    before, after = face_normals(pos, tri), normalized(face_normals(moved, tri, unit=False))
    folded = (before * after).sum(1) < 0.5  # its vertices stay
    stays = torch.zeros(len(pos), dtype=torch.bool, device=pos.device)
    stays[tri[folded].flatten()] = True
    return torch.where(stays[:, None], pos, moved)
