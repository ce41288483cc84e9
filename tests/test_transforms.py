"""The operators as PyTorch knows them: opcheck, torch.func, second derivatives, autocast, saved tensors."""

import gc
import weakref

import pytest
import torch

import glraster

SIZE = 5, 6
TRI = torch.tensor([[0, 1, 2], [2, 1, 3]], dtype=torch.int32)
POS = torch.tensor([[[-0.9, -0.9, 0, 1], [0.9, -0.8, 0.1, 1.0], [-0.8, 0.9, 0.2, 1.2], [0.8, 0.9, 0.3, 1]]])
CONTEXT = glraster.SoftwareRasterizer("cpu")
RAST, RAST_DB = glraster.rasterize(CONTEXT, POS, TRI, SIZE)
TOPOLOGY = glraster.antialias_construct_topology_hash(TRI)


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def interpolate(attr, rast, rast_db):
    return torch.cat(glraster.interpolate(attr, rast, TRI, rast_db, "all"), -1)


def rasterize(pos):
    return torch.cat(glraster.rasterize(CONTEXT, pos, TRI, SIZE), -1)


def with_depth(pos):
    return torch.cat(glraster.rasterize(CONTEXT, pos, TRI, SIZE, grad_depth=True), -1)


def antialias(color, pos):
    return glraster.antialias(color, RAST, pos, TRI, TOPOLOGY)


def edge_gradients(color, pos):
    return glraster.edge_gradients(color, RAST, pos, TRI, topology_hash=TOPOLOGY)


def soft_rasterize(pos, attr, texture):
    return glraster.soft.soft_rasterize(pos, TRI, attr, SIZE, sigma=0.1, near=0.5, gamma=0.1, texture=texture)[0]


def with_levels(tex, level, uv, uv_da, bias):
    return glraster.texture(tex, uv, uv_da, bias, mip=[level])


UV, UV_DA, BIAS = rand(1, *SIZE, 2), 0.3 * rand(1, *SIZE, 4), rand(1, *SIZE)
# Every operation as a function of what it differentiates.
FUNCTIONS = {
    "rasterize": (rasterize, [POS]),
    "rasterize with depth": (with_depth, [POS]),
    "interpolate": (interpolate, [rand(4, 3), RAST, RAST_DB]),
    "antialias": (antialias, [rand(1, *SIZE, 3), POS]),
    "edge_gradients": (edge_gradients, [rand(1, *SIZE, 3), POS]),
    "texture linear": (glraster.texture, [rand(1, 8, 8, 3), UV]),
    "texture": (glraster.texture, [rand(1, 8, 8, 3), UV, UV_DA, BIAS]),
    "texture with levels": (with_levels, [rand(1, 8, 8, 3), rand(1, 4, 4, 3), UV, UV_DA, BIAS]),
    "texture3d": (glraster.texture3d, [rand(1, 4, 4, 4, 2), rand(1, *SIZE, 3)]),
    "soft_rasterize": (soft_rasterize, [POS, rand(1, 4, 2), rand(1, 3, 5, 3)]),
}
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def leaves(name):
    function, inputs = FUNCTIONS[name]
    return function, [tensor.clone().requires_grad_() for tensor in inputs]


