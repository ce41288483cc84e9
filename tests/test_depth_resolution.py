"""How finely both contexts tell depths apart, and how far out corners may lie."""

import pytest
import torch
from reference import rasterize as reference
from scenes import camera, directions, project, triangles

import glraster

QUADS = triangles([0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7])  # the first one is the farther
SQUARE = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]], dtype=torch.float64)


def two_quads(nearest: float, farthest: float, gap: float, turned: bool) -> torch.Tensor:
    """[100, 8, 4]: quads over the whole view at z/w between the two, each `gap` behind another one."""
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(100, 1, 1, generator=generator, dtype=torch.float64) * (farthest - nearest) + nearest
    w = 1 + 2 * torch.rand(100, 4, 1, generator=generator, dtype=torch.float64) * turned
    near = torch.cat([SQUARE * w, depth * w, w], -1).float()
    far = near.clone()
    far[..., 2] = ((near[..., 2].double() / near[..., 3].double() + gap) * near[..., 3].double()).float()
    return torch.cat([far, near], 1)


@pytest.mark.parametrize("turned", [False, True], ids=["parallel", "turned"])
@pytest.mark.parametrize("nearest, farthest", [(0, 0.5), (0.5, 0.99), (0.99, 0.99999)])
def test_surfaces_close_together_in_the_far_half_of_the_depths(glctx, device, nearest, farthest, turned):
    pos = two_quads(nearest, farthest, 1.2e-7, turned).to(device)
    ids = glraster.triangle_id(glraster.rasterize(glctx, pos, QUADS.to(device), (24, 24))[0])
    assert (ids < 2).float().mean() < 1e-3  # 0.08 to 0.31 before depths were reversed
    with glraster.DepthPeeler(glctx, pos, QUADS.to(device), (24, 24)) as peeler:
        first, second, third = (glraster.triangle_id(peeler.rasterize_next_layer()[0]) for _ in range(3))
    assert torch.equal(first, ids) and ((first < 2) != (second < 2)).all() and (third == -1).all()


@pytest.mark.parametrize("nearest, farthest", [(-1, -0.5), (-0.5, 0)])
def test_surfaces_a_little_farther_apart_in_the_near_half(glctx, device, nearest, farthest):
    pos = two_quads(nearest, farthest, 4.8e-7, True).to(device)
    ids = glraster.triangle_id(glraster.rasterize(glctx, pos, QUADS.to(device), (24, 24))[0])
    assert (ids >= 2).all()


def test_both_contexts_agree_on_a_mesh_far_from_a_near_plane_close_by(gl_available, spot_path):
    import trimesh

    mesh = trimesh.load(spot_path, process=False, force="mesh")
    near, far, distance = 0.01, 1000.0, 200.0
    views = [camera(direction) for direction in directions(5)]
    pos = project(mesh.vertices, views).double()
    w = pos[..., 3] * (distance / pos[..., 3].mean())
    pos = torch.stack([pos[..., 0] / pos[..., 3] * w, pos[..., 1] / pos[..., 3] * w, w, w], -1)
    pos[..., 2] = (far + near) / (far - near) * w - 2 * far * near / (far - near)
    contexts = glraster.SoftwareRasterizer("cpu"), glraster.OpenGLRasterizer(device="cpu")
    one, other = (
        glraster.triangle_id(glraster.rasterize(glctx, pos.float(), triangles(*mesh.faces), (512, 512))[0])
        for glctx in contexts
    )
    assert (one >= 0).sum() > 100_000
    assert (one != other).sum() < 3e-5 * (one >= 0).sum()  # 2.4e-4 before depths were reversed


@pytest.mark.parametrize("beyond", [1, 1 + 2**-22], ids=["on", "beyond"])
@pytest.mark.parametrize("side", [-1, 1], ids=["near", "far"])
def test_the_near_and_far_planes_are_inside_and_nothing_beyond(glctx, device, side, beyond):
    pos = torch.tensor([[[-1.0, -1, side * beyond, 1], [3, -1, side * beyond, 1], [-1, 3, side * beyond, 1]]])
    rast, _ = glraster.rasterize(glctx, pos.to(device), triangles([0, 1, 2]).to(device), (4, 4))
    assert glraster.mask(rast).all() if beyond == 1 else not rast.any()


def large_triangles(size: float, corners: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles around the view with that many corners `size` away."""
    angle = torch.rand(40, 1, generator=torch.Generator().manual_seed(0)) * 6.28 + torch.tensor([0, 2.1, 4.2])
    xy = torch.stack([angle.cos(), angle.sin()], -1)
    xy[:, :corners] *= size
    pos = torch.cat([xy, torch.zeros(40, 3, 1), torch.ones(40, 3, 1)], -1)
    return pos, triangles([0, 1, 2])


@pytest.mark.parametrize("size, corners", [(1e3, 3), (9e3, 3), (1e7, 1), (1e30, 1)])
def test_corners_within_reach_are_drawn_right(glctx, device, size, corners):
    pos, tri = large_triangles(size, corners)
    rast, _ = glraster.rasterize(glctx, pos.to(device), tri.to(device), (32, 32), validate=True)
    ids = glraster.triangle_id(rast).cpu()
    assert (ids != reference.rasterize(pos, tri, (32, 32))).sum() <= ids.numel() // 5000


@pytest.mark.parametrize("factor, corners", [(1.5, 3), (1.5, 2), (1e4, 3)])
def test_corners_out_of_reach_are_named(glctx, device, factor, corners):
    pos, tri = (tensor.to(device) for tensor in large_triangles(factor * glctx.reach, corners))
    pos[:3, :, :2] /= factor * glctx.reach
    with pytest.raises(
        ValueError, match=r"^rasterize\(\): corners must lie within .* the view, .* triangle 0 of image 3"
    ):
        glraster.rasterize(glctx, pos, tri, (32, 32), validate=True)
    glraster.rasterize(glctx, pos[:3], tri, (32, 32), validate=True)
    glraster.rasterize(glctx, pos, tri, (32, 32))
    pos[..., 0] = pos[..., 0].abs() + 2  # wholly outside of the view: nothing can go wrong
    glraster.rasterize(glctx, pos, tri, (32, 32), validate=True)


def test_only_what_is_drawn_must_be_within_reach(glctx, device):
    pos, tri = large_triangles(1e4 * glctx.reach, 3)
    pos = torch.cat([pos[0], torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 1], [0, 1, 0, 1]])]).to(device)
    both = torch.cat([tri, tri + 3]).to(device)
    for first, fails in ((1, False), (0, True)):
        ranges = torch.tensor([[first, 1]], dtype=torch.int32)
        try:
            glraster.rasterize(glctx, pos, both, (4, 4), ranges, validate=True)
            assert not fails
        except ValueError as error:
            assert fails and str(error).endswith("in triangle 0")
