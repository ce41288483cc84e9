"""`glraster render`: what the files hold, and how the work goes on when something goes wrong."""

import argparse
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from glraster import camera
from glraster.cli import main
from glraster.commands.render import command, files, options, plan
from glraster.commands.render.lighting import Lighting

DISTANCE = math.sqrt(0.75) * 1.05 / math.sin(math.radians(20))  # of the cameras from the middle of a box


@pytest.fixture
def box(tmp_path) -> Path:
    """A box of side 1, without colours."""
    trimesh.creation.box().export(tmp_path / "box.ply")
    return tmp_path / "box.ply"


def render(*arguments: object) -> int:
    return main(["render", *map(str, arguments), "--device", "cpu"])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def exr(openexr, path: Path) -> dict[str, np.ndarray]:
    with openexr.File(str(path), separate_channels=True) as file:
        return {name: channel.pixels for name, channel in file.channels().items()}


def test_outputs_as_png(box, tmp_path):
    outputs = "color,normals,depth,ids,mask"
    assert render(box, "--out", tmp_path, "--views", 4, "--elevation", 0, "--resolution", 64, "--outputs", outputs) == 0
    folder = tmp_path / "box"
    assert sorted(path.name for path in (folder / "color").iterdir()) == [f"00{i}.png" for i in range(4)]
    color, normals, depth = (pixels(folder / o / "001.png") for o in ("color", "normals", "depth"))  # from +X
    assert color.shape == (64, 64, 4) and (color[0, 0] == 0).all() and color[32, 32, 3] == 255
    assert abs(normals[32, 32].astype(int) - [255, 128, 128]).max() <= 3 and (normals[0, 0] == 0).all()
    assert abs(int(depth[32, 32]) - 1000 * (DISTANCE - 0.5)) <= 1 and depth[0, 0] == 0
    ids, mask = pixels(folder / "ids" / "001.png"), pixels(folder / "mask" / "001.png")
    assert 1 <= ids[32, 32] <= 12 and ids[0, 0] == 0 and mask[32, 32] == 255 and mask[0, 0] == 0
    assert ((mask > 0) & (mask < 255)).any()  # antialiased


def test_outputs_as_exr(box, tmp_path, openexr):
    flat = ["--flat", "--outputs", "color,normals,depth,ids,mask", "--format", "exr"]
    assert render(box, "--out", tmp_path, "--views", 1, "--elevation", 0, "--resolution", "80x48", *flat) == 0
    found = {
        name: exr(openexr, tmp_path / "box" / name / "000.exr") for name in ("color", "normals", "depth", "ids", "mask")
    }
    assert sorted(found["color"]) == ["A", "B", "G", "R"] and found["color"]["R"].shape == (48, 80)
    assert [float(found["normals"][axis][24, 40]) for axis in "XYZ"] == pytest.approx([0, 0, 1], abs=1e-6)
    assert float(found["depth"]["Z"][24, 40]) == pytest.approx(DISTANCE - 0.5, rel=1e-5)
    assert found["ids"]["id"].dtype == np.uint32 and found["mask"]["Y"][24, 40] == 1


