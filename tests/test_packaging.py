"""The package as a newcomer gets it: regular, editable and from the source distribution, in a folder with a space."""

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Sequence
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
FILES = """
import glraster, os
from pathlib import Path
root = Path(glraster.__file__).parent
for folder, _, names in os.walk(root, followlinks=True):
    print(*[Path(folder, name).relative_to(root) for name in names if not name.endswith('.pyc')], sep='\\n')
"""
IGNORED = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "*.so", "build", "dist", "out", "results", "*.egg-info", "__pycache__"
)
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def start(command: Sequence[object], cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    quick = {"GLRASTER_CXXFLAGS": "-O0", "GLRASTER_ISA_LEVELS": "base"}  # here the kernels need not be fast
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | quick | variables
    arguments = [str(word) for word in command]
    return subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=900, env=environment)


def run(*command: object, cwd: Path) -> str:
    done = start(command, cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy_source(folder: Path) -> Path:
    """A copy of the tree as a checkout has it, without what was built or installed there."""

    def ignored(where: str, names: list[str]) -> set[str]:
        of_docs = {"_build", "samples"} if Path(where) == ROOT / "docs" else set()
        return IGNORED(where, names) | of_docs & set(names)

    return shutil.copytree(ROOT, folder / "a folder" / "glraster", ignore=ignored, symlinks=True)


def files_below(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return copy_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def unpacked(source, tmp_path_factory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", build, folder, cwd=source)
    (archive,) = folder.glob("glraster-*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return folder / archive.name.removesuffix(".tar.gz")


class Environment:
    """A virtual environment that borrows PyTorch and the build tools from the one that runs the tests."""

    def __init__(self, folder: Path):
        run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
        self.python = folder / "bin" / "python"
        where = run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
        self.site = Path(where.strip())
        (self.site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def install(self, *what: object, cwd: Path) -> None:
        options = ["--quiet", "--no-deps", "--no-build-isolation"]
        run(*PIP, "--python", self.python, "install", *options, *what, cwd=cwd)

    def files(self, cwd: Path) -> set[str]:
        """What the imported package consists of."""
        return set(run(self.python, "-c", FILES, cwd=cwd).split())


def test_the_source_distribution_holds_the_whole_tree(source, unpacked):
    """Nothing that a test, the Makefile or the build needs is missing: all is there but the folders behind links."""
    behind_links = {link.readlink().name for link in (source / "glraster").iterdir() if link.is_symlink()}
    assert {"cuda_kernels", "interop", "shaders"} <= behind_links
    expected = set()
    for folder, _, names in os.walk(source, followlinks=True):
        where = Path(folder).relative_to(source)
        if where.parts[:1] not in {(name,) for name in behind_links}:
            expected |= {str(where / name) for name in names}
    made = {"PKG-INFO", "setup.cfg"}
    found = {file for file in files_below(unpacked) if "egg-info" not in file}
    expected = {file for file in expected if "egg-info" not in file and not file.startswith("build/")}
    assert found - made == expected - made


@pytest.mark.slow
def test_installs_hold_the_same_files(source, unpacked, tmp_path):
    """Regular, from the source distribution, and editable; each can be imported from anywhere."""
    wheels = []
    for folder in (source, unpacked):
        run(
            *PIP,
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            tmp_path / "w",
            ".",
            cwd=folder,
        )
        (wheel,) = (tmp_path / "w").glob("*.whl")
        wheels.append(wheel.rename(tmp_path / wheel.name))
        with zipfile.ZipFile(wheels[-1]) as content:
            packed = {name for name in content.namelist() if ".dist-info/" not in name}
        assert {name.partition("/")[0] for name in packed} == {"glraster"}
        wheels[-1] = {name.partition("/")[2] for name in packed}
    assert wheels[0] == wheels[1]
    regular = Environment(tmp_path / "regular")
    regular.install(tmp_path / "glraster-0.1.0-py3-none-linux_x86_64.whl", cwd=tmp_path)
    assert regular.files(tmp_path) == wheels[0]
    run(regular.python, "-c", CHECK, cwd=tmp_path)
    editable = Environment(tmp_path / "editable")
    shutil.rmtree(source / "build", ignore_errors=True)
    # Python takes the package from the folder that it starts in: all of it, and there the kernels are not built yet.
    done = start([regular.python, "-c", CHECK], source)
    assert "HostLibraryError" in done.stderr and "start Python in another folder" in done.stderr
    editable.install("--editable", ".", cwd=source)
    assert editable.files(tmp_path) == wheels[0]
    for folder in (tmp_path, source):
        run(editable.python, "-c", CHECK, cwd=folder)


def build(source: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", folder, "--build-temp", folder / "temp"]
    return start(command, source, **variables)


@pytest.mark.parametrize("compiler", ["absent++", "/nowhere/g++", "absent g++"])
def test_without_a_compiler_one_line_says_what_to_install(compiler, source, tmp_path):
    command = ["bdist_wheel", "--dist-dir", tmp_path / "dist", "--bdist-dir", tmp_path / "bdist"]
    done = start([sys.executable, "setup.py", *command], source, CXX=compiler)  # what pip does
    assert done.returncode == 1 and len((done.stdout + done.stderr).splitlines()) <= 3, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.search(rf"there is no '{re.escape(compiler.split()[0])}': .*apt-get install g\+\+", line)


def test_a_failing_compiler_ends_in_one_line(source, tmp_path):
    done = build(source, tmp_path, CXX="false --strange")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert re.search("^error: failed with exit code 1: false --strange -x c", done.stderr, re.MULTILINE)


def test_the_compiler_may_be_several_words(source, tmp_path):
    """CXX="ccache g++", with a program that writes down what it is asked in place of both."""
    program = tmp_path / "cache"
    program.write_text('#!/bin/sh\necho "$@" >> "$0.log"\nfor last; do :; done\ntouch "$last"\n')
    program.chmod(0o755)
    done = build(source, tmp_path / "built", CXX=f"{program} g++")
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "cache.log").read_text().splitlines()
    assert all(call.startswith("g++ ") for call in calls)
    compiled = {kernel.name for kernel in (source / "cuda_kernels").glob("*.cu") if f"/{kernel.name} " in str(calls)}
    assert compiled == {kernel.name for kernel in (source / "cuda_kernels").glob("*.cu")} and "-shared" in calls[-1]
    assert (tmp_path / "built" / "glraster" / "cuda_kernels" / "host_base.so").exists()


def test_unknown_levels_are_named(source, tmp_path):
    done = build(source, tmp_path, GLRASTER_ISA_LEVELS="base sse9")
    assert done.returncode == 1 and "must be of base avx2 avx512, got sse9" in done.stderr


def test_plain_pytest_finds_the_package():
    """Not only `python -m pytest`, which adds the folder that it starts in to Python's path."""
    program = Path(sys.executable).with_name("pytest")
    done = start([program, "--collect-only", "-p", "no:cacheprovider", "test_corners.py"], ROOT / "tests")
    assert done.returncode == 0, done.stdout + done.stderr


def test_metadata(unpacked):
    found = email.message_from_string((unpacked / "PKG-INFO").read_text())
    assert found["Author"] == "glraster developers" and found["Requires-Python"] == ">=3.10"
    assert {"cuda12", "cuda13", "doctor", "samples"} <= set(found.get_all("Provides-Extra"))
    assert "Programming Language :: Python :: 3.10" in found.get_all("Classifier")
