"""Mesh files: what is kept, what is welded, and what one is told of files that hold no mesh."""

import sys

import numpy as np
import pytest
import torch

import glraster
from glraster import mesh

trimesh = pytest.importorskip("trimesh")
TRIANGLE = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"


def write(path, content: bytes):
    path.write_bytes(content)
    return path


def two_materials() -> mesh.Mesh:
    """A square, its lower half red and blue by turns, its upper half green."""
    stripes = torch.zeros(2, 4, 3)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 1, 1
    green = torch.tensor([[[0.0, 1, 0]]])
    material = torch.tensor([0] * 4 + [1] * 4, dtype=torch.int32)
    return mesh.grid(2, 2).replace(textures=(stripes, green), material=material)


@pytest.mark.parametrize("ending", ["obj", "glb", "ply", "stl", "off"])
def test_there_and_back(tmp_path, ending):
    ball = mesh.icosphere(2)
    mesh.save(tmp_path / "new" / f"ball.{ending}", ball)
    found = mesh.load(tmp_path / "new" / f"ball.{ending}")
    assert found.pos.dtype == torch.float32 and found.tri.dtype == torch.int32
    assert found.pos.shape == ball.pos.shape and not found.textures and found.color is None
    assert torch.equal(found.pos[found.tri.long()], ball.pos[ball.tri.long()])


@pytest.mark.parametrize("ending", ["obj", "glb"])
def test_materials_there_and_back(tmp_path, ending):
    square = two_materials()
    mesh.save(tmp_path / f"square.{ending}", square)
    found = mesh.load(tmp_path / f"square.{ending}")
    assert found.pos.shape == square.pos.shape and len(found.textures) == 2  # one surface, though of two materials
    assert (found.topology.counts == 1).sum() == 8
    for texture in square.textures:
        (same,) = [k for k, other in enumerate(found.textures) if torch.equal(texture, other)]
        middle = found.pos[found.tri[found.material == same].long()].mean((0, 1))
        assert (middle[1] > 0) == (texture.shape[0] == 1)
    corners = found.uv[found.uv_tri.long()]
    torch.testing.assert_close(2 * corners - 1, found.pos[found.tri.long()][..., :2])


def test_colours_of_vertices(tmp_path):
    ball = mesh.icosphere(1)
    ball = ball.replace(color=(ball.pos + 1) / 2, color_tri=ball.tri)
    mesh.save(tmp_path / "ball.ply", ball)
    found = mesh.load(tmp_path / "ball.ply")
    torch.testing.assert_close(found.color[found.color_tri.long()], ball.color[ball.tri.long()], atol=0.002, rtol=0)


def test_a_material_of_one_colour_is_a_texture_of_one_texel(tmp_path):
    (tmp_path / "m.mtl").write_bytes("# von Jörg\nnewmtl red\nKd 1 0 0\n".encode("latin-1"))
    found = mesh.load(write(tmp_path / "m.obj", b"mtllib m.mtl\nusemtl red\n" + TRIANGLE + b"f 1/1 2/2 3/3\n"))
    assert [texture.tolist() for texture in found.textures] == [[[[1, 0, 0]]]]


def test_a_missing_material_is_none(tmp_path):
    found = mesh.load(write(tmp_path / "m.obj", b"mtllib gone.mtl\nusemtl red\n" + TRIANGLE + b"f 1/1 2/2 3/3\n"))
    assert found.textures == () and found.uv.shape == (3, 2)


def test_seams_are_welded(tmp_path):
    # Two triangles with an edge in common, along which texture coordinates differ.
    text = TRIANGLE + b"v 1 1 0\nvt 0.5 0.5\nf 1/1 2/2 3/3\nf 3/3 2/4 4/2\n"
    path = write(tmp_path / "seam.obj", text)
    found = mesh.load(path)
    assert len(found.pos) == 4 and len(found.topology.edges) == 5
    wanted = [[[0, 0], [1, 0], [0, 1]], [[0, 1], [0.5, 0.5], [1, 0]]]
    assert sorted(sorted(corner) for corner in found.uv[found.uv_tri.long()].tolist()) == [
        sorted(corner) for corner in wanted
    ]
    split = mesh.load(path, vertices="split")
    assert len(split.pos) == 5 and torch.equal(split.uv[split.uv_tri.long()], found.uv[found.uv_tri.long()])
    as_written = mesh.load(path, vertices="file")
    assert len(as_written.pos) == len(as_written.uv) == 4 and torch.equal(as_written.tri, as_written.uv_tri)
    # Triangles that are left without area by welding go, with all that belongs to them; so do zeros of either sign.
    path = write(tmp_path / "thin.obj", TRIANGLE + b"v -0 0 -0\nf 1/1 4/2 2/2\nf 4/1 2/2 3/3\n")
    found = mesh.load(path)
    assert len(found.pos) == 3 and found.tri.shape == found.uv_tri.shape == (1, 3)


def test_parts_of_a_scene_are_moved_and_welded(tmp_path):
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    scene = trimesh.Scene()
    scene.add_geometry(square)
    scene.add_geometry(square, transform=trimesh.transformations.translation_matrix([1, 0, 0]))
    scene.export(tmp_path / "scene.glb")
    found = mesh.load(tmp_path / "scene.glb")
    assert len(found.pos) == 6 and len(found.tri) == 4 and found.pos[:, 0].max() == 2
    assert (found.topology.counts == 2).sum() == 3


