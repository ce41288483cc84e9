"""The viewer's API: what may be shown, colours and orientation, the loop and its controls, meshes."""

import math
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from glraster.viewer import Camera, Viewer
from glraster.viewer.controls import Controls, Stage
from glraster.viewer.draw import MeshView
from glraster.viewer.grid import arrange, compose, largest_shape
from glraster.viewer.images import DARK, MAGENTA, Snapshot, checked, to_picture
from glraster.viewer.mesh_arguments import MODES
from glraster.viewer.plots import MOST_POINTS, Plots


def picture(image, name="image"):
    return to_picture(name, Snapshot.of(checked(name, image)))


def test_import_takes_no_extra():
    code = "import sys, glraster.viewer; print([m for m in ('viser', 'glfw', 'moderngl', 'imgui_bundle', 'PIL',"
    code += "'matplotlib', 'imageio_ffmpeg', 'OpenGL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("output", "extra", "module"), [("web", "web", "viser"), ("window", "viewer", "glfw")])
def test_missing_package_names_the_extra(monkeypatch, output, extra, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeError, match=rf"needs {module}: pip install 'glraster\[{extra}\]'"):
        Viewer(output)


def test_bottom_row_comes_last():
    image = torch.zeros(2, 3, 3)
    image[0, :, 0] = 1  # the bottom row is red
    image[1, 2, 2] = 1  # the right pixel of the top row is blue
    assert picture(image).pixels.tolist() == [[[0, 0, 0], [0, 0, 0], [0, 0, 255]], [[255, 0, 0]] * 3]


def test_colours_by_hand():
    values = torch.tensor([0.0, 0.5, 1.0, 2.0, -1.0])
    row = torch.stack([values] * 3, dim=-1)[None]
    assert picture(row).pixels[0, :, 0].tolist() == [0, 128, 255, 255, 0]
    assert picture(row.half()).pixels[0, :, 0].tolist() == [0, 128, 255, 255, 0]
    assert picture((row.clamp(0, 1) * 255).to(torch.uint8)).pixels[0, :, 0].tolist() == [0, 127, 255, 255, 0]
    assert picture(row[..., :2]).pixels[0, 2].tolist() == [255, 255, 0]
    half = torch.tensor([[[1.0, 0.0, 0.0, 0.5]]])
    assert picture(half).pixels[0, 0].tolist() == [191, 64, 64]  # half red, half of mid grey
    assert picture(torch.tensor([[True, False]])).pixels[0].tolist() == [[255] * 3, [0] * 3]


def test_nan_is_magenta():
    image = torch.full((2, 2, 3), 0.5)
    image[0, 1, 2] = math.nan
    image[1, 0, 0], image[1, 1, 1] = math.inf, -math.inf
    pixels = picture(image).pixels
    assert tuple(pixels[1, 1]) == MAGENTA
    assert pixels[0].tolist() == [[255, 128, 128], [128, 0, 128]]
    depth = torch.tensor([[1.0, math.nan, 3.0]])
    shown = picture(depth)
    assert tuple(shown.pixels[0, 1]) == MAGENTA and (shown.legend.low, shown.legend.high) == (1, 3)
    assert tuple(picture(torch.full((2, 2), math.nan)).pixels[0, 0]) == MAGENTA


def test_scalars_and_ids_have_legends():
    shown = picture(torch.tensor([[0.0, 1.0, 2.0, -math.inf]]))
    table = shown.legend.colors
    assert shown.pixels[0].tolist() == [table[0].tolist(), table[128].tolist(), table[255].tolist(), list(DARK)]
    shown = picture(torch.tensor([[-1, 0, 1, 20]], dtype=torch.int32))
    table = shown.legend.colors
    assert shown.pixels[0].tolist() == [list(DARK), table[0].tolist(), table[1].tolist(), table[0].tolist()]
    assert (shown.legend.kind, shown.legend.low, shown.legend.high) == ("ids", 0, 20)
    constant = picture(torch.full((2, 2), 7.0))
    assert constant.legend.low == constant.legend.high == 7


