"""Times soft rasterization on the CPU against the same image from PyTorch's tensor operations.

    python benchmarks/soft.py [--repeats 5] [--size 256] [--images 8] [--skip-torch]

First a sphere of 5,120 triangles, sigma 1e-4: ours on one and on two threads, and PyTorch's operations over all pairs
of a pixel and a triangle that count (no others: the list of them is made outside of the differentiated part). Then time
and memory against the number of triangles, the sphere being equally large.
"""

import argparse
import ctypes
import functools
import time
from pathlib import Path

import torch
import trimesh

from glraster.soft import soft_rasterize

NEAR, FAR, EPS, GAMMA, SIGMA, DIST_EPS = 1.0, 100.0, 1e-3, 1e-4, 1e-4, 1e-4


def views(mesh: trimesh.Trimesh, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A mesh seen from all around: clip-space positions [count, V, 4], triangles [T, 3]."""
    points = torch.tensor(mesh.vertices, dtype=torch.float32)
    angle = torch.arange(count) * (2 * torch.pi / count)
    sine, cosine, one, zero = angle.sin(), angle.cos(), torch.ones(count), torch.zeros(count)
    turn = torch.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine], -1).reshape(count, 3, 3)
    x, y, z = (points @ turn.mT).unbind(-1)
    w, scale = 2.732 - z, 1 / 0.45
    return torch.stack([scale * x, scale * y, w - 1, w], -1), torch.tensor(mesh.faces, dtype=torch.int32)


def pairs_of(p: torch.Tensor, size: int, cutoff: float) -> tuple[torch.Tensor, torch.Tensor]:
    """All triangles and pixels that count: of corners p [T, 3, 2], indices of each pair."""
    pad = cutoff**0.5
    low = (((p.amin(1) - pad) * size + size - 1) / 2).ceil().clamp(0, size).long()
    high = (((p.amax(1) + pad) * size + size - 1) / 2).floor().add(1).clamp(0, size).long()
    side = (high - low).clamp(min=0)
    count = side.prod(1)
    t = torch.repeat_interleave(torch.arange(len(p)), count)
    k = torch.arange(len(t)) - torch.repeat_interleave(count.cumsum(0) - count, count)
    x, y = low[t, 0] + k % side[t, 0], low[t, 1] + k // side[t, 0]
    pixel = y * size + x
    square, inside, _ = geometry(p, t, pixel, size)
    counts = inside | (square < cutoff)
    return t[counts], pixel[counts]


def geometry(p, t, pixel, size):
    """Squared distance to the boundary, whether inside, and barycentrics of each pair."""
    at = torch.stack([2 * (pixel % size) + 1 - size, 2 * (pixel // size) + 1 - size], -1) / size
    q = p[t] - at[:, None]
    a = q.roll(-1, 1)
    side = q.roll(-2, 1) - a
    cross = a[..., 0] * side[..., 1] - a[..., 1] * side[..., 0]
    b = cross / cross.sum(1, keepdim=True)
    along = (-(a * side).sum(-1) / side.square().sum(-1)).clamp(0, 1)
    square = (a + along[..., None] * side).square().sum(-1).amin(1)
    return square, (b >= 0).all(1), b


def with_torch(pos, tri, attr, size) -> torch.Tensor:
    """The image [N, size, size, 4], of tensor operations."""
    images, cutoff = [], SIGMA * float(torch.tensor(1 / DIST_EPS - 1).log())
    for one in pos:
        corners = one[tri.long()]
        w = corners[..., 3]
        p = corners[..., :2] / w[..., None]
        with torch.no_grad():
            t, pixel = pairs_of(p, size, cutoff)
        square, inside, b = geometry(p, t, pixel, size)
        log_odds = torch.where(inside, square, -square) / SIGMA
        zero = torch.zeros(size * size)
        alpha = 1 - zero.index_add(0, pixel, torch.nn.functional.logsigmoid(-log_odds)).exp()
        clamped = b.clamp(0, 1)
        v = clamped / clamped.sum(1, keepdim=True) / w[t]
        z = 1 / v.sum(1)
        logit = (FAR - z) / (FAR - NEAR) / GAMMA
        top = torch.full_like(zero, EPS / GAMMA).scatter_reduce(0, pixel, logit.detach(), "amax")
        weight = torch.sigmoid(log_odds) * (logit - top[pixel]).exp()
        total = zero.index_add(0, pixel, weight) + (EPS / GAMMA - top).exp()
        color = ((v * z[:, None])[..., None] * attr[tri.long()][t]).sum(1)
        rgb = torch.zeros(size * size, 3).index_add(0, pixel, weight[:, None] * color) / total[:, None]
        images.append(torch.cat([rgb, alpha[:, None]], 1).reshape(size, size, 4))
    return torch.stack(images)


def ours(pos, tri, attr, size) -> torch.Tensor:
    return soft_rasterize(pos, tri, attr, (size, size), sigma=SIGMA, gamma=GAMMA)[0]


def milliseconds(run, repeats: int) -> float:
    """The median."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return sorted(times)[repeats // 2]


def both(render, pos, tri, attr, size):
    """Forward and backward in one."""
    leaves = [tensor for tensor in (pos, attr) if tensor is not None]
    return lambda: torch.autograd.grad(render(pos, tri, attr, size).square().sum(), leaves)


def peak_megabytes(run) -> tuple[float, float]:
    """By how much this process's memory grows at most while it runs, and the milliseconds that this takes."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed goes back to the system, and counts when it is used again
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark

    def memory(field: str) -> int:
        return int(
            next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(field)).split()[1]
        )

    before = memory("VmRSS")
    took = milliseconds(run, 1)
    return (memory("VmHWM") - before) / 1024, took


def compare(args) -> None:
    pos, tri = views(trimesh.creation.icosphere(4), args.images)
    leaves = pos.requires_grad_(), torch.rand(pos.shape[1], 3, requires_grad=True)
    times = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        run = both(ours, leaves[0], tri, leaves[1], args.size)
        times[threads] = milliseconds(run, args.repeats)
        alone = milliseconds(both(ours, leaves[0], tri, None, args.size), args.repeats)
        print(
            f"ours, {threads} threads: {times[threads]:.1f} ms forward and backward, silhouettes alone {alone:.1f} ms",
            flush=True,
        )
    print(f"two threads are {times[1] / times[2]:.2f} times as fast as one")
    if args.skip_torch:
        return
    torch.set_num_threads(1)
    first = pos[:1].detach(), tri, leaves[1].detach(), args.size
    torch.testing.assert_close(with_torch(*first), ours(*first), rtol=0, atol=2e-3)
    megabytes, theirs = peak_megabytes(both(with_torch, leaves[0], tri, leaves[1], args.size))
    ratio = theirs / times[1]
    print(f"PyTorch's operations, 1 thread: {theirs:.0f} ms, {megabytes:.0f} MB; ours is {ratio:.1f} times as fast")


def by_triangles(args) -> None:
    torch.set_num_threads(args.threads)
    print(f"triangles   forward  backward   memory  ({args.images} x {args.size}^2, {args.threads} threads)")
    for count in (1_000, 3_000, 10_000, 30_000, 100_000):
        side = round((count / 4) ** 0.5) + 1
        pos, tri = views(trimesh.creation.uv_sphere(count=(side, side)), args.images)
        attr = torch.rand(pos.shape[1], 3)
        with torch.no_grad():
            fwd = milliseconds(functools.partial(ours, pos, tri, attr, args.size), args.repeats)
        run = both(ours, pos.requires_grad_(), tri, attr.requires_grad_(), args.size)
        total = milliseconds(run, args.repeats)
        memory, _ = peak_megabytes(run)
        print(f"{len(tri):9d} {fwd:7.0f} ms {total - fwd:6.0f} ms {memory:5.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the second table")
    parser.add_argument("--skip-torch", action="store_true", help="do not wait for PyTorch's operations")
    args = parser.parse_args()
    compare(args)
    by_triangles(args)


if __name__ == "__main__":
    main()
