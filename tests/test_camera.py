"""Cameras: points whose place in the image is computed by hand, in every convention."""

import json
import math
import struct

import pytest
import torch

from glraster import camera

F64 = torch.float64


def pixel(view: camera.View, point) -> list[float]:
    """Where a point of the world is in the image: x to the right and y down, in pixels from the top left corner."""
    clip = view.matrix.double() @ torch.tensor([*point, 1.0], dtype=F64)
    height, width = view.resolution
    return [((clip[0] / clip[3] + 1) * width / 2).item(), ((1 - clip[1] / clip[3]) * height / 2).item()]


def near(*values: float):
    return pytest.approx(values, abs=1e-4)


def depths(matrix: torch.Tensor, *distances: float) -> list[float]:
    """z/w of points straight ahead."""
    clip = matrix.double() @ torch.tensor([[0.0, 0, -d, 1] for d in distances], dtype=F64).T
    return (clip[2] / clip[3]).tolist()


def test_perspective_by_hand():
    matrix = camera.perspective(90, aspect=2, near=1, far=3)
    clip = matrix @ torch.tensor([2.0, 1.0, -1.0, 1.0])
    assert clip.tolist() == near(1, 1, -1, 1)  # the corner of the near plane
    assert depths(matrix, 1, 3, 1.5) == near(-1, 1, 0)


def test_perspective_takes_tensors():
    fov = torch.tensor([40.0, 60.0], dtype=F64, requires_grad=True)
    assert camera.perspective(fov).shape == (2, 4, 4)
    assert torch.autograd.gradcheck(camera.perspective, (fov,))
    assert torch.equal(camera.perspective(fov)[1], camera.perspective(torch.tensor(60.0, dtype=F64)))


def test_frustum_of_a_symmetric_view_is_perspective():
    top = 0.1 * math.tan(math.radians(20))
    torch.testing.assert_close(camera.frustum(-2 * top, 2 * top, -top, top), camera.perspective(40, aspect=2))
    corner = camera.frustum(-1, 3, 0, 2, near=2, far=5) @ torch.tensor([3.0, 0.0, -2.0, 1.0])
    assert (corner / corner[3]).tolist() == near(1, -1, -1, 1)


def test_orthographic_by_hand():
    matrix = camera.orthographic(4, aspect=0.5, near=-1, far=3)
    assert (matrix @ torch.tensor([1.0, 2.0, 1.0, 1.0])).tolist() == near(1, 1, -1, 1)
    assert (matrix @ torch.tensor([-0.5, 0.0, -3.0, 1.0])).tolist() == near(-0.5, 0, 1, 1)


def test_look_at_by_hand():
    view = camera.look_at(torch.tensor([5.0, 0.0, 0.0]))  # from +X: +Y stays up, -Z is to the right
    assert (view @ torch.tensor([1.0, 2.0, 3.0, 1.0])).tolist() == near(-3, 2, -4, 1)
    moved = camera.look_at(torch.tensor([[1.0, 1, 4]]), torch.tensor([1.0, 1, 1]), torch.tensor([1.0, 0, 0]))
    assert (moved[0] @ torch.tensor([2.0, 1.0, 1.0, 1.0])).tolist() == near(0, 1, -3, 1)


def test_look_at_along_up_takes_some_horizon():
    for eye in ([0.0, 3, 0], [0.0, -3, 0]):
        view = camera.look_at(torch.tensor(eye))
        torch.testing.assert_close(view[:3, :3] @ view[:3, :3].T, torch.eye(3))
        assert (view @ torch.tensor([0.0, 0, 0, 1])).tolist() == near(0, 0, -3, 1)


def test_orbit_by_hand():
    views = camera.orbit(torch.tensor([0.0, 90.0, 0.0]), torch.tensor([0.0, 0.0, 90.0]), 2.0)
    torch.testing.assert_close(views[0], camera.look_at(torch.tensor([0.0, 0, 2])))
    torch.testing.assert_close(views[1], camera.look_at(torch.tensor([2.0, 0, 0])), atol=1e-6, rtol=0)
    assert (views[2] @ torch.tensor([0.0, 0.0, -1.0, 1.0])).tolist() == near(0, 1, -2, 1)  # from above, -Z is up
    around = camera.orbit(0, 0, 2, torch.tensor([1.0, 0, 0]))
    assert (around @ torch.tensor([1.0, 0.0, 0.0, 1.0])).tolist() == near(0, 0, -2, 1)


