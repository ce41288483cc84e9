"""Models compiled by PyTorch: torch.compile, torch.export, make_fx and fake tensors see operators, not Python."""

import threading

import pytest
import torch
from scenes import soup, sphere
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

import glraster


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def scene(device):
    """Leaves: positions of two views of a sphere, colours, a texture; and the triangles."""
    pos, tri = (tensor.to(device) for tensor in sphere(1, num_views=2))
    generator = torch.Generator().manual_seed(0)
    attr = torch.rand(pos.shape[1], 5, generator=generator).to(device)
    tex = torch.rand(1, 16, 16, 3, generator=generator).to(device)
    return [leaf.requires_grad_() for leaf in (pos, attr, tex)], tri


def picture(glctx, pos, attr, tex, tri, topology=None, size=(24, 20)):
    """Every operation in a row."""
    rast, rast_db = glraster.rasterize(glctx, pos, tri, size)
    out, out_da = glraster.interpolate(attr, rast, tri, rast_db, [0, 1])
    color = glraster.texture(tex, out[..., :2], out_da) * out[..., 2:]
    volume = glraster.texture3d(tex[None], out[..., 2:])
    image = glraster.edge_gradients(torch.cat([color, volume], -1), rast, pos, tri, topology_hash=topology)
    return glraster.antialias(image, rast, pos, tri, topology)


def assert_same(compiled, eager, leaves, equal=torch.equal):
    """Equal to the last bit, forward and backward."""
    mine, theirs = compiled(*leaves), eager(*leaves)
    assert equal(mine, theirs)
    weights = torch.rand(theirs.shape, generator=torch.Generator().manual_seed(1)).to(theirs)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    for a, b in zip(*(torch.autograd.grad(out, wanted, weights) for out in (mine, theirs)), strict=True):
        assert equal(a, b) and b.any()


def equal_but_for_fusion(a, b):
    """To 1e-5 of the largest: code that PyTorch generates for GPUs rounds a product and the sum it goes into once."""
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-5 * b.abs().max())


def whole(function, backend="aot_eager", **options):
    return torch.compile(function, backend=backend, fullgraph=True, **options)


@pytest.mark.usefixtures("same_bits")
def test_every_operation(glctx, scene):
    leaves, tri = scene

    def model(pos, attr, tex):
        return picture(glctx, pos, attr, tex, tri)

    assert_same(whole(model), model, leaves)
    explained = torch._dynamo.explain(model)(*leaves)
    assert explained.graph_break_count == 0 and explained.graph_count == 1


@pytest.mark.usefixtures("same_bits")
@pytest.mark.slow
def test_inductor(device, scene):
    leaves, tri = scene
    glctx = glraster.SoftwareRasterizer(device)
    topology = glraster.antialias_construct_topology_hash(tri)

    def model(pos, attr, tex):
        return picture(glctx, pos, attr, tex, tri, topology)

    equal = torch.equal if device.type == "cpu" else equal_but_for_fusion
    assert_same(whole(model, "inductor"), model, leaves, equal)


TEXTURES = [
    ("nearest", "wrap", False, False, None),
    ("linear", "clamp", False, False, None),
    ("linear-mipmap-nearest", "zero", True, True, None),
    ("linear-mipmap-linear", "wrap", True, False, "stack"),
    ("linear-mipmap-linear", "cube", False, True, "list"),
    ("anisotropic", "wrap", True, True, None),
]


