"""Times texture on the CPU beside torch.nn.functional.grid_sample, all measured in turn within one run.

    python benchmarks/texture.py [--repeats 15] [--threads 2]

8 images of 512 x 512 pixels read one texture of 1024 x 1024 texels and 4 channels, each in the layout its operation
asks for. 'smooth': uv as a render has them, a plane turned a little from image to image, which shows about 0.6 of the
texture and a border beyond it. 'random': uv drawn anew for every pixel. grid_sample is called in two ways: the texture
expanded to the minibatch, or the minibatch as one tall image; ratios are to the faster of the two.
"""

import argparse
import math

import torch
from core import median_times

import glraster

N, SIZE, TEXELS, C = 8, 512, 1024, 4


def smooth_uv() -> tuple[torch.Tensor, torch.Tensor]:
    """uv [N, SIZE, SIZE, 2] of turned planes, and uv_da [N, SIZE, SIZE, 4] of about 1.2 texels per pixel."""
    pixel = (torch.arange(SIZE) + 0.5) / SIZE - 0.5
    y, x = torch.meshgrid(pixel, pixel, indexing="ij")
    uv, uv_da = [], []
    for n in range(N):
        c, s = 0.6 * math.cos(0.3 * n), 0.6 * math.sin(0.3 * n)
        uv.append(torch.stack([c * x - s * y + 0.5, s * x + c * y + 0.5], -1))
        uv_da.append((torch.tensor([c, -s, s, c]) / SIZE).expand(SIZE, SIZE, 4))
    return torch.stack(uv), torch.stack(uv_da)


def with_gradient(run, inputs: list[torch.Tensor]):
    """A call of `run` and of its backward pass to all inputs."""
    grad = torch.rand_like(run())
    return lambda: torch.autograd.grad(run(), inputs, grad)


def cases(uv: torch.Tensor, uv_da: torch.Tensor) -> dict:
    tex = torch.rand(1, TEXELS, TEXELS, C).requires_grad_()
    uv, uv_da = uv.clone().requires_grad_(), uv_da.clone().requires_grad_()
    planes = tex.detach().permute(0, 3, 1, 2).contiguous().requires_grad_()
    grid = (uv.detach() * 2 - 1).requires_grad_()
    mip = glraster.texture_construct_mip(tex)

    def expanded():
        return torch.nn.functional.grid_sample(
            planes.expand(N, -1, -1, -1), grid, padding_mode="border", align_corners=False
        )

    def tall():
        one = grid.view(1, N * SIZE, SIZE, 2)
        return torch.nn.functional.grid_sample(planes, one, padding_mode="border", align_corners=False)

    def bilinear():
        return glraster.texture(tex, uv, boundary_mode="clamp")

    def trilinear():
        return glraster.texture(tex, uv, uv_da, boundary_mode="clamp")

    def prebuilt():
        return glraster.texture(tex, uv, uv_da, mip=mip, boundary_mode="clamp")

    calls = {
        "grid_sample, expanded": (expanded, [planes, grid]),
        "grid_sample, tall": (tall, [planes, grid]),
        "bilinear": (bilinear, [tex, uv]),
        "trilinear": (trilinear, [tex, uv, uv_da]),
        "trilinear, mip stack given": (prebuilt, [tex, uv, uv_da]),
    }
    found = {}
    for name, (run, inputs) in calls.items():
        found[f"{name}, forward"] = torch.no_grad()(run)
        found[f"{name}, forward and backward"] = with_gradient(run, inputs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    uv, uv_da = smooth_uv()
    for kind, coordinates in {"smooth": uv, "random": torch.rand_like(uv)}.items():
        print(f"{kind} uv, {N} x {SIZE} x {SIZE}, {C} channels of {TEXELS} x {TEXELS}, {args.threads} threads")
        times = median_times(cases(coordinates, uv_da), args.repeats)
        for name, ms in times.items():
            print(f"    {name:48} {ms:8.2f} ms")
        for way in ("forward", "forward and backward"):
            reference = min(times[f"grid_sample, expanded, {way}"], times[f"grid_sample, tall, {way}"])
            ratio, ratio_mip = (
                reference / times[f"bilinear, {way}"],
                times[f"trilinear, {way}"] / times[f"bilinear, {way}"],
            )
            print(f"    {'grid_sample / bilinear, ' + way:48} {ratio:8.2f}")
            print(f"    {'trilinear / bilinear, ' + way:48} {ratio_mip:8.2f}")


if __name__ == "__main__":
    main()
