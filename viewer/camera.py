"""The camera that the outputs turn and the loop reads. Column vectors, OpenGL clip space."""

import copy
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["Camera", "Pose"]

Vector = Sequence[float] | np.ndarray
_STEEPEST = math.radians(89)  # looking straight along `up` leaves no horizon


class Pose(NamedTuple):
    """Where a camera is: three points or directions [3] in world space."""

    eye: np.ndarray
    target: np.ndarray
    up: np.ndarray


class Camera:
    """A camera on an orbit around a target; any thread may turn or read it.

    Args:
        eye, target, up: [3] in world space: where it is, the middle of what it sees, and what is up in the image.
        fov: the whole vertical angle, in degrees.

    Raises:
        ValueError: a vector of another size, eye and target at one place, or an angle outside of 0..180.
    """

    def __init__(
        self,
        eye: Vector = (0.0, 0.0, 3.0),
        target: Vector = (0.0, 0.0, 0.0),
        up: Vector = (0.0, 1.0, 0.0),
        fov: float = 40.0,
    ):
        if not 0 < fov < 180:
            raise ValueError(f"Camera(): fov must lie between 0 and 180 degrees, got {fov}")
        self.fov = float(fov)
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._pose = self._home = _pose(eye, target, up)

    @property
    def pose(self) -> Pose:
        """Eye, target and up, as they are now."""
        return self._pose

    def place(self, eye: Vector, target: Vector, up: Vector = (0.0, 1.0, 0.0)) -> None:
        """Moves the camera; arguments as in the constructor."""
        self._change(lambda _: _pose(eye, target, up))

    def orbit(self, right: float, above: float) -> None:
        """Moves the eye around the target, by angles in radians; it stops short of the poles."""
        self._change(lambda pose: _orbited(pose, right, above))

    def pan(self, right: float, above: float) -> None:
        """Moves eye and target in the image plane; 1 is the height of what is seen at the target."""

        def moved(pose: Pose) -> Pose:
            x, y, back, distance = _axes(pose)
            step = (x * right + y * above) * (2 * distance * math.tan(math.radians(self.fov) / 2))
            return Pose(pose.eye + step, pose.target + step, pose.up)

        self._change(moved)

    def zoom(self, factor: float) -> None:
        """Brings the eye `factor` times as near to the target."""
        if factor <= 0:
            raise ValueError(f"Camera.zoom(): factor must be positive, got {factor}")
        self._change(lambda p: Pose(p.target + (p.eye - p.target) / factor, p.target, p.up))

    def reset(self) -> None:
        """Goes back to where it was made, or last made at home."""
        self._change(lambda _: self._home)

    def look_at_sphere(self, centre: Vector, radius: float) -> None:
        """Moves back or forth until a sphere fills the image, and calls that place home."""
        x, y, back, _ = _axes(self._pose)
        target = np.asarray(centre, dtype=np.float64)
        distance = max(float(radius), 1e-6) * 1.1 / math.sin(math.radians(self.fov) / 2)
        self._home = Pose(target + back * distance, target, self._pose.up)
        self.reset()

    def copy(self) -> "Camera":
        """A camera of the same pose that nothing else moves."""
        made = copy.copy(self)
        made._lock, made._listeners = threading.Lock(), []
        made._home = made._pose
        return made

    @property
    def home(self) -> Pose:
        """Where `reset` leads."""
        return self._home

    @property
    def at_home(self) -> bool:
        """Whether nobody has moved it."""
        return self._pose is self._home

    @property
    def view(self) -> "torch.Tensor":
        """World to camera, [4, 4] float32 on the CPU; the camera looks along -Z, Y is up."""
        import torch  # here, since processes of outputs do without

        pose = self._pose
        x, y, back, _ = _axes(pose)
        matrix = np.eye(4)
        matrix[:3, :3] = x, y, back
        matrix[:3, 3] = -matrix[:3, :3] @ pose.eye
        return torch.from_numpy(matrix).float()

    def projection(self, aspect: float = 1.0) -> "torch.Tensor":
        """Camera to clip space, [4, 4] float32 on the CPU; `aspect` is width / height.

        The depth range goes with the distance to the target: from 1/100 to 100 times of it.
        """
        from glraster.camera import perspective

        distance = _axes(self._pose)[3]
        return perspective(self.fov, aspect, distance / 100, distance * 100)

    def matrix(self, aspect: float = 1.0) -> "torch.Tensor":
        """World to clip space: `projection(aspect) @ view`."""
        return self.projection(aspect) @ self.view

    def on_change(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every change, on the thread that made it."""
        self._listeners.append(listener)

    def _change(self, change: Callable[[Pose], Pose]) -> None:
        with self._lock:
            self._pose = change(self._pose)
        for listener in self._listeners:
            listener()


def _pose(eye: Vector, target: Vector, up: Vector) -> Pose:
    pose = Pose(*(np.asarray(vector, dtype=np.float64) for vector in (eye, target, up)))
    for name, vector in pose._asdict().items():
        if vector.shape != (3,) or not np.isfinite(vector).all():
            raise ValueError(f"Camera: {name} must be 3 finite numbers, got {vector}")
    if not np.any(pose.eye != pose.target) or not np.any(pose.up):
        raise ValueError(f"Camera: eye and target must differ and up must not be zero, got {pose}")
    return pose


def _axes(pose: Pose) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Right, up and backwards in the image as unit vectors, and the distance to the target."""
    back = pose.eye - pose.target
    distance = float(np.linalg.norm(back))
    back = back / distance
    right = np.cross(pose.up, back)
    if np.linalg.norm(right) < 1e-9 * np.linalg.norm(pose.up):  # along up: any horizon will do
        right = np.cross([1.0, 0.0, 0.0] if abs(back[0]) < 0.9 else [0.0, 0.0, 1.0], back)
    right = right / np.linalg.norm(right)
    return right, np.cross(back, right), back, distance


def _orbited(pose: Pose, right: float, above: float) -> Pose:
    x, _, back, distance = _axes(pose)
    up = pose.up / np.linalg.norm(pose.up)
    level = np.cross(x, up)  # back, brought down to the horizon
    height = math.asin(min(1.0, max(-1.0, float(back @ up))))
    height = min(max(height + above, -_STEEPEST), _STEEPEST)
    turned = level * math.cos(right) + x * math.sin(right)
    return Pose(pose.target + distance * (turned * math.cos(height) + up * math.sin(height)), pose.target, pose.up)