def test_polygons_and_encodings(tmp_path):
    corners = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0.5 1.5 0\nv 0 1 0\n"
    five = mesh.load(write(tmp_path / "five.obj", corners + b"f 1 2 3 4 5\n"))
    assert len(five.tri) == 3 and five.face_normals()[:, 2].tolist() == [1, 1, 1]
    latin = mesh.load(write(tmp_path / "latin.obj", "# Jörg Müller\n".encode("latin-1") + corners + b"f -5 -4 -3\n"))
    assert latin.tri.tolist() == [[0, 1, 2]]


def test_far_from_the_origin(tmp_path):
    ball = mesh.icosphere(3)
    lines = [f"v {x + 5e5:.9f} {y + 4.5e6:.9f} {z + 100:.9f}" for x, y, z in ball.pos.double().tolist()]
    lines += ["v 9e9 9e9 9e9"] + [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in ball.tri.tolist()]
    found = mesh.load(write(tmp_path / "far.obj", "\n".join(lines).encode()), normalize=True)
    assert len(found.pos) == 642
    torch.testing.assert_close(found.pos.norm(dim=1), torch.ones(642), atol=1e-6, rtol=0)


def truncated(tmp_path, ending: str) -> bytes:
    mesh.save(tmp_path / f"whole.{ending}", mesh.icosphere(1))
    return (tmp_path / f"whole.{ending}").read_bytes()[:-40]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("line.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no visible surface"),
        ("point.obj", b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "no visible surface"),
        ("empty.obj", b"", "is empty"),
        ("empty.glb", b"", "is empty"),
        ("empty.stl", b"", "is empty"),
        ("empty.ply", b"", "is empty"),
        ("points.obj", b"v 0 0 0\nv 1 0 0\n", "2 points and no triangles"),
        ("points.xyz", b"0 0 0\n1 1 1\n2 2 2\n", "3 points and no triangles"),
        ("nan.obj", b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("short.obj", b"v 0 0 0\nv 1 0 0\nf 1 2 3\n", "truncated"),
        ("rubbish.obj", bytes(range(256)) * 4, "no triangles"),
        ("rubbish.glb", b"not a mesh, though some bytes", "cannot be read"),
        ("unknown.xyzzy", b"abc", "cannot be read"),
        ("cut.glb", None, "truncated"),
        ("cut.ply", None, "truncated"),
        ("cut.stl", None, "truncated"),
    ],
)
def test_files_without_a_mesh(tmp_path, name, content, words):
    content = truncated(tmp_path, name[-3:]) if content is None else content
    with pytest.raises(ValueError, match=rf"{name}.*{words}"):
        mesh.load(write(tmp_path / name, content))


def test_other_errors(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="absent.obj"):
        mesh.load(tmp_path / "absent.obj")
    with pytest.raises(ValueError, match="vertices must be 'welded'"):
        mesh.load(write(tmp_path / "some.obj", TRIANGLE + b"f 1 2 3\n"), vertices="merged")
    with pytest.raises(ValueError, match=r"ball.foo must end in one of .*\.ply"):
        mesh.save(tmp_path / "ball.foo", mesh.icosphere(0))
    path = write(tmp_path / "fine.obj", TRIANGLE + b"f 1 2 3\n")
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(RuntimeError, match=r"glraster\[mesh\]"):
        mesh.load(path)


def test_several_materials_in_one_draw():
    square = two_materials()
    pos = torch.nn.functional.pad(square.pos, (0, 1), value=1.0)[None]
    rast, rast_db = glraster.rasterize(glraster.context("cpu", "software"), pos * 0.9 + 0.1, square.tri, (32, 32))
    uv, uv_da = glraster.interpolate(square.uv, rast, square.uv_tri, rast_db, diff_attrs="all")
    found = mesh.sample_materials(square.textures, square.material, rast, uv, uv_da)
    for number, texture in enumerate(square.textures):
        whole = glraster.texture(texture[None], uv, uv_da) * (rast[..., 3:] > 0)
        triangles = rast[..., 3].long() - 1
        mine = (square.material[triangles.clamp(min=0)] == number)[..., None] & (rast[..., 3:] > 0)
        assert mine.any() and torch.equal(found * mine, whole * mine)
    assert not (found * (rast[..., 3:] == 0)).any()
    textures = [texture.double().requires_grad_() for texture in square.textures]
    rast, uv = rast.double()[:, ::5, ::5], (uv.double()[:, ::5, ::5] + 0.01).requires_grad_()

    def sampled(*inputs):
        return mesh.sample_materials(inputs[:2], square.material, rast, inputs[2], filter_mode="linear")

    assert torch.autograd.gradcheck(sampled, (*textures, uv))


def test_errors_of_materials():
    rast, uv = torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 2)
    rast[..., 3] = 1
    for textures, material in (((), None), ((torch.zeros(1, 1, 3), torch.zeros(1, 1, 1)), None)):
        with pytest.raises(ValueError, match=r"sample_materials\(\): textures"):
            mesh.sample_materials(textures, material, rast, uv)
    with pytest.raises(ValueError, match=r"material must be below 1"):
        mesh.sample_materials([torch.zeros(1, 1, 3)], torch.tensor([1]), rast, uv)
    assert np.isfinite(mesh.sample_materials([torch.ones(1, 1, 3)], torch.tensor([0]), rast, uv).numpy()).all()
