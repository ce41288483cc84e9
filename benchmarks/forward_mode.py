"""Times forward-mode derivatives on the CPU beside the forward and backward passes, all in turn within one run.

    python benchmarks/forward_mode.py [--repeats 15] [--size 512]

The scene of core.py, 2 images. Columns: the forward pass, the tangents alone (what a jvp adds), the backward pass;
tangents and the whole jvp as ratios to the forward pass. "A frame" is rasterize, interpolate, texture and antialias
together, its jvp along a tangent of the positions, such as a change of pose. Times are minima of the
processor's time, over all threads: what else runs on the machine hardly counts.
"""

import argparse
import math
from time import process_time

import torch
from core import scene
from torch.autograd import forward_ad

import glraster
from glraster import antialias, interpolate, rasterize, texture, texture3d

N, C = 2, 3


def leaves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def passes(function, *inputs: torch.Tensor) -> dict:
    """The calls to be timed of a function: forward, with tangents of all inputs, backward to all inputs."""
    inputs = leaves(*inputs)
    plain = [tensor.detach() for tensor in inputs]
    tangents = [torch.randn_like(tensor) for tensor in plain]
    out = function(*inputs)
    outputs = out if isinstance(out, tuple) else (out,)
    cotangents = [torch.randn_like(tensor) for tensor in outputs]

    def forward():
        with torch.no_grad():
            function(*plain)

    def with_tangents():
        with torch.no_grad(), forward_ad.dual_level():
            function(*map(forward_ad.make_dual, plain, tangents))

    return {
        "forward": forward,
        "jvp": with_tangents,
        "backward": lambda: torch.autograd.grad(outputs, inputs, cotangents, retain_graph=True),
    }


def cases(size: int) -> dict:
    """Name of each case: its passes."""
    pos, tri = scene(N)
    context = glraster.RasterizeCudaContext("cpu")
    topology = glraster.antialias_construct_topology_hash(tri)
    rast, rast_db = rasterize(context, pos, tri, (size, size))
    attr, uv_attr = torch.rand(pos.shape[1], C), pos[0, :, :2].contiguous()
    color, _ = interpolate(attr, rast, tri)
    uv, uv_da = interpolate(uv_attr, rast, tri, rast_db, diff_attrs="all")
    uvw, _ = interpolate(pos[0, :, :3].contiguous(), rast, tri)
    tex, volume = torch.rand(1, 512, 512, C), torch.rand(1, 32, 32, 32, C)

    def frame(pos):
        rast, rast_db = rasterize(context, pos, tri, (size, size))
        uv, uv_da = interpolate(uv_attr, rast, tri, rast_db, diff_attrs="all")
        return antialias(texture(tex, uv, uv_da), rast, pos, tri, topology)

    found = {
        "rasterize": passes(lambda pos: rasterize(context, pos, tri, (size, size)), pos),
        "interpolate, of rast": passes(lambda rast: interpolate(attr, rast, tri)[0], rast),
        "interpolate, of attr and rast": passes(lambda attr, rast: interpolate(attr, rast, tri)[0], attr, rast),
        "antialias": passes(lambda color, pos: antialias(color, rast, pos, tri, topology), color, pos),
        "texture3d, of uvw": passes(lambda uvw: texture3d(volume, uvw), uvw),
        "texture3d, of tex and uvw": passes(texture3d, volume, uvw),
        "a frame": passes(frame, pos),
    }
    mip = glraster.texture_construct_mip(tex)
    for mode in ("linear", "linear-mipmap-linear", "anisotropic"):
        given = (uv,) if mode == "linear" else (uv, uv_da)

        def look_up(*given, mode=mode):
            return texture(tex, *given, filter_mode=mode, mip=mip)

        found[f"texture {mode}, of uv"] = passes(look_up, *given)
    found["texture linear, of tex and uv"] = passes(texture, tex, uv)
    return found


def minima(found: dict, repeats: int) -> dict[str, dict[str, float]]:
    """Least milliseconds of every pass, all taking turns."""
    least = {name: dict.fromkeys(calls, math.inf) for name, calls in found.items()}
    for _ in range(repeats):
        for name, calls in found.items():
            for kind, run in calls.items():
                start = process_time()
                run()
                least[name][kind] = min(least[name][kind], (process_time() - start) * 1e3)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{N} x {args.size} x {args.size}, {args.threads} threads, milliseconds of processor time")
    print(f"{'':34} {'forward':>8} {'tangents':>9} {'backward':>9} {'tangents/fwd':>13} {'jvp/fwd':>8}")
    for name, ms in minima(cases(args.size), args.repeats).items():
        tangents = ms["jvp"] - ms["forward"]
        ratios = f"{tangents / ms['forward']:13.2f} {ms['jvp'] / ms['forward']:8.2f}"
        print(f"{name:34} {ms['forward']:8.2f} {tangents:9.2f} {ms['backward']:9.2f} {ratios}")


if __name__ == "__main__":
    main()