@pytest.mark.usefixtures("same_bits")
@pytest.mark.parametrize(("filter_mode", "boundary_mode", "with_da", "with_bias", "mip"), TEXTURES)
def test_textures(device, filter_mode, boundary_mode, with_da, with_bias, mip):
    cube = boundary_mode == "cube"
    generator = torch.Generator().manual_seed(0)

    def tensor(*shape, scale=1.0):
        return (scale * torch.rand(shape, generator=generator)).to(device).requires_grad_()

    leaves = [tensor(1, *([6] * cube), 8, 8, 3), tensor(2, 5, 7, 3 if cube else 2)]
    leaves += [tensor(2, 5, 7, 6 if cube else 4, scale=0.3)] * with_da + [tensor(2, 5, 7)] * with_bias
    if mip == "list":
        leaves += [tensor(1, *([6] * cube), 4, 4, 3)]

    def model(tex, uv, *rest):
        rest = list(rest)
        arguments = {"filter_mode": filter_mode, "boundary_mode": boundary_mode}
        arguments |= {"uv_da": rest.pop(0)} if with_da else {}
        arguments |= {"mip_level_bias": rest.pop(0)} if with_bias else {}
        arguments |= {"mip": rest} if mip == "list" else {}
        arguments |= {"mip": glraster.texture_construct_mip(tex, cube_mode=cube)} if mip == "stack" else {}
        return glraster.texture(tex, uv, **arguments)

    used = leaves[:1] + leaves[1:2] * (filter_mode != "nearest") + leaves[2:] * (filter_mode != "linear-mipmap-nearest")
    for leaf in leaves:
        leaf.requires_grad_(any(leaf is other for other in used))
    assert_same(whole(model), model, leaves)


@pytest.mark.usefixtures("same_bits")
def test_range_mode_and_peeling(glctx, device):
    pos, tri = (tensor.to(device) for tensor in soup(0, 1, 12, behind_eye=0.0))
    pos = pos[0].requires_grad_()
    ranges = torch.tensor([[0, 5], [3, 9]], dtype=torch.int32)

    def model(pos):
        layers = []
        with glraster.DepthPeeler(glctx, pos, tri, (16, 16), ranges) as peeler:
            for _ in range(3):
                rast, _ = peeler.rasterize_next_layer()
                layers.append(glraster.antialias(rast[..., :2], rast, pos, tri))
        return torch.cat(layers, -1)

    assert_same(whole(model), model, [pos])


def test_contexts_and_resolutions_do_not_recompile_without_end(device, scene):
    (pos, *_), tri = scene
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")

    def coverage(glctx, pos, height, width):
        return glraster.rasterize(glctx, pos, tri, (height, width))[0]

    compiled = whole(coverage, counter)
    contexts = [glraster.SoftwareRasterizer(device) for _ in range(4)]
    for size in (8, 11, 17, 23, 31):
        for glctx in contexts:
            assert torch.equal(compiled(glctx, pos, size, size + 3), coverage(glctx, pos, size, size + 3))
    assert counter.frame_count <= 6


def test_the_context_must_outlive_the_program(device, scene):
    (pos, *_), tri = scene
    held = [glraster.SoftwareRasterizer(device)]
    graph = make_fx(lambda pos: glraster.rasterize(held[0], pos, tri, (8, 8))[0])(pos.detach())
    assert torch.equal(graph(pos.detach()), glraster.rasterize(held[0], pos, tri, (8, 8))[0])
    held[0].close()
    with pytest.raises(RuntimeError, match="this SoftwareRasterizer is closed"):
        graph(pos.detach())
    held.clear()
    with pytest.raises(RuntimeError, match="the context for which this program was compiled no longer exists"):
        graph(pos.detach())


def test_bad_geometry_is_reported(device, monkeypatch):
    glctx = glraster.SoftwareRasterizer(device)
    pos = torch.rand(1, 3, 4, device=device)
    good, bad = (torch.tensor([t], dtype=torch.int32, device=device) for t in ([0, 1, 2], [0, 1, 7]))
    strict = whole(lambda tri: glraster.rasterize(glctx, pos, tri, (8, 8), validate=True)[0])
    strict(good)
    with pytest.raises(ValueError, match=r"^rasterize\(\): tri must index pos's 3 vertices, got 7 in triangle 0"):
        strict(bad)
    by_environment = whole(lambda tri: glraster.rasterize(glctx, pos, tri, (8, 8))[0])
    by_environment(bad)
    monkeypatch.setenv("GLRASTER_VALIDATE", "1")
    with pytest.raises(ValueError, match="got 7 in triangle 0"):
        by_environment(bad)


