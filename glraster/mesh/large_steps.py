"""Gradient descent on vertices that keeps surfaces smooth: the unknowns are positions times a matrix of the mesh."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .topology import Topology, laplacian

if TYPE_CHECKING:
    import scipy.sparse.linalg

__all__ = ["LargeSteps", "UniformAdam"]


class LargeSteps:
    """The map between positions x [V, 3] and unknowns u = (I + strength L) x, L the mesh's graph Laplacian.

    A step of u is spread over the neighbourhood by the sparse solve that leads back to x, so that triangles stay in
    shape under steps that would tangle them otherwise. The matrix is factorized once, on the CPU; solves run there.

    Args:
        tri: [T, 3] integers, or their `Topology`.
        num_vertices: V; None: as many as the triangles use.
        strength: lambda; 10 to 50 for meshes of some thousand vertices.

    Raises:
        RuntimeError: scipy is not installed.

    Source: Nicolet, Jacobson and Jakob, "Large Steps in Inverse Rendering of Geometry" (2021).
    """

    def __init__(self, tri: torch.Tensor | Topology, num_vertices: int | None = None, *, strength: float = 19.0):
        try:
            import scipy.sparse
            import scipy.sparse.linalg
        except ImportError as error:
            raise RuntimeError(f"LargeSteps: needs scipy: pip install 'glraster[mesh]' ({error})") from error
        graph = laplacian(tri, num_vertices).cpu()
        entries = (graph.values().numpy(), graph.indices().numpy())
        matrix = scipy.sparse.coo_matrix(entries, tuple(graph.shape))
        self._matrix = (scipy.sparse.identity(matrix.shape[0]) + strength * matrix).tocsc()
        self._factors = scipy.sparse.linalg.splu(self._matrix)

    def to_unknowns(self, pos: torch.Tensor) -> torch.Tensor:
        """u [V, C] of x [V, C], without gradients."""
        return torch.from_numpy(self._matrix @ _numpy(pos)).to(pos)

    def to_positions(self, unknowns: torch.Tensor) -> torch.Tensor:
        """x [V, C] of u [V, C]. Gradients reach u."""
        return _Solve.apply(unknowns, self._factors)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, right_side: torch.Tensor, factors: "scipy.sparse.linalg.SuperLU") -> torch.Tensor:
        ctx.factors = factors
        return torch.from_numpy(factors.solve(_numpy(right_side))).to(right_side)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:  # the matrix is symmetric
        return _Solve.forward(ctx, grads[0], ctx.factors), None


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


class UniformAdam(torch.optim.Optimizer):
    """Adam with one step size for all numbers of a tensor, from their largest second moment: smooth steps stay smooth.

    Args:
        params: as for any optimizer of PyTorch.
        lr: the longest step, about, in units of the parameters.
        betas: decay of the first and second moment.

    Source: Nicolet, Jacobson and Jakob, "Large Steps in Inverse Rendering of Geometry" (2021).
    """

    def __init__(self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step along the gradients that there are."""
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for param in (p for p in group["params"] if p.grad is not None):
                state = self.state[param]
                if not state:
                    state.update(step=0, first=torch.zeros_like(param), second=torch.zeros_like(param))
                state["step"] += 1
                state["first"].lerp_(param.grad, 1 - b1)
                state["second"].lerp_(param.grad.square(), 1 - b2)
                first, second = state["first"] / (1 - b1 ** state["step"]), state["second"] / (1 - b2 ** state["step"])
                param.sub_(group["lr"] * first / (second.max().sqrt() + 1e-12))
