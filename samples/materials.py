"""Balls of metal and of plastic, from polished to rough, under a sky; and one whose triangles have three materials.

    python samples/materials.py [--resolution 160] [--out out/materials.png]

Each row is one minibatch, lit by the whole sky, which is blurred for every roughness. The balls of the last row have
three textures of different sizes, one for each third of their height, sampled in one draw.

Expected: above, gold from mirror to matt; in the middle, red plastic with a highlight that spreads; below, a ball in
bands of checks, stripes and one colour, lit the same way.
"""

import pictures
import procedural
import torch
from options import make_context, make_parser, make_viewer, positive

import glraster as dr
from glraster import camera, shading
from glraster import mesh as meshes

GOLD, RED = (1.0, 0.72, 0.3), (0.75, 0.08, 0.06)
COLUMNS = 5


def banded_ball() -> meshes.Mesh:
    """A ball with one material for each third of its height."""
    ball = meshes.icosphere(4)
    x, y, z = ball.pos.unbind(1)
    uv = torch.stack([torch.atan2(x, z) / (2 * torch.pi) + 0.5, y.asin() / torch.pi + 0.5], dim=1)
    checks = (torch.arange(16)[:, None] // 2 % 2 ^ torch.arange(32)[None] // 2 % 2).float()[..., None].expand(-1, -1, 3)
    stripes = torch.stack([torch.arange(64) % 2 * 0.8, torch.full((64,), 0.3), torch.full((64,), 0.1)], dim=1)[None]
    height = y[ball.tri.long()].mean(1)
    material = ((height + 1) * 1.5).int().clamp(0, 2)
    return ball.replace(
        uv=uv, uv_tri=ball.tri, textures=(checks, torch.tensor([[[0.1, 0.3, 0.6]]]), stripes), material=material
    )


def draw(glctx, ball, light, color, metallic, roughness, resolution):
    """Draws N balls: base colours [N, 3] or None for the ball's own textures, and materials [N, 1]."""
    N = len(roughness)
    eye = torch.tensor([0.0, 0.6, 3.4], device=glctx.device)
    matrix = camera.perspective(38).to(eye) @ camera.look_at(eye)
    pos = camera.transform(ball.pos, matrix.expand(N, 4, 4))
    rast, rast_db = dr.rasterize(glctx, pos, ball.tri, (resolution, resolution))
    place, _ = dr.interpolate(ball.pos, rast, ball.tri)
    normal = meshes.normalized(dr.interpolate(ball.vertex_normals(), rast, ball.tri)[0])
    if color is None:
        uv, uv_da = dr.interpolate(ball.uv, rast, ball.uv_tri, rast_db, diff_attrs="all")
        base = meshes.sample_materials(ball.textures, ball.material, rast, uv, uv_da)
    else:
        base = color[:, None, None].expand(*rast.shape[:3], 3)
    whole = [value[:, None, None].expand(*rast.shape[:3], 1) for value in (metallic, roughness)]
    image = light.shade(normal, meshes.normalized(eye - place), base.contiguous(), *whole)
    image = torch.lerp(torch.ones_like(image), image, dr.mask(rast))
    return dr.antialias(image.clamp(0, 1) ** (1 / 2.2), rast, pos, ball.tri)


def main() -> None:
    parser = make_parser(__doc__, out="out/materials.png")
    parser.add_argument("--resolution", type=positive, default=160, help="of each ball, in pixels (default: 160)")
    args = parser.parse_args()
    glctx = make_context(args)
    sky = procedural.sky(procedural.cube_directions(128)) ** 2.2
    sun = procedural.cube_directions(128) @ torch.tensor([0.6, 0.45, 0.66])
    sky[sun > 0.98 * procedural.cube_directions(128).norm(dim=-1)] *= 30  # brighter than a picture can show
    light = shading.EnvironmentLight(sky.to(glctx.device))
    ball = banded_ball().to(glctx.device)
    roughness = torch.linspace(0.02, 1, COLUMNS, device=glctx.device)[:, None]
    rows = []
    for color, metallic in ((GOLD, 1.0), (RED, 0.0), (None, 0.0)):
        base = None if color is None else torch.tensor([color], device=glctx.device).expand(COLUMNS, 3)
        rows.append(
            draw(glctx, ball, light, base, torch.full_like(roughness, metallic), roughness, 2 * args.resolution)
        )
    picture = pictures.grid([pictures.shrink(row, 2) for row in rows])
    pictures.save(args.out, picture)
    print(f"Wrote {args.out}.")
    with make_viewer(args) as viewer:
        viewer.show(materials=picture)
        viewer.wait()


if __name__ == "__main__":
    main()