def test_threads(device, scene):
    leaves, tri = scene
    glctx = glraster.SoftwareRasterizer(device)
    model = whole(lambda *leaves: picture(glctx, *leaves, tri))
    results = [None] * 4

    def run(k):
        results[k] = torch.autograd.grad(model(*leaves).square().sum(), leaves)

    run(0)
    threads = [threading.Thread(target=run, args=(k,)) for k in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results[1:]:
        assert all(map(torch.allclose, result, results[0]))


class Shading(torch.nn.Module):
    """Interpolates texture coordinates and looks them up."""

    def __init__(self, tex):
        super().__init__()
        self.tex = torch.nn.Parameter(tex.detach().clone())

    def forward(self, attr, rast, tri, rast_db):
        uv, uv_da = glraster.interpolate(attr, rast, tri, rast_db, "all")
        return glraster.texture(self.tex, uv, uv_da)


@pytest.mark.parametrize("strict", [False, True])
def test_export(device, scene, strict):
    (pos, attr, tex), tri = scene
    rast, rast_db = (t.detach() for t in glraster.rasterize(glraster.SoftwareRasterizer(device), pos, tri, (9, 12)))
    module, inputs = Shading(tex), (attr[:, :2].detach(), rast, tri, rast_db)
    program = torch.export.export(module, inputs, strict=strict)
    names = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert {torch.ops.glraster.interpolate.default, torch.ops.glraster.texture.default} <= names
    assert torch.equal(program.module()(*inputs), module(*inputs))


def test_shapes_may_be_symbolic(device, scene):
    (pos, attr, _), tri = scene
    rast, _ = glraster.rasterize(glraster.SoftwareRasterizer(device), pos, tri, (24, 20))
    rast = rast.detach()

    def model(attr, rast, tri):
        return glraster.interpolate(attr, rast, tri)[0]

    attr = attr.detach()
    graph = make_fx(model, tracing_mode="symbolic")(attr, rast, tri)
    for image in (rast, rast[:, :9, :11]):
        assert torch.equal(graph(attr, image, tri), model(attr, image, tri))
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = whole(model, counter, dynamic=True)
    for size in (7, 8, 9, 23):
        assert torch.equal(compiled(attr, rast[:, :size], tri), model(attr, rast[:, :size], tri))
    assert counter.frame_count == 1


def test_fake_tensors(device, scene):
    leaves, tri = scene
    glctx = glraster.SoftwareRasterizer(device)
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(tensor) for tensor in (*leaves, tri)]
        assert picture(glctx, *fake).shape == (2, 24, 20, 6)
    out = picture(glctx, *fake)  # they know their mode
    assert type(out) is type(fake[0]) and out.shape == (2, 24, 20, 6)


def test_tensors_without_data(scene):
    (_, attr, _), tri = scene
    attr, rast, tri = attr.to("meta"), torch.zeros(2, 4, 5, 4, device="meta"), tri.to("meta")
    out, _ = torch.ops.glraster.interpolate(attr, rast, tri, None, [])
    assert out.device.type == "meta" and out.shape == (2, 4, 5, 5)
    with pytest.raises(ValueError, match="attr must be .* got .* on meta, contiguous, without memory"):
        glraster.interpolate(attr, rast, tri)


@pytest.mark.usefixtures("same_bits")
def test_autocast(device):
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    attr = torch.rand(3, 2, device=device, dtype=torch.bfloat16, requires_grad=True)
    rast = torch.rand(1, 4, 4, 4, device=device).ceil()

    def model(attr):
        with torch.autocast(device.type, torch.bfloat16):
            return glraster.interpolate(attr, rast, tri)[0]

    assert model(attr).dtype == torch.float32
    assert_same(whole(model), model, [attr])
