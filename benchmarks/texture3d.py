"""Times lookups in volume textures on the CPU against torch.nn.functional.grid_sample, in turn within one run.

    python benchmarks/texture3d.py [--repeats 7] [--threads 2] [--size 128] [--image 256]

A volume of 128^3 texels of 4 channels, sampled linearly with boundary mode 'clamp' by a minibatch of 8 images: at the
points of tilted planes, as a renderer does, and at random points. grid_sample runs its images in parallel or, if that
is faster, takes them as one; it is given its own layout, channels first, which costs it nothing here.
"""

import argparse

import torch
from core import median_times
from torch.nn import functional

import glraster


def planes(N: int, size: int) -> torch.Tensor:
    """Points of N tilted planes through the volume, [N, size, size, 3]."""
    y, x = torch.meshgrid(torch.linspace(0.05, 0.95, size), torch.linspace(0.05, 0.95, size), indexing="ij")
    tilt = torch.linspace(-0.4, 0.4, N)[:, None, None]
    z = 0.5 + tilt * (x - 0.5) + tilt.flip(0) * (y - 0.5)
    return torch.stack([x.expand_as(z), y.expand_as(z), z], -1)


def cases_for(name: str, tex: torch.Tensor, uvw: torch.Tensor) -> dict:
    N, C = uvw.shape[0], tex.shape[-1]
    volume = tex.detach().movedim(-1, 1).contiguous().requires_grad_()
    points = uvw.detach().clone().requires_grad_()
    grid = (uvw.detach() * 2 - 1).requires_grad_()

    def ours():
        return glraster.texture3d(tex, points, "linear", "clamp")

    def theirs():  # in parallel over the images
        return functional.grid_sample(
            volume.expand(N, *volume.shape[1:]), grid[:, None], "bilinear", "border", align_corners=False
        )

    def theirs_as_one():
        return functional.grid_sample(volume, grid[None], "bilinear", "border", align_corners=False)

    grad = torch.rand(*uvw.shape[:3], C)
    grads = {ours: grad, theirs: grad.movedim(-1, 1)[:, :, None].contiguous()}
    grads[theirs_as_one] = grad.movedim(-1, 0)[None].contiguous()
    torch.testing.assert_close(ours(), theirs()[:, :, 0].movedim(1, -1), rtol=0, atol=1e-4)

    def fwd(function):
        def run():
            with torch.no_grad():
                function()

        return run

    def both(function, inputs):
        return lambda: torch.autograd.grad(function(), inputs, grads[function])

    return {
        f"{name}, forward": fwd(ours),
        f"{name}, forward, grid_sample": fwd(theirs),
        f"{name}, forward, grid_sample as one": fwd(theirs_as_one),
        f"{name}, forward + backward": both(ours, [tex, points]),
        f"{name}, forward + backward, grid_sample": both(theirs, [volume, grid]),
        f"{name}, forward + backward, grid_sample as one": both(theirs_as_one, [volume, grid]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", type=int, default=128, help="texels along each side of the volume")
    parser.add_argument("--image", type=int, default=256, help="pixels along each side of an image")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    N, C = 8, 4
    tex = torch.rand(1, *(args.size,) * 3, C, requires_grad=True)
    print(f"{N} x {args.image} x {args.image} samples, {args.size}^3 texels, {C} channels, {args.threads} threads")
    for name, uvw in {"planes": planes(N, args.image), "random": torch.rand(N, args.image, args.image, 3)}.items():
        times = median_times(cases_for(name, tex, uvw), args.repeats)
        for case, ms in times.items():
            print(f"{case:48} {ms:8.2f} ms")
        for what in (f"{name}, forward", f"{name}, forward + backward"):
            best = min(times[f"{what}, grid_sample"], times[f"{what}, grid_sample as one"])
            print(f"{what}: grid_sample / texture3d {best / times[what]:8.2f}")


if __name__ == "__main__":
    main()
