"""What a fit draws and compares with photos: a matt surface of some colours in some light."""

from collections.abc import Callable

import torch

import glraster
from glraster import camera, mesh, shading

__all__ = ["Albedo", "difference", "draw", "of_texture", "of_vertices"]

Albedo = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of rast and rast_db: linear colours [N, H, W, 3]


def draw(
    glctx: glraster.RasterizeContext,
    pos: torch.Tensor,
    tri: torch.Tensor,
    matrices: torch.Tensor,
    size: tuple[int, int],
    albedo: Albedo,
    light: torch.Tensor | None,
    topology: glraster.TopologyHash | None = None,
) -> torch.Tensor:
    """Draws a surface as photos show it.

    Args:
        glctx: the context.
        pos: [V, 3].
        tri: [T, 3] int32.
        matrices: [N, 4, 4], world to clip space.
        size: (height, width).
        albedo: `of_vertices` or `of_texture`.
        light: [9, 3], spherical harmonics of the light around, linear; None: colours are as they are.
        topology: `antialias_construct_topology_hash(tri)`, to save the time.

    Returns:
        [N, H, W, 4], sRGB multiplied by opacity, then opacity. Gradients reach `pos`, `light` and what `albedo` is of.
    """
    clip = camera.transform(pos, matrices)
    rast, rast_db = glraster.rasterize(glctx, clip, tri, size)
    color = albedo(rast, rast_db)
    if light is not None:
        shade = shading.harmonics_irradiance(mesh.vertex_normals(pos, tri), light).clamp(min=0)
        color = color * glraster.interpolate(shade, rast, tri)[0]
    seen = glraster.mask(rast)
    image = torch.cat([shading.to_srgb(color), seen], dim=-1) * seen
    # The one knows how outlines move whatever the size of triangles, the other makes them smooth: docs/visibility.md.
    image = glraster.edge_gradients(image, rast, clip, tri, topology_hash=topology, crease=False)
    return glraster.antialias(image, rast, clip.detach(), tri, topology)


def of_vertices(roots: torch.Tensor, tri: torch.Tensor) -> Albedo:
    """Colours of vertices, the squares of `roots` [V, 3]: steps of these are as visible in the dark as in the light."""
    return lambda rast, _: glraster.interpolate(roots.square(), rast, tri)[0]


def of_texture(roots: torch.Tensor, uv: torch.Tensor, uv_tri: torch.Tensor) -> Albedo:
    """Colours of a texture, the squares of `roots` [h, w, 3], with texture coordinates uv [U, 2]."""

    def albedo(rast: torch.Tensor, rast_db: torch.Tensor) -> torch.Tensor:
        at, at_da = glraster.interpolate(uv, rast, uv_tri, rast_db, "all")
        return glraster.texture(roots.square()[None], at, at_da)

    return albedo


def difference(image: torch.Tensor, photo: torch.Tensor, background: tuple[float, ...] | None) -> torch.Tensor:
    """The mean absolute difference of drawn images [N, H, W, 4] and photos [N, H, W, 4] uint8.

    Opacity counts everywhere, colours where a photo shows nothing but the object: elsewhere dark colours would pass for
    what is less opaque. Where the photos' opacity tells nothing, the drawn surface stands before `background` [3].
    """
    wanted = photo.to(image) / 255
    if background is not None:
        drawn = image[..., :3] + (1 - image[..., 3:]) * image.new_tensor(background)
        return (drawn - wanted[..., :3]).abs().mean()
    color, opacity = (image - wanted).abs().split([3, 1], dim=-1)
    return (color * (wanted[..., 3:] == 1)).mean() + opacity.mean()