def test_minibatch_is_tiled_row_by_row():
    images = torch.arange(4).view(4, 1, 1, 1).expand(4, 2, 2, 3).to(torch.uint8)
    assert picture(images).pixels[::2, ::2, 0].tolist() == [[0, 1], [2, 3]]
    many = picture(torch.zeros(100, 1, 1, 3))
    assert many.name == "image (64 of 100)" and many.pixels.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (torch.zeros(4, 4, 5), ValueError),
        (torch.zeros(2, 4, 4), None),  # [H, W, C] with 4 channels
        (torch.zeros(2, 4, 40), ValueError),
        (torch.zeros(4), ValueError),
        (torch.zeros(1, 1, 4, 4, 3), ValueError),
        (torch.zeros(0, 4, 3), ValueError),
        (torch.zeros(4, 4, 3, dtype=torch.complex64), TypeError),
        (torch.zeros(4, 4, 3, dtype=torch.int32), TypeError),
        ([[0.0]], TypeError),
        (np.zeros((4, 4, 3)), None),
    ],
)
def test_wrong_shapes_name_the_picture(image, error):
    with Viewer("off") as viewer:
        if error is None:
            viewer.show(depth_map=image)
            return
        with pytest.raises(error, match=r"show\(\): depth_map .* got "):
            viewer.show(depth_map=image)


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"output must be one of .* got 'tv'"):
        Viewer("tv")
    with pytest.raises(ValueError, match="path must be an .mp4 file or a folder .* got 'film.avi'"):
        Viewer("record", path="film.avi")
    with pytest.raises(ValueError, match="needs path="):
        Viewer("record")
    with Viewer("off") as viewer:
        with pytest.raises(ValueError, match=r"log\(\): loss must be one number"):
            viewer.log(loss=torch.zeros(2))
        with pytest.raises(TypeError, match=r"log\(\): loss must be one number"):
            viewer.log(loss="low")
        with pytest.raises(ValueError, match=r"mesh\(\): faces of bunny must be \[T, 3\]"):
            viewer.mesh(torch.zeros(3, 3), torch.zeros(2, 4, dtype=torch.int32), name="bunny")
        with pytest.raises(ValueError, match=r"mesh\(\): colors of mesh must be \[3, 3\], got \[2, 3\]"):
            faces = torch.tensor([[0, 1, 2]])
            viewer.mesh(torch.zeros(3, 3), faces, colors=torch.zeros(2, 3))
        with pytest.raises(ValueError, match="mode of mesh must be one of"):
            viewer.mesh(torch.zeros(3, 3), faces, mode="ugly")


def test_pictures_are_as_large_as_they_fit():
    (cell,) = arrange([(100, 100)], (300, 600))
    assert cell.width == cell.height > 230
    wide = arrange([(10, 10)] * 2, (300, 600))
    assert wide[0].y == wide[1].y and wide[1].x > wide[0].x + wide[0].width
    high = arrange([(10, 10)] * 2, (600, 300))
    assert high[0].x == high[1].x and high[1].y > high[0].y + high[0].height


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(480, 900), (900, 480)])
def test_meshes_fill_the_room(count, size):
    height, width = largest_shape(count, size)
    cells = arrange([(height, width)] * count, size)
    assert {(cell.height, cell.width) for cell in cells} == {(height, width)}


def test_composition_keeps_pixels_and_shows_names():
    image = torch.rand(300, 300, 3)
    shown = picture(image)
    whole = compose([shown])
    (cell,) = arrange([(300, 300)], whole.shape[:2])
    assert np.array_equal(whole[cell.y : cell.y + 300, cell.x : cell.x + 300], shown.pixels)
    label = whole[: cell.y]
    assert (label != label[0, 0]).any()


@pytest.mark.parametrize("size", [(64, 64), (64, 300), (300, 64), (65, 1000)])
@pytest.mark.parametrize("count", [1, 5, 20, 64])
def test_composition_of_any_size(count, size):
    """Also where pictures, names and legends do not fit."""
    pictures = [picture(torch.rand(7 + i, 9, 1 if i % 2 else 3), f"picture {i}") for i in range(count)]
    assert compose(pictures, size).shape == (*size, 3)


