"""`glraster bake`: what the files hold, and what happens when something goes wrong."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glraster import camera, mesh
from glraster.cli import main
from glraster.commands import bake as command

pytest.importorskip("igl")
pytest.importorskip("xatlas")


def bake(*arguments: object) -> int:
    return main(["bake", *map(str, arguments), "--device", "cpu"])


@pytest.fixture
def painted(tmp_path) -> Path:
    """A square with texture coordinates, red at the left and green at the right."""
    texture = torch.zeros(32, 32, 3)
    texture[:, :16, 0], texture[:, 16:, 1] = 1, 1
    mesh.save(tmp_path / "painted.glb", mesh.grid(2, 2).replace(textures=(texture,)))
    return tmp_path / "painted.glb"


@pytest.fixture
def bare(tmp_path) -> Path:
    """The same square, of which nothing is known but its shape."""
    sheet = mesh.grid(3, 3)
    mesh.save(tmp_path / "bare.ply", mesh.Mesh(sheet.pos, sheet.tri))
    return tmp_path / "bare.ply"


def check_colors(file: Path) -> None:
    """Whether a square is red at the left and green at the right."""
    found = mesh.load(file)
    (texture,) = found.textures
    corners = found.pos[found.tri.long()], found.uv[found.uv_tri.long()]
    for x, expected in ((-0.6, [1.0, 0, 0]), (0.6, [0.0, 1, 0])):
        inner = (corners[0].mean(1)[:, 0] * x > 0) & (corners[0].mean(1)[:, 0].abs() > 0.5)
        column, row = (corners[1][inner].mean(1) * torch.tensor(texture.shape[1::-1])).long().unbind(1)
        assert inner.any() and (texture[row, column] - torch.tensor(expected)).abs().max() < 0.02


@pytest.mark.parametrize("name", ["new/out.glb", "out.obj"])
def test_of_another_mesh(painted, bare, tmp_path, name, capsys):
    assert bake(bare, "--from", painted, "--out", tmp_path / name, "--resolution", 64, "--max-distance", 0.1) == 0
    assert re.search(r"64 x 64 texels, \d+\.\d% of them on the surface;\n100.0% of these", capsys.readouterr().out)
    check_colors(tmp_path / name)
    expected = {"out.glb"} if name.endswith("glb") else {"out.obj", "out.mtl", "out_0.png"}
    assert {f.name for f in (tmp_path / name).parent.iterdir()} - {"painted.glb", "bare.ply"} == expected


def test_of_photos(painted, bare, tmp_path):
    """One photo, in which the lower third of the square is cut off: that is filled from above."""
    photo = np.zeros((40, 60, 4), np.uint8)
    photo[:, :30, 0], photo[:, 30:, 1], photo[:30, :, 3] = 255, 255, 255
    (tmp_path / "shots").mkdir()
    Image.fromarray(photo).save(tmp_path / "shots" / "front.png")
    pose = torch.linalg.inv(camera.look_at(torch.tensor([0.0, 0, 3]))).tolist()
    content = {"camera_angle_x": 1.4, "frames": [{"file_path": "shots/front", "transform_matrix": pose}]}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    arguments = ["--cameras", tmp_path / "transforms.json", "--resolution", 64, "--out", tmp_path / "out.glb"]
    assert bake(bare, *arguments) == 0
    check_colors(tmp_path / "out.glb")


def test_of_colmap_and_of_photos_elsewhere(bare, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "cameras.txt").write_text("1 PINHOLE 60 40 36 36 30 20\n")
    (tmp_path / "model" / "images.txt").write_text("1 0 1 0 0 0 0 3 1 a.jpg\n\n")  # half a turn about X, from z = 3
    photo = np.zeros((80, 120, 3), np.uint8)
    photo[:, :60, 0], photo[:, 60:, 1] = 255, 255
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo).save(tmp_path / "photos" / "a.jpg", quality=100)
    arguments = ["--cameras", tmp_path / "model", "--images", tmp_path / "photos", "--out", tmp_path / "out.glb"]
    assert bake(bare, *arguments, "--resolution", 64) == 0
    check_colors(tmp_path / "out.glb")


def test_of_colours_of_vertices(tmp_path):
    sheet = mesh.grid(8, 8)
    color = torch.stack([sheet.pos[:, 0] < 0, sheet.pos[:, 0] > 0, sheet.pos[:, 0] > 9], dim=1).float()
    mesh.save(tmp_path / "colored.ply", mesh.Mesh(sheet.pos, sheet.tri, color=color, color_tri=sheet.tri))
    assert bake(tmp_path / "colored.ply", "--resolution", 64, "--out", tmp_path / "out.glb") == 0
    check_colors(tmp_path / "out.glb")


def test_pictures(painted, tmp_path, capsys):
    assert bake(painted, "--from", painted, "--out", tmp_path / "out.png", "--resolution", "32x16") == 0
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape == (16, 32, 3) and pixels[8, 4].tolist() == [255, 0, 0]
    for kind, expected in (("normals", [128, 128, 255]), ("tangent-normals", [128, 128, 255])):
        out = tmp_path / f"{kind}.png"
        assert bake(painted, "--from", painted, "--out", out, "--resolution", 8, "--map", kind) == 0
        with Image.open(out) as picture:
            assert abs(np.asarray(picture).astype(int) - expected).max() <= 1
    assert "warning" not in capsys.readouterr().err


def test_layouts_that_overlap(painted, tmp_path, capsys):
    folded = mesh.load(painted)
    uv = torch.where(folded.uv[:, :1] > 0.5, torch.cat([1 - folded.uv[:, :1], folded.uv[:, 1:]], 1), folded.uv)
    mesh.save(tmp_path / "folded.glb", folded.replace(uv=uv))
    arguments = [tmp_path / "folded.glb", "--from", painted, "--resolution", 64, "--out", tmp_path / "out.glb"]
    assert bake(*arguments) == 0
    assert re.search(r"warning: 50% of the layout of .*folded.glb lies over other parts", capsys.readouterr().err)
    assert bake(*arguments, "--unwrap") == 0 and "warning" not in capsys.readouterr().err
    check_colors(tmp_path / "out.glb")


@pytest.mark.parametrize("name", ["out.glb", "out.obj"])
def test_files_are_whole_or_absent(painted, bare, tmp_path, monkeypatch, capsys, name):
    def half(path, *_):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(command, "save", half)
    assert bake(bare, "--from", painted, "--resolution", 16, "--out", tmp_path / name) == 1
    assert "error: No space left on device" in capsys.readouterr().err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bare.ply", "painted.glb"]


@pytest.mark.parametrize(
    "wrong, code, words",
    [
        (["bare.ply", "--from", "painted.glb", "--out", "out.jpg"], 2, "--out must end in .glb or .obj or .png"),
        (
            ["bare.ply", "--from", "painted.glb", "--map", "normals", "--out", "out.glb"],
            2,
            "--out must end in .png with",
        ),
        (["painted.glb", "--map", "normals"], 2, "--map normals needs --from"),
        (["bare.ply", "--images", "."], 2, "--images needs --cameras"),
        (["bare.ply", "--from", "painted.glb", "--unwrap", "--out", "out.png"], 2, "--unwrap needs a mesh for --out"),
        (["bare.ply", "--from", "a.glb", "--cameras", "b.json"], 2, "not allowed with argument"),
        (["bare.ply", "--resolution", "0"], 2, "WIDTHxHEIGHT"),
        (["absent.ply"], 1, "error: absent.ply is not there"),
        (["bare.ply"], 1, "error: bare.ply has no colours of vertices: give --from or --cameras"),
        (["painted.glb"], 1, "error: painted.glb has no colours of vertices: give --from or --cameras"),
        (["painted.glb", "--unwrap"], 1, "error: painted.glb has textures of its own: give --from painted.glb"),
        (["bare.ply", "--from", "painted.glb", "--out", "x.png"], 1, "has no texture coordinates: bake into a mesh"),
        (["painted.glb", "--from", "bare.ply"], 1, r"must have textures or colours of vertices, got neither"),
        (["painted.glb", "--from", "far.glb", "--max-distance", "1"], 1, "far.glb shows nothing of painted.glb"),
        (["bare.ply", "--cameras", "absent.json"], 1, "absent.json"),
        (["bare.ply", "--cameras", "lost.json"], 1, r"there is no photo lost.png: give --images"),
        (["bare.ply", "--cameras", "wide.json"], 1, r"shot.png is 8 x 8, its camera in wide.json is for 16 x 8"),
        (["bare.ply", "--cameras", "none.json"], 1, r"none.json holds no cameras"),
    ],
)
def test_what_goes_wrong(painted, bare, tmp_path, capsys, monkeypatch, wrong, code, words):
    monkeypatch.chdir(tmp_path)
    away = mesh.load(painted)
    mesh.save("far.glb", away.replace(pos=away.pos + 9))
    Image.new("RGB", (8, 8)).save("shot.png")
    for name, file in (("lost", "lost.png"), ("wide", "shot.png"), ("none", None)):
        frame = {"file_path": file, "transform_matrix": torch.eye(4).tolist()}
        content = {"w": 16, "h": 8, "fl_x": 8.0, "frames": [frame] if file else []}
        Path(f"{name}.json").write_text(json.dumps(content))
    before = {file.name for file in tmp_path.iterdir()}
    try:
        found = bake(*wrong)
    except SystemExit as end:
        found = end.code
    err = capsys.readouterr().err
    assert found == code and re.search(words, err) and "Traceback" not in err
    assert {file.name for file in tmp_path.iterdir()} == before
