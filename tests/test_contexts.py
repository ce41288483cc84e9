"""Contexts: how they are made, that both give equal results, and how they behave after failures and in threads."""

import copy
import gc
import io
import pickle
import threading

import pytest
import torch
from reference import rasterize as reference
from scenes import camera, directions, project, soup, sphere, triangles

import glraster
from glraster import RasterizeCudaContext, RasterizeGLContext, rasterize

KINDS = {"software": RasterizeCudaContext, "gl": RasterizeGLContext}
POS = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [-1, 1, 0, 1]]])
TRI = triangles([0, 1, 2])


@pytest.fixture(params=KINDS)
def kind(request):
    """Both classes of contexts, the OpenGL one where there is OpenGL."""
    if request.param == "gl":
        request.getfixturevalue("gl_available")
    return KINDS[request.param]


@pytest.fixture
def both(gl_available, device):
    """A context of each class."""
    with RasterizeCudaContext(device) as software, RasterizeGLContext(device=device) as gl:
        yield software, gl


@pytest.mark.parametrize("value", ["cpu", torch.device("cpu"), torch.device("cpu", 0)], ids=repr)
def test_device_as_keyword(kind, value):
    with kind(device=value) as glctx:
        assert glctx.device.type == "cpu"
        assert rasterize(glctx, POS, TRI, (4, 4))[0].any()


def test_device_as_position(gl_available):
    with RasterizeCudaContext("cpu") as software, RasterizeGLContext(True, "automatic", "cpu") as gl:
        assert software.device == gl.device == torch.device("cpu")


def test_no_device_is_the_current_cuda_device_or_the_cpu(kind):
    with kind() as glctx:
        if torch.cuda.is_available():
            assert glctx.device == torch.device("cuda", torch.cuda.current_device())
        else:
            assert glctx.device == torch.device("cpu")


@pytest.mark.parametrize("value", ["meta", "tpu", "", 1.5, torch.float32, ["cpu"]], ids=repr)
def test_devices_of_other_kinds(kind, value):
    with pytest.raises(ValueError, match=r"Context\(\): device must be 'cpu' or a CUDA device, got"):
        kind(device=value)


@pytest.mark.parametrize("value", ["cuda", 0, "cuda:0"])
def test_cuda_devices_without_cuda(kind, no_gpu, value):
    with pytest.raises(RuntimeError, match="PyTorch sees no CUDA device.*pass device='cpu'"):
        kind(device=value)


def test_unknown_mode(gl_available):
    with pytest.raises(ValueError, match=r"RasterizeGLContext\(\): mode must be .* got 'fast'"):
        RasterizeGLContext(mode="fast", device="cpu")


def test_without_rast_db(gl_available):
    with RasterizeGLContext(output_db=False, device="cpu") as glctx, RasterizeGLContext(device="cpu") as full:
        for pos, ranges in ((POS, None), (POS[0], torch.tensor([[0, 1]], dtype=torch.int32))):
            leaf, other = pos.clone().requires_grad_(), pos.clone().requires_grad_()
            rast, rast_db = rasterize(glctx, leaf, TRI, (4, 6), ranges)
            expected, _ = rasterize(full, other, TRI, (4, 6), ranges)
            assert rast_db.shape == (1, 4, 6, 0) and torch.equal(rast, expected)
            (rast.square().sum() + rast_db.sum()).backward()
            expected.square().sum().backward()
            assert torch.equal(leaf.grad, other.grad) and leaf.grad.any()
            out, out_da = glraster.interpolate(pos, rast, TRI, rast_db)
            assert out_da.shape == (1, 4, 6, 0) and out.any()


def test_a_new_context_for_every_call(kind, device):
    first = None
    for _ in range(8):
        rast, _ = rasterize(kind(device=device), POS.to(device), TRI.to(device), (8, 8))
        first = rast if first is None else first
        assert torch.equal(rast, first)


