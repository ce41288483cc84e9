"""Learns the texture of a planet from pictures of it taken at random distances.

    python samples/earth.py [--texture FILE] [--max-iter 600] [--out out/earth]
    python samples/earth.py --mip [anisotropic|trilinear]

The pictures show the planet from random sides, near and far, filtered with care: several samples per pixel, each of
them anisotropic. The guess is drawn with one lookup per pixel: without --mip in the texture itself, else in its mipmap.
Seen from afar, a pixel covers many texels. A lookup in the texture itself takes the pixel for the colour of one place
among them, and each picture pulls other texels towards colours that are not theirs.

Expected: the result is blurred without --mip and sharp with it. The PSNR of the texture (512 x 512) ends near 22.9 dB
without --mip, 33.0 dB with --mip and 25.5 dB with --mip trilinear, which blurs where it meets the ground at an angle.
"""

from pathlib import Path

import imageio.v3 as imageio
import pictures
import procedural
import torch
from options import existing_file, make_context, make_parser, make_viewer, positive
from tqdm import tqdm, trange

import glraster as dr
from glraster import camera

FILTERS = {None: "linear", "trilinear": "linear-mipmap-linear", "anisotropic": "anisotropic"}


def random_view(generator, nearest=1.5, farthest=20.0):
    """Returns a [1, 4, 4] matrix: any side of the planet, a distance between the two, even on a logarithmic scale."""
    distance = nearest * (farthest / nearest) ** torch.rand(1, generator=generator).item()
    view = camera.rigid(camera.random_rotations(1, generator), torch.tensor([0.0, 0.0, -distance]))
    return camera.perspective(far=2 * farthest) @ view


def draw(glctx, mesh, uv, mvp, tex, resolution, filter_mode):
    """Draws the planet: [1, resolution, resolution, 3], and where it is: 1 and 0 in [1, resolution, resolution, 1]."""
    pos = camera.transform(mesh.pos, mvp)
    rast, rast_db = dr.rasterize(glctx, pos, mesh.tri, (resolution, resolution))
    uv, uv_da = dr.interpolate(uv, rast, mesh.tri, rast_db, diff_attrs="all")
    covered = (rast[..., 3:] > 0).float()
    return covered * dr.texture(tex[None], uv, uv_da, filter_mode=filter_mode), covered


def load_texture(path: str, size: int) -> torch.Tensor:
    """Reads a world map, scaled to [size, size, 3]."""
    image = torch.tensor(imageio.imread(path, mode="RGB")).flip(0).float() / 255
    shape = {"size": (size, size), "mode": "bilinear", "antialias": True}
    return torch.nn.functional.interpolate(image.movedim(2, 0)[None], **shape)[0].movedim(0, 2)


def psnr(guess, truth):
    return -10 * (guess - truth).square().mean().log10().item()


def main() -> None:
    parser = make_parser(__doc__, out="out/earth")
    parser.add_argument("--texture", type=existing_file, help="a world map to use instead of a made-up planet")
    parser.add_argument("--size", type=positive, default=512, help="texels along a side (default: 512)")
    parser.add_argument("--mip", nargs="?", const="anisotropic", choices=list(FILTERS)[1:], help="prefilter the guess")
    parser.add_argument("--resolution", type=positive, default=256, help="pixels along a side (default: 256)")
    parser.add_argument("--pictures", type=positive, default=128, help="pictures to learn from (default: 128)")
    parser.add_argument("--max-iter", type=positive, default=600, help="iterations (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the planet and the views (default: 0)")
    args = parser.parse_args()
    if args.mip and args.size & (args.size - 1):
        parser.error(f"--size must be a power of two with --mip, got {args.size}")
    glctx = make_context(args)
    generator = torch.Generator().manual_seed(args.seed)
    truth = load_texture(args.texture, args.size) if args.texture else procedural.planet(args.size, args.seed)
    truth = truth.to(glctx.device)
    mesh, uv = procedural.globe()
    mesh, uv = mesh.to(glctx.device), uv.to(glctx.device)

    def photograph():
        mvp = random_view(generator).to(glctx.device)
        images = draw(glctx, mesh, uv, mvp, truth, 2 * args.resolution, "anisotropic")
        image, covered = (pictures.shrink(image, 2) for image in images)
        return mvp, image, covered == 1  # pixels on the outline show the background as well

    shots = [photograph() for _ in trange(args.pictures, desc="taking pictures", disable=None)]
    tex = torch.full_like(truth, 0.5).requires_grad_()
    optimizer = torch.optim.Adam([tex], lr=0.05, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.02 ** (i / args.max_iter))
    viewer = make_viewer(args)
    for iteration in viewer.loop(range(1, args.max_iter + 1), desc="learning"):
        mvp, shot, inside = shots[torch.randint(len(shots), (), generator=generator)]
        guess, _ = draw(glctx, mesh, uv, mvp, tex, args.resolution, FILTERS[args.mip])
        loss = (guess - shot).square().mean(dim=-1, keepdim=True)[inside].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        viewer.log(loss=loss)
        viewer.show(guess=guess, shot=shot, texture=tex)
        if iteration % 100 == 0 or iteration == args.max_iter:
            tqdm.write(f"iteration {iteration:5d}   PSNR of the texture {psnr(tex.detach(), truth):.2f} dB")

    views = torch.stack([random_view(generator, distance, distance)[0] for distance in (1.7, 2.5, 4.0)])
    rows = []
    for shown in (truth, tex.detach().clamp(0, 1)):
        planets, _ = draw(glctx, mesh, uv, views.to(glctx.device), shown, args.size, "anisotropic")
        rows.append(torch.cat([shown[None], planets]))
    path = Path(args.out) / f"earth_{args.mip or 'plain'}.png"
    pictures.save(path, pictures.grid(rows))
    print(f"Wrote {path}: the truth above, the result below.")
    viewer.wait()


if __name__ == "__main__":
    main()
