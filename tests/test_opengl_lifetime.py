"""The OpenGL context: closing, abandoning, shrinking."""

import gc
import os

import pytest
import torch
from gl_scene import draw
from scenes import sphere

import glraster

pytestmark = pytest.mark.usefixtures("gl_available")


def resident_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.slow
@pytest.mark.own_process
def test_two_hundred_contexts_leak_neither_memory_nor_file_handles():
    def cycle(count: int) -> None:
        for number in range(count):
            glctx = glraster.RasterizeGLContext(device="cpu")
            if number % 4 == 0:
                draw(glctx)
            if number % 2:
                glctx.close()  # the others are left to garbage collection

    cycle(40)
    gc.collect()
    handles, threads, memory = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident_kib()
    cycle(200)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= handles
    assert len(os.listdir("/proc/self/task")) <= threads
    assert resident_kib() - memory < 200 * 20  # one context with its framebuffer takes over 1,000 KiB


def test_many_contexts_at_once(gl_context):
    expected = draw(gl_context)
    contexts = [glraster.RasterizeGLContext(device="cpu") for _ in range(12)]
    assert all(torch.equal(draw(glctx), expected) for glctx in contexts for _ in range(2))
    for glctx in contexts:
        glctx.close()


def test_a_closed_context_says_so():
    with glraster.RasterizeGLContext(device="cpu") as glctx:
        draw(glctx)
    glctx.close()  # twice is no error
    for use in (lambda: draw(glctx), glctx.shrink):
        with pytest.raises(RuntimeError, match="is closed"):
            use()


@pytest.mark.own_process
def test_shrink_gives_memory_back(gl_context):
    small = draw(gl_context)
    gl_context.shrink()
    before = resident_kib()
    size = 2048
    pos, tri = sphere(2)
    ids = torch.empty((8, size, size), dtype=torch.int32)
    gl_context._pass.draw(pos.expand(8, -1, -1).contiguous(), tri, (size, size), None, ids)
    del ids
    grown = resident_kib()
    gl_context.shrink()
    framebuffer_kib = 8 * size * size * 8 // 1024
    assert grown - before > framebuffer_kib * 0.9
    assert grown - resident_kib() > framebuffer_kib * 0.9
    assert torch.equal(draw(gl_context), small)
