"""A chequered floor seen at a grazing angle, filtered between mip levels (left) and anisotropically (right).

    python samples/floor.py --out out/floor

Saves floor.png: towards the horizon the left half turns grey where the right half still shows the squares.
"""

import torch
from options import make_context, make_parser, make_viewer
from pictures import save

import glraster


def main(argv: list[str] | None = None) -> torch.Tensor:
    args = make_parser(__doc__, "out/floor").parse_args(argv)
    context = make_context(args)
    device = context.device
    square = torch.arange(512, device=device) // 32 % 2
    tex = (square[:, None] ^ square[None]).float()[None, ..., None].repeat(1, 1, 1, 3)
    # The floor y = -1 from z = -1 to z = -200, its eye at the origin: clip space has w = -z.
    corners = [(-100, -1), (100, -1), (100, -200), (-100, -200)]
    pos = torch.tensor([[[x, -3.0, -z - 2.0, -z] for x, z in corners]], device=device)
    uv = torch.tensor([[x / 16, z / 16] for x, z in corners], device=device)
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32, device=device)
    rast, rast_db = glraster.rasterize(context, pos, tri, (320, 480))
    at, at_da = glraster.interpolate(uv, rast, tri, rast_db, diff_attrs="all")
    sky = torch.tensor([0.55, 0.7, 0.9], device=device)
    halves = []
    for mode in ("linear-mipmap-linear", "anisotropic"):
        color = glraster.texture(tex, at, at_da, filter_mode=mode)
        halves.append(torch.where(rast[..., 3:] > 0, color, sky)[0, :180])
    picture = torch.cat(halves, 1)
    save(f"{args.out}/floor.png", picture)
    print(f"Wrote {args.out}/floor.png.")
    viewer = make_viewer(args)
    viewer.show(floor=picture)
    viewer.wait()
    return picture


if __name__ == "__main__":
    main()
