"""The OpenGL context: devices, modes, threads, lifetime, limits of the driver, and failures in the middle of a call."""

import gc
import os
import subprocess
import sys
import threading
import types

import pytest
import torch
from reference import rasterize as reference
from scenes import assert_same_layers, assert_same_visibility, flat_soup, sphere

import glraster
from glraster import DepthPeeler, rasterize

pytestmark = pytest.mark.usefixtures("gl_available")


@pytest.fixture
def context():
    """An OpenGL context that may leave no OpenGL error behind."""
    with glraster.RasterizeGLContext(device="cpu") as made:
        yield made
        assert made._pass.take_error() is None


def draw(glctx, seed: int = 0, size: tuple[int, int] = (40, 56), num_images: int = 2, **options) -> torch.Tensor:
    pos, tri = flat_soup(seed, num_images, 30)
    return rasterize(glctx, pos, tri, size, **options)[0]


def ids_of(rast: torch.Tensor) -> torch.Tensor:
    return reference.decode_id(rast[..., 3])


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


# Devices


def test_a_device_is_chosen_by_index_and_by_name():
    from glraster.interop.egl import list_devices

    for device in list_devices():
        for wanted in (device.index, str(device.index), device.name[1:].upper()):
            with glraster.RasterizeGLContext(device="cpu", egl_device=wanted) as glctx:
                assert glctx.egl_device.startswith(str(device.index) + ":")
                assert draw(glctx).any()


def test_a_device_that_is_not_there_is_an_error_that_lists_those_that_are(monkeypatch):
    with pytest.raises(RuntimeError, match=r"no EGL device fits egl_device=99; EGL offers 0: "):
        glraster.RasterizeGLContext(device="cpu", egl_device=99)
    with pytest.raises(RuntimeError, match="no EGL device fits egl_device='Voodoo'"):
        glraster.RasterizeGLContext(device="cpu", egl_device="Voodoo")
    with pytest.raises(TypeError, match="egl_device must be an index or a name, got float"):
        glraster.RasterizeGLContext(device="cpu", egl_device=0.0)
    monkeypatch.setenv("GLRASTER_EGL_DEVICE", "Voodoo")
    with pytest.raises(RuntimeError, match="environment variable GLRASTER_EGL_DEVICE='Voodoo'"):
        glraster.RasterizeGLContext(device="cpu", egl_device=0)
    monkeypatch.setenv("GLRASTER_EGL_DEVICE", "0")
    glraster.RasterizeGLContext(device="cpu", egl_device=99).close()


def test_a_device_is_chosen_by_the_name_of_its_renderer_as_the_doctor_prints_it(context):
    renderer = context._pass.context.renderer
    with glraster.RasterizeGLContext(device="cpu", egl_device=renderer[:8].upper()) as glctx:
        assert glctx._pass.context.renderer == renderer and draw(glctx).any()
    assert not current()[0]


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_device(monkeypatch, name):
    with pytest.raises(ValueError, match=f"egl_device must be an index or a name, got '{name}'"):
        glraster.RasterizeGLContext(device="cpu", egl_device=name)
    monkeypatch.setenv("GLRASTER_EGL_DEVICE", "")  # an empty variable is one that is not set
    glraster.RasterizeGLContext(device="cpu").close()


def test_glx_is_looked_for_again_only_when_a_library_was_loaded():
    code = """
import ctypes, glraster
from glraster.interop import current
before = current._loaded_glx()
looked = current._find_glx.cache_info().misses
assert current._loaded_glx() is before and current._find_glx.cache_info().misses == looked
try:
    ctypes.CDLL("libGLX.so.0")
except OSError:
    print("no GLX here")
else:
    print(current._loaded_glx() is not None)
"""
    assert run_python(code).strip() in ("True", "no GLX here")


