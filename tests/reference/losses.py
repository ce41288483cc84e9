"""The losses in plain loops, float64."""

import itertools
import math

import torch

__all__ = ["chamfer", "dihedral_cosines", "edge_length", "laplacian", "ssim", "total_variation"]


def laplacian(pos: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    ends = [frozenset(pair) for corners in tri.tolist() for pair in itertools.combinations(corners, 2)]
    border = {vertex for end in ends if ends.count(end) == 1 for vertex in end}
    total = pos.new_zeros(())
    for i in range(len(pos)):
        neighbours = {j for end in ends if i in end and (i not in border or ends.count(end) == 1) for j in end - {i}}
        if neighbours:
            total = total + (pos[i] - sum(pos[j] for j in neighbours) / len(neighbours)).square().sum()
    return total / len(pos)


def dihedral_cosines(pos: torch.Tensor, tri: torch.Tensor) -> list[torch.Tensor]:
    """Cosine of the angle between the two triangles at every edge with two of them."""
    cosines = []
    for first, second in itertools.combinations(tri.tolist(), 2):
        if len(shared := set(first) & set(second)) == 2:
            a, b = (pos[i] for i in shared)
            along = (b - a) / (b - a).norm()
            (p,), (q,) = (set(corners) - shared for corners in (first, second))
            arms = [pos[k] - a - along * (along @ (pos[k] - a)) for k in (p, q)]  # perpendicular to the edge
            cosines.append(arms[0] @ arms[1] / (arms[0].norm() * arms[1].norm()))
    return cosines


def edge_length(pos: torch.Tensor, tri: torch.Tensor, target: float) -> torch.Tensor:
    ends = {frozenset(pair) for corners in tri.tolist() for pair in itertools.combinations(corners, 2)}
    return sum(((pos[a] - pos[b]).norm() - target) ** 2 for a, b in map(tuple, ends)) / len(ends)


def chamfer(a: torch.Tensor, b: torch.Tensor, power: int) -> torch.Tensor:
    one = sum(min((x - y).norm() ** power for y in b) for x in a) / len(a)
    return one + sum(min((x - y).norm() ** power for y in a) for x in b) / len(b)


def total_variation(image: torch.Tensor) -> torch.Tensor:
    N, H, W, C = image.shape
    up = sum((image[:, y + 1] - image[:, y]).abs().sum() for y in range(H - 1)) / (N * max(H - 1, 1) * W * C)
    right = sum((image[:, :, x + 1] - image[:, :, x]).abs().sum() for x in range(W - 1)) / (N * H * max(W - 1, 1) * C)
    return up + right


def ssim(a: torch.Tensor, b: torch.Tensor, peak: float) -> torch.Tensor:
    """Of one image [H, W]: every window on its own."""
    weights = torch.tensor([[math.exp(-(x * x + y * y) / 4.5) for x in range(-5, 6)] for y in range(-5, 6)]).double()
    weights /= weights.sum()
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            covariance = (weights * (p - mp) * (q - mq)).sum()
            c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
            luminance = (2 * mp * mq + c1) / (mp**2 + mq**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (vp + vq + c2))
    return sum(values) / len(values)
