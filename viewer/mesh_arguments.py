"""What `Viewer.mesh` takes, checked before anything is copied."""

import torch

__all__ = ["MODES", "check_mesh"]

MODES = ("shaded", "wireframe", "normals", "checker", "texture", "depth", "layers", "ids", "gradients")


def check_mesh(
    name: str,
    vertices: torch.Tensor,
    faces: torch.Tensor,
    *,
    colors: torch.Tensor | None = None,
    normals: torch.Tensor | None = None,
    uv: torch.Tensor | None = None,
    texture: torch.Tensor | None = None,
    vectors: torch.Tensor | None = None,
    mode: str = "shaded",
) -> None:
    """Checks the arguments of a mesh; see `MeshView` for what they are.

    Raises:
        TypeError, ValueError: another type or shape; the message names mesh and argument.
    """
    _check_floats(name, "vertices", vertices, ["V", 3])
    V = len(vertices)
    if not isinstance(faces, torch.Tensor) or faces.is_floating_point():
        raise TypeError(f"mesh(): faces of {name} must be a tensor of integers, got {_kind(faces)}")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"mesh(): faces of {name} must be [T, 3], got {list(faces.shape)}")
    for what, value, channels in (
        ("colors", colors, 3),
        ("normals", normals, 3),
        ("uv", uv, 2),
        ("vectors", vectors, 3),
    ):
        if value is not None:
            _check_floats(name, what, value, [V, channels])
    if texture is not None:
        _check_floats(name, "texture", texture, ["H", "W", 3])
        if uv is None:
            raise ValueError(f"mesh(): texture of {name} needs uv")
    if mode not in MODES:
        raise ValueError(f"mesh(): mode of {name} must be one of {', '.join(MODES)}, got {mode!r}")
    if mode == "gradients" and vectors is None:
        raise ValueError(f"mesh(): mode 'gradients' of {name} needs vectors")


def _check_floats(name: str, what: str, value: object, shape: list[str | int]) -> None:
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        raise TypeError(f"mesh(): {what} of {name} must be a tensor of floats, got {_kind(value)}")
    fits = value.ndim == len(shape) and all(
        isinstance(b, str) or a == b for a, b in zip(value.shape, shape, strict=True)
    )
    if not fits:
        expected = f"[{', '.join(map(str, shape))}]"
        raise ValueError(f"mesh(): {what} of {name} must be {expected}, got {list(value.shape)}")


def _kind(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