def checked_calls():
    """Operators and arguments for each."""
    ops = torch.ops.glraster
    attr, color, tex, level, vol = (
        rand(4, 3),
        rand(1, *SIZE, 3),
        rand(1, 8, 8, 3),
        rand(1, 4, 4, 3),
        rand(1, 4, 4, 4, 2),
    )
    modes = "linear-mipmap-linear", "wrap", 1
    long_ids = CONTEXT.ids_dtype(peeling=False) == torch.int64
    visibility = (POS, TRI, None, None, *SIZE, "none", False, long_ids, False, "rasterize", CONTEXT.handle)
    ids = ops.visibility(*visibility)
    numbers = 0.1, 0.1, 1e-3, 0.5, 100.0, 1e-4
    soft = *SIZE, [0.0, 0.5], *numbers, "euclidean", "softmax", "prod", "w", True, True, False
    _, _, nearest, state = soft_outputs = ops.soft_rasterize(POS, TRI, attr[:, :2], TRI, None, None, *soft)
    grad, table = rand(1, *SIZE, 3, seed=1), (TOPOLOGY.neighbours,)

    def leaf(tensor):
        return tensor.clone().requires_grad_()

    return {
        "visibility": [visibility],
        "barycentrics": [(leaf(POS), TRI, ids, True, True)],
        "barycentrics_bwd": [(RAST, RAST_DB, POS, TRI, ids), (RAST, None, POS, TRI, ids)],
        "depth": [(leaf(RAST), leaf(POS), TRI, ids)],
        "depth_bwd": [(RAST, POS, TRI, ids)],
        "interpolate": [(leaf(attr), leaf(RAST), TRI, leaf(RAST_DB), [0, 2])],
        "interpolate_bwd": [
            (grad, rand(1, *SIZE, 4), attr, RAST, TRI, RAST_DB, [0, 2], [True, True, True]),
            (grad, None, attr, RAST, TRI, None, [], [False, True, False]),
        ],
        "topology": [(TRI,)],
        "antialias": [(leaf(color), RAST, leaf(POS), TRI, *table, 1.0)],
        "antialias_bwd": [(grad, color, RAST, POS, TRI, *table, 1.0, [True, True])],
        "edge_gradients": [(leaf(color), RAST, leaf(POS), TRI, *table, True)],
        "edge_gradients_bwd": [(grad, color, RAST, POS, TRI, *table, True)],
        "mipmap": [(tex, 3)],
        "texture": [(leaf(UV), leaf(UV_DA), leaf(BIAS), *modes, True, [leaf(tex), level])],
        "texture_bwd": [
            (grad, UV, UV_DA, BIAS, *modes, True, [True, True, True, True, False], [tex, level]),
            (grad, UV, UV_DA, BIAS, *modes, False, [True, False, True, False, True], [tex, level]),
        ],
        "texture3d": [(leaf(vol), leaf(color), "linear", "wrap")],
        "soft_rasterize": [
            (leaf(POS), TRI, leaf(attr[:, :2]), TRI, None, None, *soft),
            (leaf(POS), TRI, leaf(attr[:, :2]), TRI, leaf(rand(1, 3, 5, 2)), None, *soft),
            (leaf(POS), TRI, None, None, None, None, *SIZE, [], *soft[3:]),
        ],
        "soft_rasterize_bwd": [
            (grad, soft_outputs[0], nearest, state, POS, TRI, attr[:, :2], TRI, None, None, *soft, [True, True, False])
        ],
        "texture3d_bwd": [(grad[..., :2].contiguous(), vol, color, "linear", "wrap", [True, True])],
    }


CALLS = checked_calls()


@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name):
    for arguments in CALLS[name]:
        torch.library.opcheck(getattr(torch.ops.glraster, name).default, arguments)


def test_opcheck_sees_every_operator():
    names = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("glraster::")}
    assert {name for name in names if not name.endswith("_jvp")} == set(CALLS)


@every_function
def test_grad_vjp_and_jacobian(name):
    function, inputs = leaves(name)
    plain = [tensor.detach() for tensor in inputs]
    out = function(*inputs)
    weights = rand(*out.shape, seed=2)
    expected = torch.autograd.grad(out, inputs, weights)
    assert all(grad.any() for grad in expected)
    places = tuple(range(len(inputs)))

    def loss(*args):
        return (function(*args) * weights).sum()

    for mine in (torch.func.grad(loss, places)(*plain), torch.func.vjp(function, *plain)[1](weights)):
        assert all(map(torch.equal, mine, expected))
    rows = torch.func.jacrev(lambda *args: function(*args)[0, 2, 3], places)(*plain)
    for row, tensor in zip(rows, plain, strict=True):
        assert row.shape == (*out.shape[3:], *tensor.shape)
    by_hand = torch.autograd.grad(function(*inputs)[0, 2, 3, 1], inputs)
    assert all(torch.allclose(row[1], grad, atol=1e-6) for row, grad in zip(rows, by_hand, strict=True))


@every_function
def test_vmap(name):
    function, inputs = FUNCTIONS[name]
    several = [torch.stack([tensor, 0.9 * tensor, 0.8 * tensor], -1) for tensor in inputs]
    if name == "interpolate":
        several[1] = torch.stack([RAST] * 3, -1)  # ids
    each = [[tensor[..., k] for tensor in several] for k in range(3)]
    loop = torch.stack([function(*args) for args in each])
    assert torch.equal(torch.vmap(function, in_dims=-1)(*several), loop)
    first = torch.vmap(lambda one: function(one, *inputs[1:]), in_dims=-1, out_dims=1)(several[0])
    assert torch.equal(first, torch.stack([function(args[0], *inputs[1:]) for args in each], 1))
    nested = torch.vmap(torch.vmap(function, in_dims=-1))(*(torch.stack([tensor, tensor]) for tensor in several))
    assert torch.equal(nested, torch.stack([loop, loop]))

    def loss(*args):
        return function(*args).square().sum()

    places = tuple(range(len(inputs)))
    per_sample = torch.vmap(torch.func.grad(loss, places), in_dims=-1)(*several)
    for k, args in enumerate(each):
        for mine, theirs in zip(per_sample, torch.func.grad(loss, places)(*args), strict=True):
            assert torch.equal(mine[k], theirs)


