"""glraster.optim: nonlinear least squares."""

import math

import pytest
import torch

import glraster
from glraster.optim import gauss_newton


def test_by_hand():
    """Residuals (x - 1, 2 (y - 3), 1): linear, so one undamped step leads to (1, 3) and the cost 1/2."""
    params = torch.tensor([5.0, 0.0], dtype=torch.float64)
    found = gauss_newton(lambda p: torch.stack([p[0] - 1, 2 * (p[1] - 3), p[0] * 0 + 1]), params, damping=0.0)
    torch.testing.assert_close(found.params, torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert found.cost == pytest.approx(0.5) and params.tolist() == [5, 0]
    (step,) = found.history
    assert (step.cost, step.accepted, step.cg_iterations) == (0.5 * (16 + 36 + 1), True, 2)
    assert step.gradient_norm == pytest.approx(math.hypot(4, -12)) and step.step_norm == pytest.approx(5)


def test_rosenbrock():
    """A curved valley, from its classical starting point; undamped steps would leave it."""
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    found = gauss_newton(lambda p: torch.stack([10 * (p[1] - p[0] ** 2), 1 - p[0]]), start, iterations=50, tolerance=0)
    torch.testing.assert_close(found.params, torch.ones(2, dtype=torch.float64))
    costs = [step.cost for step in found.history]
    assert costs == sorted(costs, reverse=True)
    assert any(step.tries > 1 for step in found.history) and all(step.accepted for step in found.history)


def test_a_step_that_leads_too_far_is_shortened():
    """atan from 2: the whole step overshoots, and the parabola through the costs and the slope is lowest before."""
    r, jacobian = math.atan(2), 1 / (1 + 2**2)
    step, slope = -r / jacobian, -r * r
    rise = 0.5 * math.atan(2 + step) ** 2 - 0.5 * r * r
    share = -slope / (2 * (rise - slope))
    found = gauss_newton(torch.atan, torch.tensor([2.0], dtype=torch.float64), damping=0.0, iterations=1)
    assert rise > 0 and found.params.item() == pytest.approx(2 + share * step)
    assert (found.history[0].tries, found.history[0].accepted) == (2, True)
    assert found.history[0].step_norm == pytest.approx(share * -step)


def test_a_step_that_cannot_be_shortened_enough_is_taken_back():
    """A residual with a jump right beside the start: lower nowhere along the steps, until damping makes them short."""
    start = torch.tensor([1.0], dtype=torch.float64)
    found = gauss_newton(lambda p: p + 10 * (p < 1 - 1e-6), start, damping=0.0, iterations=4)
    assert [step.accepted for step in found.history] == [False] * 4 and found.params.item() == 1
    dampings = [step.damping for step in found.history]
    assert dampings == sorted(dampings) and dampings[-1] > dampings[1] > 0


def test_several_parameters_keep_their_form(device):
    a, b = torch.tensor([[2.0], [1.0]], device=device), torch.tensor(4.0, device=device)
    found = gauss_newton(lambda a, b: torch.cat([(a * b - 3).flatten(), (b - 1)[None]]), [a, b], iterations=100)
    assert [p.shape for p in found.params] == [a.shape, b.shape]
    torch.testing.assert_close(found.params[0], torch.full_like(a, 3.0), rtol=1e-2, atol=0)
    assert not any(p.requires_grad for p in found.params)


def test_step_of_a_direct_solver():
    """Enough conjugate gradients make the damped step of the normal equations."""
    generator = torch.Generator().manual_seed(0)
    matrix, target = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in [(30, 8), (30,)])
    found = gauss_newton(
        lambda p: matrix @ p - target,
        torch.zeros(8, dtype=torch.float64),
        iterations=1,
        damping=0.5,
        cg_tolerance=1e-12,
    )
    gradient = matrix.T @ target
    unit = (matrix @ gradient).square().sum() / gradient.square().sum()
    expected = torch.linalg.solve(matrix.T @ matrix + 0.5 * unit * torch.eye(8, dtype=torch.float64), gradient)
    torch.testing.assert_close(found.params, expected)


