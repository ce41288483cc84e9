"""`glraster.fit` and `glraster fit`: from photos to a mesh, its files, going on after an interruption, and errors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glraster import camera, fit, losses, mesh
from glraster.cli import main
from glraster.fit import fitting

FEW = {"geometry_steps": 60, "texture_steps": 8, "batch": 3, "triangles": 700, "texture_size": 64}
SHORT = FEW | {"geometry_steps": 10, "texture_steps": 4}  # with a remeshing at step 8
QUICK = [f"--{name.replace('_', '-')}={number}" for name, number in SHORT.items()]


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Path:
    """Photos of an egg in three colours, off the origin, 10 of 48 x 40 pixels with opacity, and their cameras."""
    folder = tmp_path_factory.mktemp("fit")
    egg = mesh.icosphere(3)
    color = (egg.pos.sign() + 1) / 2 * 0.6 + 0.2
    pos = egg.pos * torch.tensor([1.0, 0.6, 0.75]) + torch.tensor([3.0, -2.0, 1.0])
    mesh.save(folder / "egg.ply", egg.replace(pos=pos, color=color, color_tri=egg.tri))
    around = ["--views", "10", "--around", "sphere", "--resolution", "48x40", "--jobs", "1", "--device", "cpu"]
    assert main(["render", str(folder / "egg.ply"), "--out", str(folder), *around]) == 0
    return folder / "egg"


@pytest.fixture
def copied(scene, tmp_path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(scene, tmp_path / "egg"))


@pytest.fixture(scope="module")
def fitted(scene):
    """A short fit: what it began with, what it found, and the photos that were held out."""
    photos, held_out = fit.read_photos(scene, hold_out=5)
    settings = fit.Settings(**FEW)
    start = fit.fit_mesh(photos, fit.Settings(**FEW | {"geometry_steps": 1, "texture_steps": 1}))
    return start, fit.fit_mesh(photos, settings), held_out


def test_photos(scene):
    photos, held_out = fit.read_photos(scene, hold_out=5)
    assert len(photos) == 8 and [view.name for view in held_out.views] == ["color/002.png", "color/007.png"]
    assert photos.images.shape == (8, 40, 48, 4) and photos.masked
    with Image.open(scene / "color" / "002.png") as picture:
        top_left = np.array(picture).astype(float)[::-1]
    wanted = top_left[..., :3] * top_left[..., 3:] / 255
    assert abs(held_out.images[0, ..., :3].numpy() - wanted).max() <= 1
    assert (held_out.images[0, ..., 3].numpy() == top_left[..., 3]).all()
    small, _ = fit.read_photos(scene, hold_out=0, resolution=24)
    assert small.images.shape == (10, 20, 24, 4)


def test_where_the_object_is(scene):
    photos, _ = fit.read_photos(scene, hold_out=0)
    frame = fit.Frame.around(photos)
    assert (frame.centre - torch.tensor([3.0, -2.0, 1.0])).norm() < 0.05 and 0.95 < frame.radius < 1.1
    clip = camera.transform(torch.zeros(1, 3), frame.matrices(photos.views))
    assert (clip[..., :2] / clip[..., 3:]).abs().max() < 0.05  # its middle is in the middle of the images
    torch.testing.assert_close(frame.to_world(torch.zeros(1, 3))[0], frame.centre.float())


def test_a_fit_finds_the_object(fitted):
    start, found, held_out = fitted
    before, after = fit.measure(start, held_out), fit.measure(found, held_out)
    assert before.mean_iou < 0.8 < 0.96 < after.mean_iou
    assert before.mean_psnr < 15 < 21 < after.mean_psnr and after.names == ("color/002.png", "color/007.png")
    low, high = found.mesh.pos.aminmax(dim=0)
    assert ((low + high) / 2 - torch.tensor([3.0, -2.0, 1.0])).norm() < 0.1


@pytest.fixture(scope="module")
def uninterrupted(scene):
    """What a very short fit finds."""
    return fit.fit_mesh(fit.read_photos(scene, hold_out=5)[0], fit.Settings(**SHORT))


@pytest.mark.parametrize("stop", [9, 10, 12])  # within the first part, between the two, within the second
def test_going_on_gives_what_was_not_interrupted(scene, uninterrupted, tmp_path, monkeypatch, stop):
    photos, _ = fit.read_photos(scene, hold_out=5)
    state, settings = tmp_path / "state.pt", fit.Settings(**SHORT)
    step = fitting._Run.step

    def interrupted(run, number, viewer):
        if number == stop:
            raise KeyboardInterrupt
        step(run, number, viewer)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fitting, "_PERIOD", 0.0)
        patch.setattr(fitting._Run, "step", interrupted)
        fit.fit_mesh(photos, settings, checkpoint=state)
    assert list(tmp_path.iterdir()) == [state]
    again = fit.fit_mesh(photos, settings, checkpoint=state, resume=True)
    torch.testing.assert_close(again.mesh.pos, uninterrupted.mesh.pos)
    torch.testing.assert_close(again.mesh.textures, uninterrupted.mesh.textures)
    torch.testing.assert_close(again.light, uninterrupted.light)


def test_checkpoints_of_other_fits(scene, tmp_path):
    photos, _ = fit.read_photos(scene, hold_out=5)
    state, settings = tmp_path / "state.pt", {"geometry_steps": 1, "texture_steps": 1, "texture_size": 16}
    fit.fit_mesh(photos, fit.Settings(**settings), checkpoint=state)
    with pytest.raises(ValueError, match=r"state.pt is of another fit: seed 0 instead of 1"):
        fit.fit_mesh(photos, fit.Settings(**settings, seed=1), checkpoint=state, resume=True)
    with pytest.raises(ValueError, match=r"state.pt is of another fit: count 8 instead of 7"):
        fit.fit_mesh(photos.chosen(range(7)), fit.Settings(**settings), checkpoint=state, resume=True)


def test_rubbish_is_no_checkpoint(scene, tmp_path):
    photos, _ = fit.read_photos(scene)
    (tmp_path / "state.pt").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="state.pt is no checkpoint of a fit"):
        fit.fit_mesh(photos, checkpoint=tmp_path / "state.pt", resume=True)


@pytest.mark.parametrize("form", ["glb", "obj"])
def test_command(scene, tmp_path, capsys, form):
    command = ["fit", str(scene), "--out", str(tmp_path), "--hold-out", "5", "--format", form, *QUICK]
    assert main(command) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {f"mesh.{form}", "report.json", "report.txt", "comparison.png", "state.pt"} <= names
    assert not [name for name in names if name.startswith(".")]
    loaded = mesh.load(tmp_path / f"mesh.{form}")
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(loaded.tri) == report["triangles"] and loaded.textures[0].shape == (64, 64, 3)
    assert report["photos"] == 8 and len(report["held_out"]["photos"]) == 2 and 0.6 < report["held_out"]["iou"] < 1
    assert np.shape(report["light"]) == (9, 3) and report["settings"]["triangles"] == 700
    out = capsys.readouterr().out
    assert out == (tmp_path / "report.txt").read_text() and "2 held-out photos: IoU 0." in out
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.size == (2 * 48, 2 * 40)
    assert main(command) == 2 and "holds a fit: --resume goes on with it" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0  # there is nothing left to do
    assert json.loads((tmp_path / "report.json").read_text())["held_out"] == report["held_out"]


def test_interruption(scene, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting._Run, "step", interrupt)
    assert main(["fit", str(scene), "--out", str(tmp_path)]) == 130
    assert "interrupted: --resume goes on from here" in capsys.readouterr().err


def failure(capsys, *arguments: object) -> str:
    """What a command that must fail says."""
    try:
        code = main(["fit", *map(str, arguments)])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    assert code == 2 and "Traceback" not in said.err and not said.out
    return said.err


def test_photos_that_are_not_there(copied, tmp_path, capsys):
    out = "--out", tmp_path / "out"
    assert "there are no cameras 'absent'" in failure(capsys, "absent", *out)
    (copied / "color" / "004.png").unlink()
    assert "there is no photo" in (words := failure(capsys, copied, *out)) and "004.png" in words
    assert f"there is no photo '{tmp_path / 'out' / '000.png'}'" in failure(capsys, copied, *out, "--images", out[1])


def test_photos_that_are_no_photos(copied, tmp_path, capsys):
    out, photo = ("--out", tmp_path / "out"), copied / "color" / "004.png"
    Image.new("RGB", (48, 48)).save(photo)
    words = failure(capsys, copied, *out)
    assert "004.png must have 48 x 40 pixels as its camera says, or both in proportion, got 48 x 48" in words
    photo.write_bytes(b"rubbish")
    assert "004.png cannot be read as a picture" in failure(capsys, copied, *out)
    Image.new("RGBA", (48, 40)).save(photo)
    assert "004.png shows no object: its mask is empty" in failure(capsys, copied, *out)


def test_cameras_that_tell_nothing(copied, tmp_path, capsys):
    out, file = ("--out", tmp_path / "out"), copied / "transforms.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "frames": content["frames"][:1]}))
    assert "the cameras must see the object from different sides" in failure(capsys, copied, *out, "--hold-out", 0)
    assert "of its 1 photos none is left to fit to" in failure(capsys, copied, *out, "--hold-out", 1)
    file.write_text(json.dumps({**content, "frames": []}))
    assert "transforms.json holds no cameras" in failure(capsys, copied, *out)
    file.write_text("rubbish")
    assert "transforms.json" in failure(capsys, copied, *out)
    file.unlink()
    assert "no COLMAP model" in failure(capsys, copied, *out)


def test_a_folder_that_cannot_be_written_is_found_at_the_start(scene, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("glraster.commands.fit.command.read_photos", lambda *_, **__: pytest.fail("too late"))
    assert "cannot write to" in failure(capsys, scene, "--out", tmp_path / "file" / "out")


@pytest.mark.parametrize("wrong", [["--hold-out", "-1"], ["--background", "1,2,3"], ["--triangles", "0"]])
def test_options_that_make_no_sense(scene, tmp_path, capsys, wrong):
    assert "error: argument" in failure(capsys, scene, "--out", tmp_path, *wrong)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"triangles": 3}, "triangles must be at least 20, got 3"),
        ({"smoothness": 0.0}, "smoothness must be positive, got 0.0"),
        ({"lighting": "lamp"}, "lighting must be one of sh, none, got 'lamp'"),
    ],
)
def test_settings_that_make_no_sense(wrong, words):
    with pytest.raises(ValueError, match=words):
        fit.Settings(**wrong)


def without_opacity(folder: Path) -> None:
    """Puts the photos before blue."""
    for path in (folder / "color").iterdir():
        with Image.open(path) as picture:
            behind = Image.new("RGBA", picture.size, (0, 0, 255, 255))
            behind.alpha_composite(picture)
            behind.convert("RGB").save(path)


def test_masks(copied, tmp_path, capsys):
    masks = tmp_path / "masks"
    masks.mkdir()
    for path in (copied / "color").iterdir():
        with Image.open(path) as picture:
            picture.getchannel("A").save(masks / path.name)
    wanted, _ = fit.read_photos(copied)
    without_opacity(copied)
    found, _ = fit.read_photos(copied, masks=masks)
    inside = wanted.images[..., 3] == 255  # at the border there is some blue
    assert found.masked and (found.images[..., 3] == wanted.images[..., 3]).all()
    assert (found.images[inside] == wanted.images[inside]).all()
    arguments = copied, "--out", tmp_path / "out", "--masks", masks
    Image.new("L", (40, 40)).save(masks / "003.png")
    assert "003.png must have 48 x 40 pixels as its photo, got 40 x 40" in failure(capsys, *arguments)
    Image.new("L", (48, 40)).save(masks / "003.png")
    assert "003.png shows no object: its mask is empty" in failure(capsys, *arguments)
    (masks / "003.png").unlink()
    assert "there is no mask" in failure(capsys, *arguments)


def test_photos_before_a_background(copied):
    """What is behind the object says where it is, too."""
    without_opacity(copied)
    photos, held_out = fit.read_photos(copied, hold_out=5)
    assert not photos.masked and photos.background == (0.0, 0.0, 1.0)
    assert fit.read_photos(copied, background=(0.5, 0.5, 0.5))[0].background == (0.5, 0.5, 0.5)
    found = fit.fit_mesh(photos, fit.Settings(**FEW))
    quality = fit.measure(found, held_out)
    seen = held_out.images[..., :3].float() / 255
    nothing = torch.tensor(photos.background).expand_as(seen)
    assert quality.iou is None
    assert quality.mean_psnr > losses.psnr(nothing, seen).mean() + 6


def test_data_sets_with_photos_to_test(copied):
    """As Blender's NeRF data sets are: cameras to fit to and to test, names without ending, no sizes."""
    content = json.loads((copied / "transforms.json").read_text())
    angle = 2 * np.arctan(content["w"] / 2 / content["fl_x"])
    for frame in content["frames"]:
        frame["file_path"] = f"./{frame['file_path'].removesuffix('.png')}"
    for name, frames in (("train", content["frames"][:7]), ("test", content["frames"][7:])):
        (copied / f"transforms_{name}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    wanted, _ = fit.read_photos(copied, hold_out=0)
    (copied / "transforms.json").unlink()
    photos, held_out = fit.read_photos(copied)
    assert len(photos) == 7 and len(held_out) == 3
    assert (torch.cat([photos.images, held_out.images]) == wanted.images).all()
    torch.testing.assert_close(photos.views[3].projection, wanted.views[3].projection)


def test_models_of_colmap(copied):
    """Cameras from text files, photos from the folder beside them."""
    wanted, _ = fit.read_photos(copied, hold_out=0)
    content = json.loads((copied / "transforms.json").read_text())
    sparse = copied / "sparse" / "0"
    sparse.mkdir(parents=True)
    focal = content["fl_x"]
    (sparse / "cameras.txt").write_text(f"1 PINHOLE 48 40 {focal} {focal} 24 20\n")
    lines = []
    for number, frame in enumerate(content["frames"]):
        pose = torch.diag(torch.tensor([1.0, -1, -1, 1])) @ torch.tensor(frame["transform_matrix"]).inverse()
        x, y, z, w = rotation_of(pose[:3, :3])
        at = " ".join(str(float(value)) for value in pose[:3, 3])
        lines += [f"{number + 1} {w} {x} {y} {z} {at} 1 {Path(frame['file_path']).name}", ""]
    (sparse / "images.txt").write_text("\n".join(lines) + "\n")
    (copied / "color").rename(copied / "images")
    (copied / "transforms.json").unlink()
    for place in (copied, sparse):
        photos, _ = fit.read_photos(place, hold_out=0)
        assert (photos.images == wanted.images).all()
        torch.testing.assert_close(
            torch.stack([view.matrix for view in photos.views]), torch.stack([view.matrix for view in wanted.views])
        )


def rotation_of(matrix: torch.Tensor) -> list[float]:
    """The quaternion x, y, z, w of a rotation."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(matrix.double().numpy()).as_quat().tolist()