def test_loop_is_whole_without_an_output(capsys):
    with Viewer("off") as viewer:
        seen = []
        for i in viewer.loop(range(5)):
            viewer.show(image=torch.zeros(2, 2, 3))
            viewer.log(loss=torch.tensor(float(i)), twice=2 * i)
            seen.append(i)
        assert seen == [0, 1, 2, 3, 4]
        xs, ys = viewer.plots.curve("loss")
        assert xs.tolist() == ys.tolist() == [0, 1, 2, 3, 4]
        viewer.wait()  # nothing to wait for


def test_pause_step_quit():
    viewer = Viewer("off")
    seen, reached = [], threading.Semaphore(0)

    def run():
        for i in viewer.loop(iter(range(100))):
            seen.append(i)
            if i == 2:
                viewer.controls.pause()
            reached.release()

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(3):
        assert reached.acquire(timeout=10)
    assert not reached.acquire(timeout=0.2) and seen == [0, 1, 2]
    viewer.controls.step()
    assert reached.acquire(timeout=10)
    assert not reached.acquire(timeout=0.2) and seen == [0, 1, 2, 3]
    viewer.controls.quit()
    thread.join(10)
    assert not thread.is_alive() and seen == [0, 1, 2, 3]


def test_speed_holds_the_loop_back(monkeypatch):
    controls, waits = Controls(Stage()), []
    clock = iter(range(100))
    monkeypatch.setattr("glraster.viewer.controls.time.monotonic", lambda: next(clock) * 0.0)
    monkeypatch.setattr(controls._asked, "wait", lambda seconds=None: (waits.append(seconds), controls.set_speed(0)))
    controls.set_speed(4)
    controls.wait_turn(0)
    controls.wait_turn(1)
    assert waits == [0.25]


def test_showing_never_waits_for_an_output():
    """The newest picture replaces those that nobody has taken; none is queued."""
    stage = Stage()
    for value in range(100):
        stage.put(image=value)
    assert stage.sources() == {"image": 100 - 1} and stage.version == 100
    assert stage.wait_newer(99, timeout=0) == 100


def test_what_came_too_soon_is_taken_in_the_end(tmp_path, imageio_ffmpeg):
    with Viewer("record", path=tmp_path / "frames", fps=0.01) as viewer:  # one picture in 100 seconds
        image = torch.zeros(1, 1, 3, dtype=torch.uint8)
        for i in viewer.loop(range(9)):
            viewer.show(image=image + i)
        assert viewer.pictures()[0].pixels[0, 0, 0] == 8


def test_a_picture_is_copied_when_it_is_shown(tmp_path, imageio_ffmpeg):
    with Viewer("record", path=tmp_path / "frames") as viewer:
        image = torch.zeros(1, 1, 3)
        viewer.show(image=image)
        image.fill_(1)
        assert viewer.pictures()[0].pixels.max() == 0


def test_plots_stay_small_and_end_with_the_newest():
    plots = Plots()
    for i in range(3 * MOST_POINTS):
        plots.append("loss", i, -float(i))
        assert plots.newest() == {"loss": -float(i)}
    xs, ys = plots.curve("loss")
    assert len(xs) <= MOST_POINTS + 1 and xs[0] == 0 and xs[-1] == 3 * MOST_POINTS - 1
    assert (np.diff(xs) > 0).all() and np.array_equal(xs, -ys)


def test_camera_matrices_by_hand():
    camera = Camera(eye=(0, 0, 2), fov=90)
    assert torch.allclose(camera.view @ torch.tensor([0.0, 0, 0, 1]), torch.tensor([0.0, 0, -2, 1]))
    x, y, _, w = camera.matrix(aspect=2.0) @ torch.tensor([2.0, 1.0, 0.0, 1.0])
    assert torch.allclose(torch.stack([x / w, y / w]), torch.tensor([0.5, 0.5]))
    camera.orbit(math.pi / 2, 0)  # to the right of the target, which then shows its +X side
    assert np.allclose(camera.pose.eye, [2, 0, 0])
    camera.orbit(0, 10)
    assert 1.99 < camera.pose.eye[1] < 2
    camera.reset()
    camera.pan(0.5, 0)
    assert np.allclose(camera.pose.eye, [2, 0, 2]) and np.allclose(camera.pose.target, [2, 0, 0])
    camera.zoom(2)
    assert np.allclose(camera.pose.eye, [2, 0, 1])
    with pytest.raises(ValueError, match="eye and target must differ"):
        camera.place((0, 0, 0), (0, 0, 0))