def test_ends():
    params = torch.tensor([1.0, 2.0])
    assert gauss_newton(lambda p: p * 0 + 1, params).history == []  # nothing to gain
    assert gauss_newton(lambda p: torch.ones(3), params).history == []  # does not depend on them
    assert gauss_newton(lambda p: p, params, iterations=0).params.tolist() == [1, 2]
    seen = []
    found = gauss_newton(lambda p: p.exp(), params, stop=lambda p: seen.append(p.tolist()) or len(seen) == 3)
    assert len(seen) == 3 and found.params.tolist() == seen[-1]


def test_steps_to_where_residuals_are_not_finite_are_taken_back():
    found = gauss_newton(lambda p: p.log() + 3, torch.tensor([2.0]), damping=0.0, iterations=60)
    assert found.params.item() == pytest.approx(math.exp(-3), rel=1e-2)
    assert found.history[0].tries > 1


def test_moves_a_triangle(device):
    """Where a silhouette and a texture have to go, through every operation."""
    context = glraster.RasterizeCudaContext(device)
    corners = torch.tensor(
        [[-0.6, -0.5, 0, 1], [0.7, -0.4, 0, 1], [0.1, 0.6, 0, 1]], dtype=torch.float64, device=device
    )
    tri = torch.tensor([[0, 1, 2]], dtype=torch.int32, device=device)
    s = torch.linspace(0, 2 * math.pi, 16, dtype=torch.float64, device=device)
    tex = torch.stack([s.sin()[:, None] * s.cos(), s.cos()[:, None] + 0 * s], -1)[None]
    shift = torch.zeros(2, dtype=torch.float64, device=device)

    def draw(shift):
        pos = corners + torch.cat([shift, torch.zeros_like(shift)])
        rast, rast_db = glraster.rasterize(context, pos[None], tri, (32, 32))
        uv, uv_da = glraster.interpolate(corners[:, :2].contiguous(), rast, tri, rast_db, diff_attrs="all")
        image = glraster.texture(tex, uv, uv_da) * (rast[..., 3:] > 0)
        return glraster.antialias(image, rast, pos, tri)

    truth = torch.tensor([0.11, -0.07], dtype=torch.float64, device=device)
    target = draw(truth)
    found = gauss_newton(lambda shift: draw(shift) - target, shift)
    assert (found.params - truth).abs().max() < 1e-4
    assert found.cost < 1e-6 * found.history[0].cost and len(found.history) <= 15


@pytest.mark.parametrize(
    "error, message, change",
    [
        (TypeError, "params must be a floating-point tensor or several .* got int", {"params": 1}),
        (TypeError, "params must be .* got list without elements", {"params": []}),
        (TypeError, "params must be .* got torch.int64 on cpu", {"params": torch.arange(2)}),
        (
            TypeError,
            "params must be .* torch.float32 on cpu, torch.float64",
            {"params": [torch.ones(1), torch.ones(1).double()]},
        ),
        (TypeError, "residuals must return a floating-point tensor, got tuple", {"residuals": lambda p: (p,)}),
        (TypeError, "residuals must return .* got torch.int64", {"residuals": lambda p: p.long()}),
        (ValueError, "residuals must be finite at params", {"residuals": lambda p: p / 0}),
        (TypeError, "iterations must be an integer, got 2.5", {"iterations": 2.5}),
        (ValueError, "iterations must be 0 or greater and finite, got -1", {"iterations": -1}),
        (TypeError, "damping must be a number, got 'a'", {"damping": "a"}),
        (ValueError, "cg_tolerance must be 0 or greater and finite, got nan", {"cg_tolerance": math.nan}),
    ],
)
def test_errors(error, message, change):
    arguments = {"residuals": lambda p: p, "params": torch.ones(2)} | change
    with pytest.raises(error, match=r"gauss_newton\(\): " + message):
        gauss_newton(**arguments)
