"""Sees through a glass bear: peels its layers, composites them front to back, and fits colours and opacities.

    python samples/peel.py [--layers 8] [--max-iter 100] [--out out/peel.png]

The scene is a bear of tinted glass with a ball in its belly. A picture of it is given; from a wrong guess, gradients
through every layer find the colour and opacity of both, though the ball is never the nearest surface of any pixel.

Expected: all eight numbers come within 0.02 of the truth. The picture's upper row shows the truth, the guess and the
fit, its lower row the first three layers of the truth by themselves.
"""

import pictures
import torch
from bear import bear as make_bear
from options import make_context, make_parser, make_viewer, positive

import glraster.torch as dr
from glraster import camera
from glraster import mesh as meshes


def scene(device):
    """Returns the mesh of bear and ball, and per vertex which of the two it belongs to [V]."""
    bear, ball = make_bear(), meshes.icosphere(3)
    mesh, _ = meshes.merge([bear, ball.replace(pos=ball.pos * 0.2 + torch.tensor([0.0, -0.2, 0.0]))])
    part = (torch.arange(len(mesh.pos)) >= len(bear.pos)).long()
    return mesh.to(device), part.to(device)


def layers(glctx, eye, mesh, material, resolution, count):
    """Yields front to back, as long as there are any, colour [1, H, W, 3] and opacity [1, H, W, 1] of each layer.

    `material` [V, 4] holds colour and opacity; the more obliquely one looks through the glass, the thicker it is.
    """
    pos = camera.transform(mesh.pos, camera.perspective() @ camera.look_at(eye))
    attributes = torch.cat([material, mesh.vertex_normals(), eye - mesh.pos], dim=1)
    with dr.DepthPeeler(glctx, pos, mesh.tri, (resolution, resolution)) as peeler:
        for _ in range(count):
            rast, _ = peeler.rasterize_next_layer()
            if not rast[..., 3].any():
                break
            values, _ = dr.interpolate(attributes, rast, mesh.tri)
            color, opacity, normal, view = values.split([3, 1, 3, 3], dim=-1)
            facing = torch.nn.functional.cosine_similarity(normal, view, dim=-1)[..., None].abs().clamp(min=0.15)
            opacity = 1 - (1 - opacity) ** (1 / facing)
            light = color * (0.4 + 0.6 * facing) * opacity
            yield dr.antialias(torch.cat([light, opacity], dim=-1), rast, pos, mesh.tri).split([3, 1], dim=-1)


def composite(layered, resolution):
    """Returns the picture [1, H, W, 3] of layers given front to back, before a chequered wall."""
    picture, passing = 0.0, 1.0
    for light, opacity in layered:
        picture, passing = picture + passing * light, passing * (1 - opacity)
    squares = torch.arange(resolution) * 16 // resolution
    wall = 0.6 + 0.4 * ((squares[:, None] + squares) % 2)
    return picture + passing * wall[None, :, :, None].to(passing)


def main() -> None:
    parser = make_parser(__doc__, out="out/peel.png", context=None)
    parser.add_argument("--layers", type=positive, default=8, help="to peel at most (default: 8)")
    parser.add_argument("--resolution", type=positive, default=128, help="of the fit, in pixels (default: 128)")
    parser.add_argument("--max-iter", type=positive, default=100, help="gradient steps (default: 100)")
    args = parser.parse_args()
    glctx = make_context(args)
    mesh, part = scene(glctx.device)
    eye = torch.tensor([[1.2, 0.6, 2.9]], device=glctx.device)

    def draw(material, resolution=args.resolution):
        return composite(layers(glctx, eye, mesh, material[part], resolution, args.layers), resolution)

    # Red, green, blue and opacity of the bear, then of the ball.
    truth = torch.tensor([[0.95, 0.6, 0.2, 0.25], [0.1, 0.3, 0.9, 0.6]], device=glctx.device)
    guess = torch.full_like(truth, 0.5)
    fit = guess.clone().requires_grad_()
    target = draw(truth)
    optimizer = torch.optim.Adam([fit], lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.3 ** (1 / args.max_iter))
    viewer = make_viewer(args)
    for _ in viewer.loop(range(args.max_iter)):
        image = draw(fit)
        loss = (image - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        fit.data.clamp_(0.01, 0.99)
        viewer.log(loss=loss)
        viewer.show(image=image, target=target)
    print(f"largest error of a colour or opacity: {(fit - truth).abs().max().item():.4f}")

    with torch.no_grad():
        upper = torch.cat([draw(material, 512) for material in (truth, guess, fit)])
        lower = torch.cat([composite([layer], 512) for layer in layers(glctx, eye, mesh, truth[part], 512, 3)])
    pictures.save(args.out, pictures.grid([upper, lower]))
    print(f"Wrote {args.out}.")
    viewer.wait()


if __name__ == "__main__":
    main()
