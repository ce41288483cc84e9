"""`stochastic_grad` against gradients found by other means, and its documented errors."""

import math

import pytest
import torch

import glraster
from glraster.stochastic import stochastic_grad, texel_credit, vertex_credit


@pytest.fixture(autouse=True)
def one_thread():
    """Pictures of a few hundred pixels: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


RING = 60  # parameters of the linear renderer, each of which touches five pixels


def estimates(render, params: dict, loss_fn, count: int, **options) -> dict[str, torch.Tensor]:
    """`count` estimates [count, ...] with different seeds."""
    found = {name: [] for name in params}
    for seed in range(count):
        leaves = {name: tensor.detach().clone() for name, tensor in params.items()}
        stochastic_grad(render, leaves, loss_fn, seed=seed, **options)
        for name, leaf in leaves.items():
            found[name].append(leaf.grad)
    return {name: torch.stack(grads) for name, grads in found.items()}


def within_standard_errors(samples: torch.Tensor, exact: torch.Tensor, times: float = 4) -> bool:
    error = samples.std(0) / math.sqrt(len(samples))
    return bool(((samples.mean(0) - exact).abs() <= times * error + 1e-9).all())


def ring(spread: int = 2):
    """A linear renderer: pixel p is a weighted sum of the parameters around p. Returns it, its weights and values."""
    generator = torch.Generator().manual_seed(1)
    distance = (torch.arange(RING)[:, None] - torch.arange(RING)[None]) % RING
    touches = (distance <= spread) | (distance >= RING - spread)
    weights = torch.rand(RING, RING, generator=generator, dtype=torch.float64) * touches
    rows = torch.where(touches, torch.arange(RING)[None], -1)[None, None]

    def render(params):
        return (weights @ params["x"])[None, None, :, None], {"x": rows}

    return render, weights, torch.rand(RING, generator=generator, dtype=torch.float64)


def test_by_hand():
    """Two parameters, two pixels: the first pixel shows their sum, the second shows the second alone."""
    rows = torch.tensor([[0, 1], [1, -1]])[None, None]

    def render(params):
        a, b = params["x"]
        return torch.stack([a + b, 3 * b])[None, None, :, None], {"x": rows}

    grads = set()
    for seed in range(20):
        x = torch.tensor([1.0, 2.0], dtype=torch.float64)
        loss = stochastic_grad(render, {"x": x}, lambda image: image[..., 0], eps=0.5, seed=seed)
        assert loss == 9
        grads.add(tuple(x.grad.tolist()))
    # The signs agree or they do not; the first pixel then changes twice as much or not at all.
    assert {tuple(round(g, 6) for g in pair) for pair in grads} == {(2.0, 5.0), (0.0, 3.0)}


@pytest.mark.parametrize("eps", [1e-3, 10.0])
def test_linear_loss_is_exact_on_average(eps):
    render, weights, x = ring()
    samples = estimates(render, {"x": x}, lambda image: image[..., 0], 300, eps=eps, pairs=4)["x"]
    assert within_standard_errors(samples, weights.sum(0))
    assert not within_standard_errors(samples, 1.3 * weights.sum(0))


@pytest.mark.parametrize("whole_image", [False, True])
def test_variance(whole_image):
    """sum_{j != i} (sum over the pixels that both touch of d_j L_p)^2, and sum_{j != i} (d_j L)^2 without credit."""
    render, weights, x = ring()
    used = (lambda params: (render(params)[0], {"x": None})) if whole_image else render
    samples = estimates(used, {"x": x}, lambda image: image[..., 0], 1000, eps=0.1)["x"]
    touched = torch.ones_like(weights) if whole_image else (weights > 0).double()
    shared = touched.T @ weights  # [i, j]: the derivative with respect to j of the pixels that i touches
    expected = (shared.square().sum(1) - shared.diagonal().square()).mean()
    assert samples.var(0).mean().item() == pytest.approx(expected.item(), rel=0.05)


def test_error_falls_with_the_square_root_of_the_pairs():
    render, _, x = ring()
    few, many = (
        estimates(render, {"x": x}, lambda image: image[..., 0], 200, eps=0.1, pairs=pairs)["x"] for pairs in (1, 16)
    )
    assert (few.std(0).mean() / many.std(0).mean()).item() == pytest.approx(4, rel=0.1)


def quad_scene(size: int = 16):
    """A quad of two triangles, and a renderer that draws it at 4 places, moved by parts of a pixel."""
    corners = torch.tensor([[-0.6, -0.5], [0.5, -0.6], [0.6, 0.55], [-0.5, 0.45]], dtype=torch.float64)
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    context = glraster.RasterizeCudaContext("cpu")

    def make(seed):
        shifts = torch.rand(4, 1, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 / size

        def render(params):
            pos = torch.nn.functional.pad(params["pos"] + shifts, (0, 1))
            pos = torch.nn.functional.pad(pos, (0, 1), value=1.0)
            rast, _ = glraster.rasterize(context, pos.float(), tri, (size, size))
            return (rast[..., 3:] > 0).double(), {"pos": vertex_credit(rast, tri)}

        return render

    before, after = corners.roll(1, 0), corners.roll(-1, 0)
    shoelace = torch.stack([after[:, 1] - before[:, 1], before[:, 0] - after[:, 0]], 1) / 2 * (size / 2) ** 2
    return corners, make, shoelace


def test_covered_area_against_shoelace():
    """The quad's diagonal is an edge that two triangles share: a vertex must not be credited by both."""
    corners, make, shoelace = quad_scene()
    samples = []
    for seed in range(800):
        pos = corners.clone()
        stochastic_grad(make(seed), {"pos": pos}, lambda image: image[..., 0] / 4, eps=0.5 * 2 / 16, seed=seed)
        samples.append(pos.grad)
    samples = torch.stack(samples)
    assert within_standard_errors(samples, shoelace)
    relative = (samples.mean(0) - shoelace).norm() / shoelace.norm()
    assert relative < 0.12  # 0.66 and more where vertices are credited twice