def test_vmap_of_range_mode():
    ranges = torch.tensor([[[0, 2], [1, 1]], [[0, 1], [0, 0]]], dtype=torch.int32)

    def images(ranges):
        return glraster.rasterize(CONTEXT, POS[0], TRI, SIZE, ranges)[0]

    assert torch.equal(torch.vmap(images)(ranges), torch.stack([images(ranges[0]), images(ranges[1])]))


def test_vmap_wants_the_shapes_of_one_call():
    attr = rand(4, 3)
    with pytest.raises(ValueError, match=r"interpolate\(\): rast must be .*\[N, H, W, 4\], got float32 \[5, 6, 4\]"):
        torch.vmap(lambda rast: glraster.interpolate(attr, rast, TRI)[0])(RAST)


@every_function
def test_second_derivatives_are_errors(name):
    function, inputs = leaves(name)
    message = "glraster cannot differentiate twice"
    for place, tensor in enumerate(inputs):

        def loss(one, place=place):
            return function(*inputs[:place], one, *inputs[place + 1 :]).square().sum()

        (first,) = torch.autograd.grad(loss(tensor), tensor, create_graph=True)
        if (name, place) == ("edge_gradients", 0):  # the image as it is: its second derivatives are right
            assert torch.equal(torch.autograd.grad(first.sum(), tensor)[0], torch.full_like(tensor, 2))
            continue
        with pytest.raises(RuntimeError, match=message):
            torch.autograd.grad(first.sum(), tensor)
        with pytest.raises(RuntimeError, match=message):
            torch.autograd.functional.hessian(loss, tensor.detach())
        with pytest.raises(RuntimeError, match=message):
            torch.func.grad(lambda one: torch.func.grad(loss)(one).sum())(tensor.detach())  # noqa: B023
        with pytest.raises(RuntimeError, match=message):
            torch.func.jacrev(torch.func.grad(loss))(tensor.detach())


@every_function
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(name, dtype):
    function, inputs = FUNCTIONS[name]
    half = [tensor.to(dtype).requires_grad_() for tensor in inputs]
    with pytest.raises(TypeError, match=r"must be float32 .*: use \w+\.to\(torch\.float32\)"):
        function(*half)
    with torch.autocast("cpu", torch.bfloat16):
        out = function(*half)
    out.square().sum().backward()
    same = [tensor.detach().float().requires_grad_() for tensor in half]
    function(*same).square().sum().backward()
    assert out.dtype == torch.float32 and torch.equal(out, function(*same))
    for mine, theirs in zip(half, same, strict=True):
        assert mine.grad.dtype == dtype and torch.equal(mine.grad, theirs.grad.to(dtype))


@every_function
def test_hooks_see_all_that_is_saved_and_nothing_stays(name):
    function, inputs = leaves(name)
    kept, saved = [], []

    def pack(tensor):
        copy = tensor.detach().clone()
        saved.append(weakref.ref(copy))
        return copy

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda copy: copy):
        for _ in range(3):
            kept.append(function(*inputs).sum())
    assert saved and all(reference() is not None for reference in saved)
    for loss in kept:
        loss.backward()
    gc.collect()
    assert [reference() for reference in saved if reference() is not None] == []
    with pytest.raises(RuntimeError, match="second time"):
        kept[0].backward()


def test_a_graph_holds_no_memory_after_backward():
    held = []

    def loss(pos):
        rast, _ = glraster.rasterize(CONTEXT, pos, TRI, SIZE)
        color, _ = glraster.interpolate(rand(4, 3), rast, TRI)
        held.extend(map(weakref.ref, (rast, color)))
        return glraster.antialias(color, rast, pos, TRI).sum()

    losses = [loss(POS.clone().requires_grad_()) for _ in range(40)]
    assert all(reference() is not None for reference in held)
    for one in losses:
        one.backward()
    gc.collect()
    assert not any(reference() is not None for reference in held)
