"""interpolate: values, image-space derivatives, gradients and errors."""

import numpy as np
import pytest
import torch
from reference import interpolate as reference
from scenes import triangles

from glraster import interpolate

FLOATS = [torch.float32, torch.float64]


def random_case(seed: int, dtype=torch.float64, images: int = 2, attr_shape=None, bad_ids: bool = True, size=(6, 9)):
    """Random attr, rast, tri and rast_db that no rasterizer has to have made."""
    generator = torch.Generator().manual_seed(seed)
    tri = torch.randint(0, 11, (7, 3), generator=generator).int()
    attr = torch.randn(attr_shape or (images, 11, 5), generator=generator, dtype=torch.float64)
    rast = torch.rand((images, *size, 4), generator=generator, dtype=torch.float64)
    rast[..., 3] = torch.randint(-2 if bad_ids else 0, 11 if bad_ids else 8, (images, *size), generator=generator)
    rast_db = torch.randn((images, *size, 4), generator=generator, dtype=torch.float64)
    return attr.to(dtype), rast.to(dtype), tri, rast_db.to(dtype)


def test_by_hand(device):
    # Pixels: inside with u = 1/4, v = 1/2; on vertex 1; without a triangle.
    rast = torch.tensor([[[[0.25, 0.5, 0, 2], [0, 1, 0, 2], [0.25, 0.5, 0, 0]]]], device=device)
    rast_db = torch.tensor([1.0, 10, 100, 1000], device=device).expand(1, 1, 3, 4)
    attr = torch.tensor([[9.0, 9], [1, -4], [2, -8], [4, 16]], device=device)
    out, out_da = interpolate(attr, rast, triangles([0, 0, 0], [1, 2, 3]).to(device), rast_db, "all")
    expected = [[0.25 * 1 + 0.5 * 2 + 0.25 * 4, 0.25 * -4 + 0.5 * -8 + 0.25 * 16], [2, -8], [0, 0]]
    torch.testing.assert_close(out[0, 0], torch.tensor(expected, device=device))
    # (A_0 - A_2, A_1 - A_2) = (-3, -2) and (-20, -24).
    row = [-3.0 - 200, -30 - 2000, -20 - 2400, -200 - 24000]
    torch.testing.assert_close(out_da[0, 0], torch.tensor([row, row, [0, 0, 0, 0]], device=device))


def test_gradients_by_hand(device):
    rast = torch.tensor([[[[0.25, 0.5, 0, 1]]]], device=device, requires_grad=True)
    rast_db = torch.tensor([[[[1.0, 10, 100, 1000]]]], device=device, requires_grad=True)
    attr = torch.tensor([[1.0], [2], [4]], device=device, requires_grad=True)
    out, out_da = interpolate(attr, rast, triangles([0, 1, 2]).to(device), rast_db, "all")
    torch.autograd.backward([out, out_da], [torch.full_like(out, 2.0), torch.tensor([[[[3.0, 5]]]], device=device)])
    g0, g1 = 3 * 1 + 5 * 10.0, 3 * 100 + 5 * 1000.0
    expected = torch.tensor([[2 * 0.25 + g0], [2 * 0.5 + g1], [2 * 0.25 - g0 - g1]], device=device)
    torch.testing.assert_close(attr.grad, expected)
    torch.testing.assert_close(rast.grad[0, 0, 0], torch.tensor([2 * -3.0, 2 * -2, 0, 0], device=device))
    torch.testing.assert_close(rast_db.grad[0, 0, 0], torch.tensor([-9.0, -15, -6, -10], device=device))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("attr_shape", [(11, 5), (1, 11, 5), (2, 11, 5), (11, 1), (2, 11, 4), (1, 11, 3), (11, 2)])
