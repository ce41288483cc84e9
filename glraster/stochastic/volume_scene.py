"""A dense volume of voxels that emit and absorb."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .crediting import PRIMITIVE_SCALE, Credit
from .frame import Frame
from .parameters import Parameter
from .programs import shipped
from .state import ParameterState

if TYPE_CHECKING:
    from .device import Device
    from .views import Views

__all__ = ["VolumeScene"]


class VolumeScene:
    """A box of voxels, each of one colour and density, seen along rays.

    It has one parameter, 'volume' [depth, height, width, 4] with credit 'voxel', along z, y, x: colour, and density per
    unit of length, of which the negative part counts as zero.

    Args:
        low, high: corners of the box in the world.
        background: colour behind it.

    Raises:
        ValueError: the box is empty.
    """

    def __init__(
        self,
        low: Sequence[float] = (-1.0, -1.0, -1.0),
        high: Sequence[float] = (1.0, 1.0, 1.0),
        background: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    ):
        self.low, self.high = tuple(map(float, low)), tuple(map(float, high))
        self.background = tuple(map(float, background))
        if (
            len(self.low) != 3
            or len(self.high) != 3
            or not all(a < b for a, b in zip(self.low, self.high, strict=True))
        ):
            raise ValueError(f"VolumeScene(): low must be less than high along x, y, z, got {low} and {high}")
        if len(self.background) != 4:
            raise ValueError(f"VolumeScene(): background must be four numbers, got {len(self.background)}")

    def check(self, parameters: Sequence[Parameter]) -> None:
        """Raises ValueError unless the parameters fit to the scene."""
        if [(p.name, p.credit) for p in parameters] != [("volume", "voxel")]:
            got = [(p.name, p.credit) for p in parameters]
            raise ValueError(f"StochasticOptimizer(): a volume has one parameter, ('volume', 'voxel'), got {got}")

    def neighbours(self, device: "Device", parameter: Parameter) -> None:
        """Voxels have none."""

    def prepare(self, device: "Device", states: Sequence[ParameterState], num_pairs: int, loss, scale) -> None:
        """Compiles the programs, and gives the parameter its credit; see `MeshScene.prepare`."""
        self._device, (self._state,) = device, states
        self._program = device.draw(shipped("background.vert"), shipped("volume.frag"))
        program = device.draw(shipped("pairs.vert"), [*loss, *shipped("credit_voxels.frag")])
        credit = _VoxelCredit(self, program, self._state.parameter.rows, num_pairs, scale)
        self._state.use(credit)

    def box(self) -> dict:
        """Uniforms of march.glsl."""
        depth, height, width, _ = self._state.parameter.value.shape
        return {"voxels": (width, height, depth), "low": self.low, "high": self.high}

    def draw(self, frame: Frame) -> None:
        """Renders the pictures of a frame with its perturbed voxels."""
        shown, stride = self._state.shown(frame)
        frame.atlas.begin_color(self.background)
        uniforms = frame.uniforms() | self.box() | {"volume_stride": stride, "background": self.background}
        self._program.set(frame.buffers() | {"Volume": shown}, **uniforms)
        self._program.triangles(frame.slots)


class _VoxelCredit(Credit):
    """Credits the voxels that each pixel's ray visits."""

    def __init__(self, scene: VolumeScene, program, rows: int, num_pairs: int, scale: float | None):
        super().__init__(scene._device, rows, num_pairs, scale or PRIMITIVE_SCALE)
        self._scene, self._pass = scene, program

    def accumulate(self, frame: Frame, views: "Views", **more: Any) -> None:
        super().accumulate(frame, views, **self._scene.box(), **more)
