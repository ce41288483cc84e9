"""Worlds of the samples, computed instead of read from files: a globe, the map of a planet and a sky.

Directions are vectors [..., 3] with Y up; on a world map, s = 0.5 looks along +Z and t = 1 along +Y.
"""

import math

import torch

from glraster import camera
from glraster.mesh import Mesh

_PERIOD = 32  # cells after which the lattices of the noise repeat


def map_directions(uv: torch.Tensor) -> torch.Tensor:
    """Returns [..., 3]: the unit directions at places [..., 2] in 0..1 of a world map (equirectangular)."""
    longitude, latitude = ((uv - 0.5) * torch.tensor([2 * math.pi, math.pi])).unbind(-1)
    return torch.stack([latitude.cos() * longitude.sin(), latitude.sin(), latitude.cos() * longitude.cos()], dim=-1)


def texel_centres(height: int, width: int) -> torch.Tensor:
    """Returns [height, width, 2]: the texture coordinates of the texels, (s, t)."""
    t, s = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return torch.stack([s, t], dim=-1)


def globe(columns: int = 128, rows: int = 64) -> tuple[Mesh, torch.Tensor]:
    """Returns the unit sphere and the place of its vertices [V, 2] on a world map."""
    s = torch.linspace(0, 1, columns + 1)
    t = (1 - torch.linspace(0, torch.pi, rows + 1).cos()) / 2  # close together at the poles, where quads degenerate
    uv = torch.cartesian_prod(t, s).flip(1)
    vertex = torch.arange(len(uv), dtype=torch.int32).reshape(rows + 1, columns + 1)
    a, b, c, d = vertex[:-1, :-1], vertex[:-1, 1:], vertex[1:, 1:], vertex[1:, :-1]
    return Mesh(map_directions(uv), torch.stack([a, b, c, a, c, d], dim=-1).reshape(-1, 3)), uv


def cube_directions(size: int) -> torch.Tensor:
    """Returns [6, size, size, 3]: the direction of every texel of a cube map, not of length one."""
    s, t = (2 * texel_centres(size, size) - 1).unbind(-1)
    one = torch.ones_like(s)
    faces = [(one, -t, -s), (-one, -t, s), (s, one, t), (s, -one, -t), (s, -t, one), (-s, -t, -one)]
    return torch.stack([torch.stack(face, dim=-1) for face in faces])


def noise(directions: torch.Tensor, octaves: int, generator: torch.Generator, roughness: float = 0.5) -> torch.Tensor:
    """Returns [...] fractal value noise (Perlin 1985) at unit directions [..., 3], of mean zero and deviation one.

    Each octave has twice the frequency of the one before and `roughness` times its amplitude; its lattice of random
    values is turned at random, so that the axes do not show.
    """
    total = torch.zeros(directions.shape[:-1])
    for octave in range(octaves):
        turned = directions @ camera.random_rotations(1, generator)[0]
        lattice = torch.randn(_PERIOD, _PERIOD, _PERIOD, generator=generator)
        lattice = torch.nn.functional.pad(lattice[None, None], [0, 1] * 3, mode="circular")
        points = (turned * 2**octave) % _PERIOD
        corner = points.floor()
        points = corner + (points - corner).square() * (3 - 2 * (points - corner))  # smooth across cells
        points = points.reshape(1, 1, 1, -1, 3) * (2 / _PERIOD) - 1
        values = torch.nn.functional.grid_sample(lattice, points, align_corners=True)
        total += roughness**octave * values.reshape(total.shape)
    return (total - total.mean()) / total.std()


def planet(size: int, seed: int = 0) -> torch.Tensor:
    """Returns [size, size, 3]: a world map of seas, coasts, forests, deserts, mountains, ice caps and clouds."""
    generator = torch.Generator().manual_seed(seed)
    directions = map_directions(texel_centres(size, size))
    height = noise(directions, 8, generator, roughness=0.6)
    moisture = noise(directions, 8, generator, roughness=0.7)
    clouds = noise(directions * torch.tensor([1.0, 1.8, 1.0]), 8, generator, roughness=0.75)
    grain = noise(directions, 8, generator, roughness=1.1)
    cold = directions[..., 1].abs() + 0.04 * height + 0.02 * grain

    color = _ramp(height + 0.1 * grain, [(-1.5, "061a40"), (-0.3, "0d3b70"), (0.0, "2a7f9e")])
    land = _ramp(moisture + 0.3 * grain, [(-1.2, "c9a667"), (-0.3, "8f8b4a"), (0.5, "3f6b2f"), (1.5, "1d4420")])
    rock = _ramp(height + 0.3 * grain, [(0.9, "5c4a3a"), (1.5, "7d746b"), (2.0, "f2f2f2")])
    color = _blend(color, land, height, 0.0, 0.04)
    color = _blend(color, rock, height + 0.2 * grain, 0.8, 1.3)
    ice = torch.tensor([0.93, 0.96, 1.0]) - 0.05 * grain[..., None].abs()
    color = _blend(color, ice, cold, 0.93, 0.95)
    return _blend(color, torch.tensor([0.97, 0.97, 0.97]), clouds + 0.2 * grain, 0.7, 2.0).clamp(0, 1)


def sky(directions: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Returns [..., 3]: what lies in directions [..., 3] outdoors: clouds, a low sun, hills and a chequered floor."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    up = directions[..., 1]
    color = _ramp(up, [(0.0, "f6d9b0"), (0.15, "9cc3e6"), (0.8, "2b5fa8")])
    color = _blend(color, torch.ones(3), noise(directions, 6, generator), 0.3, 1.5)
    sun = directions @ torch.nn.functional.normalize(torch.tensor([0.6, 0.45, 0.66]), dim=0)
    color = _blend(color, torch.tensor([1.0, 0.95, 0.6]), sun, 0.975, 0.985)
    hills = 0.12 + 0.06 * noise(directions * torch.tensor([1.0, 0.0, 1.0]), 5, generator)
    color = _blend(color, torch.tensor([0.16, 0.28, 0.14]), hills - up, 0.0, 0.02)
    floor = directions[..., [0, 2]] / up.clamp(max=-0.02)[..., None].abs()
    tiles = torch.where(floor.floor().sum(dim=-1, keepdim=True) % 2 == 0, 0.85, 0.25) * torch.tensor([1.0, 0.8, 0.65])
    near = 1 / (1 + 0.05 * floor.square().sum(dim=-1, keepdim=True))
    return _blend(color, tiles * near + 0.45 * (1 - near), -up, 0.0, 0.02)


def _ramp(values: torch.Tensor, stops: list[tuple[float, str]]) -> torch.Tensor:
    """Returns [..., 3]: colours interpolated between stops (value, RRGGBB), constant beyond the first and the last."""
    colors = [torch.tensor(list(bytes.fromhex(name))) / 255 for _, name in stops]
    result = colors[0].expand(*values.shape, 3)
    for (start, _), (end, _), color in zip(stops, stops[1:], colors[1:], strict=False):
        result = _blend(result, color, values, start, end)
    return result


def _blend(below: torch.Tensor, above: torch.Tensor, values: torch.Tensor, start: float, end: float) -> torch.Tensor:
    """Returns `below` where values lie below `start`, `above` where they exceed `end`, and a mixture between."""
    return torch.lerp(below, above.expand_as(below), ((values - start) / (end - start)).clamp(0, 1)[..., None])
