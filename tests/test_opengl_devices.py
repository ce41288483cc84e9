"""The OpenGL context: which device it takes, and what it says where there is none."""

import types

import pytest
import torch
from gl_scene import current, draw, run_python

import glraster

pytestmark = pytest.mark.usefixtures("gl_available")


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


def test_a_device_is_chosen_by_the_name_of_its_renderer_as_the_doctor_prints_it(gl_context):
    renderer = gl_context._pass.context.renderer
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