def test_texture_against_autograd_and_central_differences():
    """A bilinear texture and a loss that is not linear."""
    generator = torch.Generator().manual_seed(3)
    size = (4, 5)
    tex = torch.rand(20, 2, generator=generator, dtype=torch.float64)
    uv = torch.rand(1, 12, 12, 2, generator=generator, dtype=torch.float64)
    target = torch.rand(1, 12, 12, 2, generator=generator, dtype=torch.float64)
    rows = texel_credit(uv, torch.ones(1, 12, 12), size, "linear")

    def draw(values):
        return glraster.texture(values.reshape(1, *size, 2), uv, filter_mode="linear", boundary_mode="clamp")

    def loss_of(image):
        return (image - target).square().sum(-1)

    leaf = tex.clone().requires_grad_()
    loss_of(draw(leaf)).sum().backward()
    exact = leaf.grad
    samples = estimates(lambda p: (draw(p["tex"]), {"tex": rows}), {"tex": tex}, loss_of, 400, eps=1 / 256)["tex"]
    assert within_standard_errors(samples, exact)
    step = torch.zeros_like(tex)
    step[7, 1] = 1e-4
    central = (loss_of(draw(tex + step)).sum() - loss_of(draw(tex - step)).sum()) / 2e-4
    assert exact[7, 1] == pytest.approx(central.item(), rel=1e-6)
    scalar = estimates(
        lambda p: (draw(p["tex"]), {"tex": rows}), {"tex": tex}, lambda i: loss_of(i).sum(), 400, eps=1 / 256
    )["tex"]
    torch.testing.assert_close(scalar, samples, atol=1e-6, rtol=1e-6)  # a quadratic has no third derivative


def test_textured_mesh_against_the_operators():
    """The cosine of the angle to the analytic gradient rises towards 1 with the pairs."""
    size, tri = 32, torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    corners = torch.tensor([[-0.7, -0.6, 0, 1], [0.7, -0.7, 0, 1], [0.6, 0.7, 0, 1], [-0.6, 0.5, 0, 1]])
    ramp = torch.linspace(0, 1, 8)
    tex = torch.stack([ramp.repeat(8), ramp.repeat_interleave(8), ramp.repeat(8).flip(0)], 1)
    uv = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    context = glraster.RasterizeCudaContext("cpu")
    # At several places, moved by parts of a pixel: one picture alone deviates by its own aliasing.
    shifts = torch.rand(8, 1, 2, generator=torch.Generator().manual_seed(0)) * 2 / size
    shifts = torch.nn.functional.pad(shifts, (0, 2))
    target = torch.full((8, size, size, 3), 0.3)

    def draw(pos, tex):
        pos = pos + shifts
        rast, _ = glraster.rasterize(context, pos, tri, (size, size))
        coordinates, _ = glraster.interpolate(uv, rast, tri)
        color = glraster.texture(tex.reshape(1, 8, 8, 3), coordinates, filter_mode="linear", boundary_mode="clamp")
        color = color * (rast[..., 3:] > 0)
        return glraster.antialias(color, rast, pos, tri), rast, coordinates

    def render(params):
        image, rast, coordinates = draw(params["pos"], params["tex"])
        mask = rast[..., 3] > 0
        own = vertex_credit(rast, tri)  # and antialias blends each pixel with its neighbours
        around = torch.cat([own] + [own.roll(shift, axis) for shift in (1, -1) for axis in (1, 2)], -1)
        credit = {"pos": around, "tex": texel_credit(coordinates, mask, (8, 8), "linear")}
        return image, credit

    leaves = {"pos": corners.clone().requires_grad_(), "tex": tex.clone().requires_grad_()}
    (draw(**leaves)[0] - target).square().sum().backward()
    exact = {"pos": leaves["pos"].grad[:, :2], "tex": leaves["tex"].grad}
    cosines = {name: [] for name in exact}
    for pairs in (4, 64):
        params = {"pos": corners.clone(), "tex": tex.clone()}
        for name, eps in (("pos", torch.tensor([1.0, 1.0, 1e-6, 1e-6]) * 0.25 * 2 / size), ("tex", 1 / 256)):
            # One at a time: what moves a vertex changes every pixel that its texels show in.
            def render_one(one, kept=params):
                return render(kept | one)

            loss_fn = lambda image: (image - target).square().sum(-1)  # noqa: E731
            stochastic_grad(render_one, {name: params[name]}, loss_fn, eps=eps, pairs=pairs)
            found = params[name].grad[:, :2] if name == "pos" else params[name].grad
            cosines[name].append(torch.cosine_similarity(found.flatten(), exact[name].flatten(), 0).item())
    assert cosines["tex"][0] < cosines["tex"][1] and cosines["tex"][1] > 0.95
    assert cosines["pos"][1] > 0.9


