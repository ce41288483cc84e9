"""All operations under autograd: strides of inputs and gradients, modes, changes in place, repeated passes."""

import pytest
import torch
from scenes import sphere

import glraster
from glraster import antialias, edge_gradients, interpolate, rasterize

SIZE = (18, 22)


class Scene:
    """Inputs of the three operations, float64, and the outputs of one run."""

    def __init__(self, glctx):
        pos, tri = sphere(1, num_views=2)
        self.pos, self.tri = pos.double().to(glctx.device), tri.to(glctx.device)
        self.rast, self.rast_db = rasterize(glctx, self.pos, self.tri, SIZE)
        generator = torch.Generator().manual_seed(0)
        self.attr = torch.rand((2, pos.shape[1], 3), generator=generator, dtype=torch.float64).to(glctx.device)
        self.color = torch.rand((2, *SIZE, 3), generator=generator, dtype=torch.float64).to(glctx.device)
        # Per operation: the function of its differentiable inputs, and these inputs.
        self.operations = {
            "rasterize": (lambda pos: rasterize(glctx, pos, self.tri, SIZE), [self.pos]),
            "interpolate": (
                lambda attr, rast, rast_db: interpolate(attr, rast, self.tri, rast_db, "all"),
                [self.attr, self.rast, self.rast_db],
            ),
            "antialias": (
                lambda color, pos: (antialias(color, self.rast, pos, self.tri),),
                [self.color, self.pos],
            ),
            "edge_gradients": (
                lambda color, pos: (edge_gradients(color, self.rast, pos, self.tri),),
                [self.color, self.pos],
            ),
        }


@pytest.fixture
def scene(device):
    with glraster.RasterizeCudaContext(device) as glctx:
        yield Scene(glctx)


def leaves_of(inputs):
    return [t.clone().requires_grad_() for t in inputs]


def loss_of(outputs):
    return sum(
        (output.square() * (1 + torch.arange(output.shape[2], device=output.device))[:, None]).sum()
        for output in outputs
    )


OPERATIONS = ["rasterize", "interpolate", "antialias", "edge_gradients"]


@pytest.mark.parametrize("name", OPERATIONS)
def test_strides_of_inputs_do_not_matter(scene, name):
    operation, inputs = scene.operations[name]
    leaves = leaves_of(inputs)
    expected = operation(*leaves)
    gradients = torch.autograd.grad(loss_of(expected), leaves)
    spread = [torch.stack([t, -t], -1) for t in inputs]  # every other element
    turned = [t.transpose(0, 1).contiguous() for t in inputs]
    for bases, view in ((spread, lambda t: t[..., 0]), (turned, lambda t: t.transpose(0, 1))):
        bases = leaves_of(bases)
        views = [view(base) for base in bases]
        assert not any(v.is_contiguous() for v in views)
        outputs = operation(*views)
        for output, other in zip(outputs, expected, strict=True):
            assert torch.equal(output, other)
        for mine, theirs in zip(torch.autograd.grad(loss_of(outputs), bases), gradients, strict=True):
            torch.testing.assert_close(view(mine), theirs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_expanded_inputs_sum_their_gradients(scene, name):
    operation, inputs = scene.operations[name]
    leaves = leaves_of([t[:1] for t in inputs])
    expanded = [t.expand(2, *t.shape[1:]) for t in leaves]
    copied = leaves_of(expanded)
    outputs, expected = operation(*expanded), operation(*copied)
    assert all(torch.equal(a, b) for a, b in zip(outputs, expected, strict=True))
    mine = torch.autograd.grad(loss_of(outputs), leaves)
    theirs = torch.autograd.grad(loss_of(expected), copied)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b.sum(0, keepdim=True))


@pytest.mark.usefixtures("same_bits")
@pytest.mark.parametrize("name", OPERATIONS)
def test_strides_of_gradients_do_not_matter(scene, name):
    operation, inputs = scene.operations[name]
    leaves = leaves_of(inputs)
    outputs = operation(*leaves)
    grads = [torch.randn(o.shape[::-1], dtype=o.dtype, device=o.device).permute(3, 2, 1, 0) for o in outputs]
    expanded = [torch.ones((), dtype=o.dtype, device=o.device).expand(o.shape) for o in outputs]
    for given in (grads, expanded):
        mine = torch.autograd.grad(outputs, leaves, given, retain_graph=True)
        theirs = torch.autograd.grad(outputs, leaves, [g.contiguous() for g in given], retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("name", OPERATIONS)
def test_outputs_are_the_same_in_every_mode(scene, name):
    operation, inputs = scene.operations[name]
    expected = operation(*leaves_of(inputs))
    assert all(output.requires_grad for output in expected)
    with torch.no_grad():
        outputs = operation(*leaves_of(inputs))
    assert not any(output.requires_grad for output in outputs)
    with torch.inference_mode():
        inferred = operation(*inputs)
        inside = operation(*[t.clone() for t in inputs])
    plain = operation(*inputs)
    assert not any(output.requires_grad for output in plain)
    for results in (outputs, inferred, inside, plain):
        assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))


