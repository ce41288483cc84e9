"""What the tests of the OpenGL context draw, and what they look at."""

import os
import subprocess
import sys
import threading

import torch
from scenes import flat_soup

from glraster import rasterize

__all__ = ["current", "draw", "in_thread", "run_python"]


def draw(glctx, seed: int = 0, size: tuple[int, int] = (40, 56), num_images: int = 2, **options) -> torch.Tensor:
    pos, tri = flat_soup(seed, num_images, 30)
    return rasterize(glctx, pos, tri, size, **options)[0]


def current() -> tuple:
    from glraster.interop.egl import egl

    return egl().eglGetCurrentContext(), egl().eglQueryAPI()


def run_python(code: str, **environment: str) -> str:
    """Runs a program in a process of its own and returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_thread(function) -> BaseException | None:
    """Runs `function` in another thread, and returns what it raises."""
    caught = []

    def run():
        try:
            function()
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the thread hangs"
    return caught[0] if caught else None
