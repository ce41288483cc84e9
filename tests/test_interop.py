"""The OpenGL context: limits of the driver, and failures in the middle of a call."""

import pytest
import torch
from gl_scene import current, draw, in_thread
from reference import rasterize as reference
from scenes import assert_same_layers, assert_same_visibility, flat_soup, sphere

import glraster
from glraster import DepthPeeler, rasterize

pytestmark = pytest.mark.usefixtures("gl_available")


def ids_of(rast: torch.Tensor) -> torch.Tensor:
    return reference.decode_id(rast[..., 3])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ranged", [False, True], ids=["instanced", "ranges"])
def test_split_images_and_batches_equal_whole_ones(gl_context, monkeypatch, seed, ranged):
    pos, tri = flat_soup(seed, 5, 30)
    ranges = torch.tensor([[0, 30], [4, 9], [3, 0], [29, 1], [10, 20]], dtype=torch.int32) if ranged else None
    pos = pos[0] if ranged else pos

    def layers():
        with DepthPeeler(gl_context, pos, tri, (75, 93), ranges) as peeler:
            return torch.stack([ids_of(peeler.rasterize_next_layer()[0]) for _ in range(3)])

    whole = layers()
    assert (whole >= 0).sum() > 3000
    monkeypatch.setattr(gl_context._pass, "_max_layers", 2)
    assert torch.equal(layers(), whole)
    monkeypatch.setattr(gl_context._pass, "_max_size", 32)
    assert_same_layers(layers(), whole, pos, tri)


def test_images_larger_than_the_driver_draws_equal_the_software_context(gl_context):
    largest = gl_context._pass._max_size
    pos, tri = sphere(3)
    for size in ((3, largest + 1000), (largest + 1000, 3)):
        drawn = ids_of(rasterize(gl_context, pos, tri, size)[0])
        expected = ids_of(rasterize(glraster.RasterizeCudaContext("cpu"), pos, tri, size)[0])
        assert (drawn >= 0).float().mean() > 0.1
        assert_same_visibility(drawn, expected, pos, tri)


def test_more_memory_than_allowed_is_drawn_in_parts(gl_context, monkeypatch):
    from glraster.interop import visibility

    whole = ids_of(draw(gl_context, num_images=7))
    monkeypatch.setattr(visibility, "_MAX_BYTES", 8 * 40 * 20)  # less than one image
    gl_context.shrink()
    assert_same_visibility(ids_of(draw(gl_context, num_images=7)), whole, *flat_soup(0, 7, 30))
    (framebuffer,) = gl_context._pass._framebuffers.values()
    assert 8 * framebuffer.layers * framebuffer.height * framebuffer.width <= 8 * 40 * 20


def test_the_framebuffer_does_not_grow_to_the_product_of_unlike_requests(gl_context):
    for size, num_images in (((4, 4), 500), ((512, 512), 1), ((2, 2000), 1), ((2000, 2), 1)):
        draw(gl_context, size=size, num_images=num_images)
        (framebuffer,) = gl_context._pass._framebuffers.values()
        pixels = framebuffer.layers * framebuffer.height * framebuffer.width
        assert pixels <= 2 * 512 * 512


@pytest.mark.parametrize("where", ["_part_size", "_upload", "_draw_tiles", "_framebuffer_for"])
def test_an_exception_in_the_middle_of_a_call_leaves_the_context_usable(gl_context, monkeypatch, where):
    expected = draw(gl_context)

    def fail(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gl_context._pass, where, fail)
        with pytest.raises(KeyboardInterrupt):
            draw(gl_context)
    assert not current()[0]
    assert torch.equal(draw(gl_context), expected)


@pytest.mark.parametrize("between", ["nothing", "shrink", "failure", "failure after drawing", "other scenes", "parts"])
def test_layers_do_not_depend_on_what_happens_between_them(gl_context, monkeypatch, between):
    """A layer starts from what OpenGL still holds of the one before; where it was lost, from the tensor."""
    pos, tri = flat_soup(3, 4, 30)
    size = 40, 56
    expected = reference.peel(pos, tri, size, 5)
    other = glraster.RasterizeGLContext(device="cpu")

    def fail(*_):
        raise KeyboardInterrupt

    def disturb(peeler: DepthPeeler, layer: int) -> None:
        if between == "shrink":
            gl_context.shrink()
        elif between.startswith("failure"):
            where = (
                (gl_context._pass, "_framebuffer_for") if between == "failure" else (gl_context._pass._transfer, "read")
            )
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(*where, fail)
                peeler.rasterize_next_layer()
        elif between == "other scenes":
            with pytest.raises(RuntimeError, match="reserved"):
                draw(gl_context)
            with DepthPeeler(other, *flat_soup(9, 4, 30), size) as nested:
                nested.rasterize_next_layer()
                gl_context.find_visible(nested._scene)
                gl_context.find_visible(nested._scene, peeling=True)
        elif between == "parts":
            monkeypatch.setattr(gl_context._pass, "_max_layers", 1 + layer % 2 * 9)

    for _ in range(2):
        layers = []
        with DepthPeeler(gl_context, pos, tri, size) as peeler:
            for layer in range(5):
                layers.append(ids_of(peeler.rasterize_next_layer()[0]))
                disturb(peeler, layer)
        assert_same_layers(torch.stack(layers), expected, pos, tri)
    other.close()


def test_an_opengl_error_is_reported_and_leaves_the_context_usable(gl_context, monkeypatch):
    expected = draw(gl_context)
    with monkeypatch.context() as patch:
        patch.setattr(gl_context._pass, "_max_size", 1 << 20)
        with pytest.raises(RuntimeError, match="OpenGL failed in the visibility pass"):
            draw(gl_context, size=(2, 1 << 17))
    assert torch.equal(draw(gl_context), expected)
    assert in_thread(lambda: draw(gl_context)) is None
