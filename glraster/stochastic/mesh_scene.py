"""Triangle meshes, shaded by a fragment shader of the user's."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import moderngl
import numpy as np

from .crediting import Credit, RowCredit, SceneCredit, TexelCredit
from .frame import Frame
from .parameters import Parameter, check_name, to_array
from .programs import Source, own, shipped
from .smoothing import Neighbours
from .state import ParameterState

if TYPE_CHECKING:
    from .device import Device, Texels
    from .subdivision import Subdivision

__all__ = ["MeshScene", "attribute_macros"]

SHADERS = {"flat": "flat.frag", "albedo": "albedo.frag", "vertex_color": "vertex_color.frag"}
_TYPES = {1: "float", 2: "vec2", 3: "vec3", 4: "vec4"}
_COMPONENTS = {"position": (3,), "uv": (2,)}
_CHANNELS = {1: "r", 2: "rg", 3: "rgb", 4: "rgba"}


class MeshScene:
    """A mesh of triangles, and what shades it.

    The vertices have attributes: 'position' [V, 3] always, 'uv' [V, 2] for textures, and any others of one to four
    components. Each is either given here and fixed, or a `Parameter` of that name with credit 'vertex'.

    A fragment shader of the user's is a file of GLSL 4.30 that writes one `out` variable, a vec4; nothing in it needs
    a derivative. It may have as inputs (`in`) the vertex attributes by their names, and may declare, without a body,
    functions that the library then defines: `TYPE name(vec2 uv);` for each texture parameter, `TYPE name();` for each
    parameter with credit 'scene' or 'primitive', and `vec4 eye();`, the camera's place (w = 0: a direction).

    Args:
        triangles: [T, 3] integers, indices of vertices. A soup of triangles has its own vertices for each.
        attributes: those that are fixed, name to [V, C].
        fragment: the shader's path, or one that comes with the library: 'flat' (a colour for each direction that a
            triangle faces; alpha 1), 'albedo' (the texture of that name) or 'vertex_color' (the attribute 'rgb').
        background: colour where there is no surface and no environment map.
        subdivision: see `loop_subdivision` and `catmull_clark_subdivision`. `triangles` are then None, and 'position' a
            parameter with credit 'control'.

    Raises:
        TypeError, ValueError: an argument is not as above.
    """

    def __init__(
        self,
        triangles: object = None,
        attributes: Mapping[str, object] | None = None,
        *,
        fragment: str | Path = "flat",
        background: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
        subdivision: "Subdivision | None" = None,
    ):
        if (triangles is None) == (subdivision is None):
            raise ValueError("MeshScene(): triangles must be given, or a subdivision in their place")
        triangles = subdivision.triangles if subdivision is not None else triangles
        self.triangles = to_array("MeshScene(): triangles", triangles, np.int32)
        if self.triangles.ndim != 2 or self.triangles.shape[1] != 3 or len(self.triangles) == 0:
            raise ValueError(f"MeshScene(): triangles must be [T, 3], not empty, got {list(self.triangles.shape)}")
        self.attributes = {}
        for name, value in (attributes or {}).items():
            check_name("MeshScene(): attributes", name)
            self.attributes[name] = to_array(f"MeshScene(): attribute {name!r}", value)
        self.subdivision, self.background = subdivision, tuple(map(float, background))
        if len(self.background) != 4:
            raise ValueError(f"MeshScene(): background must be four numbers, got {len(self.background)}")
        self._fragment = shipped(SHADERS[fragment])[0] if fragment in SHADERS else own(fragment)

    def check(self, parameters: Sequence[Parameter]) -> None:
        """Raises ValueError unless the parameters fit to the scene."""
        by_name = {p.name: p for p in parameters}
        kinds = {p.credit for p in parameters}
        if "voxel" in kinds:
            raise ValueError("StochasticOptimizer(): credit 'voxel' needs a VolumeScene, got a MeshScene")
        for name in (p.name for p in parameters if p.credit == "control"):
            if self.subdivision is None or name != "position":
                need = "is for the parameter 'position' of a MeshScene with subdivision="
                raise ValueError(f"StochasticOptimizer(): credit 'control' {need}, got it for {name!r}")
        for name in by_name.keys() & self.attributes.keys():
            raise ValueError(f"StochasticOptimizer(): {name!r} is both a parameter and a fixed attribute")
        needs = {"position": "control" if self.subdivision is not None else "vertex", "uv": "vertex"}
        for name, need in needs.items():
            if name in by_name and by_name[name].credit != need:
                got = by_name[name].credit
                raise ValueError(f"StochasticOptimizer(): {name!r} must have credit {need!r}, got {got!r}")
        position = by_name.get("position")
        if position is None and "position" not in self.attributes:
            raise ValueError("StochasticOptimizer(): the scene needs 'position', as a fixed attribute or a parameter")
        shapes = self.attributes | {p.name: p.value for p in parameters if p.credit == "vertex"}
        sizes = {name: array.shape for name, array in shapes.items()}
        if self.subdivision is not None:
            if position is None:
                raise ValueError("StochasticOptimizer(): a subdivision needs the parameter 'position'")
            sizes["position"] = (self.subdivision.num_vertices, 3)
            self._check_size("position", position.rows, self.subdivision.num_controls)
        for name, shape in sizes.items():
            counts = _COMPONENTS.get(name, (1, 2, 3, 4))
            if len(shape) != 2 or shape[1] not in counts:
                need = f"[V, {' or '.join(map(str, counts))}]"
                raise ValueError(f"StochasticOptimizer(): attribute {name!r} must be {need}, got {list(shape)}")
        vertices = sizes["position"][0]
        for name, shape in sizes.items():
            self._check_size(name, shape[0], vertices)
        for parameter in parameters:
            if parameter.credit == "primitive":
                self._check_size(parameter.name, parameter.rows, len(self.triangles))
        if not (self.triangles.min() >= 0 and self.triangles.max() < vertices):
            found = f"{self.triangles.min()}..{self.triangles.max()}"
            raise ValueError(f"StochasticOptimizer(): triangles must be indices 0..{vertices - 1}, got {found}")
        if "texel" in kinds and "uv" not in sizes:
            raise ValueError("StochasticOptimizer(): a texture needs the vertex attribute 'uv'")
        if sum(p.credit == "background" for p in parameters) > 1:
            raise ValueError("StochasticOptimizer(): there can be one parameter with credit 'background'")

    @staticmethod
    def _check_size(name: str, rows: int, need: int) -> None:
        if rows != need:
            raise ValueError(f"StochasticOptimizer(): {name!r} must have {need} rows, got {rows}")

    def neighbours(self, device: "Device", parameter: Parameter) -> Neighbours | None:
        """What smoothing and the limit of a vertex's perturbation need."""
        if not (parameter.smoothness > 0 or parameter.in_pixels):
            return None
        control = parameter.credit == "control"
        faces = cast("Subdivision", self.subdivision).control if control else self.triangles
        return Neighbours(device, faces, parameter.rows)

    def prepare(self, device: "Device", states: Sequence[ParameterState], num_pairs: int, loss, scale) -> None:
        """Compiles the programs, and gives each parameter its credit; those of one kind and size share one.

        Args:
            loss: GLSL of the loss.
            scale: of the fixed point, or None.
        """
        self._device, self._states = device, {state.parameter.name: state for state in states}
        self._fixed = {name: device.buffer(array) for name, array in self.attributes.items()}
        self._indices = device.buffer(self.triangles)
        if self.subdivision is not None:
            self._refinement = self.subdivision.buffers(device)
            size = 4 * 2 * num_pairs * self.subdivision.num_vertices * 3
            self._refined = device.buffer(size, "the perturbed copies of the subdivided surface")
        self._build(device, states)
        moves = any(state.parameter.name == "position" for state in states)
        credits: dict[tuple, Credit] = {}
        key: tuple
        make: Callable[[], Credit]
        for state in states:
            parameter = state.parameter
            if parameter.is_texture:
                options = parameter.texture_size, parameter.footprint, parameter.credit == "background"
                key = (*options, not moves)
                make = lambda: TexelCredit(device, *options, not moves, num_pairs, loss, scale)  # noqa: B023, E731
            elif parameter.credit == "scene":
                key = ("scene",)
                make = lambda: SceneCredit(device, num_pairs, loss, scale)  # noqa: E731
            else:
                key = (parameter.credit, parameter.rows)
                table = self._table(parameter.credit)
                make = lambda: RowCredit(device, *table, parameter.rows, num_pairs, loss, scale)  # noqa: B023, E731
            if key not in credits:
                credits[key] = make()
            state.use(credits[key])

    def _table(self, credit: str) -> tuple[np.ndarray, np.ndarray]:
        """Which rows each triangle depends on: where its list starts, and the lists."""
        T = len(self.triangles)
        if credit == "vertex":
            return np.arange(0, 3 * T + 1, 3), self.triangles.ravel()
        if credit == "control":
            return cast("Subdivision", self.subdivision).controls_of_triangles()
        return np.arange(T + 1), np.arange(T)

    def _build(self, device: "Device", states: Sequence[ParameterState]) -> None:
        components = {name: array.shape[1] for name, array in self.attributes.items()}
        components |= {s.parameter.name: s.parameter.components for s in states if s.parameter.credit == "vertex"}
        components.setdefault("position", 3)
        attributes: list[Source] = []
        for name, count in components.items():
            attributes += shipped(
                "vertex_attribute.glsl", attribute_macros(name, count) | {"WRITE": f"glr_write_{name}"}
            )
        calls = " ".join(f"glr_write_{name}(slot);" for name in components)
        parameters: list[Source] = []
        for state in states:
            name, kind = state.parameter.name, state.parameter.credit
            macros = attribute_macros(name, state.parameter.components)
            if state.parameter.is_texture:
                parameters += _texture(state.parameter)
            elif kind in ("scene", "primitive"):
                row = "gl_PrimitiveID" if kind == "primitive" else "0"
                parameters += shipped("row_parameter.glsl", macros | {"ROW": row})
        user = [("main", "#define main glr_user_main\n"), self._fragment, ("main", "#undef main\n")]
        fragment = [*shipped("mesh_inputs.glsl"), *user, *parameters, *shipped("mesh_outputs.glsl")]
        defines = ["WRITES_UV"] if "uv" in components else []
        call = ("mesh.vert", f"#define WRITE_ATTRIBUTES {calls}\n")
        self._mesh = device.draw([*attributes, call, *shipped("mesh.vert")], fragment, *defines)
        self._vertices = device.keep(device.gl.vertex_array(self._mesh.program, [], index_buffer=self._indices))
        self._attribute_names = list(components)
        environment = [s.parameter for s in states if s.parameter.credit == "background"]
        lookup = _texture(environment[0]) if environment else []
        defines = [f"ENVIRONMENT {environment[0].name}"] if environment else []
        self._behind = device.draw(shipped("background.vert"), [*shipped("background.frag"), *lookup], *defines)

    def draw(self, frame: Frame) -> None:
        """Renders the pictures of a frame with its perturbed parameters."""
        buffers, uniforms = frame.buffers(), frame.uniforms()
        textures: dict[str, Texels] = {}
        for name in self._attribute_names:
            buffers[f"glr_{name}_block"], uniforms[f"glr_{name}_stride"] = self._attribute(name, frame)
        for name, state in self._states.items():
            if state.parameter.is_texture:
                textures[f"glr_{name}"] = state.texels
                uniforms |= state.lookup(f"glr_{name}")
            elif state.parameter.credit in ("scene", "primitive"):
                buffers[f"glr_{name}_block"], uniforms[f"glr_{name}_stride"] = state.shown(frame)
        frame.atlas.begin()
        gl = self._device.gl
        gl.disable(moderngl.DEPTH_TEST | moderngl.BLEND | moderngl.CULL_FACE)
        self._behind.set(buffers, textures, background=self.background, **uniforms)
        self._behind.triangles(frame.slots)
        gl.enable(moderngl.DEPTH_TEST)
        self._mesh.set(buffers, textures, **uniforms)
        self._vertices.render(moderngl.TRIANGLES, instances=frame.slots)

    def _attribute(self, name: str, frame: Frame) -> tuple[moderngl.Buffer, int]:
        if name in self._fixed:
            return self._fixed[name], 0
        shown, stride = self._states[name].shown(frame)
        if name != "position" or self.subdivision is None:
            return shown, stride
        pictures = frame.slots if frame.copies == 2 else 1
        sizes = {"vertices": self.subdivision.num_vertices, "controls": self.subdivision.num_controls}
        buffers = self._refinement | {"Control": shown, "Refined": self._refined}
        self._device.compute("refine.comp").run(buffers, self.subdivision.num_vertices, pictures, **sizes)
        return self._refined, self.subdivision.num_vertices if frame.copies == 2 else 0


def _texture(parameter: Parameter) -> list[Source]:
    """texture_parameter.glsl for a parameter."""
    storage = f"glr_{parameter.name}"
    macros = {
        "NAME": parameter.name,
        "NAME_TEXEL": f"{storage}_texel",
        "TYPE": _TYPES[parameter.components],
        "CHANNELS": _CHANNELS[parameter.components],
        "STORAGE": storage,
        "EXTENT": f"{storage}_extent",
        "KEY": f"{storage}_key",
        "EPS": f"{storage}_eps",
        "LINEAR": int(parameter.filter == "linear"),
        "WRAPS": str(parameter.credit == "background").lower(),
    }
    return shipped("texture_parameter.glsl", macros)


def attribute_macros(name: str, components: int) -> dict[str, object]:
    """What vertex_attribute.glsl and its like call the things of one attribute or parameter."""
    own_names = {"BLOCK": f"glr_{name}_block", "STORAGE": f"glr_{name}", "STRIDE": f"glr_{name}_stride"}
    return {"NAME": name, "TYPE": _TYPES[components], "SIZE": components} | own_names