def test_cuda_devices_are_preferred_where_egl_knows_them(monkeypatch):
    from glraster.interop import egl

    devices = [egl.EGLDevice(0, "A", 1), egl.EGLDevice(1, "B", 0), egl.EGLDevice(2, "software renderer")]
    monkeypatch.setattr(egl, "list_devices", lambda: devices)
    assert [device.index for device in egl.choose_devices(None, None)] == [0, 1, 2]
    assert [device.index for device in egl.choose_devices(None, 0)] == [1, 0, 2]
    assert [device.index for device in egl.choose_devices("soft", 0)] == [2]


def test_the_first_device_that_works_is_taken(monkeypatch):
    from glraster.interop import context, egl

    broken = egl.EGLDevice(7, "broken", handle=0xBAD)
    monkeypatch.setattr(broken.__class__, "display", lambda self: _fail() if self is broken else _display(self))
    monkeypatch.setattr(context, "choose_devices", lambda *_: [broken, *egl.list_devices()])
    with glraster.RasterizeGLContext(device="cpu") as glctx:
        assert glctx.egl_device.startswith("0:")
    monkeypatch.setattr(context, "choose_devices", lambda *_: [broken])
    with pytest.raises(RuntimeError, match=r"no usable OpenGL context: it is broken \(.*apt-get install"):
        glraster.RasterizeGLContext(device="cpu")


def _fail():
    from glraster.interop.egl import OpenGLError

    raise OpenGLError("it is broken")


def _display(device):
    from glraster.interop.egl import EGL_PLATFORM_DEVICE_EXT, egl

    return egl().eglGetPlatformDisplayEXT(EGL_PLATFORM_DEVICE_EXT, device.handle, None)


def test_the_first_device_that_is_the_gpu_is_taken(monkeypatch):
    """EGL's devices need not say which CUDA device they are: they are tried one by one."""
    from glraster.interop import cuda_gl

    tried, gpu = [], 1

    class Pass:
        def __init__(self, egl_device, cuda_device, make_transfer):
            tried.append(egl_device)
            self.egl_device = egl_device
            if egl_device != gpu:
                raise RuntimeError(f"OpenGL draws on another, which is not cuda:{cuda_device}")

    devices = [types.SimpleNamespace(index=index) for index in range(3)]
    monkeypatch.setattr(cuda_gl, "choose_devices", lambda *_: devices)
    monkeypatch.setattr(cuda_gl, "VisibilityPass", Pass)
    monkeypatch.setattr(cuda_gl, "_try_out", lambda made, device: None)
    assert cuda_gl.cuda_visibility_pass(None, torch.device("cuda", 0)).egl_device == 1 and tried == [0, 1]
    gpu = 3
    with pytest.raises(RuntimeError, match="^OpenGL draws on another, which is not cuda:0$"):  # once, not three times
        cuda_gl.cuda_visibility_pass(None, torch.device("cuda", 0))


@pytest.mark.parametrize(
    "ranges", [None, torch.tensor([[0, 2], [1, 1]], dtype=torch.int32)], ids=["instanced", "ranges"]
)
def test_draw_commands_come_from_the_cpu(ranges):
    """Wherever the geometry lies: 'meta' stands for a GPU, and mixes with the CPU as little."""
    from glraster.interop.visibility import _draw_commands

    pos = torch.empty((2, 5, 4) if ranges is None else (5, 4), device="meta")
    tri = torch.empty((3, 3), dtype=torch.int32, device="meta")
    contents = _draw_commands(pos, tri, ranges, slice(0, 2), None)
    assert {name: tensor.device.type for name, tensor in contents.items()} == {
        "pos": "meta",
        "tri": "meta",
        "first": "cpu",
        "draws": "cpu",
    }
    if ranges is None:
        assert contents["draws"].tolist() == [[9, 1, 0, 0, 0], [9, 1, 0, 5, 1]]
    else:
        assert contents["draws"].tolist() == [[6, 1, 0, 0, 0], [3, 1, 3, 0, 1]]


def test_a_missing_extension_is_named():
    from glraster.interop.context import HeadlessContext

    with pytest.raises(RuntimeError, match="lacks GL_XYZ_teapot"):
        HeadlessContext(extensions=("GL_ARB_shader_draw_parameters", "GL_XYZ_teapot"))
    assert not current()[0]