def test_camera_frames_a_sphere():
    camera = Camera()
    camera.look_at_sphere((1, 2, 3), 5)
    edge = torch.tensor([1.0, 2 + 5, 3, 1])
    x, y, z, w = camera.matrix() @ edge
    assert 0.8 < y / w < 1 and abs(x / w) < 1e-6 and -1 < z / w < 1
    assert camera.at_home


def quad(**look):
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    return MeshView("quad", vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), **look)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_draws_the_mesh_where_it_is(mode):
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    view = quad(uv=uv, texture=torch.rand(6, 5, 3), vectors=torch.eye(4)[:, :3], mode=mode)
    camera = Camera(eye=(0, 0, 4), fov=90)  # it covers the middle quarter of each side
    shown = Snapshot.of(view.draw(camera, (64, 64))[0])
    pixels = to_picture("quad", shown).pixels[:64, :64]  # the first layer
    assert np.array_equal(pixels[0], np.broadcast_to(pixels[0, 0], pixels[0].shape))
    assert (pixels[26:38, 26:38] != pixels[0, 0]).any(-1).all()
    assert mode == "gradients" or (pixels[:22] == pixels[0, 0]).all()


def test_colours_of_a_mesh_are_upright():
    view = quad(colors=torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]))
    pixels = to_picture("quad", Snapshot.of(view.draw(Camera(eye=(0, 0, 2), fov=90), (64, 64))[0])).pixels
    assert pixels[20, 32, 2] > pixels[20, 32, 0] and pixels[-20, 32, 0] > pixels[-20, 32, 2]


def test_texture_of_a_mesh_is_upright():
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    texture = torch.zeros(8, 8, 3)
    texture[:4, :, 0], texture[4:, :, 2] = 1, 1  # red for t below 1/2, which is the lower half
    view = quad(uv=uv, texture=texture, mode="texture")
    pixels = to_picture("quad", Snapshot.of(view.draw(Camera(eye=(0, 0, 2), fov=90), (64, 64))[0])).pixels
    assert pixels[20, 32, 2] > 100 > pixels[20, 32, 0] and pixels[-20, 32, 0] > 100 > pixels[-20, 32, 2]


def test_bad_meshes_draw_what_they_can():
    vertices = torch.tensor([[math.nan, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    view = MeshView("bad", vertices, torch.tensor([[1, 2, 3], [0, 1, 2], [1, 2, 9], [-1, 2, 3]]))
    images, _ = view.draw(Camera(), (32, 32))
    assert (images != images[0, 0, 0]).any() and images.isfinite().all()
    empty = MeshView("empty", torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int32))
    assert empty.draw(Camera(), (8, 8))[0].shape == (1, 8, 8, 3)


def test_meshes_in_a_fast_loop_are_taken_in_the_end(tmp_path, imageio_ffmpeg):
    with Viewer("record", path=tmp_path / "frames", fps=0.01) as viewer:
        vertices = quad().vertices
        for i in viewer.loop(range(5)):
            viewer.mesh(vertices + i, quad().faces)
        assert torch.equal(viewer.stage.sources()["mesh"].vertices, vertices + 4)


def test_mesh_follows_the_camera(tmp_path, imageio_ffmpeg):
    with Viewer("record", path=tmp_path / "frames") as viewer:
        viewer.mesh(quad().vertices, quad().faces)
        before = viewer.pictures()[0].pixels
        viewer.camera.orbit(1.0, 0)
        assert (viewer.pictures()[0].pixels != before).any()
