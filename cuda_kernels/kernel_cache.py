"""Keeps compiled kernels on disk: in the user's cache directory or, where that cannot be used, in a temporary one."""

import contextlib
import os
import secrets
import stat
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Folder", "folders", "keep", "look_up"]


@dataclass(frozen=True)
class Folder:
    """A place for compiled kernels.

    Attributes:
        path: of the folder, which need not exist yet.
        temporary: whether it lies among the temporary files, where anybody may make a folder of its name.
    """

    path: Path
    temporary: bool = False

    def check(self) -> None:
        """What lies in the folder will be run.

        Raises:
            OSError: it cannot be looked at, or others than this user may write to a temporary one.
        """
        found = self.path.lstat()
        own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
        if self.temporary and not own:
            raise PermissionError(f"{self.path} is not a folder that this user alone can write to")

    def read(self, name: str) -> bytes:
        self.check()
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Writes a file that other processes see whole or not at all, with the permissions of any file of the user."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700 if self.temporary else 0o777)
        self.check()
        partial = self.path / f"{name}.{secrets.token_hex(8)}"
        try:
            partial.write_bytes(content)
            os.replace(partial, self.path / name)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

    def fault(self) -> str | None:
        """Why no file can be written here and read back, found by doing so; None if it can."""
        name = f"trial-{secrets.token_hex(8)}"
        try:
            self.write(name, b"trial")
            self.read(name)
            (self.path / name).unlink()
        except OSError as error:
            return str(error)
        return None


def folders() -> list[Folder]:
    """Where compiled kernels are looked for, and kept in the first that can be written: $GLRASTER_CACHE_DIR, or else
    glraster/ in the user's cache directory; then a folder of this user's among the temporary files."""
    found = []
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if os.environ.get("GLRASTER_CACHE_DIR"):
        found.append(Folder(Path(os.environ["GLRASTER_CACHE_DIR"])))
    elif Path(cache).is_absolute():
        found.append(Folder(Path(cache, "glraster")))
    else:
        with contextlib.suppress(RuntimeError):  # neither HOME nor an entry for this user in the system's list
            found.append(Folder(Path.home() / ".cache" / "glraster"))
    with contextlib.suppress(OSError):  # no place for temporary files
        found.append(Folder(Path(tempfile.gettempdir(), f"glraster-{os.getuid()}"), temporary=True))
    return found


def look_up(name: str) -> bytes | None:
    """The content of the file of that name, or None where there is none that can be read."""
    for folder in folders():
        with contextlib.suppress(OSError):
            content = folder.read(name)
            if content:  # a machine that crashed may have left an empty file
                return content
    return None


def keep(name: str, content: bytes) -> None:
    """Writes the file of that name, for `look_up` in this and other processes; warns where it can be kept nowhere."""
    reasons = []
    for folder in folders():
        try:
            folder.write(name, content)
            return
        except OSError as error:
            reasons.append(str(error))
    why = "; ".join(reasons) or "there is neither a home directory nor one for temporary files"
    warnings.warn(f"glraster compiles its GPU kernels anew in every process: {why}", stacklevel=3)