def test_gradients_of_poses():
    eye = torch.tensor([[1.0, 2, 3], [-1, 0.5, 2]], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: camera.look_at(e, e.new_tensor([0.1, 0.2, 0.3])), (eye,))
    angles = torch.tensor([[20.0, 100.0], [10.0, 89.9], [2.0, 3.0]], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: camera.orbit(*a), (angles,))
    still = torch.zeros(1, 3, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(camera.rotations, (still,))


def test_rotations():
    quarter = camera.rotations(torch.tensor([0.0, 0.0, math.pi / 2]))
    assert (quarter @ torch.tensor([1.0, 0.0, 0.0])).tolist() == near(0, 1, 0)
    assert camera.degrees_between(quarter, torch.eye(3)) == pytest.approx(90, abs=1e-3)
    random = camera.random_rotations(50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.linalg.det(random), torch.ones(50))
    torch.testing.assert_close(random.mT @ random, torch.eye(3).expand(50, 3, 3))
    spread = camera.directions(500)
    torch.testing.assert_close(spread.norm(dim=1), torch.ones(500))
    assert spread.mean(0).norm() < 0.01


K = torch.tensor([[100.0, 0, 30], [0, 200, 20], [0, 0, 1]], dtype=F64)
POSE = torch.eye(4, dtype=F64)[:3]
# In OpenCV's axes, from the eye: K sends (1, -2, 10) to pixel (30 + 100 / 10, 20 - 200 * 2 / 10) = (40, -20).
POINT = (1.0, -2.0, 10.0)


def test_opencv_by_hand():
    view = camera.from_opencv(K, POSE, (48, 64), pixel_centre=0.5)
    assert pixel(view, POINT) == near(40, -20)
    # Where 0 is the first pixel's centre, the same numbers lie half a pixel further from the corner.
    assert pixel(camera.from_opencv(K, POSE, (48, 64)), POINT) == near(40.5, -19.5)
    skewed = K.clone()
    skewed[0, 1] = 50  # moves x by 50 * -2 / 10
    assert pixel(camera.from_opencv(skewed, POSE, (48, 64), pixel_centre=0.5), POINT) == near(30, -20)
    assert depths(view.projection, 0.1, 100) == near(-1, 1)


def test_opencv_with_a_pose():
    vector, shift = torch.tensor([0.3, -0.4, 0.5], dtype=F64), torch.tensor([0.1, 0.2, 8.0], dtype=F64)
    pose = camera.rigid(camera.rotations(vector), shift)
    view = camera.from_opencv(K, pose, (48, 64), pixel_centre=0.5)
    x, y, z = (pose[:3, :3] @ torch.tensor([0.5, 0.6, 0.7], dtype=F64) + shift).tolist()
    assert pixel(view, (0.5, 0.6, 0.7)) == near(30 + 100 * x / z, 20 + 200 * y / z)
    torch.testing.assert_close(view.eye, -(pose[:3, :3].T @ shift))
    inputs = K.clone().requires_grad_(), pose.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda k, p: camera.from_opencv(k, p, (48, 64)).matrix, inputs)