def test_without_a_vendor_file_the_error_says_what_to_install():
    code = """
import glraster
try:
    glraster.RasterizeGLContext(device='cpu')
except RuntimeError as error:
    print(error)
"""
    assert "apt-get install" in run_python(code, __EGL_VENDOR_LIBRARY_FILENAMES="/nowhere.json")


# Modes


def test_automatic_mode_restores_what_was_current(context):
    nothing = current()
    draw(context)
    assert current() == nothing and not nothing[0]
    with glraster.RasterizeGLContext(mode="manual", device="cpu") as other:
        other.set_context()
        before = current()
        assert before[0]
        draw(context)
        assert current() == before
        assert draw(other).any()
        other.release_context()
    assert current() == nothing


def test_a_context_of_another_library_is_restored(context):
    from glraster.interop.egl import egl, list_devices

    library, display = egl(), list_devices()[0].display()
    EGL_OPENGL_ES_API = 0x30A0
    library.eglBindAPI(EGL_OPENGL_ES_API)
    foreign = library.eglCreateContext(display, None, None, None)
    library.eglMakeCurrent(display, None, None, foreign)
    try:
        before = current()
        assert before == (foreign, EGL_OPENGL_ES_API)
        draw(context)
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


# Threads


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


def test_a_context_current_on_another_thread_behind_its_back_raises(context):
    egl_context = context._pass.context._egl_context
    egl_context.make_current()
    try:
        assert "may be so on another thread" in str(in_thread(lambda: draw(context)))
    finally:
        from glraster.interop.egl import egl

        egl().eglMakeCurrent(egl_context._display, None, None, None)
    assert draw(context).any()


@pytest.mark.parametrize("shared", [True, False], ids=["one context", "a context each"])
def test_eight_threads_equal_results_computed_alone(context, shared):
    sizes = [(40, 56), (8, 8), (64, 33), (1, 90)]
    cases = [(seed, size, n) for seed in range(3) for size in sizes for n in (1, 3)]
    expected = [draw(context, *case) for case in cases]
    wrong = []

    def work(thread: int) -> None:
        mine = context if shared else glraster.RasterizeGLContext(device="cpu")
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


def test_a_hold_that_begins_or_ends_within_a_block(context):
    held, before = context._pass.context, current()
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
    assert draw(context).any()


# Lifetime


def resident_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


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


def test_many_contexts_at_once(context):
    expected = draw(context)
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
def test_shrink_gives_memory_back(context):
    small = draw(context)
    context.shrink()
    before = resident_kib()
    size = 2048
    pos, tri = sphere(2)
    ids = torch.empty((8, size, size), dtype=torch.int32)
    context._pass.draw(pos.expand(8, -1, -1).contiguous(), tri, (size, size), None, ids)
    del ids
    grown = resident_kib()
    context.shrink()
    framebuffer_kib = 8 * size * size * 8 // 1024
    assert grown - before > framebuffer_kib * 0.9
    assert grown - resident_kib() > framebuffer_kib * 0.9
    assert torch.equal(draw(context), small)


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


# Limits


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ranged", [False, True], ids=["instanced", "ranges"])
def test_split_images_and_batches_equal_whole_ones(context, monkeypatch, seed, ranged):
    pos, tri = flat_soup(seed, 5, 30)
    ranges = torch.tensor([[0, 30], [4, 9], [3, 0], [29, 1], [10, 20]], dtype=torch.int32) if ranged else None
    pos = pos[0] if ranged else pos

    def layers():
        with DepthPeeler(context, pos, tri, (75, 93), ranges) as peeler:
            return torch.stack([ids_of(peeler.rasterize_next_layer()[0]) for _ in range(3)])

    whole = layers()
    assert (whole >= 0).sum() > 3000
    monkeypatch.setattr(context._pass, "_max_layers", 2)
    assert torch.equal(layers(), whole)
    monkeypatch.setattr(context._pass, "_max_size", 32)
    assert_same_layers(layers(), whole, pos, tri)


