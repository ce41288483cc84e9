"""Contexts in forked and spawned processes: what works there, and that nothing hangs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORK = """
import os, signal, sys, torch, glraster
sys.path.insert(0, sys.argv[1])
from scenes import sphere

def gradient():
    pos, tri = sphere(4, num_views=4)
    pos.requires_grad_()
    with glraster.SoftwareRasterizer("cpu") as glctx:
        rast, _ = glraster.rasterize(glctx, pos, tri, (256, 256))  # large enough for several threads everywhere
    color, _ = glraster.interpolate(pos, rast, tri)
    glraster.antialias(color, rast, pos, tri).square().sum().backward()
    return pos.grad

torch.set_num_threads(2)
expected = gradient()
child = os.fork()
if child == 0:
    signal.alarm(60)
    torch.testing.assert_close(gradient(), expected)
    torch.ones(1 << 22).add_(1)  # PyTorch's own operation
    os._exit(0 if torch.get_num_threads() == 1 else 1)
assert os.waitpid(child, 0)[1] == 0 and torch.get_num_threads() == 2
"""


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=200, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_forked_child_draws_after_its_parent_has_used_threads():
    run("-c", FORK, str(ROOT / "tests"))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_data_loader(tmp_path, method):
    """The program in docs/processes.md."""
    (program,) = re.findall(r"```python file\n(.*?)```", (ROOT / "docs" / "processes.md").read_text(), re.DOTALL)
    file = tmp_path / "loader.py"
    file.write_text(program)
    assert run(str(file), method).startswith(f"{method}: 8 images from ")


MANY = """
import gc, glraster

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

glraster.OpenGLRasterizer(device="cpu").close()
before = resident_mib()
contexts = [glraster.OpenGLRasterizer(device="cpu") for _ in range(64)]
live = resident_mib()
for glctx in contexts:
    glctx.close()
del contexts, glctx
gc.collect()
print(live - before, resident_mib() - before)
"""


def test_many_live_contexts_give_their_memory_back(gl_available):
    live, closed = map(float, run("-c", MANY).split())
    assert live > 64  # MiB: at least one each
    assert closed < 0.3 * live


PLATFORM = """
FIRST
import torch, glraster
try:
    print(type(glraster.OpenGLRasterizer(device="cpu")).__name__)
except RuntimeError as error:
    print(type(error).__name__, error)
glctx = glraster.context("cpu")
pos, tri = torch.tensor([[[-1., -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]]), torch.tensor([[0, 1, 2]], dtype=torch.int32)
print(type(glctx).__name__, int(glraster.mask(glraster.rasterize(glctx, pos, tri, (4, 4))[0]).sum()))
"""


def on_platform(platform: str, first: str = "") -> list[str]:
    return run("-c", PLATFORM.replace("FIRST", first), PYOPENGL_PLATFORM=platform).splitlines()


@pytest.mark.parametrize("platform", ["glx", "osmesa"])
def test_a_platform_in_the_environment_that_is_not_egl(gl_available, platform):
    error, drawn = on_platform(platform)
    assert error.startswith(f"OpenGLError the environment variable PYOPENGL_PLATFORM is '{platform}'")
    assert "unset it" in error and drawn == "SoftwareRasterizer 16"


def test_an_empty_platform_in_the_environment_counts_as_none(gl_available):
    assert on_platform("") == ["OpenGLRasterizer", "OpenGLRasterizer 16"]


@pytest.mark.parametrize("platform", ["", "osmesa"])
def test_opengl_imported_before_on_another_platform(gl_available, platform):
    import_it = "try:\n    import OpenGL.GL\nexcept AttributeError:\n    pass"  # osmesa may not be installed
    error, drawn = on_platform(platform, import_it)
    assert error.startswith(f"OpenGLError PyOpenGL was imported before and has chosen {platform or 'glx'}")
    assert "PYOPENGL_PLATFORM=egl before the first import" in error and drawn == "SoftwareRasterizer 16"


def test_opengl_imported_before_on_egl(gl_available):
    assert on_platform("egl", "import OpenGL.GL") == ["OpenGLRasterizer", "OpenGLRasterizer 16"]
