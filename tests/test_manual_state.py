"""Mode 'manual': whatever OpenGL state the caller leaves, the pass draws the same, and gives the state back."""

import ctypes

import pytest
import torch
from scenes import flat_soup

import glraster

pytestmark = pytest.mark.usefixtures("gl_available")

SCENE = flat_soup(0, 2, 30)
SIZE = 40, 56


def pictures(glctx) -> torch.Tensor:
    """Everything that the pass draws: an image with each side culled, and three layers."""
    culled = [glraster.rasterize(glctx, *SCENE, SIZE, cull=cull)[0] for cull in ("none", "front", "back")]
    with glraster.DepthPeeler(glctx, *SCENE, SIZE) as peeler:
        return torch.stack([*culled, *(peeler.rasterize_next_layer()[0] for _ in range(3))])


@pytest.fixture(scope="module")
def expected(gl_available) -> torch.Tensor:
    with glraster.OpenGLRasterizer(device="cpu") as glctx:
        return pictures(glctx)


@pytest.fixture
def manual():
    """A context in manual mode, current on this thread."""
    with glraster.OpenGLRasterizer(mode="manual", device="cpu") as glctx:
        glctx.set_context()
        yield glctx


def gl():
    from OpenGL import GL  # only once a context has chosen PyOpenGL's platform

    return GL


def enable(*names: str) -> None:
    for name in names:
        gl().glEnable(getattr(gl(), name))


def some_buffer() -> int:
    name = ctypes.c_uint()
    gl().glCreateBuffers(1, ctypes.byref(name))
    gl().glNamedBufferData(name.value, 1 << 16, None, gl().GL_STREAM_DRAW)
    return name.value


def bind_buffer(target: str) -> None:
    gl().glBindBuffer(getattr(gl(), target), some_buffer())


def bind_framebuffer() -> None:
    gl().glBindFramebuffer(gl().GL_FRAMEBUFFER, gl().glGenFramebuffers(1))


def bind_image() -> None:
    GL, name = gl(), ctypes.c_uint()
    GL.glCreateTextures(GL.GL_TEXTURE_2D, 1, ctypes.byref(name))
    GL.glTextureStorage2D(name.value, 1, GL.GL_RGBA8, 4, 4)
    GL.glBindImageTexture(0, name.value, 0, False, 0, GL.GL_READ_WRITE, GL.GL_RGBA8)


def use_program() -> None:
    GL = gl()
    shader, program = GL.glCreateShader(GL.GL_COMPUTE_SHADER), GL.glCreateProgram()
    GL.glShaderSource(shader, "#version 430\nlayout(local_size_x = 1) in;\nvoid main() {}")
    GL.glCompileShader(shader)
    GL.glAttachShader(program, shader)
    GL.glLinkProgram(program)
    GL.glUseProgram(program)