def test_images_larger_than_the_driver_draws_equal_the_software_context(context):
    largest = context._pass._max_size
    pos, tri = sphere(3)
    for size in ((3, largest + 1000), (largest + 1000, 3)):
        drawn = ids_of(rasterize(context, pos, tri, size)[0])
        expected = ids_of(rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, size)[0])
        assert (drawn >= 0).float().mean() > 0.1
        assert_same_visibility(drawn, expected, pos, tri)


def test_more_memory_than_allowed_is_drawn_in_parts(context, monkeypatch):
    from glraster.interop import visibility

    whole = ids_of(draw(context, num_images=7))
    monkeypatch.setattr(visibility, "_MAX_BYTES", 8 * 40 * 20)  # less than one image
    context.shrink()
    assert_same_visibility(ids_of(draw(context, num_images=7)), whole, *flat_soup(0, 7, 30))
    (framebuffer,) = context._pass._framebuffers.values()
    assert 8 * framebuffer.layers * framebuffer.height * framebuffer.width <= 8 * 40 * 20


def test_the_framebuffer_does_not_grow_to_the_product_of_unlike_requests(context):
    for size, num_images in (((4, 4), 500), ((512, 512), 1), ((2, 2000), 1), ((2000, 2), 1)):
        draw(context, size=size, num_images=num_images)
        (framebuffer,) = context._pass._framebuffers.values()
        pixels = framebuffer.layers * framebuffer.height * framebuffer.width
        assert pixels <= 2 * 512 * 512


# Failures


@pytest.mark.parametrize("where", ["_part_size", "_upload", "_draw_tiles", "_framebuffer_for"])
def test_an_exception_in_the_middle_of_a_call_leaves_the_context_usable(context, monkeypatch, where):
    expected = draw(context)

    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(context._pass, where, fail)
        with pytest.raises(KeyboardInterrupt):
            draw(context)
    assert not current()[0]
    assert torch.equal(draw(context), expected)


@pytest.mark.parametrize("between", ["nothing", "shrink", "failure", "failure after drawing", "other scenes", "parts"])
def test_layers_do_not_depend_on_what_happens_between_them(context, monkeypatch, between):
    """A layer starts from what OpenGL still holds of the one before; where it was lost, from the tensor."""
    pos, tri = flat_soup(3, 4, 30)
    size = 40, 56
    expected = reference.peel(pos, tri, size, 5)
    other = glraster.RasterizeGLContext(device="cpu")

    def fail(*_):
        raise KeyboardInterrupt

    def disturb(peeler: DepthPeeler, layer: int) -> None:
        if between == "shrink":
            context.shrink()
        elif between.startswith("failure"):
            where = (context._pass, "_framebuffer_for") if between == "failure" else (context._pass._transfer, "read")
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(*where, fail)
                peeler.rasterize_next_layer()
        elif between == "other scenes":
            with pytest.raises(RuntimeError, match="reserved"):
                draw(context)
            with DepthPeeler(other, *flat_soup(9, 4, 30), size) as nested:
                nested.rasterize_next_layer()
                context.find_visible(nested._scene)
                context.find_visible(nested._scene, peeling=True)
        elif between == "parts":
            monkeypatch.setattr(context._pass, "_max_layers", 1 + layer % 2 * 9)

    for _ in range(2):
        layers = []
        with DepthPeeler(context, pos, tri, size) as peeler:
            for layer in range(5):
                layers.append(ids_of(peeler.rasterize_next_layer()[0]))
                disturb(peeler, layer)
        assert_same_layers(torch.stack(layers), expected, pos, tri)
    other.close()


def test_an_opengl_error_is_reported_and_leaves_the_context_usable(context, monkeypatch):
    expected = draw(context)
    with monkeypatch.context() as patch:
        patch.setattr(context._pass, "_max_size", 1 << 20)
        with pytest.raises(RuntimeError, match="OpenGL failed in the visibility pass"):
            draw(context, size=(2, 1 << 17))
    assert torch.equal(draw(context), expected)
    assert in_thread(lambda: draw(context)) is None