@pytest.mark.usefixtures("same_bits")
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_output_alone_and_backward_twice(scene, name):
    operation, inputs = scene.operations[name]
    leaves = leaves_of(inputs)
    outputs = operation(*leaves)
    together = torch.autograd.grad(loss_of(outputs), leaves, retain_graph=True)
    parts = [
        torch.autograd.grad(loss_of([o]), leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
        for o in outputs
    ]
    for whole, *pieces in zip(together, *parts, strict=True):
        torch.testing.assert_close(whole, sum(pieces))
    again = torch.autograd.grad(loss_of(outputs), leaves)
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))


@pytest.mark.parametrize("name", OPERATIONS)
def test_second_derivatives_are_refused(scene, name):
    operation, inputs = scene.operations[name]
    leaves = leaves_of(inputs)
    first = torch.autograd.grad(loss_of(operation(*leaves)), leaves, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        sum(g.square().sum() for g in first).backward()


@pytest.mark.parametrize("name", OPERATIONS)
def test_inputs_changed_in_place_before_backward(scene, name):
    operation, inputs = scene.operations[name]
    for changed in range(len(inputs)):
        leaves = leaves_of(inputs)
        arguments = [leaf * 1 for leaf in leaves]
        outputs = operation(*arguments)
        arguments[changed] += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss_of(outputs).backward()


@pytest.mark.parametrize("name", OPERATIONS)
def test_triangles_changed_in_place_before_backward(scene, name):
    operation, inputs = scene.operations[name]
    outputs = operation(*leaves_of(inputs))
    scene.tri[0] = 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss_of(outputs).backward()


@pytest.mark.parametrize("name", OPERATIONS[:3])  # what edge_gradients returns is a view of its input
def test_outputs_changed_in_place(scene, name):
    operation, inputs = scene.operations[name]
    leaves, others = leaves_of(inputs), leaves_of(inputs)
    outputs, plain = operation(*leaves), operation(*others)
    for output in outputs:
        output[:, 1:3] *= 2
    factor = torch.ones(SIZE[0], 1, 1, dtype=torch.float64, device=inputs[0].device)
    factor[1:3] = 2
    mine = torch.autograd.grad(loss_of(outputs), leaves)
    theirs = torch.autograd.grad(loss_of([output * factor for output in plain]), others)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", OPERATIONS)
def test_inputs_stay_as_they_are(scene, name):
    operation, inputs = scene.operations[name]
    leaves = leaves_of(inputs)
    tri = scene.tri.clone()
    loss_of(operation(*leaves)).backward()
    assert all(torch.equal(leaf, t) for leaf, t in zip(leaves, inputs, strict=True))
    assert torch.equal(tri, scene.tri)


def test_defaults_of_pytorch_do_not_matter(device):
    # Programs that set a default dtype or device get the results that others get.
    with glraster.RasterizeCudaContext(device) as glctx:
        scene = Scene(glctx)
        expected = {name: operation(*inputs) for name, (operation, inputs) in scene.operations.items()}
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        try:
            for name, (operation, inputs) in scene.operations.items():
                for a, b in zip(operation(*inputs), expected[name], strict=True):
                    assert torch.equal(a, b)
        finally:
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)


def test_default_device_and_the_opengl_context(gl_available, device):
    pos, tri = (t.to(device) for t in sphere(1))
    ranges = torch.tensor([[0, len(tri)]], dtype=torch.int32)
    wild = torch.cat([tri, tri[:1] + 10**6])
    torch.set_default_device("meta")
    try:
        with glraster.RasterizeGLContext(device=device) as glctx:
            rast = rasterize(glctx, pos, tri, SIZE)[0]
            assert torch.equal(rast, rasterize(glctx, pos[0], tri, SIZE, ranges)[0])
            assert torch.equal(rast, rasterize(glctx, pos, wild, SIZE)[0])
    finally:
        torch.set_default_device(None)
    assert rast.any()


def test_saved_memory_is_freed_with_the_graph(device):
    # No reference cycle keeps images alive until the garbage collector comes.
    import gc
    import weakref

    gc.disable()
    try:
        with glraster.RasterizeCudaContext(device) as glctx:
            scene = Scene(glctx)
            for operation, inputs in scene.operations.values():
                outputs = operation(*leaves_of(inputs))
                watched = [weakref.ref(output.grad_fn) for output in outputs]
                loss_of(outputs).backward()
                del outputs
                assert all(reference() is None for reference in watched)
    finally:
        gc.enable()
