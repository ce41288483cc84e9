"""Files with the state of an optimization."""

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .state import ParameterState

__all__ = ["load_state", "save_state"]

_VERSION = 2  # 1 had the moments of each number side by side
_PARTS = ("values", "moments", "counts")


def save_state(path: str | Path, states: Sequence[ParameterState], steps: int, seed: int) -> None:
    """Writes values, moments and counts of all parameters, and the counters, as .npz; the file is whole or absent."""
    content: dict[str, Any] = {"version": np.array(_VERSION), "steps": np.array(steps), "seed": np.array(seed)}
    for state in states:
        name, shape = state.parameter.name, state.parameter.value.shape
        content[f"{name}.values"] = state.read(state.values)
        content[f"{name}.moments"] = np.frombuffer(state.moments.read(), np.float32)[: 2 * state.parameter.value.size]
        content[f"{name}.counts"] = np.frombuffer(state.counts.read(), np.int32)[: state.parameter.rows]
        content[f"{name}.moments"] = content[f"{name}.moments"].reshape(2, *shape)
    path = Path(path)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **content)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def load_state(path: str | Path, states: Sequence[ParameterState]) -> tuple[int, int]:
    """Puts what `save_state` wrote into the parameters; returns steps and seed. An error changes nothing.

    Raises:
        ValueError: the file has other parameters, or is none of these files.
    """
    content: dict[str, Any] = {}
    with open(path, "rb") as file:
        if zipfile.is_zipfile(file):
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                content = {name: arrays[name] for name in arrays.files}
    if content.get("version") != _VERSION:
        raise ValueError(f"StochasticOptimizer.load(): {path} is no state of an optimization that this version reads")
    need = {f"{state.parameter.name}.{part}" for state in states for part in _PARTS}
    found = content.keys() - {"version", "steps", "seed"}
    if need != found:
        raise ValueError(f"StochasticOptimizer.load(): {path} must have {sorted(need)}, got {sorted(found)}")
    for state in states:
        name, shape = state.parameter.name, state.parameter.value.shape
        if content[f"{name}.values"].shape != shape:
            got = list(content[f"{name}.values"].shape)
            raise ValueError(f"StochasticOptimizer.load(): {name!r} must be {list(shape)}, got {got}")
    for state in states:
        for part in _PARTS:
            getattr(state, part).write(content[f"{state.parameter.name}.{part}"].tobytes())
    return int(content["steps"]), int(content["seed"])
