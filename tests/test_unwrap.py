"""Layouts of xatlas: islands without overlap or stretch, for meshes of any size and place."""

import sys

import pytest
import torch

import glraster
from glraster import mesh

pytest.importorskip("xatlas")


def corners(values: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    return values[tri.long()]


def areas(uv: torch.Tensor) -> torch.Tensor:
    """Of triangles [T, 3, 2], negative where they are mirrored."""
    (x1, y1), (x2, y2) = (edge.unbind(1) for edge in (uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]))
    return (x1 * y2 - x2 * y1) / 2


def test_a_square_stays_a_square():
    sheet = mesh.unwrap(mesh.grid(1, 1), resolution=64)
    assert sheet.uv.shape == (4, 2) and torch.equal(sheet.tri, mesh.grid(1, 1).tri)
    sides = (corners(sheet.uv, sheet.uv_tri) - corners(sheet.uv, sheet.uv_tri).roll(1, 1)).norm(dim=2).sort(1)[0]
    torch.testing.assert_close(sides / sides[0, 0], torch.tensor([[1.0, 1.0, 2**0.5]] * 2))
    assert sides[0, 0] > 0.9 and sheet.uv.min() >= 0 and sheet.uv.max() <= 1


@pytest.mark.parametrize("scale, move", [(1.0, 0.0), (1e-9, 0.0), (1e9, 0.0), (0.1, 100.0)])
def test_islands_do_not_overlap(scale, move):
    """As many texels are seen when triangles hide each other as when each is drawn alone."""
    ball = mesh.icosphere(2)
    found = mesh.unwrap(ball.replace(pos=ball.pos * scale + move), resolution=128)
    assert torch.equal(found.tri, ball.tri) and found.uv.dtype == torch.float32
    assert found.uv.min() >= 0 and found.uv.max() <= 1
    size = areas(corners(found.uv, found.uv_tri)).abs()
    assert size.min() > 0 and size.sum() > 0.3
    pos = torch.nn.functional.pad(torch.nn.functional.pad(found.uv * 2 - 1, (0, 1)), (0, 1), value=1.0)
    rast, _ = glraster.rasterize(glraster.context("cpu", "software"), pos[None], found.uv_tri, (512, 512))
    assert (rast[..., 3] > 0).float().mean().item() == pytest.approx(size.sum().item(), rel=2e-3)


def test_stretch_is_small():
    ball = mesh.unwrap(mesh.icosphere(3))
    density = areas(corners(ball.uv, ball.uv_tri)).abs() / mesh.face_normals(ball.pos, ball.tri, unit=False).norm(dim=1)
    assert density.max() < 3 * density.min()


def test_what_belongs_to_the_old_layout_is_left_out():
    cube = mesh.cube()
    same = {"color": torch.rand(8, 3), "color_tri": cube.tri}
    old = {"uv": torch.rand(8, 2), "uv_tri": cube.tri, "textures": (torch.rand(4, 4, 3),)}
    found = mesh.unwrap(cube.replace(**same, **old, material=torch.zeros(12, dtype=torch.int32)))
    assert found.textures == () and found.material is None
    assert torch.equal(found.color, same["color"]) and torch.equal(found.uv, mesh.unwrap(cube).uv)


def test_triangles_without_area_and_vertices_without_triangles():
    cube = mesh.cube()
    thin = torch.tensor([[0, 0, 1], [2, 2, 2]], dtype=torch.int32)
    pos = torch.cat([cube.pos, torch.tensor([[float("nan")] * 3])])
    found = mesh.unwrap(mesh.Mesh(pos, torch.cat([cube.tri, thin])))
    assert found.uv_tri.shape == (14, 3) and found.uv.isfinite().all()
    size = areas(corners(found.uv, found.uv_tri))
    assert (size[:12] != 0).all() and not size[12:].any()


def test_positions_in_float64_with_gradients():
    cube = mesh.cube()
    found = mesh.unwrap(cube.replace(pos=cube.pos.double().requires_grad_()))
    assert found.uv.dtype == torch.float64 and found.pos.requires_grad and not found.uv.requires_grad


def test_errors(monkeypatch):
    cube = mesh.cube()
    with pytest.raises(ValueError, match=r"unwrap\(\): resolution must be >= 1 and padding >= 0, got 0 and 4"):
        mesh.unwrap(cube, resolution=0)
    with pytest.raises(ValueError, match=r"unwrap\(\): resolution must be >= 1 and padding >= 0, got 8 and -1"):
        mesh.unwrap(cube, resolution=8, padding=-1)
    with pytest.raises(ValueError, match=r"unwrap\(\): tri must have indices from 0 to 6, got 0 to 7"):
        mesh.unwrap(cube.replace(pos=cube.pos[:7]))
    with pytest.raises(ValueError, match=r"unwrap\(\): pos must be finite"):
        mesh.unwrap(cube.replace(pos=cube.pos / 0))
    for flat in (cube.replace(pos=cube.pos * 0), mesh.Mesh(cube.pos, cube.tri[:0])):
        with pytest.raises(ValueError, match=r"mesh must have a triangle with an area, got (0|12) "):
            mesh.unwrap(flat)
    monkeypatch.setitem(sys.modules, "xatlas", None)
    with pytest.raises(RuntimeError, match=r"unwrap\(\): needs xatlas: pip install 'glraster\[bake\]'"):
        mesh.unwrap(cube)
