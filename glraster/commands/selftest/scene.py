"""What is drawn: a sphere among random triangles, some of which reach behind the eye."""

import math
from typing import NamedTuple

import torch

import glraster

from ...mesh import icosphere

__all__ = ["SIZE", "Scene", "make_scene", "render"]

SIZE = (190, 200)  # height and width: enough pixels for several threads, and no multiple of a tile


class Scene(NamedTuple):
    """The arguments of the operations, on the CPU in float32."""

    pos: torch.Tensor  # [2, V, 4], clip space
    tri: torch.Tensor  # [T, 3]
    attr: torch.Tensor  # [V, 5]
    tex: torch.Tensor  # [1, 64, 64, 3]
    color: torch.Tensor  # [2, *SIZE, 3]

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "Scene":
        """The same on a device, the numbers of another type."""
        return Scene(*(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in self))


def make_scene(subdivisions: int | None = 4, clutter: int = 100) -> Scene:
    """Two views of a sphere (if any) of 20 * 4^subdivisions triangles, among others; the same at every call."""
    generator = torch.Generator().manual_seed(0)
    sphere, tri = torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32)
    if subdivisions is not None:
        sphere, tri = icosphere(subdivisions).pos, icosphere(subdivisions).tri
    views = []
    for angle in (0.3, 1.9):
        c, s = math.cos(angle), math.sin(angle)
        turned = sphere @ torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        x, y, z = (turned * torch.tensor([1.3, 1.3, 0.8])).unbind(-1)
        views.append(torch.stack([x, y, z, 2 - 0.5 * z], -1))
    others = torch.rand(2, 3 * clutter, 4, generator=generator) * 2 - 1
    others[..., 3] = 1 + 1.2 * others[..., 3]  # from -0.2 to 2.2
    pos = torch.cat([torch.stack(views), others], 1)
    tri = torch.cat([tri, (len(sphere) + torch.arange(3 * clutter)).view(-1, 3)])
    attr = torch.rand(pos.shape[1], 5, generator=generator)
    tex = torch.rand(1, 64, 64, 3, generator=generator)
    return Scene(pos, tri.int(), attr, tex, torch.rand(2, *SIZE, 3, generator=generator))


def render(rast: torch.Tensor, rast_db: torch.Tensor, scene: Scene) -> dict[str, torch.Tensor]:
    """The outputs of all operations that follow `rasterize`, by name."""
    out, out_da = glraster.interpolate(scene.attr, rast, scene.tri, rast_db, "all")
    uv, uv_da = out[..., 3:].contiguous(), out_da[..., 6:].contiguous()
    picture = glraster.texture(scene.tex, uv, uv_da, filter_mode="linear-mipmap-linear")
    smooth = glraster.antialias(scene.color + picture, rast, scene.pos, scene.tri)
    return {"interpolate": out, "derivatives of interpolate": out_da, "texture": picture, "antialias": smooth}
