"""Gradient descent on mesh vertices that keeps surfaces smooth (Nicolet et al., "Large Steps in Inverse Rendering of
Geometry", 2021): the unknowns are u = (I + lambda L) x, with L the mesh's graph Laplacian, so that every step is spread
over the neighbourhood by a sparse solve."""

import meshes
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch


class Smoothing:
    """The map between vertex positions x [V, 3] and the unknowns u [V, 3]; factorized once for a mesh."""

    def __init__(self, mesh: meshes.Mesh, strength: float):
        start, end = meshes.edges(mesh.triangles).cpu().numpy().T
        count = len(mesh.positions)
        half = scipy.sparse.coo_matrix((np.ones(len(start)), (start, end)), shape=(count, count))
        adjacency = (half + half.T).tocsc()
        laplacian = scipy.sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency
        self._matrix = (scipy.sparse.eye(count) + strength * laplacian).tocsc()
        self._factors = scipy.sparse.linalg.splu(self._matrix)

    def unknowns(self, positions: torch.Tensor) -> torch.Tensor:
        """u of x."""
        return torch.from_numpy(self._matrix @ positions.double().cpu().numpy()).to(positions)

    def positions(self, unknowns: torch.Tensor) -> torch.Tensor:
        """x of u; differentiable."""
        return _Solve.apply(unknowns, self._factors)


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx, right_side, factors):
        ctx.factors = factors
        return torch.from_numpy(factors.solve(right_side.detach().double().cpu().numpy())).to(right_side)

    @staticmethod
    def backward(ctx, grad):  # the matrix is symmetric
        return _Solve.forward(ctx, grad, ctx.factors), None


class UniformAdam(torch.optim.Optimizer):
    """Adam with one step size for all unknowns, from their largest second moment; smooth steps stay smooth."""

    def __init__(self, params, lr: float, betas: tuple[float, float] = (0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for param in group["params"]:
                state = self.state[param]
                if not state:
                    state.update(step=0, first=torch.zeros_like(param), second=torch.zeros_like(param))
                state["step"] += 1
                state["first"].lerp_(param.grad, 1 - b1)
                state["second"].lerp_(param.grad.square(), 1 - b2)
                first, second = state["first"] / (1 - b1 ** state["step"]), state["second"] / (1 - b2 ** state["step"])
                param.sub_(group["lr"] * first / (second.max().sqrt() + 1e-12))
