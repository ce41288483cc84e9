"""Splats and volumes: pictures against plain NumPy, gradients against central differences, and fits."""

import numpy as np
import pytest

from glraster.stochastic import Parameter, SplatScene, StochasticOptimizer, VolumeScene

pytestmark = pytest.mark.usefixtures("moderngl_available")


def look_from(distance: float = 3.0) -> np.ndarray:
    """A perspective camera on the Z axis: [1, 4, 4]."""
    projection = np.array([[2.0, 0, 0, 0], [0, 2, 0, 0], [0, 0, -1.2, -2.2], [0, 0, -1, 0]])
    view = np.eye(4)
    view[2, 3] = -distance
    return (projection @ view)[None]


def splats(**changes) -> dict[str, np.ndarray]:
    """A red splat in front of a green one, given after it."""
    values = {
        "mean": np.array([[0.1, 0.0, 0.5], [-0.1, 0.1, -0.5]]),
        "scale": np.array([[0.2, 0.3, 0.1], [0.4, 0.2, 0.3]]),
        "rotation": np.array([[0.9, 0.1, 0.2, 0.3], [1.0, 0, 0, 0.4]]),
        "rgb": np.array([[0.9, 0.1, 0.2], [0.1, 0.8, 0.3]]),
        "opacity": np.array([[0.7], [0.9]]),
    }
    return values | changes


def drawn_splats(values: dict, camera: np.ndarray, size: int, reach: float = 3.5) -> np.ndarray:
    """[size, size, 4], in double precision."""
    x = (2 * np.arange(size) + 1) / size - 1
    picture = np.zeros((size, size, 4))
    clip = np.concatenate([values["mean"], np.ones((len(values["mean"]), 1))], 1) @ camera.T
    for row in np.argsort(-clip[:, 3]):
        centre, w = clip[row, :2] / clip[row, 3], clip[row, 3]
        jacobian = (camera[:2, :3] - centre[:, None] * camera[3, :3]) / w * size / 2
        a, b, c, d = values["rotation"][row] / np.linalg.norm(values["rotation"][row])
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
            ]
        )
        axes = jacobian @ turn * values["scale"][row]
        inverse = np.linalg.inv(axes @ axes.T + 0.3 * np.eye(2))
        offset = np.stack(np.meshgrid(x - centre[0], x - centre[1]), -1) * size / 2
        distance = np.einsum("hwi,ij,hwj->hw", offset, inverse, offset)
        alpha = np.where(distance <= reach**2, values["opacity"][row, 0] * np.exp(-distance / 2), 0)[..., None]
        color = np.append(values["rgb"][row], 1)
        picture = picture * (1 - alpha) + color * alpha
    return picture


def make_splats(values: dict, names=(), lr=0.01, **options) -> StochasticOptimizer:
    params = [Parameter(name, values[name], "primitive", lr=lr, eps=1 / 128) for name in names]
    fixed = {name: value for name, value in values.items() if name not in names}
    return StochasticOptimizer(None, params, SplatScene(fixed), precision="single", **options)


def test_splats_against_numpy():
    values = splats()
    with make_splats(values, ["rgb"]) as optimizer:
        picture = optimizer.render(look_from(), (24, 24))[0]
    expected = drawn_splats(values, look_from()[0], 24)
    edge = np.abs(picture - expected) > 1e-4
    assert edge.mean() < 0.01, "but for pixels where a splat ends"


def test_splats_gradient_against_central_differences():
    values, size = splats(), 24
    target = np.full((1, size, size, 4), 0.4)

    def loss(changed):
        return np.square(drawn_splats(changed, look_from()[0], size, np.inf) - 0.4).sum()  # without a step at its edge

    names = ("mean", "rgb", "opacity")
    with make_splats(values, names, views=1, pairs=32) as optimizer:
        optimizer.set_views(look_from(), target)
        samples = []
        for step in range(24):
            optimizer.steps = step
            samples.append(optimizer.gradient())
    for name in names:
        exact = np.zeros_like(values[name])
        for index in np.ndindex(exact.shape):
            change = np.zeros_like(exact)
            change[index] = 1e-4
            exact[index] = (
                loss(values | {name: values[name] + change}) - loss(values | {name: values[name] - change})
            ) / 2e-4
        found = np.stack([sample[name] for sample in samples])
        error = found.std(0) / np.sqrt(len(found))
        assert (np.abs(found.mean(0) - exact) < 4 * error + 0.05 * np.abs(exact).max()).all(), name


def test_splats_fit_and_many_in_order():
    rng = np.random.default_rng(0)
    count = 37  # not a power of two
    values = {
        "mean": rng.uniform(-0.8, 0.8, (count, 3)),
        "scale": np.full((count, 1), 0.15),
        "rgb": rng.uniform(0, 1, (count, 3)),
        "opacity": np.full((count, 1), 0.8),
    }
    with make_splats(values, ["rgb"]) as truth:
        target = truth.render(look_from(), (32, 32))
    expected = drawn_splats(
        values | {"scale": np.full((count, 3), 0.15), "rotation": np.tile([1.0, 0, 0, 0], (count, 1))},
        look_from()[0],
        32,
    )
    assert (np.abs(target[0] - expected) > 1e-4).mean() < 0.02
    with make_splats(values | {"rgb": np.full((count, 3), 0.5)}, ["rgb"], lr=0.05, views=1, pairs=4) as optimizer:
        optimizer.set_views(look_from(), target)
        before = optimizer.loss()
        for _ in range(80):
            optimizer.step()
        assert optimizer.loss() < 0.1 * before