@pytest.fixture
def square(tmp_path) -> Path:
    """A square with texture coordinates and a texture: red below and blue above."""
    corners, faces = [[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], [[0, 1, 2], [0, 2, 3]]
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4, :, 2], texture[4:, :, 0] = 200, 100
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(texture), metallicFactor=0.0)
    mesh = trimesh.Trimesh(corners, faces, process=False)
    mesh.visual = trimesh.visual.TextureVisuals(uv=[[0.0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    mesh.export(tmp_path / "square.glb")
    return tmp_path / "square.glb"


@pytest.fixture
def white(tmp_path) -> Path:
    """Light that is even from everywhere."""
    Image.new("RGB", (16, 8), (255, 255, 255)).save(tmp_path / "white.png")
    return tmp_path / "white.png"


@pytest.mark.parametrize("ssaa", [1, 2])
def test_colours_are_the_textures_in_even_light(square, white, tmp_path, ssaa):
    few = ["--views", 1, "--elevation", 0, "--resolution", 64, "--outputs", "color,uv", "--ssaa", ssaa]
    assert render(square, "--environment", white, *few, "--out", tmp_path, "--background", "0,1,0") == 0
    color = pixels(tmp_path / "square" / "color" / "000.png").astype(int)
    assert color.shape == (64, 64, 3) and color[0, 0].tolist() == [0, 255, 0]
    assert abs(color[42, 32] - [100, 0, 0]).max() <= 1 and abs(color[22, 32] - [0, 0, 200]).max() <= 1
    uv = pixels(tmp_path / "square" / "uv" / "000.png").astype(int)
    assert uv[40, 24, 0] < 128 < uv[24, 40, 0] and uv[40, 24, 1] < 128 < uv[24, 40, 1]


def test_cameras_of_files(box, tmp_path):
    pose = torch.linalg.inv(camera.look_at(torch.tensor([3.0, 0, 0]))).tolist()
    frames = [{"file_path": f"./images/{name}.jpg", "transform_matrix": pose} for name in ("left", "right")]
    content = {"w": 40, "h": 30, "fl_x": 40.0, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    cameras = ["--cameras", tmp_path / "transforms.json", "--outputs", "depth"]
    assert render(box, "--out", tmp_path, *cameras) == 0
    for name in ("left", "right"):
        depth = pixels(tmp_path / "box" / "depth" / f"{name}.png")
        assert depth.shape == (30, 40) and depth[15, 20] == 2500
    colmap = tmp_path / "sparse"
    colmap.mkdir()
    (colmap / "cameras.txt").write_text("1 PINHOLE 40 30 40 40 20 15\n")
    (colmap / "images.txt").write_text("1 1 0 0 0 0 0 4 1 a.png\n\n")  # looks along +Z from z = -4
    assert render(box, "--out", tmp_path, "--cameras", tmp_path, "--outputs", "depth", "--resolution", "80x60") == 0
    depth = pixels(tmp_path / "box" / "depth" / "a.png")
    assert depth.shape == (60, 80) and depth[30, 40] == 3500


def test_cameras_are_told_to_others(box, tmp_path):
    around = ["--views", 3, "--around", "sphere", "--resolution", "40x24", "--outputs", "depth"]
    assert render(box, "--out", tmp_path / "first", *around) == 0
    told = tmp_path / "first" / "box" / "transforms.json"
    assert json.loads(told.read_text())["frames"][1]["file_path"] == "depth/001.png"
    assert render(box, "--out", tmp_path / "second", "--cameras", told, "--outputs", "depth") == 0
    for view in ("000", "001", "002"):
        first, second = (pixels(tmp_path / which / "box" / "depth" / f"{view}.png") for which in ("first", "second"))
        assert first.any() and abs(first.astype(int) - second).max() <= 1


def test_films(box, tmp_path, imageio_ffmpeg):
    few = ["--views", 5, "--resolution", "33x20", "--format", "mp4", "--outputs", "color,mask"]
    assert render(box, "--out", tmp_path, *few, "--fps", 10) == 0
    frames = imageio_ffmpeg.read_frames(str(tmp_path / "box" / "color.mp4"))
    meta, images = next(frames), list(frames)
    assert len(images) == 5 and meta["size"] == (34, 20) and meta["fps"] == 10
    assert np.frombuffer(images[0], np.uint8)[:3].min() > 240  # white behind the mesh
    assert not list((tmp_path / "box").glob(".*"))


def test_work_goes_on_where_it_was_interrupted(box, tmp_path, capsys):
    few = [box, "--out", tmp_path, "--views", 3, "--resolution", 16]
    assert render(*few) == 0
    first, second, third = sorted((tmp_path / "box" / "color").iterdir())
    second.unlink()
    stamps = first.stat().st_mtime_ns, third.stat().st_mtime_ns
    assert render(*few) == 0 and second.exists()
    assert (first.stat().st_mtime_ns, third.stat().st_mtime_ns) == stamps
    capsys.readouterr()
    assert render(*few) == 0 and "1 of 1 meshes: nothing left to do" in capsys.readouterr().err
    assert render(*few, "--overwrite") == 0 and first.stat().st_mtime_ns != stamps[0]


def test_files_are_whole_or_absent(box, tmp_path, monkeypatch, capsys):
    def half(path, *_):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    openexr_files = ["--out", tmp_path, "--views", 2, "--resolution", 16, "--format", "exr"]
    monkeypatch.setattr(files, "_write_exr", half)
    assert render(box, *openexr_files) == 1
    assert f"error: {box}: No space left on device" in capsys.readouterr().err
    assert list((tmp_path / "box" / "color").iterdir()) == []


def test_interruption(box, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load", interrupt)
    assert render(box, "--out", tmp_path) == 130
    assert "interrupted: the same command goes on from here" in capsys.readouterr().err


def test_a_bad_mesh_is_reported_and_the_rest_goes_on(box, tmp_path, capsys):
    (tmp_path / "bad.obj").write_text("v 0 0 0\n")
    meshes = [tmp_path / "absent.ply", tmp_path / "bad.obj", box]
    assert render(*meshes, "--out", tmp_path, "--views", 1, "--resolution", 16) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"error: {meshes[0]}: is not there") for line in lines)
    assert any(line.startswith(f"error: {meshes[1]}: ") for line in lines)
    assert lines[-1] == "2 of 3 meshes could not be rendered"
    assert (tmp_path / "box" / "color" / "000.png").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_shards_share_the_work_out(tmp_path, count):
    found = []
    for index in range(count):
        arguments = parse(
            "a.obj", "b.obj", "c.obj", "--views", "7", "--out", str(tmp_path), "--shard", f"{index}/{count}"
        )
        works = plan.plan(arguments, command.make_views(arguments))
        paths = [path for work in works for paths in work.files.values() for path in paths.values()]
        assert abs(len(paths) - 21 / count) < 1 and sum(bool(work.steps) for work in works) <= 2 + 21 // count // 7
        found += paths
    assert len(found) == len(set(found)) == 21


def parse(*arguments: str):
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    parsed = parser.parse_args(arguments)
    options.check(parsed)
    return parsed


def test_names_of_meshes():
    assert plan.mesh_names(["x/a.obj", "y/b.ply", "x/a.obj"]) == {"x/a.obj": "a", "y/b.ply": "b"}
    assert plan.mesh_names(["x/a.obj", "y/a.obj"]) == {"x/a.obj": "x/a", "y/a.obj": "y/a"}
    assert plan.mesh_names(["x/a.obj", "x/a.ply"]) == {"x/a.obj": "a.obj", "x/a.ply": "a.ply"}


@pytest.mark.parametrize(
    "wrong, words",
    [
        (["--resolution", "12x"], "WIDTHxHEIGHT"),
        (["--shard", "3/3"], "I from 0 to N - 1"),
        (["--outputs", "color,albedo"], "must be of color, normals, .* got 'albedo'"),
        (["--background", "1,2,3"], "from 0 to 1"),
        (["--light", "0,0,0"], "not all zero"),
        (["--views", "0"], "at least 1"),
        (["--fov", "180"], "less than 180"),
        (["--elevation", "steep"], "from -90 to 90"),
        (["--depth-scale", "inf"], "greater than 0"),
        (["--device", "abacus"], "not a device"),
        (["--outputs", "ids", "--format", "mp4"], "error: --format mp4 cannot hold ids"),
        (["--texture", "absent.png"], "error: there is no picture 'absent.png'"),
        (["--texture", "box.ply"], "error: .*box.ply"),
        (["--environment", "absent.exr"], "error: there is no environment 'absent.exr'"),
        (["--environment", "absent.exr", "--light", "0,1,0"], "exclude each other"),
        (["--cameras", "absent.json"], "error: .*absent.json"),
        (["--cameras", "."], "error: .*no COLMAP model"),
    ],
)
def test_options_that_make_no_sense(box, tmp_path, capsys, wrong, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["render", str(box), *wrong])
    except SystemExit as end:
        code = end.code
    err = capsys.readouterr().err
    assert code == 2 and re.search(words, err) and "Traceback" not in err


@pytest.mark.parametrize(
    "more, words",
    [
        (["--outputs", "uv"], "has no texture coordinates for the output uv"),
        (["--outputs", "depth", "--depth-scale", "1e6"], "16 bits do not hold its depths: a smaller --depth-scale"),
    ],
)
def test_outputs_that_a_mesh_does_not_have(box, tmp_path, capsys, more, words):
    assert render(box, "--out", tmp_path, "--views", 1, "--resolution", 16, *more) == 1
    assert f"error: {box}: {words}" in capsys.readouterr().err


def test_up_is_where_one_says(box, tmp_path):
    """From 90 degrees above a box that stands on another axis, its top is in the middle."""
    for up in "xyz":
        few = ["--views", 1, "--elevation", 90, "--resolution", 16, "--up", up, "--outputs", "normals", "--flat"]
        assert render(box, "--out", tmp_path / up, *few) == 0
        normal = pixels(tmp_path / up / "box" / "normals" / "000.png")[8, 8]
        assert normal.tolist() == [255 if axis == up else 128 for axis in "xyz"]


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_light_comes_from_above(up):
    sky = Lighting.studio([], up)
    lamp = Lighting.studio([(0.0, 0.0, -2.0)], up)
    axes = torch.eye(3)
    above, below = sky.irradiance(axes["xyz".index(up)]), sky.irradiance(-axes["xyz".index(up)])
    assert (above > 1.5 * below).all() and (below > 0).all()
    added = lamp.irradiance(-axes[2]) - Lighting(lamp._coefficients, torch.zeros(0, 3), up).irradiance(-axes[2])
    torch.testing.assert_close(added, torch.full((3,), 0.5))


def test_panoramas_have_their_middle_along_z(tmp_path):
    panorama = np.zeros((64, 128, 3), np.uint8)
    panorama[20:44, 56:72] = 255  # around the middle
    panorama[:8, :, 0] = 255  # red above
    Image.fromarray(panorama).save(tmp_path / "panorama.png")
    lighting = Lighting.environment(str(tmp_path / "panorama.png"), "y")
    ahead, behind, above = lighting.irradiance(torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 1, 0]]))
    assert ahead[1] > 5 * behind[1] and above[0] > 2 * above[1]
    turned = Lighting.environment(str(tmp_path / "panorama.png"), "z")
    torch.testing.assert_close(turned.irradiance(torch.tensor([0.0, 0, 1])), above)


