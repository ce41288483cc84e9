"""The container images, as far as that goes without an engine; `docker/test_install.sh` tries the installation."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[1] / "docker"
DRIVER = """
#include <stdio.h>
unsigned __egl_Main(unsigned version, const void* exports, void* vendor, void* imports) {
  puts("asked as a driver");
  fflush(stdout);
  return 0;  // not willing
}
"""
SCRIPTS = ["install.sh", "test_install.sh"]


def function(name: str) -> str:
    """One function of install.sh, to be run alone."""
    (text,) = re.findall(rf"^{name}\(\) {{\n.*?^}}\n", (DOCKER / "install.sh").read_text(), re.MULTILINE | re.DOTALL)
    return text


def bash(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    command = ["bash", "-euo", "pipefail", "-c", script, "bash", *map(str, arguments)]
    return subprocess.run(command, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_can_be_run(script):
    subprocess.run(["bash", "-n", DOCKER / script], check=True)
    assert (DOCKER / script).stat().st_mode & 0o111


@pytest.mark.parametrize("arguments", [[], ["gpu"]], ids=["none", "unknown"])
def test_install_refuses_other_kinds(arguments):
    done = subprocess.run([DOCKER / "install.sh", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and "usage: " in done.stderr and "cpu|cuda" in done.stderr


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_packages_exist(kind, debian_packages):
    """Debian knows every package that the script asks for, and they can be installed together."""
    selection = (DOCKER / "install.sh").read_text().partition("install_packages() {")[0]
    done = bash(f'{selection}\napt-get install --simulate -qq "${{packages[@]}}"', kind)
    assert done.returncode == 0, done.stderr


def test_egl_loads_the_driver_that_the_vendor_file_names(tmp_path, gcc, egl_library):
    """GLVND reads the file that install.sh writes, and loads the library by the name that NVIDIA's driver has."""
    vendor_file = tmp_path / "vendors" / "10_nvidia.json"
    assert bash(f"{function('write_vendor_file')}\nwrite_vendor_file", vendor_file=str(vendor_file)).returncode == 0
    assert json.loads(vendor_file.read_text())["ICD"]["library_path"] == "libEGL_nvidia.so.0"
    source = tmp_path / "driver.c"
    source.write_text(DRIVER)
    library = tmp_path / "libEGL_nvidia.so.0"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    query = "import ctypes\nctypes.CDLL('libEGL.so.1').eglQueryString(None, 0x3055)"
    environment = {"LD_LIBRARY_PATH": str(tmp_path), "__EGL_VENDOR_LIBRARY_DIRS": str(vendor_file.parent)}
    done = subprocess.run([sys.executable, "-c", query], env=environment, capture_output=True, text=True)
    assert "asked as a driver" in done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfiles(kind):
    text = (DOCKER / f"Dockerfile.{kind}").read_text()
    instructions = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(instructions) <= 10, "the work belongs into install.sh"
    assert f"RUN /src/docker/install.sh {kind}" in instructions
    assert instructions[-1] == 'CMD ["glraster", "doctor"]'
    capabilities = re.search(r"NVIDIA_DRIVER_CAPABILITIES=(\S+)", text)
    assert (set(capabilities[1].split(",")) >= {"compute", "graphics"}) if kind == "cuda" else capabilities is None
