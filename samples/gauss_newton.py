"""Finds the pose of a textured object, then pose and shape, from one picture: Gauss-Newton beside Adam.

    python samples/gauss_newton.py [--resolution 128] [--max-iter 400] [--seed 0] [--out out/gauss_newton.png]

Both methods get the same pictures, first small ones, in which all is near, then the full ones. Gauss-Newton needs to
know how every pixel moves with the parameters: derivatives forward and backward, through rasterization, texture and
antialiasing. The object of the second part is a mean shape plus six coefficients times as many modes.

Expected: a table of errors (mean distance of the vertices from the truth, in a model of radius 1), iterations and
seconds until it is 0.001. Gauss-Newton needs fewer than a tenth of Adam's iterations, and less time. The picture has a
row for each part: start, Gauss-Newton, Adam, truth.
"""

import time
from typing import NamedTuple

import camera
import meshes
import pictures
import procedural
import torch
from options import make_context, make_parser, positive
from progress import steps

import glraster as dr
from glraster.optim import gauss_newton

ENOUGH = 1e-3


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
    env = torch.stack([procedural.noise(procedural.cube_directions(64), 3, generator) for _ in range(3)], dim=-1)
    fields = [procedural.noise(mesh.positions, 1, generator) for _ in range(num_modes)]
    modes = torch.stack([*fields, torch.zeros(len(mesh.positions))][: max(num_modes, 1)], -1)[:, None, :num_modes]
    tensors = mesh.positions, modes * mesh.positions[..., None], mesh.triangles, 0.5 + 0.25 * env
    return Model(*(tensor.to(device) for tensor in tensors))


def draw(glctx, model, params, resolution):
    """Draws the model: [resolution, resolution, 3]."""
    view = camera.perspective(fov_degrees=45) @ camera.look_at(torch.tensor([0.0, 0.0, 4.5]))
    pos = camera.transform(model.vertices(params), view[None].to(params))
    rast, rast_db = dr.rasterize(glctx, pos, model.triangles, (resolution, resolution))
    uv, uv_da = dr.interpolate(model.mean, rast, model.triangles, rast_db, diff_attrs="all")
    image = dr.texture(model.env[None], uv, uv_da, boundary_mode="cube") * (rast[..., 3:] > 0)
    return dr.antialias(image, rast, pos, model.triangles)[0]


def difference(glctx, model, target, resolution):
    """The function from parameters to the difference from the target, both in pictures of one size."""
    small = pictures.shrink(target[None], target.shape[0] // resolution)[0]
    return lambda params: draw(glctx, model, params, resolution) - small


def by_gauss_newton(residuals, start, distance):
    """Parameters, iterations and seconds of a run to the end."""
    begin, iterations, params = time.perf_counter(), 0, start
    for stage in residuals:
        params, _, history = gauss_newton(stage, params, iterations=12, tolerance=1e-3, cg_iterations=len(start))
        iterations += len(history)
    return params, iterations, time.perf_counter() - begin


def by_adam(residuals, start, distance, max_iter, rate=0.02):
    """The same until the distance is small, or max_iter."""
    params = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([params], lr=rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / max_iter))
    begin = time.perf_counter()
    for iteration in steps(max_iter, desc="Adam"):
        optimizer.zero_grad()
        residuals[iteration * len(residuals) // max_iter](params).square().sum().backward()
        optimizer.step()
        schedule.step()
        if distance(params) < ENOUGH:
            break
    return params.detach(), iteration + 1, time.perf_counter() - begin


def main() -> None:
    parser = make_parser(__doc__, out="out/gauss_newton.png")
    parser.add_argument("--resolution", type=positive, default=128, help="of the picture, in pixels (default: 128)")
    parser.add_argument("--max-iter", type=positive, default=400, help="iterations of Adam (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="of textures, truth and start (default: 0)")
    args = parser.parse_args()
    glctx = make_context(args)
    rows = []
    print(f"{'':14} {'method':14} {'start':>8} {'error':>8} {'iterations':>11} {'seconds':>8}")
    for name, mesh, num_modes in [("pose", meshes.cube(), 0), ("pose and shape", meshes.sphere(3), 6)]:
        generator = torch.Generator().manual_seed(args.seed)
        model = make_model(mesh, num_modes, generator, glctx.device)
        truth = torch.randn(6 + num_modes, generator=generator) * torch.tensor([0.5] * 3 + [0.1] * (3 + num_modes))
        offset = torch.randn(6 + num_modes, generator=generator) * torch.tensor([0.15] * 3 + [0.1] * (3 + num_modes))
        truth, start = truth.to(glctx.device), (truth + offset).to(glctx.device)

        def distance(params, model=model, truth=truth):
            return (model.vertices(params) - model.vertices(truth)).norm(dim=1).mean().item()

        with torch.no_grad():
            target = draw(glctx, model, truth, args.resolution)
        residuals = [difference(glctx, model, target, args.resolution // k) for k in (4, 1)]
        found = [start]
        for method, fit in (("Gauss-Newton", by_gauss_newton), ("Adam", by_adam)):
            options = {"max_iter": args.max_iter} if fit is by_adam else {}
            params, iterations, seconds = fit(residuals, start, distance, **options)
            numbers = f"{distance(start):8.4f} {distance(params):8.4f} {iterations:11} {seconds:8.2f}"
            print(f"{name:14} {method:14} {numbers}", flush=True)
            found.append(params)
        with torch.no_grad():
            rows.append(torch.stack([draw(glctx, model, params, 256) for params in [*found, truth]]))
    pictures.save(args.out, pictures.grid(rows))
    print(f"Wrote {args.out}.")


if __name__ == "__main__":
    main()