def test_panoramas_of_high_range(tmp_path, openexr):
    with openexr.File({}, {"RGB": np.full((16, 32, 3), 3.0, np.float32)}) as file:
        file.write(str(tmp_path / "even.exr"))
    lighting = Lighting.environment(str(tmp_path / "even.exr"), "y")
    received = lighting.irradiance(camera.directions(5))
    torch.testing.assert_close(received, torch.full((5, 3), 3.0), rtol=1e-3, atol=0)
    for name in ("rubbish.exr", "rubbish.png"):
        (tmp_path / name).write_bytes(b"rubbish")
        with pytest.raises(ValueError, match=f"{name} cannot be read as an environment"):
            Lighting.environment(str(tmp_path / name), "y")


def test_panoramas_in_the_format_of_radiance(tmp_path, cv2):
    blue_green_red = np.full((16, 32, 3), [0.5, 1.0, 4.0], np.float32)
    cv2.imwrite(str(tmp_path / "even.hdr"), blue_green_red)
    received = Lighting.environment(str(tmp_path / "even.hdr"), "y").irradiance(camera.directions(3))
    torch.testing.assert_close(received, torch.tensor([[4.0, 1.0, 0.5]]).expand(3, 3), rtol=0.01, atol=0)
    (tmp_path / "rubbish.hdr").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="rubbish.hdr cannot be read as an environment"):
        Lighting.environment(str(tmp_path / "rubbish.hdr"), "y")
