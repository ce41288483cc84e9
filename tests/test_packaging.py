"""The package as a newcomer installs it: regular and editable, in a folder whose path has a space."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECK = """
import torch, glraster
rast, _ = glraster.rasterize(
    glraster.RasterizeCudaContext('cpu'), torch.tensor([[[-1., -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]]),
    torch.tensor([[0, 1, 2]], dtype=torch.int32), (4, 4))
assert bool((rast[..., 3] == 1).all())
import glraster.interop, glraster.shaders, glraster.viewer
"""


def run(*command, cwd) -> str:
    environment = os.environ | {"GLRASTER_CXXFLAGS": "-O0"}  # here the kernels need not be fast
    arguments = [str(c) for c in command]
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("editable", [False, True], ids=["regular", "editable"])
def test_install_and_import_from_anywhere(tmp_path, editable):
    source = tmp_path / "a folder" / "glraster"
    ignore = shutil.ignore_patterns(".*", "*.so", "build", "*.egg-info", "__pycache__", "out")
    shutil.copytree(ROOT, source, ignore=ignore)
    shutil.copy(ROOT / "setup.cfg", source)
    venv = tmp_path / "a folder" / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    python = venv / "bin" / "python"
    # PyTorch and the build tools come from the environment that runs the tests.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    Path(site, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    option = ["--editable"] if editable else []
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, *option, ".", cwd=source)
    run(python, "-c", CHECK, cwd=tmp_path)
    if editable:
        run(python, "-c", CHECK, cwd=source)
    else:  # Python takes the package from the folder that it starts in: all of it, and there the kernels are not built
        done = subprocess.run([str(python), "-c", CHECK], cwd=source, capture_output=True, text=True)
        assert "HostLibraryError" in done.stderr and "start Python in another folder" in done.stderr
    top_level = {p.name for p in Path(site).iterdir() if p.is_dir() and not p.name.endswith("-info")}
    assert top_level - {"__pycache__"} == (set() if editable else {"glraster"})