def test_same_seed_same_bits_and_grad_adds_up():
    render, _, x = ring()
    first, again, other = x.clone(), x.clone(), x.clone()
    for leaf, seed in ((first, 5), (again, 5), (other, 6)):
        stochastic_grad(render, {"x": leaf}, lambda image: image[..., 0] ** 2, eps=0.1, pairs=2, seed=seed)
    assert torch.equal(first.grad, again.grad) and not torch.equal(first.grad, other.grad)
    before = first.grad.clone()
    stochastic_grad(render, {"x": first}, lambda image: image[..., 0] ** 2, eps=0.1, pairs=2, seed=6)
    torch.testing.assert_close(first.grad, before + other.grad)


def test_credit_of_pixels():
    tri = torch.tensor([[4, 5, 6], [6, 5, 7]], dtype=torch.int32)
    rast = torch.zeros(1, 1, 3, 4)
    rast[0, 0, 1:, 3] = torch.tensor([1.0, 2.0])
    assert vertex_credit(rast, tri).tolist() == [[[[-1, -1, -1], [4, 5, 6], [6, 5, 7]]]]
    assert vertex_credit(0 * rast, tri[:0]).tolist() == [[[[-1, -1, -1]] * 3]]
    large = torch.zeros(1, 1, 1, 4)
    large[..., 3] = torch.tensor([0x4A800000 + 2**24 + 1], dtype=torch.int32).view(torch.float32)
    many = torch.arange(2**24 + 1, dtype=torch.int32)[:, None]
    assert vertex_credit(large, many).item() == 2**24
    uv = torch.tensor([[0.0, 0.0], [0.49, 0.99], [float("nan"), 1e30]])[None, None]
    mask = torch.tensor([[[1, 1, 1]]])
    assert texel_credit(uv, mask, (2, 4)).tolist() == [[[[0], [5], [4]]]]
    assert texel_credit(uv[..., 1:2, :], mask[..., 1:2], (2, 4), "linear").tolist() == [[[[5, 6, 5, 6]]]]
    assert texel_credit(uv, 0 * mask, (2, 4)).tolist() == [[[[-1], [-1], [-1]]]]


def test_errors():
    render, _, x = ring()

    def call(render=render, params=None, loss_fn=lambda image: image[..., 0], **options):
        return stochastic_grad(render, {"x": x} if params is None else params, loss_fn, **{"eps": 0.1} | options)

    cases = [
        (TypeError, r"params\['x'\] must be a tensor", {"params": {"x": [1.0]}}),
        (TypeError, "float32 or float64", {"params": {"x": x.int()}}),
        (ValueError, "must be a leaf", {"params": {"x": x.clone().requires_grad_() * 2}}),
        (ValueError, "pairs must be", {"pairs": 0}),
        (ValueError, "eps must have an entry 'x'", {"eps": {"y": 1.0}}),
        (ValueError, "must broadcast", {"eps": torch.ones(RING + 1)}),
        (ValueError, "above zero", {"eps": 0.0}),
        (TypeError, "must return \\(image, credit\\)", {"render": lambda params: render(params)[0]}),
        (ValueError, r"image \[N, H, W, C\]", {"render": lambda params: (x, {"x": None})}),
        (ValueError, "must return a credit for 'x'", {"render": lambda params: (render(params)[0], {})}),
        (ValueError, "must be integers", {"render": lambda params: (render(params)[0], {"x": x})}),
        (ValueError, "must be rows", {"render": lambda p: (render(p)[0], {"x": torch.full((1, 1, RING, 1), RING)})}),
        (ValueError, "loss_fn must return", {"loss_fn": lambda image: image[0]}),
        (ValueError, "must be differentiable", {"loss_fn": lambda image: image.detach().sum()}),
        (RuntimeError, "not finite", {"loss_fn": lambda image: image[..., 0] / 0}),
    ]
    for error, message, options in cases:
        with pytest.raises(error, match=message):
            call(**options)
    assert x.grad is None, "a failure adds nothing"
    empty = torch.zeros(0, 3)
    loss = call(lambda p: (torch.ones(1, 2, 2, 1), {"e": torch.full((1, 2, 2, 1), -1)}), {"e": empty})
    assert loss == 4 and empty.grad.shape == (0, 3)
