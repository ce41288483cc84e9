"""Fixtures: where a test runs, and the data it may use. Every skip comes from here."""

from pathlib import Path

import numpy as np
import pytest
import torch

import glraster

SHARED = Path(__file__).parents[2] / "shared"
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    """Every device of this machine."""
    return torch.device(request.param)


@pytest.fixture
def cuda() -> torch.device:
    """The current GPU."""
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session")
def gl_available() -> None:
    """Skips where no headless OpenGL context can be had."""
    try:
        glraster.RasterizeGLContext(device="cpu").close()
    except RuntimeError as error:
        pytest.skip(f"no OpenGL: {error}")


@pytest.fixture(params=["software", "gl"])
def glctx(request, device):
    """Both rasterizer contexts on every device."""
    if request.param == "software":
        context = glraster.RasterizeCudaContext(device)
    else:
        request.getfixturevalue("gl_available")
        context = glraster.RasterizeGLContext(device=device)
    yield context
    gl_pass = getattr(context, "_pass", None)
    if gl_pass is not None and gl_pass.context.usable:
        assert gl_pass.take_error() is None, "an OpenGL error was left behind"
    context.close()


@pytest.fixture
def golden():
    """Loads golden/NAME.npz as tensors (0-d arrays as Python values)."""

    def load(name: str) -> dict:
        path = SHARED / "golden" / f"{name}.npz"
        if not path.exists():
            pytest.skip("shared/golden is not here")
        data = np.load(path)
        return {key: data[key].item() if data[key].ndim == 0 else torch.from_numpy(data[key]) for key in data.files}

    return load


@pytest.fixture
def spot_path() -> Path:
    """The mesh shared/data/spot.obj."""
    path = SHARED / "data" / "spot.obj"
    if not path.exists():
        pytest.skip("shared/data is not here")
    return path
