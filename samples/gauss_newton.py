"""Finds the pose of a textured object, then pose and shape, from pictures: Gauss-Newton beside Adam.

    python samples/gauss_newton.py [--resolution 64] [--max-iter 400] [--seed 0] [--out out/gauss_newton.png]

First the pose of a cube from one picture; then the pose of a body and the four coefficients of its linear shape model
(a mean shape and modes) from four pictures. Gauss-Newton asks how all pixels move with each direction of the
parameters, forward through rasterization, texture and antialiasing, and back; it takes the pictures blurred first, in
which it sees farther. Adam, with the best of three learning rates, does better on the sharp ones, and gets those.

Expected: a table of errors (mean distance of the vertices from the truth, in a model of radius 1), iterations and
seconds until it is below 0.001, Adam's without the other rates. Gauss-Newton needs a tenth of the iterations or fewer
(over five seeds from a tenth to a twenty-fifth), and mostly less time. The picture has a row for each part: start,
Gauss-Newton, Adam, truth.
"""

import time
from typing import NamedTuple

import pictures
import procedural
import torch
from options import make_context, make_parser, positive

import glraster as dr
from glraster import camera
from glraster import mesh as meshes
from glraster.optim import gauss_newton
from glraster.viewer.progress import new_bar

ENOUGH = 1e-3
BLUR = 8, 4, 1  # sides of the blocks of pixels whose means are compared, one after the other


class Model(NamedTuple):
    """A textured linear shape model: vertices mean + modes @ coefficients."""

    mean: torch.Tensor  # [V, 3]
    modes: torch.Tensor  # [V, 3, K]
    triangles: torch.Tensor  # [T, 3]
    env: torch.Tensor  # [6, s, s, 3], looked up in the direction of the mean's vertices

    def vertices(self, params):
        """[V, 3] of params [6 + K]: rotation vector, translation, coefficients."""
        shape = self.mean + self.modes @ params[6:]
        return shape @ camera.rotations(params[:3]).mT + params[3:6]


def make_model(mesh, num_modes, generator, device):
    """A mesh, its texture, and smooth modes of unit size along its vertices' directions."""
    colors = [procedural.noise(procedural.cube_directions(64), 2, generator) for _ in range(3)]
    modes = torch.zeros(len(mesh.pos), 1, num_modes)
    for k in range(num_modes):
        modes[:, 0, k] = procedural.noise(mesh.pos, 1, generator)
    tensors = mesh.pos, modes * mesh.pos[..., None], mesh.tri, 0.5 + 0.25 * torch.stack(colors, -1)
    return Model(*(tensor.to(device) for tensor in tensors))


def draw(glctx, model, params, views, resolution):
    """Draws the model as each of the views [N, 4, 4] sees it: [N, resolution, resolution, 3]."""
    pos = camera.transform(model.vertices(params), views)
    rast, rast_db = dr.rasterize(glctx, pos, model.triangles, (resolution, resolution))
    uv, uv_da = dr.interpolate(model.mean, rast, model.triangles, rast_db, diff_attrs="all")
    image = dr.texture(model.env[None], uv, uv_da, boundary_mode="cube") * (rast[..., 3:] > 0)
    return dr.antialias(image, rast, pos, model.triangles)


def by_gauss_newton(residuals, start, is_found):
    """Parameters, iterations and seconds of the search."""
    begin, iterations, params = time.perf_counter(), 0, start
    for blur in BLUR:
        if not is_found(params):
            options = {"tolerance": 3e-3, "damping": 1e-4, "cg_tolerance": 0.01, "stop": is_found}
            found = gauss_newton(lambda p, blur=blur: residuals(p, blur), params, **options)
            params, iterations = found.params, iterations + len(found.history)
    return params, iterations, time.perf_counter() - begin


def by_adam(residuals, start, is_found, max_iter, rate):
    params = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([params], lr=rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / max_iter))
    begin = time.perf_counter()
    for iteration in new_bar(range(1, max_iter + 1), desc=f"Adam, rate {rate}"):
        optimizer.zero_grad()
        residuals(params, 1).square().sum().backward()
        optimizer.step()
        schedule.step()
        if iteration == max_iter or is_found(params):
            return params.detach(), iteration, time.perf_counter() - begin


def main() -> None:
    parser = make_parser(__doc__, out="out/gauss_newton.png")
    parser.add_argument("--resolution", type=positive, default=64, help="of the pictures, in pixels (default: 64)")
    parser.add_argument("--max-iter", type=positive, default=400, help="the most of Adam's iterations (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="of textures, truth and start (default: 0)")
    args = parser.parse_args()
    if args.resolution % BLUR[0]:
        parser.error(f"--resolution must be a multiple of {BLUR[0]}")
    glctx = make_context(args)
    rows = []
    print(f"{'':14} {'method':14} {'start':>8} {'error':>8} {'iterations':>11} {'seconds':>8}")
    for name, mesh, num_modes, num_views in [
        ("pose", meshes.cube(), 0, 1),
        ("pose and shape", meshes.icosphere(3), 4, 4),
    ]:
        generator = torch.Generator().manual_seed(args.seed)
        model = make_model(mesh, num_modes, generator, glctx.device)
        eyes = torch.tensor([[0.0, 0, 4.5], [4.5, 0, 0], [-3.2, 3.2, 0], [0, -3.2, -3.2]])[:num_views]
        views = (camera.perspective(fov_degrees=45) @ camera.look_at(eyes)).to(glctx.device)
        sizes = torch.tensor([0.15] * 3 + [0.1] * (3 + num_modes))
        truth, offset = sizes * torch.randn(2, 6 + num_modes, generator=generator)
        truth, start = truth.to(glctx.device), (truth + offset).to(glctx.device)
        with torch.no_grad():
            target = draw(glctx, model, truth, views, args.resolution)

        def distance(params, model=model, truth=truth):
            return (model.vertices(params) - model.vertices(truth)).norm(dim=1).mean().item()

        def residuals(params, blur, model=model, views=views, target=target):
            return pictures.shrink(draw(glctx, model, params, views, args.resolution) - target, blur)

        def is_found(params, distance=distance):
            return distance(params) < ENOUGH

        gauss_newton(lambda p: residuals(p, 1), start, iterations=1)  # PyTorch loads parts of itself, for seconds
        newton = by_gauss_newton(residuals, start, is_found)
        adam = [by_adam(residuals, start, is_found, args.max_iter, rate) for rate in (0.01, 0.02, 0.04)]
        adam = min(adam, key=lambda run: (not is_found(run[0]), run[1]))
        for method, (params, iterations, seconds) in (("Gauss-Newton", newton), ("Adam", adam)):
            numbers = f"{distance(start):8.4f} {distance(params):8.4f} {iterations:11} {seconds:8.2f}"
            print(f"{name:14} {method:14} {numbers}", flush=True)
        with torch.no_grad():
            shown = [draw(glctx, model, params, views[:1], 256)[0] for params in (start, newton[0], adam[0], truth)]
        rows.append(torch.stack(shown))
    pictures.save(args.out, pictures.grid(rows))
    print(f"Wrote {args.out}.")


if __name__ == "__main__":
    main()
