"""What textures are baked of: photos with cameras, and other meshes."""

import math
import sys

import pytest
import torch

import glraster
from glraster import bake, camera, mesh

F64 = torch.float64


@pytest.fixture(scope="module")
def sheet(on_cpu) -> bake.Texels:
    """The square from -1 to 1 at z = 0, 8 x 8 texels."""
    return bake.texels(on_cpu, mesh.grid(2, 2), 8)


def parallel(azimuth: float, height: float = 2.0, resolution: tuple[int, int] = (32, 32)) -> camera.View:
    """A parallel projection from 3 units away, in which 2 units are as high as the image."""
    return camera.View(camera.orbit(azimuth, 0.0, 3.0), camera.orthographic(height), resolution)


def plain(*color: float, size: int = 32) -> torch.Tensor:
    return torch.tensor(color).expand(size, size, len(color)).contiguous()


def test_a_photo_from_the_front(on_cpu, sheet):
    """Pixels are a quarter of a texel: what is linear in the image is looked up exactly."""
    x = (torch.arange(40) + 0.5) / 16 - 1.25
    image = torch.stack([x.expand(40, 40), x[:, None].expand(40, 40)], dim=2)
    texture, weight = bake.from_views(on_cpu, sheet, [parallel(0, 2.5)], [image])
    torch.testing.assert_close(texture[0], sheet.positions[0, ..., :2], atol=1e-5, rtol=0)
    torch.testing.assert_close(weight, torch.ones(1, 8, 8))


def test_views_are_blended_by_angle(on_cpu, sheet):
    views = [parallel(0, 3), parallel(60, 3)]
    texture, weight = bake.from_views(on_cpu, sheet, views, [plain(1, 0), plain(0, 1)], power=2)
    inner = (0, slice(2, 6), slice(2, 6))
    torch.testing.assert_close(weight[inner], torch.full((4, 4), 1.25))
    torch.testing.assert_close(texture[inner], torch.tensor([0.8, 0.2]).expand(4, 4, 2))
    texture, weight = bake.from_views(on_cpu, sheet, views, [plain(1, 0), plain(0, 1)], least_cosine=0.51)
    torch.testing.assert_close(texture[inner], torch.tensor([1.0, 0]).expand(4, 4, 2))
    for behind in (180, 89.0):
        _, weight = bake.from_views(on_cpu, sheet, [parallel(behind, 3)], [plain(1)])
        assert not weight.any()


def test_perspective_cameras_and_sizes(on_cpu):
    """The angle is that to the camera's place, 1 unit above the corner of the sheet; photos may have any size."""
    flat = mesh.grid(2, 2)
    texels = bake.texels(on_cpu, flat, 8)
    view = camera.View(camera.look_at(torch.tensor([1.0, 1, 1]), torch.zeros(3)), camera.perspective(120.0), (9, 9))
    _, weight = bake.from_views(on_cpu, texels, [view], [torch.ones(64, 64, 1)], power=1)
    from_eye = torch.tensor([1.0, 1, 1]) - texels.positions[0]
    seen = weight[0] > 0
    assert seen.float().mean() > 0.5
    torch.testing.assert_close(weight[0][seen], (1 / from_eye.norm(dim=2))[seen])


def test_what_is_hidden_is_not_seen(on_cpu):
    """A square of half the side stands before the sheet; pixels that show both, or nothing, do not count."""
    wall, screen = mesh.grid(2, 2), mesh.grid(2, 2)
    screen = screen.replace(pos=screen.pos / 2 + torch.tensor([0, 0, 0.3]))
    both, _ = mesh.merge([wall.replace(uv=wall.uv / 2), screen.replace(uv=screen.uv / 4 + 0.6)])
    texels = bake.texels(on_cpu, both, 32)
    image = plain(1.0, 0, size=64)
    image[16:48, 16:48] = torch.tensor([0.0, 1])  # where the screen is
    image = torch.nn.functional.avg_pool2d(image.movedim(2, 0)[None], 3, 1, 1)[0].movedim(0, 2)  # edges are mixed
    texture, weight = bake.from_views(on_cpu, texels, [parallel(0, 2.0)], [image])
    pos, known = texels.positions, weight > 0
    hidden = texels.covered & (pos[..., 2] < 0.1) & (pos[..., :2].abs().amax(-1) < 0.5)
    free = texels.covered & (pos[..., 2] < 0.1) & (pos[..., :2].abs().amax(-1) > 0.55)
    free &= pos[..., :2].abs().amax(-1) < 0.95
    on_screen = texels.covered & (pos[..., 2] > 0.2) & (pos[..., :2].abs().amax(-1) < 0.45)
    assert hidden.any() and not known[hidden].any()
    assert known[free].all() and known[on_screen].all()
    assert (texture[free] - torch.tensor([1.0, 0])).abs().max() < 1e-5
    assert (texture[on_screen] - torch.tensor([0.0, 1])).abs().max() < 1e-5