def test_pytorch3d_by_hand():
    # Its camera has X to the left and Y up: (1, 2, 10) is at the left and above.
    eye, zero = torch.eye(3, dtype=F64), torch.zeros(3, dtype=F64)
    fov = camera.from_pytorch3d(eye, zero, (40, 80), fov_degrees=90)  # 20 pixels are one unit at distance 1
    assert pixel(fov, (1, 2, 10)) == near(40 - 20 * 0.1, 20 - 20 * 0.2)
    tall = camera.from_pytorch3d(eye, zero, (80, 40), fov_degrees=90)
    assert pixel(tall, (1, 2, 10)) == near(20 - 20 * 0.1, 40 - 20 * 0.2)
    focal, point = torch.tensor([2.0, 3.0], dtype=F64), torch.tensor([0.5, -0.25], dtype=F64)
    ndc = camera.from_pytorch3d(eye, zero, (40, 80), focal_length=focal, principal_point=point)
    assert pixel(ndc, (1, 2, 10)) == near(40 - 20 * (0.2 + 0.5), 20 - 20 * (0.6 - 0.25))
    screen = camera.from_pytorch3d(
        eye, zero, (40, 80), focal_length=20 * focal, principal_point=torch.tensor([30.0, 25.0]).double(), in_ndc=False
    )
    assert pixel(screen, (1, 2, 10)) == near(*pixel(ndc, (1, 2, 10)))


def test_pytorch3d_multiplies_row_vectors():
    R, T = camera.rotations(torch.tensor([0.0, 0.2, 0.1], dtype=F64)), torch.tensor([0.3, 0.1, 5.0], dtype=F64)
    x, y, z = (torch.tensor([0.5, -0.6, 0.7], dtype=F64) @ R + T).tolist()
    view = camera.from_pytorch3d(R, T, (64, 64), focal_length=torch.tensor(1.5, dtype=F64))
    assert pixel(view, (0.5, -0.6, 0.7)) == near(32 - 32 * 1.5 * x / z, 32 - 32 * 1.5 * y / z)


def test_opengl_memory_order():
    view, projection = camera.look_at(torch.tensor([1.0, 2, 3])), camera.perspective()
    memory = [matrix.T.flatten().tolist() for matrix in (view, projection)]
    found = camera.from_opengl(*memory, (32, 48), column_major=True)
    assert torch.equal(found.view, view) and torch.equal(found.projection, projection)
    assert found.resolution == (32, 48) and torch.equal(found.matrix, projection @ view)
    assert found.eye.tolist() == near(1, 2, 3)


def test_colmap_text_and_binary(tmp_path):
    half = math.sqrt(0.5)  # a quarter turn about Z: x of the world is y of the camera
    (tmp_path / "cameras.txt").write_text(
        "# cameras\n1 PINHOLE 64 48 100 200 30 20\n2 OPENCV 64 48 9 9 32 24 0 0 0 0\n"
    )
    (tmp_path / "images.txt").write_text(
        f"# images\n7 {half} 0 0 {half} 0 0 10 1 b.png\n1 2 -1\n8 1 0 0 0 0 0 10 2 a b.png\n\n"
    )
    a, b = camera.read_colmap(tmp_path)
    assert (a.name, b.name, a.resolution) == ("a b.png", "b.png", (48, 64))
    assert pixel(b, (1, 2, 0)) == near(30 + 100 * -0.2, 20 + 200 * 0.1)
    assert pixel(a, (1, 2, 0)) == near(32 + 0.9, 24 + 1.8)

    binary = tmp_path / "other" / "sparse" / "0"
    binary.mkdir(parents=True)
    cameras = struct.pack("<Q", 1) + struct.pack("<iiQQ4d", 1, 1, 64, 48, 100, 200, 30, 20)
    image = struct.pack("<i7di", 7, half, 0, 0, half, 0, 0, 10, 1) + b"b.png\0" + struct.pack("<Qddq", 1, 1, 2, -1)
    (binary / "cameras.bin").write_bytes(cameras)
    (binary / "images.bin").write_bytes(struct.pack("<Q", 1) + image)
    (found,) = camera.read_colmap(tmp_path / "other")
    assert found.name == "b.png" and torch.equal(found.matrix, b.matrix)
    (binary / "images.bin").write_bytes((struct.pack("<Q", 2) + image)[:-3])
    with pytest.raises(ValueError, match="images.bin"):
        camera.read_colmap(tmp_path / "other")