def test_contexts_side_by_side(kind, device):
    contexts = [kind(device=device) for _ in range(3)]
    pos, tri = (t.to(device) for t in soup(0, 1, 10))
    results = [rasterize(glctx, pos, tri, (20, 20))[0] for glctx in contexts + contexts[::-1]]
    assert all(torch.equal(result, results[0]) for result in results)
    contexts[1].close()
    assert torch.equal(rasterize(contexts[2], pos, tri, (20, 20))[0], results[0])
    contexts[0].close(), contexts[2].close()


def test_close_twice_and_use_afterwards(kind):
    glctx = kind(device="cpu")
    glctx.close()
    glctx.close()
    if kind is RasterizeGLContext:
        with pytest.raises(RuntimeError, match="closed"):
            rasterize(glctx, POS, TRI, (4, 4))


def test_failure_leaves_the_context_usable(glctx, device):
    pos, tri = POS.to(device), TRI.to(device)
    expected = rasterize(glctx, pos, tri, (8, 8))[0]
    for bad in (
        lambda: rasterize(glctx, pos, tri.long(), (8, 8)),
        lambda: rasterize(glctx, pos, tri, (8, 0)),
        lambda: rasterize(glctx, pos, tri + 1, (8, 8), validate=True),
        lambda: rasterize(glctx, pos, tri, (2**31 - 1, 2**31 - 1)),  # no machine has this memory
        lambda: rasterize(glctx, pos * float("nan"), tri, (8, 8), validate=True),
    ):
        with pytest.raises((TypeError, ValueError, RuntimeError)):
            bad()
        assert torch.equal(rasterize(glctx, pos, tri, (8, 8))[0], expected)


