"""Whether contexts agree with each other, and a GPU with the CPU."""

import torch

import glraster

from ...doctor import Finding
from .scene import SIZE, Scene, make_scene, render

__all__ = ["contexts_agree", "devices_agree"]

FEW = 1 / 2000  # the part of the pixels whose centres lie so near an edge that rasterizers may differ
OUTPUTS, GRADIENTS = 1e-5, 1e-3  # absolute, of values of order one; relative to the greatest


def contexts_agree(device: str) -> list[Finding]:
    """Where both contexts see the same triangle, their outputs are equal to the last bit."""
    check = f"contexts agree on {device}"
    scene = make_scene().to(device)
    try:
        glctx = glraster.OpenGLRasterizer(device=device)
    except RuntimeError as error:
        return [Finding(check, "absent", f"no OpenGL: {error}", "`glraster doctor` says more")]
    with glctx, glraster.SoftwareRasterizer(device) as software:
        if glctx.egl_device == "none":
            return [Finding(check, "absent", "OpenGL and CUDA do not work together", "`glraster doctor` says why")]
        first, second = (glraster.rasterize(context, scene.pos, scene.tri, SIZE) for context in (glctx, software))
        drawn_by = glctx.egl_device
    same = first[0][..., 3] == second[0][..., 3]
    others = int((~same).sum())
    found = f"{others} of {same.numel()} pixels have another triangle (OpenGL on {drawn_by})"
    if others > FEW * same.numel():
        return [Finding(check, "broken", f"{found}, at most {FEW:.2%} should", "a driver error: another EGL device?")]
    if not all(torch.equal(a[same], b[same]) for a, b in zip(first, second, strict=True)):
        return [Finding(check, "broken", f"{found}, but elsewhere outputs differ", "please report this")]
    return [Finding(check, "ok", f"{found}, all others are equal to the last bit")]


def devices_agree(device: str) -> list[Finding]:
    """Outputs and gradients of a GPU beside those of the CPU."""
    check = f"{device} agrees with cpu"
    seen, other = (_rasterize(where, make_scene().to(where)) for where in ("cpu", device))
    same = seen[0][..., 3:] == other[0][..., 3:].to(seen[0].device)
    others = int((~same).sum())
    found = f"{others} of {same.numel()} pixels have another triangle"
    if others > FEW * same.numel():
        return [Finding(check, "broken", f"{found}, at most {FEW:.2%} should", "please report this")]
    here, there = (_outputs(where, seen, same) for where in ("cpu", device))
    worst = []
    for name, expected in here.items():
        limit = GRADIENTS if name.startswith("gradient") else OUTPUTS
        difference = ((there[name] - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()
        worst.append((difference / limit, difference, name))
    ratio, difference, name = max(worst)
    found += f"; most different: {name}, by {difference:.1g} of its greatest value"
    return [Finding(check, "ok", found) if ratio <= 1 else Finding(check, "broken", found, "please report this")]


def _rasterize(device: str, scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    with glraster.SoftwareRasterizer(device) as glctx:
        return glraster.rasterize(glctx, scene.pos, scene.tri, SIZE)


def _outputs(device: str, seen: tuple[torch.Tensor, torch.Tensor], same: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs and gradients by name, on the CPU.

    Args:
        device: where they are computed.
        seen: what the operations after `rasterize` start from: its outputs on the CPU.
        same: [N, H, W, 1], the pixels in which the outputs of `rasterize` count.
    """
    scene = Scene(*(t.requires_grad_(t.is_floating_point()) for t in make_scene().to(device)))
    own, own_db = (output * same.to(device) for output in _rasterize(device, scene))
    rast, rast_db = (tensor.detach().to(device) for tensor in seen)
    outputs = {"rasterize": own, "derivatives of rasterize": own_db} | render(rast, rast_db, scene)
    loss = torch.stack([(output * _weights(output)).mean() for output in outputs.values()]).sum()
    leaves = {name: getattr(scene, name) for name in ("pos", "attr", "tex", "color")}
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    outputs |= {f"gradient to {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
    return {name: output.detach().cpu() for name, output in outputs.items()}


def _weights(output: torch.Tensor) -> torch.Tensor:
    """Different ones from pixel to pixel, alike on all devices."""
    count = output[0].numel()
    return torch.linspace(-1, 1, count, dtype=output.dtype).view(output.shape[1:]).to(output.device)
