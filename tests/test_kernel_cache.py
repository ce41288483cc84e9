"""Where compiled kernels are kept, and what happens where they cannot be."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from glraster.cuda_kernels import kernel_cache
from glraster.doctor import compilers as doctor


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """This user's folder among the temporary files, which lie in a place of their own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp" / f"glraster-{os.getuid()}"


@pytest.fixture
def unusable(tmp_path, monkeypatch) -> Path:
    """A folder named by the variable that nobody can make, because a file is in its way."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLRASTER_CACHE_DIR", str(tmp_path / "file" / "cache"))
    return tmp_path / "file" / "cache"


def test_folders(temporary, monkeypatch):
    def paths() -> list[Path]:
        return [folder.path for folder in kernel_cache.folders()]

    monkeypatch.setenv("GLRASTER_CACHE_DIR", "/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert paths() == [Path("/mine"), temporary]
    monkeypatch.delenv("GLRASTER_CACHE_DIR")
    assert paths() == [Path("/xdg/glraster"), temporary]
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its specification says to ignore
    assert paths() == [Path.home() / ".cache" / "glraster", temporary]


def test_no_home(temporary, monkeypatch):
    """Neither HOME nor an entry in the list of users: a container that runs under any number."""

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("GLRASTER_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    kernel_cache.keep("kernel", b"image")
    assert (temporary / "kernel").read_bytes() == b"image" == kernel_cache.look_up("kernel")
    (finding,) = doctor.kernel_folders()
    assert finding.status == "absent" and finding.found == f"kept in {temporary}, for there is no home directory"


def test_a_folder_that_cannot_be_used(temporary, unusable):
    kernel_cache.keep("kernel", b"image")
    assert (temporary / "kernel").read_bytes() == b"image" == kernel_cache.look_up("kernel")
    assert temporary.stat().st_mode & 0o777 == 0o700
    (finding,) = doctor.kernel_folders()
    assert finding.status == "broken" and f"kept in {temporary}" in finding.found and str(unusable) in finding.found
    assert [file.name for file in temporary.iterdir()] == ["kernel"]


def test_no_folder_at_all(temporary, unusable):
    temporary.write_text("")
    assert kernel_cache.look_up("kernel") is None
    with pytest.warns(UserWarning, match="compiles its GPU kernels anew in every process: .*Not a directory"):
        kernel_cache.keep("kernel", b"image")
    (finding,) = doctor.kernel_folders()
    assert finding.status == "broken" and "anew in every process" in finding.found


@pytest.mark.parametrize("how", ["writable", "link"])
def test_a_temporary_folder_that_others_may_have_made_is_not_trusted(how, temporary, unusable, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (temporary if how == "writable" else elsewhere).mkdir()
    if how == "link":
        temporary.symlink_to(elsewhere)
    (temporary / "kernel").write_bytes(b"evil")
    temporary.chmod(0o777 if how == "writable" else 0o700)
    assert kernel_cache.look_up("kernel") is None
    with pytest.warns(UserWarning, match="is not a folder that this user alone can write to"):
        kernel_cache.keep("kernel", b"image")


def test_files_have_the_users_permissions_and_are_whole(tmp_path, monkeypatch):
    """Others may read what is kept in a folder that users share, if the umask lets them."""
    monkeypatch.setenv("GLRASTER_CACHE_DIR", str(tmp_path / "cache"))
    before = os.umask(0o022)
    try:
        kernel_cache.keep("kernel", b"image")
    finally:
        os.umask(before)
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.name == "kernel" and kept.stat().st_mode & 0o777 == 0o644
    kept.write_bytes(b"")  # what a crash of the machine leaves
    assert kernel_cache.look_up("kernel") is None
    kernel_cache.keep("kernel", b"again")
    assert kernel_cache.look_up("kernel") == b"again"


@pytest.fixture
def open_folder(root):
    """A folder that every user can reach, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_files_of_another_user(open_folder):
    """Unreadable files in a folder where one cannot write: another user's cache, met by a user without privileges."""
    cache, temporary = open_folder / "cache", open_folder / "tmp"
    cache.mkdir(mode=0o755)
    (cache / "kernel").write_bytes(b"theirs")
    (cache / "kernel").chmod(0o600)
    temporary.mkdir()
    temporary.chmod(0o1777)
    script = f"""
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("kernel_cache", {kernel_cache.__file__!r})
kernel_cache = importlib.util.module_from_spec(spec)
sys.modules["kernel_cache"] = kernel_cache
spec.loader.exec_module(kernel_cache)
os.setgid(65534)
os.setuid(65534)
assert kernel_cache.look_up("kernel") is None
kernel_cache.keep("kernel", b"mine")
assert kernel_cache.look_up("kernel") == b"mine"
"""
    environment = os.environ | {"GLRASTER_CACHE_DIR": str(cache), "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (cache / "kernel").read_bytes() == b"theirs"
    assert (temporary / "glraster-65534" / "kernel").read_bytes() == b"mine"
