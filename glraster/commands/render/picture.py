"""What `glraster render` draws: the outputs of a batch of views, as tensors with row 0 at the bottom."""

import dataclasses
from collections.abc import Sequence

import torch

import glraster

from ... import camera
from ...camera import View
from ...mesh import Mesh, sample_materials
from ...shading import to_linear
from .lighting import Lighting

__all__ = ["OUTPUTS", "Painter"]

OUTPUTS = ("color", "normals", "depth", "ids", "uv", "mask")
_SHADED = ("color", "mask")  # what is blended along silhouettes; the others are samples at the pixels' centres
_PLAIN = 0.6  # of what has no colour, linear


@dataclasses.dataclass(frozen=True)
class _Corners:
    """What belongs to the corners of triangles."""

    values: torch.Tensor  # [K, C]
    tri: torch.Tensor  # [T, 3]


class Painter:
    """Draws a mesh.

    Args:
        glctx: the context, and by it the device.
        mesh: on any device; `textures` in sRGB.
        lighting: what shines on it.
        flat: whether triangles have normals of their own, not those of their vertices.
        ssaa: samples of the colour along each side of a pixel.
    """

    def __init__(
        self, glctx: glraster.RasterizeContext, mesh: Mesh, lighting: Lighting, flat: bool = False, ssaa: int = 1
    ):
        self._glctx, self._ssaa = glctx, ssaa
        self._mesh = mesh = mesh.to(glctx.device)
        self._normals = _normals(mesh, flat)
        self._light = _Corners(lighting.irradiance(self._normals.values), self._normals.tri)
        self._textures = [to_linear(texture) for texture in mesh.textures]
        only = self._textures[0][None] if len(self._textures) == 1 else None
        self._mip = None if only is None else glraster.texture_construct_mip(only, mip_filter="area")
        self._topology = glraster.antialias_construct_topology_hash(mesh.tri)

    @torch.no_grad()
    def draw(self, views: Sequence[View], outputs: Sequence[str]) -> dict[str, torch.Tensor]:
        """Returns the outputs asked for, of views of one resolution.

        Returns:
            color: [N, H, W, 4], linear, multiplied by its opacity, which is the last channel.
            mask: [N, H, W, 1], the opacity.
            normals: [N, H, W, 3], unit vectors in world space.
            depth: [N, H, W, 1], the distance along the view from the camera, in units of the scene.
            ids: [N, H, W, 1] int64, the number of the triangle; -1 where there is none.
            uv: [N, H, W, 2].
            What is not said of pixels without a triangle is 0.
        """
        height, width = views[0].resolution
        drawn: dict[str, torch.Tensor] = {}
        if any(output in _SHADED for output in outputs):
            image = self._color(views, (height * self._ssaa, width * self._ssaa))
            drawn |= {"color": _reduced(image, self._ssaa)}
            drawn |= {"mask": drawn["color"][..., 3:]}
        if any(output not in _SHADED for output in outputs):
            drawn |= self._data(views, (height, width), outputs)
        return {output: drawn[output] for output in outputs}

    def _rasterize(self, views: Sequence[View], size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        matrices = torch.stack([view.matrix for view in views]).float().to(self._glctx.device)
        pos = camera.transform(self._mesh.pos, matrices)
        return pos, *glraster.rasterize(self._glctx, pos, self._mesh.tri, size)

    def _color(self, views: Sequence[View], size: tuple[int, int]) -> torch.Tensor:
        mesh = self._mesh
        pos, rast, rast_db = self._rasterize(views, size)
        color, _ = glraster.interpolate(self._light.values, rast, self._light.tri)
        if self._textures and mesh.uv is not None and mesh.uv_tri is not None:
            uv, uv_da = glraster.interpolate(mesh.uv, rast, mesh.uv_tri, rast_db, "all")
            if len(self._textures) == 1:
                color *= glraster.texture(self._textures[0][None], uv, uv_da, mip=self._mip)
            else:
                color *= sample_materials(self._textures, mesh.material, rast, uv, uv_da, mip_filter="area")
        elif self._textures:  # one colour per material
            means = torch.stack([texture.mean((0, 1)) for texture in self._textures])
            which = torch.zeros_like(mesh.tri[:, 0]) if mesh.material is None else mesh.material
            color *= means[which.long()][glraster.triangle_id(rast).clamp(min=0).long()]
        elif mesh.color is not None and mesh.color_tri is not None:
            color *= glraster.interpolate(to_linear(mesh.color), rast, mesh.color_tri)[0]
        else:
            color *= _PLAIN
        color = torch.cat([color, glraster.mask(rast).to(color)], dim=-1)
        return glraster.antialias(color, rast, pos, mesh.tri, self._topology)

    def _data(self, views: Sequence[View], size: tuple[int, int], outputs: Sequence[str]) -> dict[str, torch.Tensor]:
        mesh = self._mesh
        drawn: dict[str, torch.Tensor] = {}
        pos, rast, _ = self._rasterize(views, size)
        if "normals" in outputs:
            normals, _ = glraster.interpolate(self._normals.values, rast, self._normals.tri)
            drawn["normals"] = torch.nn.functional.normalize(normals, dim=-1)
        if "depth" in outputs:
            drawn["depth"], _ = glraster.interpolate(pos[..., 3:].contiguous(), rast, mesh.tri)  # w is that distance
        if "ids" in outputs:
            drawn["ids"] = glraster.triangle_id(rast)[..., None]
        if "uv" in outputs:
            if mesh.uv is None or mesh.uv_tri is None:
                raise ValueError("has no texture coordinates for the output uv")
            drawn["uv"], _ = glraster.interpolate(mesh.uv, rast, mesh.uv_tri)
        return drawn


def _normals(mesh: Mesh, flat: bool) -> _Corners:
    if not flat:
        return _Corners(mesh.vertex_normals(), mesh.tri)
    of_faces = mesh.face_normals()
    return _Corners(of_faces, torch.arange(len(of_faces), device=of_faces.device).int()[:, None].repeat(1, 3))


def _reduced(image: torch.Tensor, factor: int) -> torch.Tensor:
    """Means of factor x factor pixels."""
    if factor == 1:
        return image
    return torch.nn.functional.avg_pool2d(image.movedim(3, 1), factor).movedim(1, 3)