def test_masks(on_cpu, sheet):
    mask = torch.ones(32, 32)
    mask[:, :16] = 0
    _, weight = bake.from_views(on_cpu, sheet, [parallel(0, 3)], [plain(1.0)], [mask])
    assert not weight[0, :, :4].any() and weight[0, :, 5:].all()


def test_gradients_reach_photos(on_cpu):
    flat = mesh.grid(1, 1)
    flat = flat.replace(pos=flat.pos.double(), uv=flat.uv.double())
    texels = bake.texels(on_cpu, flat, 3)
    images = [torch.rand(6, 6, 1, dtype=F64, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    views = [parallel(0, 2.5), parallel(40, 2.5)]

    def baked(*photos):
        return bake.from_views(on_cpu, texels, views, photos)[0]

    assert torch.autograd.gradcheck(baked, [image.requires_grad_() for image in images])


def test_errors_of_views(on_cpu, sheet):
    view, image = parallel(0), plain(1.0)
    for arguments in (([], []), ([view], []), ([view], [image], [])):
        with pytest.raises(ValueError, match=r"from_views\(\): views, images and masks must be as many as each other"):
            bake.from_views(on_cpu, sheet, *arguments)
    with pytest.raises(ValueError, match=r"from_views\(\): images must be \[h, w, C\] of one C, got"):
        bake.from_views(on_cpu, sheet, [view, view], [image, plain(1.0, 2)])
    with pytest.raises(ValueError, match=r"from_views\(\): masks must be \[h, w\] as their images, got \[3, 3\] for"):
        bake.from_views(on_cpu, sheet, [view], [image], [torch.ones(3, 3)])
    several = camera.View(camera.orbit(torch.zeros(2), 0.0, 3.0), camera.orthographic(2.0), (8, 8))
    with pytest.raises(ValueError, match=r"from_views\(\): views must be of one camera each, .* got \[2, 4, 4\]"):
        bake.from_views(on_cpu, sheet, [several], [image])


@pytest.fixture
def igl():
    return pytest.importorskip("igl")


def test_closest_by_hand(igl):
    cube = mesh.cube()
    points = torch.tensor([[0.2, 0.4, 5], [-3.0, 0.5, 0.25], [7, 7, 7], [float("nan"), 0, 0], [0.3, 0.1, 1.5]])
    rast = bake.closest(cube, points.view(1, 1, 5, 3), max_distance=100)
    found, _ = glraster.interpolate(cube.pos, rast, cube.tri)
    expected = torch.tensor([[0.2, 0.4, 1], [-1, 0.5, 0.25], [1, 1, 1], [0, 0, 0], [0.3, 0.1, 1]])
    torch.testing.assert_close(found[0, 0], expected)
    assert glraster.triangle_id(rast)[0, 0, 3] == -1
    near = bake.closest(cube, points, max_distance=1)
    assert near.shape == (5, 4) and (near[:, 3] > 0).tolist() == [False, False, False, False, True]


def test_sheets_with_two_sides(igl):
    """Between two sheets that are back to back, at the far side of the middle."""
    front = mesh.grid(1, 1)
    back = front.replace(pos=front.pos - torch.tensor([0, 0, 0.1]), tri=front.tri.flip(1), uv_tri=front.uv_tri.flip(1))
    both, _ = mesh.merge([front, back])
    point, normal = torch.tensor([[0.1, 0.2, -0.08]]), torch.tensor([[0.0, 0, 2]])
    assert glraster.triangle_id(bake.closest(both, point).view(1, 1, 1, 4)) >= 2
    assert not bake.closest(both, point, normals=normal).any()
    assert bake.closest(both, point, normals=-normal).any()


def test_triangles_without_area_are_passed_by(igl):
    line = torch.tensor([[0, 1, 1], [0, 1, 2]], dtype=torch.int32)
    source = mesh.Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2.0, 0, 0]]), line)
    rast = bake.closest(source, torch.tensor([[[[0.1, 1.0, 0]]]]))
    assert rast.isfinite().all() and glraster.triangle_id(rast) >= 0