def test_sizes_may_change_from_call_to_call(glctx, device):
    pos, tri = (t.to(device) for t in soup(1, 3, 12))
    small = rasterize(glctx, pos[:1], tri, (9, 7))
    for images, resolution in ((3, (40, 60)), (1, (100, 3)), (2, (3, 100)), (3, (5, 5))):
        rast, _ = rasterize(glctx, pos[:images], tri, resolution)
        ids = reference.decode_id(rast[..., 3].cpu())
        expected = reference.rasterize(pos[:images].cpu(), tri.cpu(), resolution)
        assert (ids != expected).float().mean() < 0.003
        again = rasterize(glctx, pos[:1], tri, (9, 7))
        assert torch.equal(again[0], small[0]) and torch.equal(again[1], small[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["instanced", "range"])
def test_both_contexts_agree(both, device, dtype, mode):
    pos, tri = soup(2, 4, 60)
    ranges = torch.tensor([[0, 60], [30, 30], [10, 0], [5, 20]], dtype=torch.int32)
    pos = (pos if mode == "instanced" else pos[0]).to(device, dtype)
    (rast, rast_db), (other, other_db) = (rasterize(glctx, pos, tri.to(device), (61, 47), ranges) for glctx in both)
    agree = rast[..., 3] == other[..., 3]
    assert (~agree).sum() <= agree.numel() // 2000
    assert torch.equal(rast[agree], other[agree]) and torch.equal(rast_db[agree], other_db[agree])


def test_both_contexts_agree_on_ties(both, device):
    # Every vertex on a pixel centre or corner: all edges run through many centres, half of the triangles overlap.
    generator = torch.Generator().manual_seed(0)
    points = torch.randint(-20, 21, (1, 120, 2), generator=generator) / 20
    depth = torch.randint(-3, 4, (1, 120, 1), generator=generator) / 4
    depth = depth[:, ::3].repeat_interleave(3, 1)
    pos = torch.cat([points, depth, torch.ones_like(depth)], -1).to(device)
    tri = torch.arange(120, dtype=torch.int32, device=device).reshape(-1, 3)
    for cull in ("none", "back", "front"):
        rast, other = (rasterize(glctx, pos, tri, (20, 40), cull=cull)[0] for glctx in both)
        assert torch.equal(rast, other)


def test_both_contexts_agree_on_a_real_mesh(both, spot_path, device):
    import trimesh

    mesh = trimesh.load(spot_path, process=False, force="mesh")
    views = [camera(d) for d in directions(20)]
    pos = project(mesh.vertices, views).to(device)
    tri = triangles(*mesh.faces).to(device)
    covered = differ = 0
    for part in pos.split(5):
        (rast, rast_db), (other, other_db) = (rasterize(glctx, part, tri, (512, 512)) for glctx in both)
        agree = rast[..., 3] == other[..., 3]
        assert torch.equal(rast[agree], other[agree]) and torch.equal(rast_db[agree], other_db[agree])
        covered += int(((rast[..., 3] > 0) | (other[..., 3] > 0)).sum())
        differ += int((~agree).sum())
    assert covered > 20 * 512 * 512 * 0.1
    assert differ * 20_000 < covered


def test_a_context_may_be_used_by_another_thread(glctx, device):
    pos, tri = (t.to(device) for t in soup(3, 1, 10))
    expected = rasterize(glctx, pos, tri, (20, 20))[0]
    results = _in_threads(lambda _: rasterize(glctx, pos, tri, (20, 20))[0], 1)
    assert torch.equal(results[0], expected)
    assert torch.equal(rasterize(glctx, pos, tri, (20, 20))[0], expected)


def test_threads_share_a_context(glctx, device):
    scenes = [tuple(t.to(device) for t in soup(i, 1 + i % 3, 10)) for i in range(6)]
    sizes = [(20 + 7 * i, 64 - 5 * i) for i in range(6)]
    expected = [rasterize(glctx, *scene, size) for scene, size in zip(scenes, sizes, strict=True)]

    def work(i):
        return [rasterize(glctx, *scenes[i], sizes[i]) for _ in range(5)]

    for results, (rast, rast_db) in zip(_in_threads(work, 6), expected, strict=True):
        assert all(torch.equal(r, rast) and torch.equal(db, rast_db) for r, db in results)


def test_threads_with_contexts_of_their_own(kind, device):
    pos, tri = (t.to(device) for t in sphere(1))

    def work(_):
        with kind(device=device) as glctx:
            leaf = pos.clone().requires_grad_()
            rast, rast_db = rasterize(glctx, leaf, tri, (40, 40))
            color, da = glraster.interpolate(leaf, rast, tri, rast_db, "all")
            glraster.antialias(torch.cat([color, da], -1), rast, leaf, tri).square().mean().backward()
            return rast.detach(), leaf.grad

    results = _in_threads(work, 4)
    for rast, gradient in results[1:]:
        assert torch.equal(rast, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


def _in_threads(work, count):
    results = [None] * count

    def run(i):
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


@pytest.mark.parametrize("given", ["cuda", "cpu", torch.device("cpu")])
def test_a_device_in_place_of_output_db_is_an_error(given):
    with pytest.raises(TypeError, match=r"output_db must be a bool, got .*: pass it as device="):
        glraster.RasterizeGLContext(given)


# Names


def test_programs_that_ask_for_the_class_of_a_context(gl_available):
    """They test for RasterizeCudaContext to accept every context, and for RasterizeGLContext to find OpenGL's."""
    import glraster.torch as dr

    made = [dr.RasterizeCudaContext("cpu"), glraster.SoftwareRasterizer("cpu")]
    for opengl in (dr.RasterizeGLContext(device="cpu"), glraster.OpenGLRasterizer(device="cpu")):
        assert isinstance(opengl, (dr.RasterizeCudaContext, glraster.RasterizeContext))
        assert isinstance(opengl, dr.RasterizeGLContext) and isinstance(opengl, glraster.OpenGLRasterizer)
        assert isinstance(opengl, dr.RasterizeCudaContext) and not isinstance(opengl, glraster.SoftwareRasterizer)
        opengl.close()
    for software in made:
        assert isinstance(software, dr.RasterizeCudaContext) and isinstance(software, glraster.SoftwareRasterizer)
        assert not isinstance(software, (dr.RasterizeGLContext, glraster.OpenGLRasterizer))
    assert not isinstance("cpu", dr.RasterizeCudaContext) and dr.RasterizeGLContext is glraster.RasterizeGLContext

    class Own(dr.RasterizeCudaContext):
        pass

    assert isinstance(Own("cpu"), Own) and not isinstance(made[0], Own)


def test_what_annotations_need_is_public():
    contexts = glraster.OpenGLRasterizer, glraster.SoftwareRasterizer
    assert all(issubclass(kind, glraster.RasterizeContext) for kind in contexts)
    for error in (glraster.CudaError, glraster.HostLibraryError, glraster.OpenGLError):
        assert issubclass(error, RuntimeError)
    tex, tri = torch.rand(1, 4, 4, 1), TRI
    assert isinstance(glraster.texture_construct_mip(tex), glraster.MipStack)
    assert isinstance(glraster.antialias_construct_topology_hash(tri), glraster.TopologyHash)
    assert all(hasattr(glraster, name) for name in glraster.__all__)


# Lifetime


def test_a_closed_context_is_closed_for_everything(kind):
    glctx = kind(device="cpu")
    peeler = glraster.DepthPeeler(glctx, POS, TRI, (4, 4))
    glctx.close()
    glctx.close()
    for use in (
        lambda: rasterize(glctx, POS, TRI, (4, 4)),
        lambda: rasterize(glctx, POS, TRI[:0], (4, 4)),
        peeler.__enter__,
        *([glctx.shrink, glctx.set_context] if isinstance(glctx, RasterizeGLContext) else []),
    ):
        with pytest.raises(RuntimeError, match="is closed"):
            use()


def test_closing_inside_a_peelers_block_is_an_error(kind):
    glctx = kind(device="cpu")
    with glraster.DepthPeeler(glctx, POS, TRI, (4, 4)) as peeler:
        with pytest.raises(RuntimeError, match=r"close\(\): the context is reserved by a DepthPeeler"):
            glctx.close()
        assert peeler.rasterize_next_layer()[0].any()
    glctx.close()


def test_an_abandoned_peeler_frees_its_context(kind):
    def layers(glctx):
        with glraster.DepthPeeler(glctx, POS, TRI, (4, 4)) as peeler:
            while True:
                yield peeler.rasterize_next_layer()[0]

    with kind(device="cpu") as glctx:
        glraster.DepthPeeler(glctx, POS, TRI, (4, 4)).__enter__().rasterize_next_layer()
        gc.collect()
        assert rasterize(glctx, POS, TRI, (4, 4))[0].any()
        generator = layers(glctx)
        assert next(generator).any()
        with pytest.raises(RuntimeError, match="reserved"):
            rasterize(glctx, POS, TRI, (4, 4))
        del generator
        gc.collect()
        assert rasterize(glctx, POS, TRI, (4, 4))[0].any()


def saved_and_loaded(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "torch.save": saved_and_loaded,
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES.keys())
def test_copies_are_new_contexts_of_the_same_arguments(kind, duplicate):
    with kind(device="cpu") as glctx:
        other = duplicate(glctx)
        assert type(other) is kind and other is not glctx and other.device == glctx.device
        expected = rasterize(glctx, POS, TRI, (4, 4))[0]
    assert torch.equal(rasterize(other, POS, TRI, (4, 4))[0], expected)  # the other is closed by now
    other.close()
    duplicate(other).close()  # even of a closed one


def test_copies_of_modules_and_of_every_argument(gl_available):
    class Renderer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pos = torch.nn.Parameter(POS.clone())
            self.glctx = RasterizeGLContext(output_db=False, mode="manual", device="cpu", egl_device=0)

    module = Renderer()
    other = copy.deepcopy(module)
    assert other.glctx is not module.glctx and other.pos is not module.pos
    assert (other.glctx.output_db, other.glctx.mode, other.glctx._wanted_device) == (False, "manual", 0)
    other.glctx.set_context()
    assert rasterize(other.glctx, other.pos, TRI, (4, 4))[1].shape == (1, 4, 4, 0)
    for made in (module, other):
        made.glctx.close()
