"""Times what a call costs besides its kernel: every operation at one pixel, on the CPU.

    python benchmarks/calls.py [--repeats 300]

Prints microseconds, the least of many rounds in which the operations take turns.
"""

import argparse
import time

import torch

import glraster

CALLS_PER_ROUND = 5  # short enough to fall between the interruptions of a busy machine


def cases() -> dict:
    """What is timed: no gradients, gradients recorded, and gradients computed."""
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    context = glraster.RasterizeCudaContext("cpu")
    rast, _ = glraster.rasterize(context, pos, tri, (1, 1))
    topology = glraster.antialias_construct_topology_hash(tri)
    color, tex, uv = torch.rand(1, 1, 1, 3), torch.rand(1, 4, 4, 3), torch.rand(1, 1, 1, 2)
    attr = torch.rand(3, 3)

    def pipeline(pos, attr):
        rast, _ = glraster.rasterize(context, pos, tri, (1, 1))
        image, _ = glraster.interpolate(attr, rast, tri)
        return glraster.antialias(image, rast, pos, tri, topology)

    leaf_pos, leaf_attr = pos.clone().requires_grad_(), attr.clone().requires_grad_()
    ones = torch.ones(1, 1, 1, 3)
    return {
        "rasterize": lambda: glraster.rasterize(context, pos, tri, (1, 1)),
        "interpolate": lambda: glraster.interpolate(attr, rast, tri),
        "texture": lambda: glraster.texture(tex, uv),
        "antialias": lambda: glraster.antialias(color, rast, pos, tri, topology),
        "rasterize + interpolate + antialias": lambda: pipeline(pos, attr),
        "the same, recorded for gradients": lambda: pipeline(leaf_pos, leaf_attr),
        "the same, and backward": lambda: torch.autograd.grad(
            pipeline(leaf_pos, leaf_attr), [leaf_pos, leaf_attr], ones
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300)
    args = parser.parse_args()
    timed = cases()
    best = dict.fromkeys(timed, float("inf"))
    for _ in range(args.repeats):
        for name, run in timed.items():
            start = time.perf_counter()
            for _ in range(CALLS_PER_ROUND):
                run()
            best[name] = min(best[name], (time.perf_counter() - start) / CALLS_PER_ROUND * 1e6)
    for name, microseconds in best.items():
        print(f"{name:38}{microseconds:8.1f}")


if __name__ == "__main__":
    main()
