"""Gaussian splats, blended in order of depth."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import moderngl

from .crediting import PRIMITIVE_SCALE, Credit
from .frame import Frame
from .mesh_scene import attribute_macros
from .parameters import Parameter, to_array
from .programs import Source, shipped
from .state import ParameterState

if TYPE_CHECKING:
    from .device import Device
    from .views import Views

__all__ = ["SplatScene"]

_ATTRIBUTES = {"mean": (3,), "scale": (1, 3), "rotation": (4,), "rgb": (3,), "opacity": (1,)}


class SplatScene:
    """K Gaussians: Zwicker et al. (2001), Kerbl et al. (2023).

    Each attribute is given here and fixed, or a `Parameter` of that name with credit 'primitive':

    - 'mean' [K, 3]: the centre.
    - 'scale' [K, 1 or 3]: standard deviations in the world's units.
    - 'rotation' [K, 4]: a quaternion, real part first; may be left out.
    - 'rgb' [K, 3], 'opacity' [K, 1] from 0 to 1.

    The splats are drawn over each other from far to near, sorted for each pair by where they are without perturbation:
    that their order changes is not part of the gradient. Pictures hold colours multiplied with coverage, on black.

    Raises:
        TypeError, ValueError: an attribute is not as above.
    """

    def __init__(self, attributes: Mapping[str, object] | None = None):
        self.attributes = {n: to_array(f"SplatScene(): attribute {n!r}", a) for n, a in (attributes or {}).items()}

    def check(self, parameters: Sequence[Parameter]) -> None:
        """Raises ValueError unless the parameters fit to the scene."""
        for parameter in parameters:
            if parameter.credit != "primitive":
                got = f"{parameter.name!r} with {parameter.credit!r}"
                raise ValueError(f"StochasticOptimizer(): splats have parameters with credit 'primitive', got {got}")
            if parameter.name in self.attributes:
                raise ValueError(f"StochasticOptimizer(): {parameter.name!r} is both a parameter and fixed")
        shapes = {n: a.shape for n, a in self.attributes.items()} | {p.name: p.value.shape for p in parameters}
        missing = _ATTRIBUTES.keys() - shapes.keys() - {"rotation"}
        unknown = shapes.keys() - _ATTRIBUTES.keys()
        if missing or unknown:
            need = f"lack {sorted(missing)}" if missing else f"know no {sorted(unknown)}"
            raise ValueError(f"StochasticOptimizer(): splats {need}; they have {list(_ATTRIBUTES)}")
        self.count = shapes["mean"][0]
        for name, shape in shapes.items():
            if len(shape) != 2 or shape[0] != self.count or shape[1] not in _ATTRIBUTES[name]:
                need = f"[{self.count}, {' or '.join(map(str, _ATTRIBUTES[name]))}]"
                raise ValueError(f"StochasticOptimizer(): {name!r} must be {need}, got {list(shape)}")
        self._components = {name: shape[1] for name, shape in shapes.items()}

    def neighbours(self, device: "Device", parameter: Parameter) -> None:
        """Splats have none."""

    def prepare(self, device: "Device", states: Sequence[ParameterState], num_pairs: int, loss, scale) -> None:
        """Compiles the programs, and gives the parameters their credit; see `MeshScene.prepare`."""
        self._device, self._states = device, {state.parameter.name: state for state in states}
        self._fixed = {name: device.buffer(array) for name, array in self.attributes.items()}
        self._padded = 1 << max(0, self.count - 1).bit_length()
        size = 4 * 2 * num_pairs * self._padded
        what = f"the order of {self.count} splats in {num_pairs} pairs"
        self._sorting = {"Depths": device.buffer(size, what), "Order": device.buffer(size, what)}
        attributes: list[Source] = []
        for name, components in self._components.items():
            attributes += shipped("splat_attribute.glsl", attribute_macros(name, components))
        defines = ["ROTATES"] if "rotation" in self._components else []
        self._program = device.draw([*attributes, *shipped("splats.vert")], shipped("splats.frag"), *defines)
        self._boxes = device.keep(device.gl.vertex_array(self._program.program, []))
        vertex, fragment = [*attributes, *shipped("credit_splats.vert")], [*loss, *shipped("credit_splats.frag")]
        credit = _SplatCredit(self, device.draw(vertex, fragment, *defines), num_pairs, scale)
        for state in states:
            state.use(credit)

    def inputs(self, frame: Frame) -> tuple[dict, dict]:
        """The buffers and uniforms of the splats."""
        buffers, uniforms = frame.buffers() | self._sorting, frame.uniforms()
        for name in self._components:
            shown = (self._fixed[name], 0) if name in self._fixed else self._states[name].shown(frame)
            buffers[f"glr_{name}_block"], uniforms[f"glr_{name}_stride"] = shown
        return buffers, uniforms | {"splats": self.count, "padded": self._padded}

    def draw(self, frame: Frame) -> None:
        """Renders the pictures of a frame with its perturbed parameters."""
        self._sort(frame)
        buffers, uniforms = self.inputs(frame)
        frame.atlas.begin_color((0.0, 0.0, 0.0, 0.0))
        gl = self._device.gl
        gl.enable(moderngl.BLEND)
        gl.blend_func = moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA
        self._program.set(buffers, **uniforms)
        self._boxes.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=frame.slots * self.count)
        gl.disable(moderngl.BLEND)

    def _sort(self, frame: Frame) -> None:
        means = self._fixed["mean"] if "mean" in self._fixed else self._states["mean"].values
        buffers = frame.buffers() | self._sorting | {"Means": means}
        sizes = {"splats": self.count, "padded": self._padded}
        self._device.compute("sort_depths.comp").run(buffers, self._padded, frame.num_pairs, **sizes)
        step, block = self._device.compute("sort_step.comp"), 2
        while block <= self._padded:
            stride = block // 2
            while stride:
                step.run(buffers, self._padded, frame.num_pairs, block=block, stride=stride, **sizes)
                stride //= 2
            block *= 2


class _SplatCredit(Credit):
    """Credits the splats over each pixel by drawing them again."""

    def __init__(self, scene: SplatScene, program, num_pairs: int, scale: float | None):
        super().__init__(scene._device, scene.count, num_pairs, scale or PRIMITIVE_SCALE)
        self._scene, self._pass = scene, program
        self._boxes = self.device.keep(self.device.gl.vertex_array(program.program, []))

    def accumulate(self, frame: Frame, views: "Views", **more: Any) -> None:
        buffers, uniforms = self._scene.inputs(frame)
        uniforms |= self.uniforms | {"scale": self.scale, "channels": views.channels} | more
        textures = {"color": frame.atlas.color, "targets": views.targets}
        self._pass.set(buffers | self.buffers, textures, **uniforms)
        instances = frame.slots * self._scene.count
        self._boxes.render(moderngl.TRIANGLE_STRIP, vertices=4, instances=instances)