def drawn_volume(volume: np.ndarray, camera: np.ndarray, size: int) -> np.ndarray:
    """[size, size, 4], by many small steps along each ray through the box [-1, 1]^3."""
    x = (2 * np.arange(size) + 1) / size - 1
    place = np.stack(np.meshgrid(x, x), -1).reshape(-1, 2)
    ends = []
    for z in (-1, 1):
        world = (
            np.concatenate([place, np.full((len(place), 1), z), np.ones((len(place), 1))], 1) @ np.linalg.inv(camera).T
        )
        ends.append(world[:, :3] / world[:, 3:])
    direction = ends[1] - ends[0]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    step, picture = 0.002, np.zeros((len(place), 4))
    shape = np.array(volume.shape[2::-1])
    for t in np.arange(0, 6, step):
        point = (ends[0] + t * direction + 1) / 2
        inside = ((point > 0) & (point < 1)).all(1)
        x, y, z = np.clip((point * shape).astype(int), 0, shape - 1).T
        voxel = volume[z, y, x]
        alpha = np.where(inside, 1 - np.exp(-voxel[:, 3] * step), 0)[:, None]
        picture += (1 - picture[:, 3:]) * alpha * np.concatenate([voxel[:, :3], np.ones((len(place), 1))], 1)
    return picture.reshape(size, size, 4)


def make_volume(volume: np.ndarray, lr=0.05, **options) -> StochasticOptimizer:
    parameter = Parameter("volume", volume, "voxel", lr=lr, low=0.0)
    return StochasticOptimizer(None, [parameter], VolumeScene(), precision="single", **options)


def test_volume_against_numpy():
    volume = np.random.default_rng(0).uniform(0, 1, (3, 4, 5, 4)) * [1, 1, 1, 2]
    camera = look_from()
    camera[0] = camera[0] @ np.array([[0.8, 0, 0.6, 0], [0, 1, 0, 0], [-0.6, 0, 0.8, 0], [0, 0, 0, 1]])
    with make_volume(volume) as optimizer:
        picture = optimizer.render(camera, (12, 12))[0]
    assert np.abs(picture - drawn_volume(volume, camera[0], 12)).max() < 5e-3


def test_volume_gradient_against_central_differences():
    volume = np.random.default_rng(1).uniform(0.2, 1, (2, 2, 2, 4))
    camera, size = look_from(), 8
    with make_volume(volume, views=1, pairs=64) as optimizer:
        optimizer.set_views(camera, np.full((1, size, size, 4), 0.3))
        samples = []
        for step in range(16):
            optimizer.steps = step
            samples.append(optimizer.gradient()["volume"])

    def loss(changed):
        with make_volume(changed) as drawer:
            return np.square(drawer.render(camera, (size, size)).astype(np.float64) - 0.3).sum()

    mean, error = np.mean(samples, 0), np.std(samples, 0) / 4
    for index in ((0, 0, 0, 0), (1, 0, 1, 3), (1, 1, 1, 2), (0, 1, 0, 3)):
        change = np.zeros_like(volume)
        change[index] = 1e-2
        exact = (loss(volume + change) - loss(volume - change)) / 2e-2
        assert abs(mean[index] - exact) < 4 * error[index] + 0.02, index


def test_volume_fit():
    truth = np.zeros((4, 4, 4, 4))
    truth[1:3, 1:3, 1:3] = [0.9, 0.5, 0.2, 3.0]
    camera = look_from()
    with make_volume(truth) as teacher:
        target = teacher.render(camera, (24, 24))
    with make_volume(np.full_like(truth, 0.3), views=1, pairs=4) as optimizer:
        optimizer.set_views(camera, target)
        before = optimizer.loss()
        for _ in range(100):
            optimizer.step()
        assert optimizer.loss() < 0.1 * before


def test_errors():
    values = splats()
    vertex = Parameter("mean", values["mean"], "vertex")
    cases = [
        ("lack \\['rgb'\\]", lambda: make_splats({k: v for k, v in values.items() if k != "rgb"}, ["mean"])),
        ("know no \\['size'\\]", lambda: make_splats(values | {"size": values["mean"]}, ["mean"])),
        ("'opacity' must be \\[2, 1\\]", lambda: make_splats(values | {"opacity": values["rgb"]}, ["mean"])),
        (
            "credit 'primitive'",
            lambda: StochasticOptimizer(None, [vertex], SplatScene()),
        ),
        ("low must be", lambda: VolumeScene(low=(1, 1, 1))),
        (
            "one parameter",
            lambda: StochasticOptimizer(None, [vertex], VolumeScene()),
        ),
    ]
    for message, call in cases:
        with pytest.raises(ValueError, match=message):
            call()
