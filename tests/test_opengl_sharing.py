"""The OpenGL context beside others: modes, threads, forked processes."""

import threading

import pytest
import torch
from gl_scene import current, draw, in_thread, run_python

import glraster

pytestmark = pytest.mark.usefixtures("gl_available")


def test_automatic_mode_restores_what_was_current(gl_context):
    nothing = current()
    draw(gl_context)
    assert current() == nothing and not nothing[0]
    with glraster.RasterizeGLContext(mode="manual", device="cpu") as other:
        other.set_context()
        before = current()
        assert before[0]
        draw(gl_context)
        assert current() == before
        assert draw(other).any()
        other.release_context()
    assert current() == nothing


def test_a_context_of_another_library_is_restored(gl_context):
    from glraster.interop.egl import egl, list_devices

    library, display = egl(), list_devices()[0].display()
    EGL_OPENGL_ES_API = 0x30A0
    library.eglBindAPI(EGL_OPENGL_ES_API)
    foreign = library.eglCreateContext(display, None, None, None)
    library.eglMakeCurrent(display, None, None, foreign)
    try:
        before = current()
        assert before == (foreign, EGL_OPENGL_ES_API)
        draw(gl_context)
        glraster.RasterizeGLContext(device="cpu").close()
        assert current() == before
    finally:
        library.eglMakeCurrent(display, None, None, None)
        library.eglDestroyContext(display, foreign)
        library.eglBindAPI(0x30A2)


def test_manual_mode():
    with glraster.RasterizeGLContext(mode="manual", device="cpu") as glctx:
        with pytest.raises(RuntimeError, match=r"needs set_context\(\)"):
            draw(glctx)
        with pytest.raises(RuntimeError, match=r"has not called set_context\(\)"):
            glctx.release_context()
        glctx.set_context()
        glctx.set_context()  # once more does no harm
        held = current()
        first = draw(glctx)
        assert current() == held and held[0]
        glctx.release_context()
        assert not current()[0]
        with glraster.RasterizeGLContext(device="cpu") as automatic:
            assert torch.equal(first, draw(automatic))
            with pytest.raises(RuntimeError, match="mode='manual'"):
                automatic.set_context()
    with pytest.raises(ValueError, match="mode must be 'automatic' or 'manual', got 'auto'"):
        glraster.RasterizeGLContext(mode="auto", device="cpu")


def test_manual_mode_notices_that_another_context_was_made_current():
    contexts = [glraster.RasterizeGLContext(mode="manual", device="cpu") for _ in range(2)]
    for glctx in contexts:
        glctx.set_context()
    with pytest.raises(RuntimeError, match=r"another context was made current since set_context\(\)"):
        draw(contexts[0])
    contexts[0].set_context()
    assert draw(contexts[0]).any()
    for glctx in contexts:
        glctx.close()
    assert not current()[0]


def test_a_context_held_by_another_thread_raises_and_does_not_hang():
    with glraster.RasterizeGLContext(mode="manual", device="cpu") as glctx:
        glctx.set_context()
        for use in (glctx.set_context, glctx.shrink, glctx.close):
            assert "held by another thread" in str(in_thread(use))
        glctx.release_context()

        def elsewhere():
            glctx.set_context()
            draw(glctx)
            glctx.release_context()

        assert in_thread(elsewhere) is None


def test_a_context_current_on_another_thread_behind_its_back_raises(gl_context):
    egl_context = gl_context._pass.context._egl_context
    egl_context.make_current()
    try:
        assert "may be so on another thread" in str(in_thread(lambda: draw(gl_context)))
    finally:
        from glraster.interop.egl import egl

        egl().eglMakeCurrent(egl_context._display, None, None, None)
    assert draw(gl_context).any()


@pytest.mark.parametrize("shared", [True, False], ids=["one context", "a context each"])
def test_eight_threads_equal_results_computed_alone(gl_context, shared):
    sizes = [(40, 56), (8, 8), (64, 33), (1, 90)]
    cases = [(seed, size, n) for seed in range(3) for size in sizes for n in (1, 3)]
    expected = [draw(gl_context, *case) for case in cases]
    wrong = []

    def work(thread: int) -> None:
        mine = gl_context if shared else glraster.RasterizeGLContext(device="cpu")
        for call in range(200):
            which = (call * 7 + thread) % len(cases)
            if not torch.equal(draw(mine, *cases[which]), expected[which]):
                wrong.append((thread, call))
            if call % 50 == thread:
                mine.shrink()

    def checked(thread: int) -> None:
        try:
            work(thread)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=checked, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not wrong


def test_threads_that_close_one_context_at_once():
    from glraster.interop.context import HeadlessContext

    context = HeadlessContext()
    inside = threading.Event()
    caught = []

    def close_from_elsewhere():
        inside.set()
        caught.append(in_thread(context.close))

    with context:  # both wait for the end of this block
        closers = [threading.Thread(target=close_from_elsewhere) for _ in range(2)]
        for thread in closers:
            thread.start()
        inside.wait(60)
    for thread in closers:
        thread.join(60)
    assert caught == [None, None] and not context.usable


def test_a_hold_that_begins_or_ends_within_a_block(gl_context):
    held, before = gl_context._pass.context, current()
    with held:
        held.hold()
        held.release_hold()
        assert current() != before
    assert current() == before
    with held:
        held.hold()
    assert held.held and current() != before
    with held:
        held.release_hold()
        assert current() != before
    assert current() == before
    assert draw(gl_context).any()


FORK = """
import os, signal, torch, glraster
pos, tri = torch.tensor([[[-1., -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]]), torch.tensor([[0, 1, 2]], dtype=torch.int32)
PARENT
child = os.fork()
if child == 0:
    signal.alarm(60)
    CHILD
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_gets_a_clear_error():
    child = """
    for use in (lambda: glraster.rasterize(glctx, pos, tri, (4, 4)), lambda: glraster.RasterizeGLContext(device='cpu')):
        try:
            use()
        except RuntimeError as error:
            print(error, flush=True)
    glctx.close()
    del glctx
    """
    parent = "glctx = glraster.RasterizeGLContext(device='cpu')"
    code = FORK.replace("PARENT", parent).replace("    CHILD", child)
    lines = run_python(code + "assert glraster.rasterize(glctx, pos, tri, (4, 4))[0].any()").splitlines()
    assert "before the process forked" in lines[0] and "child" in lines[0]
    assert "was in use when this process was forked" in lines[1] and "spawn" in lines[1]


def test_a_forked_child_makes_its_own_context_where_the_parent_had_none():
    child = """
    glctx = glraster.RasterizeGLContext(device='cpu')
    print(int(glraster.rasterize(glctx, pos, tri, (4, 4))[0][..., 3].sum()), flush=True)
    """
    assert run_python(FORK.replace("PARENT", "").replace("    CHILD", child)).strip() == "16"
