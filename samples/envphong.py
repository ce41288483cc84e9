"""Learns the surroundings that a shiny object mirrors, and how it shines, from pictures of the object.

    python samples/envphong.py [--mesh FILE] [--max-iter 600] [--out out/envphong]

The shape is known, and so is where the lamp stands in each picture. Unknown are the environment, a cube map seen only
in the object's reflections, and the parameters of Phong's model (1975), diffuse colour, specular colour and shininess.

Expected: the RMSE of the environment ends near 0.15 of its start, the Phong parameters are found to three digits.
envphong.png shows the environment and the object from two sides, the truth above and the result below.
"""

from pathlib import Path

import pictures
import procedural
import torch
from bear import bear as make_bear
from options import make_context, make_parser, make_viewer, mesh_file, positive
from torch.nn.functional import normalize
from tqdm import tqdm

import glraster as dr
from glraster import camera


def random_eyes(count, generator):
    return 3.2 * normalize(torch.randn(count, 3, generator=generator), dim=1)


def draw(glctx, mesh, normals, eyes, lamps, env, phong, resolution):
    """Draws the object from eyes [N, 3], lit from directions lamps [N, 3]: [N, resolution, resolution, 3].

    env is the cube map [6, s, s, 3], phong the diffuse colour, the specular colour and log2 of the shininess [7].
    """
    pos = camera.transform(mesh.pos, camera.perspective().to(eyes) @ camera.look_at(eyes))
    rast, rast_db = dr.rasterize(glctx, pos, mesh.tri, (resolution, resolution))
    view = normalize(eyes[:, None] - mesh.pos, dim=-1)
    mirrored = 2 * (normals * view).sum(-1, keepdim=True) * normals - view
    attr = torch.cat([mirrored, normals.expand_as(mirrored)], dim=-1)
    attr, mirrored_da = dr.interpolate(attr, rast, mesh.tri, rast_db, diff_attrs=[0, 1, 2])
    mirrored, normal = attr[..., :3].contiguous(), normalize(attr[..., 3:], dim=-1)
    image = dr.texture(env[None], mirrored, mirrored_da, boundary_mode="cube")
    lamps = lamps[:, None, None]
    lit = (normal * lamps).sum(-1, keepdim=True).clamp(min=0)
    highlight = (normalize(mirrored, dim=-1) * lamps).sum(-1, keepdim=True).clamp(min=1e-4) ** phong[6].exp2()
    return (image + phong[:3] * lit + phong[3:6] * highlight) * (rast[..., 3:] > 0)


def rmse(guess, truth):
    return (guess - truth).square().mean().sqrt().item()


def main() -> None:
    parser = make_parser(__doc__, out="out/envphong")
    parser.add_argument("--mesh", type=mesh_file, help="any mesh file to use instead of the bear")
    parser.add_argument("--size", type=positive, default=64, help="texels along a side of a cube face (default: 64)")
    parser.add_argument("--resolution", type=positive, default=192, help="pixels along a side (default: 192)")
    parser.add_argument("--max-iter", type=positive, default=600, help="iterations (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the views (default: 0)")
    args = parser.parse_args()
    glctx = make_context(args)
    generator = torch.Generator().manual_seed(args.seed)
    mesh = (args.mesh or make_bear()).to(glctx.device)
    normals = mesh.vertex_normals()
    true_env = procedural.sky(procedural.cube_directions(args.size)).to(glctx.device)
    true_phong = torch.tensor([0.35, 0.15, 0.05, 0.6, 0.55, 0.4, 5.0], device=glctx.device)
    env = torch.full_like(true_env, 0.5).requires_grad_()
    phong = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 3.0], device=glctx.device).requires_grad_()
    optimizer = torch.optim.Adam([env, phong], lr=0.03, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.03 ** (i / args.max_iter))
    start = rmse(env.detach(), true_env)
    viewer = make_viewer(args)
    for iteration in viewer.loop(range(1, args.max_iter + 1), desc="learning"):
        eyes = random_eyes(2, generator).to(glctx.device)
        lamps = normalize(torch.randn(2, 3, generator=generator), dim=1).to(glctx.device)
        with torch.no_grad():
            shot = draw(glctx, mesh, normals, eyes, lamps, true_env, true_phong, args.resolution)
        guess = draw(glctx, mesh, normals, eyes, lamps, env, phong, args.resolution)
        loss = (guess - shot).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        viewer.log(loss=loss)
        viewer.show(guess=guess, shot=shot, environment=env)
        if iteration % 100 == 0 or iteration == args.max_iter:
            error = rmse(env.detach(), true_env)
            shares = f"environment RMSE {error:.4f}, {error / start:.3f} of its start"
            tqdm.write(f"iteration {iteration:5d}   {shares}   Phong RMSE {rmse(phong.detach(), true_phong):.4f}")

    everywhere = procedural.map_directions(procedural.texel_centres(256, 512)).to(glctx.device)[None]
    eyes, lamps = (3.2 * camera.directions(8)[[2, 5]]).to(glctx.device), camera.directions(8)[[1, 3]].to(glctx.device)
    rows = []
    for name, *surroundings in (("truth", true_env, true_phong), ("result", env.detach(), phong.detach())):
        *colors, shininess = (round(value, 3) for value in surroundings[1].tolist())
        print(f"{name:6}  diffuse {colors[:3]}   specular {colors[3:]}   shininess {2**shininess:.2f}")
        views = draw(glctx, mesh, normals, eyes, lamps, *surroundings, 256)
        panorama = dr.texture(surroundings[0][None], everywhere, boundary_mode="cube")
        rows.append(torch.cat([panorama, *views[:, None]], dim=2))
    pictures.save(Path(args.out) / "envphong.png", pictures.grid(rows))
    print(f"Wrote {Path(args.out) / 'envphong.png'}.")
    viewer.wait()


if __name__ == "__main__":
    main()
