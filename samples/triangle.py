"""Draws one triangle: the three operations that every program starts with.

    python samples/triangle.py [--context gl|software] [--out out/triangle.png]

Expected: a 512 x 512 picture of a triangle on a dark ground, red at the lower left, green at the lower right and blue
at the top, its colours blending smoothly and its edges antialiased.
"""

import pictures
import torch
from options import make_context, make_parser, make_viewer

import glraster.torch as dr


def main() -> None:
    args = make_parser(__doc__, out="out/triangle.png", context=None).parse_args()
    glctx = make_context(args)
    print(f"Drawing with {type(glctx).__name__} on {glctx.device}.")

    # Clip space: x to the right, y up, both from -1 to 1 where w is 1. One image (the leading 1) of three vertices.
    pos = torch.tensor([[[-0.8, -0.7, 0, 1], [0.8, -0.7, 0, 1], [0, 0.8, 0, 1]]], device=glctx.device)
    color = torch.tensor([[1.0, 0.15, 0.1], [0.1, 0.85, 0.2], [0.15, 0.3, 1.0]], device=glctx.device)
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=glctx.device)

    rast, _ = dr.rasterize(glctx, pos, tri, resolution=(512, 512))
    image, _ = dr.interpolate(color, rast, tri)
    image = torch.where(rast[..., 3:] > 0, image, 0.12)
    image = dr.antialias(image, rast, pos, tri)
    pictures.save(args.out, image[0])
    print(f"Wrote {args.out}.")
    viewer = make_viewer(args)
    viewer.show(image=image)
    viewer.wait()


if __name__ == "__main__":
    main()
