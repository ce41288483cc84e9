"""glraster.context(): which context it makes, and what it says about that."""

import pytest
import torch

import glraster
from glraster import contexts


@pytest.mark.parametrize("backend, kind", [("opengl", "OpenGLRasterizer"), ("software", "SoftwareRasterizer")])
def test_the_factory_makes_what_it_is_asked_for(gl_available, backend, kind):
    with glraster.context("cpu", backend) as made:
        assert type(made) is getattr(glraster, kind) and made.device == torch.device("cpu")
    with glraster.context(device="cpu") as made:
        assert type(made) is glraster.OpenGLRasterizer


def test_the_factory_says_why_there_is_no_opengl(monkeypatch, caplog):
    monkeypatch.setenv("GLRASTER_EGL_DEVICE", "Voodoo")
    with caplog.at_level("INFO", "glraster"), glraster.context("cpu") as made:
        assert type(made) is glraster.SoftwareRasterizer and "there is no OpenGL" in caplog.text
    with pytest.raises(glraster.OpenGLError):
        glraster.context("cpu", "opengl")
    with pytest.raises(ValueError, match=r"^context\(\): backend must be 'auto', 'opengl' or 'software', got 'gl'"):
        glraster.context("cpu", "gl")
    with pytest.raises(ValueError, match="device must be 'cpu' or a CUDA device"):
        glraster.context("tpu")


@pytest.mark.parametrize("capability, slow", [((8, 0), False), ((9, 0), True), ((10, 0), True), ((12, 0), False)])
def test_the_factory_avoids_opengl_where_it_is_slow(monkeypatch, caplog, capability, slow):
    # A GPU that is not there: neither context does anything before its first call.
    class Drawing(glraster.SoftwareRasterizer):
        pass

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: {3: capability}[device.index])
    monkeypatch.setattr(contexts, "OpenGLRasterizer", Drawing)
    with caplog.at_level("INFO", "glraster"):
        made = {backend: glraster.context("cuda", backend) for backend in ("auto", "opengl", "software")}
    assert type(made["auto"]) is (glraster.SoftwareRasterizer if slow else Drawing)
    assert ("few units for graphics" in caplog.text) == slow
    assert type(made["opengl"]) is Drawing and type(made["software"]) is glraster.SoftwareRasterizer
    assert all(each.device == torch.device("cuda", 3) for each in made.values())
    assert type(glraster.context("cpu")) is Drawing
