"""What the tests of texture share: pixels of every footprint, and comparison with the reference."""

import torch

import glraster
from tests.reference import texture as reference
from tests.reference.cube import FACES, to_face


def footprints(device, boundary, dtype, channels, textures, seed=0) -> dict:
    """Arguments of a lookup whose pixels cover ellipses of every kind, turned at random on texture and image."""
    generator = torch.Generator().manual_seed(seed)

    def random(low=0.0, high=1.0, shape=(2, 8, 10)):
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    def turn():
        angle = random(0, 2 * torch.pi)
        return torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).unflatten(-1, (2, 2))

    ellipses = [  # major axis in texels, major / minor
        (2 ** random(0, 5), 2 ** random(0.1, 4)),
        (2 ** random(1, 5), 2 ** random(4.1, 10)),  # longer than any max_anisotropy
        (2 ** random(-4, -0.1), 2 ** random(0.1, 3)),  # smaller than a texel
        (2 ** random(0.1, 4), 2 ** random(3, 6)),  # longer than a texel, but mostly narrower
        (2 ** random(0, 3), torch.inf),  # a line
        (2 ** random(5.1, 8), 2 ** random(0.1, 1)),  # the whole texture, and more
        (torch.zeros(2, 8, 10), 1.0),  # a point
    ]
    kinds = [turn() @ torch.diag_embed(torch.stack([a, a / ratio], -1).double()) @ turn() for a, ratio in ellipses]
    circle = torch.diag(torch.tensor([3.0, 3.0 if boundary != "cube" else 2.0], dtype=torch.float64))
    kinds.append(circle.expand_as(kinds[0]))  # not on cubes, where rounding would decide on its gradient
    pixel = torch.arange(2 * 8 * 10).view(2, 8, 10)
    texel_da = torch.stack(kinds).gather(0, (pixel % len(kinds))[None, ..., None, None].expand(1, -1, -1, -1, 2, 2))[0]

    if boundary == "cube":
        tex = random(shape=(textures, 6, 16, 16, channels))
        uv, uv_da = directions(pixel // len(kinds) % 6, random(-1, 1, (2, 8, 10, 2)), texel_da * 2 / 16)
        length, change = random(0.5, 2)[..., None], random(-0.2, 0.2, (2, 8, 10, 1, 2))
        uv_da = length * (uv_da + (uv[..., None] * change).flatten(-2))  # the length of a direction does not matter
        uv = length * uv
    else:
        tex = random(shape=(textures, 16, 32, channels))
        uv, uv_da = random(-1, 2, (2, 8, 10, 2)), (texel_da / torch.tensor([32, 16])[:, None]).flatten(-2)
    found = {"tex": tex, "uv": uv, "uv_da": uv_da, "mip_level_bias": random(-0.6, 0.6)}
    return {name: value.to(device, dtype).requires_grad_() for name, value in found.items()}


def directions(face, position, position_da) -> tuple[torch.Tensor, torch.Tensor]:
    """Directions to positions in [-1, 1]^2 on faces of the cube, and their derivatives [..., 6]."""
    frame = torch.zeros(6, 3, 3, dtype=torch.float64)
    for k, axes in enumerate(FACES):
        for column, (axis, sign) in enumerate(axes):
            frame[k, axis, column] = sign
    local = torch.nn.functional.pad(position, (1, 0), value=1.0)
    local_da = torch.nn.functional.pad(position_da, (0, 0, 1, 0))
    return (frame[face] @ local[..., None])[..., 0], (frame[face] @ local_da).flatten(-2)


def assert_equals_reference(args, mode, boundary, **options):
    """Output and gradients, away from switches, to what rounding explains."""
    dtype, device = args["tex"].dtype, args["tex"].device
    switches = "mipmap" in mode or mode == "anisotropic"
    where = settled(args, mode, boundary, **options) if switches else torch.ones(args["uv"].shape[:3])
    assert where.double().mean() > 0.95
    copies = {name: value.detach().cpu().double().requires_grad_() for name, value in args.items()}
    modes = {"filter_mode": mode, "boundary_mode": boundary, **options}
    out, expected = glraster.texture(**args, **modes), reference.texture(**copies, **modes)
    where = where[..., None].double()
    assert_close(out * where.to(device, dtype), expected * where, 1e-12 if dtype == torch.float64 else 1e-5, "out")
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape) * where
    out.backward(weights.to(device, dtype))
    expected.backward(weights)
    for name, value in copies.items():
        assert (value.grad is None) == (args[name].grad is None)
        if value.grad is not None:
            scale = value.detach().norm(dim=-1, keepdim=True) if name == "uv_da" else 1  # large ones have small effect
            found = args[name].grad.cpu().double() * scale
            assert_close(found, value.grad * scale, 1e-12 if dtype == torch.float64 else 1e-4, name)


def settled(args, mode, boundary, max_anisotropy=16) -> torch.Tensor:
    """[N, H, W]: where rounding changes neither the mip level's whole part nor the number of samples."""
    tex, uv, uv_da, bias = (args[name].detach().cpu().double() for name in ("tex", "uv", "uv_da", "mip_level_bias"))
    h, w = tex.shape[-3:-1]
    per_texel = to_face(uv, uv_da)[2] if boundary == "cube" else uv_da
    major, minor = torch.linalg.svdvals(per_texel.unflatten(-1, (2, 2)) * torch.tensor([w, h])[:, None]).unbind(-1)
    width = torch.maximum(minor, major / max_anisotropy) if mode == "anisotropic" else major
    level = (width.log2() + bias).clamp(-0.5, max(h, w).bit_length() - 0.5)
    found = (level - level.round()).abs() > 1e-3
    if mode == "anisotropic":
        above = major / width.clamp(min=1) - 1e-3
        found &= (above - above.round()).abs() > 5e-4
        if max_anisotropy > 1:  # else the minor axis is always widened
            found &= (major - max_anisotropy * minor).abs() >= 1e-3 * major
    return found


def assert_close(found, expected, tolerance, what):
    expected = expected.to(found.device)
    scale = max(expected.abs().max().item(), 1e-12)
    difference = (found.double() - expected.double()).abs().max().item()
    assert difference <= tolerance * scale, f"{what}: {difference / scale:.2e}"
