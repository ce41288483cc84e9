"""Times what a call costs besides its kernel: every operation on few pixels, on the CPU.

    python benchmarks/calls.py [--stub] [--repeats 300]

Prints microseconds, the least of many rounds in which the operations take turns. With --stub calls go the way that
they go for a GPU, to a driver that does nothing (stub_driver.c, which gcc compiles). What PyTorch's own operations cost
on a GPU is not in it: its tensors stay on the CPU.
"""

import argparse
import ctypes
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import glraster

CALLS_PER_ROUND = 5  # short enough to fall between the interruptions of a busy machine


def use_stub() -> None:
    """Lets tensors on the CPU pass for a GPU's."""
    from glraster.cuda_kernels import cuda

    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "libcuda.so.1")
        build = ["gcc", "-shared", "-fPIC", "-O2", f"-Wl,-soname,{library.name}", "-o", str(library)]
        subprocess.run([*build, str(Path(__file__).with_name("stub_driver.c")), "-ldl"], check=True)
        ctypes.CDLL(str(library))  # whoever now asks for a library of this name is given it
    torch._C._cuda_getCurrentRawStream = lambda index: 0
    cuda.compile_kernel = lambda *_: b""
    only = cuda.gpu(0)
    cuda.gpu = lambda index: only
    for name, module in list(sys.modules.items()):
        if name.startswith("glraster.") and hasattr(module, "runs_on_gpu"):
            module.runs_on_gpu = lambda device: True


def cases() -> dict:
    """What is timed: no gradients, gradients recorded, and gradients computed."""
    pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]])
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    context = glraster.RasterizeCudaContext("cpu")
    rast, rast_db = glraster.rasterize(context, pos, tri, (1, 1))
    topology = glraster.antialias_construct_topology_hash(tri)
    color, tex, uv = torch.rand(1, 1, 1, 3), torch.rand(1, 4, 4, 3), torch.rand(1, 1, 1, 2)
    attr, uv_da, many_levels = torch.rand(3, 3), torch.rand(1, 1, 1, 4), torch.rand(1, 1, 1024, 3)

    def first_two(pos, attr):
        rast, _ = glraster.rasterize(context, pos, tri, (1, 1))
        return rast, glraster.interpolate(attr, rast, tri)[0]

    def pipeline(pos, attr):
        rast, image = first_two(pos, attr)
        return glraster.antialias(image, rast, pos, tri, topology)

    def backward(op, *inputs):
        leaves = [leaf.clone().requires_grad_() for leaf in inputs]
        out = op(*leaves)
        incoming = torch.rand_like(out)
        return lambda: torch.autograd.grad(out, leaves, incoming, retain_graph=True)

    leaf_pos, leaf_attr = pos.clone().requires_grad_(), attr.clone().requires_grad_()
    ones = torch.ones(1, 1, 1, 3)
    return {
        "rasterize": lambda: glraster.rasterize(context, pos, tri, (1, 1)),
        "rasterize backward": backward(lambda pos: glraster.rasterize(context, pos, tri, (1, 1))[0], pos),
        "interpolate": lambda: glraster.interpolate(attr, rast, tri),
        "interpolate, derivatives": lambda: glraster.interpolate(attr, rast, tri, rast_db, "all"),
        "interpolate backward": backward(lambda attr, rast: glraster.interpolate(attr, rast, tri)[0], attr, rast),
        "texture": lambda: glraster.texture(tex, uv),
        "texture backward": backward(glraster.texture, tex, uv),
        "texture, ten levels": lambda: glraster.texture(many_levels, uv, uv_da),
        "texture, ten levels, backward": backward(glraster.texture, many_levels, uv, uv_da),
        "antialias": lambda: glraster.antialias(color, rast, pos, tri, topology),
        "antialias backward": backward(
            lambda color, pos: glraster.antialias(color, rast, pos, tri, topology), color, pos
        ),
        "rasterize + interpolate": lambda: first_two(pos, attr),
        "rasterize + interpolate + antialias": lambda: pipeline(pos, attr),
        "the same, recorded for gradients": lambda: pipeline(leaf_pos, leaf_attr),
        "the same, and backward": lambda: torch.autograd.grad(
            pipeline(leaf_pos, leaf_attr), [leaf_pos, leaf_attr], ones
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stub", action="store_true")
    parser.add_argument("--repeats", type=int, default=300)
    args = parser.parse_args()
    if args.stub:
        use_stub()
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