WRECKS = {
    "scissor": lambda: (enable("GL_SCISSOR_TEST"), gl().glScissor(0, 0, 1, 1)),
    "colour mask": lambda: gl().glColorMask(False, False, False, False),
    "depth test": lambda: gl().glDisable(gl().GL_DEPTH_TEST),
    "depth mask": lambda: gl().glDepthMask(False),
    "depth function": lambda: gl().glDepthFunc(gl().GL_NEVER),
    "depth range": lambda: gl().glDepthRange(0.5, 0.25),
    "depth clamp": lambda: enable("GL_DEPTH_CLAMP"),
    "polygon mode": lambda: gl().glPolygonMode(gl().GL_FRONT_AND_BACK, gl().GL_LINE),
    "polygon offset": lambda: (enable("GL_POLYGON_OFFSET_FILL"), gl().glPolygonOffset(-1e6, -1e6)),
    "polygon smooth": lambda: enable("GL_POLYGON_SMOOTH"),
    "rasterizer discard": lambda: enable("GL_RASTERIZER_DISCARD"),
    "front face": lambda: gl().glFrontFace(gl().GL_CW),
    "culling": lambda: (enable("GL_CULL_FACE"), gl().glCullFace(gl().GL_FRONT_AND_BACK)),
    "clip distances": lambda: enable(*(f"GL_CLIP_DISTANCE{plane}" for plane in range(8))),
    "clip control": lambda: gl().glClipControl(gl().GL_UPPER_LEFT, gl().GL_NEGATIVE_ONE_TO_ONE),
    "blending": lambda: (enable("GL_BLEND"), gl().glBlendFunc(gl().GL_ZERO, gl().GL_ZERO)),
    "logic operation": lambda: (enable("GL_COLOR_LOGIC_OP"), gl().glLogicOp(gl().GL_INVERT)),
    "stencil": lambda: (enable("GL_STENCIL_TEST"), gl().glStencilFunc(gl().GL_NEVER, 0, 255)),
    "sRGB": lambda: enable("GL_FRAMEBUFFER_SRGB"),
    "sample coverage": lambda: (enable("GL_SAMPLE_COVERAGE"), gl().glSampleCoverage(0.0, False)),
    "sample mask": lambda: (enable("GL_SAMPLE_MASK"), gl().glSampleMaski(0, 0)),
    "alpha to coverage": lambda: enable("GL_SAMPLE_ALPHA_TO_COVERAGE", "GL_SAMPLE_ALPHA_TO_ONE"),
    "primitive restart": lambda: (enable("GL_PRIMITIVE_RESTART"), gl().glPrimitiveRestartIndex(1)),
    "fixed primitive restart": lambda: enable("GL_PRIMITIVE_RESTART_FIXED_INDEX"),
    "viewports": lambda: gl().glViewport(3, 5, 7, 2),
    "vertex array": lambda: gl().glBindVertexArray(gl().glGenVertexArrays(1)),
    "program": use_program,
    "framebuffer": bind_framebuffer,
    "image unit": bind_image,
    "pack buffer": lambda: bind_buffer("GL_PIXEL_PACK_BUFFER"),
    "unpack buffer": lambda: bind_buffer("GL_PIXEL_UNPACK_BUFFER"),
    "indirect buffer": lambda: bind_buffer("GL_DRAW_INDIRECT_BUFFER"),
    **{
        f"{way} {name}": lambda key=f"GL_{way}_{name}", value=value: gl().glPixelStorei(getattr(gl(), key), value)
        for way in ("PACK", "UNPACK")
        for name, value in {
            "ALIGNMENT": 8,
            "ROW_LENGTH": 61,
            "IMAGE_HEIGHT": 47,
            "SKIP_ROWS": 1,
            "SKIP_PIXELS": 1,
            "SKIP_IMAGES": 1,
            "SWAP_BYTES": 1,
        }.items()
    },
}


@pytest.mark.parametrize("wreck", WRECKS.values(), ids=WRECKS.keys())
def test_pictures_do_not_depend_on_the_callers_state(manual, expected, monkeypatch, wreck):
    state = manual._pass._state
    untouched = state.read()
    wreck()
    wrecked = {index: value for index, value in enumerate(state.read()) if value != untouched[index]}
    assert wrecked

    def still_wrecked() -> bool:
        now = state.read()
        return all(now[index] == value for index, value in wrecked.items())

    assert torch.equal(pictures(manual), expected) and still_wrecked()
    monkeypatch.setattr(manual._pass, "_max_layers", 1)  # layers come from tensors, not from what OpenGL still holds
    assert torch.equal(pictures(manual), expected) and still_wrecked()
    manual.shrink()
    assert still_wrecked()
    assert gl().glGetError() == gl().GL_NO_ERROR


def test_an_error_that_the_caller_left_is_not_the_passs(manual, expected):
    from glraster.interop.egl import egl

    ctypes.CFUNCTYPE(None, ctypes.c_uint)(egl().eglGetProcAddress(b"glEnable"))(0xBAD)
    assert torch.equal(pictures(manual), expected)


def test_a_deleted_object_does_not_keep_the_rest_from_returning(manual, expected):
    GL, buffer = gl(), some_buffer()
    use_program()
    GL.glDeleteProgram(GL.glGetIntegerv(GL.GL_CURRENT_PROGRAM))  # goes as soon as another one is used
    GL.glBindBuffer(GL.GL_PIXEL_PACK_BUFFER, buffer)
    GL.glDepthFunc(GL.GL_NEVER)
    assert torch.equal(pictures(manual), expected)
    assert GL.glGetIntegerv(GL.GL_DEPTH_FUNC) == GL.GL_NEVER
    assert GL.glGetIntegerv(GL.GL_PIXEL_PACK_BUFFER_BINDING) == buffer