@pytest.mark.parametrize("diff_attrs", [None, "all", [-1, 0], [0, 0]], ids=str)
def test_equals_reference(device, dtype, attr_shape, diff_attrs):
    attr, rast, tri, rast_db = random_case(0, dtype, attr_shape=attr_shape)
    inputs = [t.to(device, copy=True).requires_grad_() for t in (attr, rast, rast_db)]
    leaves = [t.to(torch.float64, copy=True).requires_grad_() for t in (attr, rast, rast_db)]
    out, out_da = interpolate(inputs[0], inputs[1], tri.to(device), inputs[2], diff_attrs)
    expected, expected_da = reference.interpolate(leaves[0], leaves[1], tri, leaves[2], diff_attrs)
    assert out.dtype == out_da.dtype == dtype and out_da.shape == expected_da.shape
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(out.double().cpu(), expected, **tolerance)
    torch.testing.assert_close(out_da.double().cpu(), expected_da, **tolerance)
    generator = torch.Generator().manual_seed(1)
    gradients = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in (expected, expected_da)]
    torch.autograd.backward([out, out_da], [g.to(device, dtype) for g in gradients])
    used = 1 if diff_attrs is None else 2
    torch.autograd.backward([expected, expected_da][:used], gradients[:used])
    for mine, theirs in zip(inputs, leaves, strict=True):
        if mine is inputs[2] and diff_attrs is None:
            assert mine.grad is None
            continue
        torch.testing.assert_close(mine.grad.double().cpu(), theirs.grad, **(tolerance | {"rtol": 1e-4}))