def test_colmap_distortion_is_refused(tmp_path):
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_RADIAL 64 48 100 32 24 0.1\n")
    (tmp_path / "images.txt").write_text("7 1 0 0 0 0 0 10 1 b.png\n\n")
    with pytest.raises(ValueError, match=r"cameras.txt.*distortion"):
        camera.read_colmap(tmp_path)
    (tmp_path / "cameras.txt").write_text("3 PINHOLE 64 48 100 100 32 24\n")
    with pytest.raises(ValueError, match=r"images.txt.*camera 1"):
        camera.read_colmap(tmp_path)
    with pytest.raises(FileNotFoundError, match="no COLMAP model"):
        camera.read_colmap(tmp_path / "absent")


# A camera at (0, 0, 10) that looks along -Z, as it is in Blender's files.
TO_WORLD = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 10], [0, 0, 0, 1]]


def test_transforms_by_hand(tmp_path):
    path = tmp_path / "transforms.json"
    frame = {"file_path": "./r_0", "transform_matrix": TO_WORLD}
    path.write_text(json.dumps({"camera_angle_x": math.pi / 2, "frames": [frame]}))
    (view,) = camera.read_transforms(path, resolution=(40, 80))  # 40 pixels are one unit at distance 1
    assert view.name == "./r_0" and pixel(view, (1, 2, 0)) == near(40 + 4, 20 - 8)
    assert view.eye.tolist() == near(0, 0, 10)
    numbers = {"w": 80, "h": 40, "fl_x": 100, "fl_y": 200, "cx": 30, "cy": 25}
    path.write_text(json.dumps({"frames": [{**frame, **numbers}]}))
    (view,) = camera.read_transforms(path)
    assert pixel(view, (1, 2, 0)) == near(30 + 10, 25 - 40)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"camera_angle_x": 1, "frames": [{"transform_matrix": TO_WORLD}]}, "resolution"),
        ({"w": 8, "h": 8, "frames": [{"transform_matrix": TO_WORLD}]}, "camera_angle_x"),
        ({"w": 8, "h": 8, "fl_x": 9, "frames": [{"transform_matrix": [1, 2]}]}, "transform_matrix"),
        ({"w": 8, "h": 8, "fl_x": 9, "k1": 0.1, "frames": [{"transform_matrix": TO_WORLD}]}, "distortion"),
        ({"w": 8, "h": 8}, "frames"),
        ([], "transforms.json"),
    ],
)
def test_transforms_that_are_refused(tmp_path, content, words):
    path = tmp_path / "transforms.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"transforms.json.*{words}|{words}"):
        camera.read_transforms(path)


def test_another_depth_range():
    """What is at the new distances lies on the near and far planes; x and y stay."""
    view = camera.from_opengl(camera.orbit(30.0, 20.0, 5.0), camera.perspective(50.0, 1.5), (40, 60))
    other = view.with_depths(3.0, 7.0)
    at = torch.tensor([[0.4, -0.3, -3.0, 1], [0.4, -0.3, -7.0, 1]])
    before, after = at @ view.projection.mT, at @ other.projection.mT
    assert (before[:, [0, 1, 3]] == after[:, [0, 1, 3]]).all() and (view.view == other.view).all()
    torch.testing.assert_close(after[:, 2] / after[:, 3], torch.tensor([-1.0, 1.0]))
    with pytest.raises(ValueError, match="View.with_depths"):
        view.with_depths(2.0, 1.0)


def test_errors():
    eye, zero = torch.eye(3), torch.zeros(3)
    for call in (
        lambda: camera.perspective(0),
        lambda: camera.perspective(near=2, far=1),
        lambda: camera.frustum(0, 1, 0, 1, near=0),
        lambda: camera.orthographic(near=1, far=1),
        lambda: camera.intrinsics(torch.eye(4), (4, 4)),
        lambda: camera.intrinsics(eye, (4, 4, 4)),
        lambda: camera.from_opencv(eye, eye, (4, 4)),
        lambda: camera.from_opengl([1.0] * 9, [1.0] * 16, (4, 4)),
        lambda: camera.from_pytorch3d(eye, zero, (4, 4)),
        lambda: camera.from_pytorch3d(eye, torch.zeros(4), (4, 4), fov_degrees=60),
        lambda: camera.from_pytorch3d(eye, zero, (4, 0), fov_degrees=60),
    ):
        with pytest.raises(ValueError, match=r"\(\): "):
            call()