def test_another_mesh_with_a_texture(igl, on_cpu, sheet):
    """The same square with twice as many triangles and a layout that is turned: what is linear is baked exactly."""
    source = mesh.grid(4, 4)
    ramp = (torch.arange(64) + 0.5) / 64
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), ramp.expand(64, 64) * 0], dim=2)
    source = source.replace(uv=source.uv.flip(1) * 0.9 + 0.05, textures=(picture,))
    texture, known = bake.from_mesh(sheet, source)
    expected = (sheet.positions[..., :2].flip(-1) + 1) / 2 * 0.9 + 0.05
    torch.testing.assert_close(texture[..., :2], expected)
    assert known.all() and not texture[..., 2].any()
    above = source.replace(pos=source.pos + torch.tensor([0, 0, 0.5]))
    assert not bake.from_mesh(sheet, above, max_distance=0.4)[1].any()
    upside_down = source.replace(tri=source.tri.flip(1), uv_tri=source.uv_tri.flip(1))
    assert not bake.from_mesh(sheet, upside_down, facing=True)[1].any()


def test_colors_of_materials_and_of_vertices(on_cpu, sheet):
    flat = mesh.grid(2, 2)
    looks = (torch.tensor([[[1.0, 0, 0]]]), torch.tensor([[[0.0, 0, 1], [0, 0, 0]]]))
    material = torch.tensor([0, 1] * 4, dtype=torch.int32)
    plain_colors = mesh.Mesh(flat.pos, flat.tri, textures=looks, material=material)
    found, triangle = bake.colors(plain_colors, sheet.rast), glraster.triangle_id(sheet.rast)
    assert (found[triangle % 2 == 0] == torch.tensor([1.0, 0, 0])).all()
    assert (found[triangle % 2 == 1] == torch.tensor([0.0, 0, 0.5])).all()
    of_vertices = mesh.Mesh(flat.pos, flat.tri, color=flat.pos, color_tri=flat.tri)
    torch.testing.assert_close(bake.colors(of_vertices, sheet.rast), sheet.positions)
    with pytest.raises(ValueError, match=r"colors\(\): mesh must have textures or colours of vertices, got neither"):
        bake.colors(flat, sheet.rast)


def test_gradients_reach_the_source(igl, on_cpu, sheet):
    source = mesh.grid(3, 3)
    source = source.replace(pos=source.pos.double())
    rast = bake.closest(source, sheet.positions[:, ::3, ::3].double())
    values = torch.rand(16, 1, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: glraster.interpolate(v, rast, source.tri)[0], values)


@pytest.mark.parametrize("mirrored", [False, True])
def test_tangent_space(on_cpu, mirrored):
    """s runs along Y, and t along -X, or X where the layout is mirrored."""
    flat = mesh.grid(2, 2)
    turned = torch.stack([flat.uv[:, 1], flat.uv[:, 0] if mirrored else 1 - flat.uv[:, 0]], dim=1)
    texels = bake.texels(on_cpu, flat.replace(uv=turned), 6)
    normals = torch.tensor([0.3, 0.4, 1.2]).expand(1, 6, 6, 3)
    expected = torch.tensor([0.4, 0.3 if mirrored else -0.3, 1.2]) / 1.3
    torch.testing.assert_close(bake.in_tangent_space(normals, texels), expected.expand(1, 6, 6, 3))


def test_a_mesh_is_flat_in_its_own_tangent_space(on_cpu):
    pytest.importorskip("xatlas")
    ball = mesh.unwrap(mesh.icosphere(2), resolution=64)
    texels = bake.texels(on_cpu, ball, 64)
    found = bake.in_tangent_space(texels.normals, texels)[texels.covered]
    torch.testing.assert_close(found, torch.tensor([0.0, 0, 1]).expand(len(found), 3), atol=1e-4, rtol=0)


def test_errors_of_sources(igl, sheet, monkeypatch):
    cube = mesh.cube()
    with pytest.raises(ValueError, match=r"closest\(\): points must be \[..., 3\], got \[4, 2\]"):
        bake.closest(cube, torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"closest\(\): normals must be \[4, 3\] as points, got \[3\]"):
        bake.closest(cube, torch.zeros(4, 3), normals=torch.zeros(3))
    with pytest.raises(ValueError, match=r"closest\(\): source must have triangles, got none"):
        bake.closest(mesh.Mesh(cube.pos, cube.tri[:0]), torch.zeros(4, 3))
    assert bake.closest(cube, torch.zeros(0, 3)).shape == (0, 4)
    monkeypatch.setitem(sys.modules, "igl", None)
    with pytest.raises(RuntimeError, match=r"closest\(\): needs libigl: pip install 'glraster\[bake\]'"):
        bake.from_mesh(sheet, cube, max_distance=math.inf)
