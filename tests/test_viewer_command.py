"""`glraster view`: mesh files with several materials, modes, gradients from a file."""

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from glraster.cli import main
from glraster.viewer import Camera, command
from glraster.viewer.draw import MeshView
from glraster.viewer.meshfile import load


@pytest.fixture
def two_materials(tmp_path):
    """Two squares side by side: the left with a texture, red below and blue above; the right green."""
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces, uv = [[0, 1, 2], [0, 2, 3]], [[0.0, 0], [1, 0], [1, 1], [0, 1]]
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :, 2], pixels[4:, :, 0] = 255, 255  # a picture's first row is its top
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(pixels), metallicFactor=0.0)
    left = trimesh.Trimesh(corners, faces, process=False)
    left.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    right = trimesh.Trimesh(corners, faces, process=False)
    green = trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 255, 0, 255])
    right.visual = trimesh.visual.TextureVisuals(uv=uv, material=green)
    scene = trimesh.Scene()
    scene.add_geometry(left, transform=trimesh.transformations.translation_matrix([-1, 0, 0]))
    scene.add_geometry(right, transform=trimesh.transformations.translation_matrix([1, 0, 0]))
    path = tmp_path / "two.glb"
    scene.export(path)
    return path


def test_materials_of_a_file(two_materials):
    file = load(two_materials)
    assert file.vertices.shape == (8, 3) and file.faces.shape == (4, 3)
    assert [(part.first, part.count) for part in file.parts] == [(0, 2), (2, 2)]
    view = MeshView("two", file.vertices, file.faces, uv=file.uv, parts=file.parts, mode="texture")
    image = view.draw(Camera(eye=(0, 0, 2), fov=90), (64, 64))[0][0]  # row 0 at the bottom
    below, above, right = image[20, 16], image[44, 16], image[32, 48]
    assert below[0] > 0.5 > 10 * below[2] and above[2] > 0.5 > 10 * above[0]
    assert right[1] > 0.5 > 10 * right[0]


def test_vertex_colours_and_plain_files(tmp_path):
    box = trimesh.creation.box()
    box.visual.vertex_colors = np.tile([255, 0, 0, 255], (8, 1))
    box.export(tmp_path / "box.ply")
    assert load(tmp_path / "box.ply").colors.tolist() == [[1, 0, 0]] * 8
    trimesh.creation.box().export(tmp_path / "box.stl")
    plain = load(tmp_path / "box.stl")
    assert plain.colors is None and plain.uv is None and plain.faces.shape == (12, 3)


@pytest.mark.parametrize("name", ["absent.obj", "rubbish.glb", "empty.obj"])
def test_files_that_hold_no_mesh(tmp_path, name):
    if name == "rubbish.glb":
        (tmp_path / name).write_bytes(b"\x01\x02rubbish")
    if name == "empty.obj":
        (tmp_path / name).write_text("v 0 0 0\n")
    with pytest.raises(SystemExit, match=f"error: .*{name}"):
        main(["view", str(tmp_path / name), "--record", str(tmp_path / "frames")])


def test_view_records_a_turn(tmp_path, two_materials, monkeypatch, imageio_ffmpeg):
    monkeypatch.setattr(command, "TURNTABLE", 6)
    frames = tmp_path / "frames"
    assert main(["view", str(two_materials), "--record", str(frames), "--device", "cpu"]) == 0
    pictures = [imageio.imread(path) for path in sorted(frames.iterdir())]
    assert len(pictures) >= 6 and all((picture == [0, 0, 0]).all(-1).sum() == 0 for picture in pictures)
    middle = pictures[3].shape[0] // 2
    green = [np.flatnonzero(picture[middle, :, 1] > 100 + picture[middle, :, 0].astype(int)) for picture in pictures]
    sides = [
        int(np.sign(g.mean() - picture.shape[1] / 2)) for g, picture in zip(green, pictures, strict=True) if g.size
    ]
    assert sides[0] != sides[3]  # seen from behind the squares have changed their places


@pytest.mark.parametrize("kind", ["pt", "npy", "numbers"])
def test_gradients_from_a_file(tmp_path, two_materials, kind, monkeypatch, imageio_ffmpeg):
    monkeypatch.setattr(command, "TURNTABLE", 1)
    vectors = torch.zeros(8) if kind == "numbers" else torch.zeros(8, 3)
    vectors[6] = 1.0
    path = str(tmp_path / f"gradients.{'npy' if kind == 'npy' else 'pt'}")
    np.save(path, vectors.numpy()) if kind == "npy" else torch.save(vectors, path)
    frames = tmp_path / "frames"
    main(["view", str(two_materials), "--gradients", path, "--record", str(frames), "--device", "cpu"])
    picture = imageio.imread(frames / "frame_000000.png")
    assert ((picture > 200).all(-1)).sum() > 20  # one white arrow


def test_gradients_that_do_not_fit(tmp_path, two_materials):
    path = str(tmp_path / "gradients.pt")
    torch.save(torch.zeros(9, 3), path)
    frames = str(tmp_path / "frames")
    with pytest.raises(SystemExit, match=r"must be \[8, 3\], one row per vertex, got \[9, 3\]"):
        main(["view", str(two_materials), "--gradients", path, "--record", frames])
    with pytest.raises(SystemExit, match="--mode gradients needs what these meshes do not have"):
        main(["view", str(two_materials), "--mode", "gradients", "--record", frames])
    (tmp_path / "text.pt").write_text("no tensor")
    with pytest.raises(SystemExit, match="text.pt holds no tensor"):
        main(["view", str(two_materials), "--gradients", str(tmp_path / "text.pt"), "--record", frames])