@pytest.mark.parametrize("attr_shape", [(11, 2), (1, 11, 2), (2, 11, 2)])
def test_gradcheck(device, attr_shape):
    attr, rast, tri, rast_db = random_case(2, attr_shape=attr_shape, size=(2, 3))
    ids = rast[..., 3:].to(device)
    tri = tri.to(device)

    def apply(attr, uv, rast_db):
        rast = torch.cat([uv, torch.zeros_like(ids), ids], -1)
        return interpolate(attr, rast, tri, rast_db, [1, 0])

    inputs = [t.to(device).requires_grad_() for t in (attr, rast[..., :2], rast_db)]
    assert torch.autograd.gradcheck(apply, inputs, eps=1e-3, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("mode", ["instanced", "range", "soup"])
@pytest.mark.parametrize("kind", range(3))
def test_golden(device, golden, mode, kind):
    case = golden(f"interpolate_{mode}_{kind}_0")
    inputs = {key: case[key].to(device) for key in ("attr", "rast", "tri", "rast_db") if key in case}
    leaves = {key: inputs[key].requires_grad_() for key in ("attr", "rast", "rast_db") if key in case}
    out, out_da = interpolate(**inputs, diff_attrs=case.get("diff_attrs"))
    assert (out.cpu() - case["out"]).abs().max() < 1e-5
    outputs, gradients = [out], [case["grad_out"].to(device)]
    if "out_da" in case:
        assert (out_da.cpu() - case["out_da"]).abs().max() < 1e-5
        outputs, gradients = [out, out_da], [*gradients, case["grad_out_da"].to(device)]
    else:
        assert out_da.shape == (*out.shape[:3], 0)
    torch.autograd.backward(outputs, gradients)
    for key, leaf in leaves.items():
        expected = case[f"grad_{key}"]
        assert (leaf.grad.cpu() - expected).abs().max() < 1e-3 * expected.abs().max(), key


def test_equal_results_for_every_way_to_name_attributes(device):
    attr, rast, tri, rast_db = (t.to(device) for t in random_case(3))
    _, expected = interpolate(attr, rast, tri, rast_db, [4, 1])
    for diff_attrs in ((4, 1), [-1, -4], torch.tensor([4, 1]), np.array([-1, 1]), range(4, 0, -3)):
        assert torch.equal(interpolate(attr, rast, tri, rast_db, diff_attrs)[1], expected)
    _, everything = interpolate(attr, rast, tri, rast_db, "all")
    assert torch.equal(everything, interpolate(attr, rast, tri, rast_db, range(5))[1])
    assert torch.equal(expected, everything.reshape(2, 6, 9, 5, 2)[..., [4, 1], :].flatten(-2))
    assert interpolate(attr, rast, tri, rast_db, [])[1].shape == (2, 6, 9, 0)
    assert interpolate(attr, rast, tri, None, [])[1].shape == (2, 6, 9, 0)


def test_only_what_is_asked_for_receives_gradients(device):
    attr, rast, tri, rast_db = (t.to(device) for t in random_case(4))
    for wanted in range(3):
        inputs = [attr.clone(), rast.clone(), rast_db.clone()]
        inputs[wanted].requires_grad_()
        out, out_da = interpolate(inputs[0], inputs[1], tri, inputs[2], "all")
        (out.sum() + out_da.square().sum()).backward()
        assert [t.grad is not None for t in inputs] == [i == wanted for i in range(3)]
    attr.requires_grad_()
    interpolate(attr, rast, tri, rast_db, "all")[1].sum().backward()  # the first output unused
    assert attr.grad.any()


def test_large_ids(device):
    # Ids are values up to 2^24; above, in float32, bit patterns. Only the last triangle exists.
    count = 2**24 + 10
    tri = torch.zeros((count, 3), dtype=torch.int32)
    tri[2**24 - 2 :] = torch.arange(12, dtype=torch.int32)[:, None]
    values = torch.tensor([2**24 - 1, 2**24, 2**24 + 1, 2**24 + 2, 2**24 + 3, 2**24 + 10, 2**24 + 11, 2**29])
    expected = torch.tensor([0, 1, 2, 3, 4, 11, -1, -1])  # the vertex; -1: beyond tri
    attr = torch.arange(100.0, 112)[:, None]
    for dtype in FLOATS:
        channel = values.to(dtype)
        if dtype == torch.float32:
            channel = torch.where(values > 2**24, (values.int() + 0x4A800000).view(dtype), channel)
        rast = torch.zeros(1, 1, len(values), 4, dtype=dtype)
        rast[..., 3] = channel
        out, _ = interpolate(attr.to(device, dtype), rast.to(device), tri.to(device))
        assert torch.equal(out.flatten().cpu(), torch.where(expected >= 0, expected + 100, 0).to(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", [-1.0, -3e9, 4.0, 3e9, 1e30, float("inf"), float("-inf"), float("nan")])
def test_ids_that_do_not_exist_read_zero(device, dtype, value):
    rast = torch.full((1, 2, 2, 4), 0.25, dtype=dtype, device=device)
    rast[..., 3] = value
    rast.requires_grad_()
    attr = torch.ones(3, 2, dtype=dtype, device=device, requires_grad=True)
    out, out_da = interpolate(attr, rast, triangles([0, 1, 2]).to(device).repeat(3, 1), rast.detach(), "all")
    assert not out.any() and not out_da.any()
    (out.sum() + out_da.sum()).backward()
    assert not attr.grad.any() and not rast.grad.any()


@pytest.mark.parametrize("index", [-1, 3, 2**31 - 1, -(2**31)])
def test_vertices_that_do_not_exist_read_zero(device, index):
    rast = torch.full((1, 2, 2, 4), 0.25, device=device)
    rast[..., 3] = 1
    attr = torch.ones(3, 2, device=device, requires_grad=True)
    for corner in range(3):
        tri = triangles([0, 1, 2])
        tri[0, corner] = index
        out, _ = interpolate(attr, rast, tri.to(device))
        out.sum().backward()
        assert not out.any() and not attr.grad.any()


SIZES = {"N": 2, "H": 3, "W": 4, "V": 3, "A": 2, "T": 1}


@pytest.mark.parametrize("empty", [{name: 0} for name in SIZES] + [{"V": 0, "T": 0}, {"W": 1, "H": 1, "N": 1}], ids=str)
def test_empty_and_one_pixel_inputs(device, empty):
    s = SIZES | empty
    attr = torch.ones(s["N"], s["V"], s["A"], device=device, requires_grad=True)
    rast = torch.zeros(s["N"], s["H"], s["W"], 4, device=device)
    rast[..., 3] = 1
    rast.requires_grad_()
    tri = triangles([0, 1, 2])[: s["T"]].to(device)
    out, out_da = interpolate(attr, rast, tri, rast.detach(), "all")
    assert out.shape == (s["N"], s["H"], s["W"], s["A"]) and out_da.shape == (*out.shape[:3], 2 * s["A"])
    assert torch.equal(out, torch.full_like(out, float(s["V"] > 0 and s["T"] > 0)))
    (out.sum() + out_da.sum()).backward()
    assert attr.grad.shape == attr.shape and rast.grad.shape == rast.shape
    assert attr.grad.sum() == out.numel() * (s["V"] > 0 and s["T"] > 0)


@pytest.mark.parametrize("size", [(1, 70_001), (40_001, 2)])
def test_long_images(device, size):
    attr, rast, tri, rast_db = random_case(5, torch.float32, 1, size=size)
    out, out_da = interpolate(attr.to(device), rast.to(device), tri.to(device), rast_db.to(device), [2])
    expected, expected_da = reference.interpolate(attr, rast, tri, rast_db, [2])
    torch.testing.assert_close(out.cpu().double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out_da.cpu().double(), expected_da, rtol=1e-5, atol=1e-5)


def test_many_attributes(device):
    attr, rast, tri, rast_db = random_case(6, attr_shape=(11, 130))
    out, out_da = interpolate(attr.to(device), rast.to(device), tri.to(device), rast_db.to(device), "all")
    expected, expected_da = reference.interpolate(attr, rast, tri, rast_db, "all")
    torch.testing.assert_close(out.cpu(), expected)
    torch.testing.assert_close(out_da.cpu(), expected_da)


ATTR, RAST, TRI, RAST_DB = random_case(7, torch.float32)
ERRORS = {
    "attr type": (TypeError, "attr must be a tensor", {"attr": ATTR.numpy()}),
    "attr dtype": (TypeError, "attr must be float32 .* got float64", {"attr": ATTR.double()}),
    "attr device": (ValueError, "attr must be .* on cpu, got .* on meta", {"attr": ATTR.to("meta")}),
    "attr rank": (ValueError, r"attr must be .* got float32 \[5\]", {"attr": ATTR[0, 0]}),
    "attr minibatch": (ValueError, "minibatch must agree, got 3 in attr, 2 in rast", {"attr": ATTR[[0, 1, 1]]}),
    "rast type": (TypeError, "rast must be a tensor", {"rast": None}),
    "rast dtype": (TypeError, "rast must be float32 or float64 .* got int32", {"rast": RAST.int()}),
    "rast size": (ValueError, r"rast must be .* got float32 \[2, 6, 9, 3\]", {"rast": RAST[..., :3]}),
    "rast rank": (ValueError, r"rast must be .* got float32 \[6, 9, 4\]", {"rast": RAST[0]}),
    "tri type": (TypeError, "tri must be a tensor", {"tri": TRI.tolist()}),
    "tri dtype": (TypeError, r"interpolate\(\): tri must be int32 \[T, 3\] on cpu, got int64", {"tri": TRI.long()}),
    "tri device": (ValueError, "tri must be .* on meta", {"tri": TRI.to("meta")}),
    "tri size": (ValueError, r"tri must be .* got int32 \[7, 2\]", {"tri": TRI[:, :2]}),
    "no rast_db": (ValueError, "diff_attrs needs rast_db", {"rast_db": None}),
    "rast_db type": (TypeError, "rast_db must be a tensor", {"rast_db": 1.0}),
    "rast_db dtype": (TypeError, "rast_db must be float32", {"rast_db": RAST_DB.double()}),
    "rast_db size": (ValueError, "rast_db must be", {"rast_db": RAST_DB[:, :, :5]}),
    "rast_db empty": (ValueError, r"rast_db must be .* got float32 \[2, 6, 9, 0\]", {"rast_db": RAST_DB[..., :0]}),
    "diff_attrs text": (ValueError, "diff_attrs must be 'all' or a list", {"diff_attrs": "none"}),
    "diff_attrs number": (TypeError, "diff_attrs must be 'all' or a list", {"diff_attrs": 1}),
    "diff_attrs mask": (TypeError, "diff_attrs must be 'all' or a list", {"diff_attrs": torch.tensor([True] * 5)}),
    "diff_attrs array mask": (TypeError, "diff_attrs must be", {"diff_attrs": np.array([False, True])}),
    "diff_attrs bools": (TypeError, "diff_attrs must be", {"diff_attrs": [1, True]}),
    "diff_attrs floats": (TypeError, "diff_attrs must be 'all' or a list", {"diff_attrs": [0.5]}),
    "diff_attrs words": (TypeError, "diff_attrs must be 'all' or a list", {"diff_attrs": ["first"]}),
    "diff_attrs high": (ValueError, "indices of attr's 5 attributes, got 5", {"diff_attrs": [0, 5]}),
    "diff_attrs low": (ValueError, "indices of attr's 5 attributes, got -6", {"diff_attrs": [-6]}),
}


@pytest.mark.parametrize("error, message, change", ERRORS.values(), ids=ERRORS.keys())
def test_errors(error, message, change):
    arguments = {"attr": ATTR, "rast": RAST, "tri": TRI, "rast_db": RAST_DB, "diff_attrs": "all"}
    interpolate(**arguments)
    with pytest.raises(error, match=message) as caught:
        interpolate(**(arguments | change))
    assert str(caught.value).startswith("interpolate(): ")
