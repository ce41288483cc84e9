"""Stochastic gradients for PyTorch: of any renderer, given as a function, and any loss of its pictures."""

from collections.abc import Callable, Mapping

import torch

from .credit import union

__all__ = ["stochastic_grad"]

Render = Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, Mapping[str, torch.Tensor | None]]]
_UNIT = 2**31  # the largest difference of a pixel in fixed point; int64 has room for 2^32 of them


def stochastic_grad(
    render: Render,
    params: Mapping[str, torch.Tensor],
    loss_fn: Callable[[torch.Tensor], torch.Tensor],
    *,
    eps: float | Mapping[str, float | torch.Tensor],
    pairs: int = 1,
    seed: int = 0,
) -> torch.Tensor:
    """Estimates the gradient of a loss of rendered pictures without differentiating the renderer.

    All parameters are perturbed at once, by plus and minus `eps` times random signs, and the scene is rendered with
    both. Each pixel's difference in loss is credited to the parameters that contributed to it in either picture, so
    that silhouettes need no special case::

        grad_i = mean over pairs, sum over pixels that i contributed to of (L_p(+) - L_p(-)) / (2 eps_i sign_i)

    Args:
        render: called under `torch.no_grad()` with a dict like `params`, once as they are and twice per pair. Returns
            the image [N, H, W, C] and a dict that has for every name what contributed to each pixel: integers
            [N, H, W, M], rows of the parameter, -1 for none; or None: every row to every pixel. See `vertex_credit`
            and `texel_credit`.
        params: name to tensor [K, ...] of K rows, float32 or float64; leaves, such as an optimizer holds.
        loss_fn: of the image. Returns a number per pixel [N, H, W] (the loss is their sum), or a scalar, which must
            then be differentiable in the image: the image's differences are weighted with its gradient at the
            unperturbed parameters. Equal to first order, and it allows any loss of whole pictures.
        eps: size of the perturbation, one number or one for every name; a tensor must broadcast to the parameter.
            Vertices: a part of a pixel (0.25 to 1), as it projects to world units; colours: 1/256.
        pairs: renders with both signs, over which is averaged. The error falls with their square root.
        seed: of the signs. The same seed gives the same bits; take another for every step.

    Returns:
        The loss at the unperturbed parameters, a scalar without gradients.

    Adds to `.grad` of each parameter as `backward()` does.

    Raises:
        TypeError, ValueError: an argument, or what `render` or `loss_fn` return, is not as above.
        RuntimeError: a picture or loss is not finite. No `.grad` has changed then.

    Source: Deliot, Heitz, Belcour, "Transforming a Non-Differentiable Rasterizer into a Differentiable One with
    Stochastic Gradient Estimation" (2024).
    """
    _check(params, pairs)
    steps = _eps_of(params, eps)
    with torch.no_grad():
        values = {name: tensor.detach() for name, tensor in params.items()}
        image, credit = _rendered(render, values)
    loss, weight = _loss_and_weight(loss_fn, image)
    grads = {name: torch.zeros_like(value) for name, value in values.items()}
    generators = {device: torch.Generator(device).manual_seed(seed) for device in {v.device for v in values.values()}}
    with torch.no_grad():
        for _ in range(pairs):
            signs = {name: _signs(value, generators[value.device]) for name, value in values.items()}
            plus, minus = (
                _rendered(render, {name: value + side * steps[name] * signs[name] for name, value in values.items()})
                for side in (1, -1)
            )
            difference = _difference(loss_fn, weight, plus[0], minus[0])
            for name, grad in grads.items():
                credited = _credited(name, len(grad), difference, plus[1], minus[1])
                per_row = credited.reshape(-1, *[1] * (grad.ndim - 1)).to(grad.dtype)
                grad += per_row * signs[name] / (2 * pairs * steps[name])
        for name, tensor in params.items():
            tensor.grad = grads[name] if tensor.grad is None else tensor.grad + grads[name]
    return loss


def _check(params: Mapping[str, torch.Tensor], pairs: int) -> None:
    op = "stochastic_grad(): "
    for name, value in params.items():
        if not isinstance(value, torch.Tensor) or value.dtype not in (torch.float32, torch.float64) or value.ndim == 0:
            got = f"{value.dtype} {list(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"{op}params[{name!r}] must be a tensor, float32 or float64 [K, ...], got {got}")
        if not value.is_leaf:
            raise ValueError(f"{op}params[{name!r}] must be a leaf, got the result of an operation: it has no .grad")
    if isinstance(pairs, bool) or not isinstance(pairs, int) or pairs < 1:
        raise ValueError(f"{op}pairs must be an integer of at least 1, got {pairs!r}")


def _eps_of(params: Mapping[str, torch.Tensor], eps) -> dict[str, torch.Tensor]:
    """The perturbation of each parameter as a tensor that broadcasts to it."""
    steps = {}
    for name, value in params.items():
        if isinstance(eps, Mapping) and name not in eps:
            raise ValueError(f"stochastic_grad(): eps must have an entry {name!r}, got {sorted(eps)}")
        step = torch.as_tensor(eps[name] if isinstance(eps, Mapping) else eps).detach().to(value)
        try:
            fits = torch.broadcast_shapes(step.shape, value.shape) == value.shape
        except RuntimeError:
            fits = False
        if not fits:
            shapes = f"{list(value.shape)}, got {list(step.shape)}"
            raise ValueError(f"stochastic_grad(): eps of {name!r} must broadcast to the parameter's {shapes}")
        if not bool((step.isfinite() & (step > 0)).all()):
            raise ValueError(f"stochastic_grad(): eps of {name!r} must be above zero and finite, got {step.tolist()}")
        steps[name] = step
    return steps


def _rendered(render: Render, values: dict[str, torch.Tensor]):
    result = render(dict(values))
    if not isinstance(result, tuple) or len(result) != 2:
        got = type(result).__name__
        raise TypeError(f"stochastic_grad(): render must return (image, credit), got {got}")
    image, credit = result
    if not isinstance(image, torch.Tensor) or image.ndim != 4:
        got = list(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise ValueError(f"stochastic_grad(): render must return an image [N, H, W, C], got {got}")
    for name in values:
        if name not in credit:
            raise ValueError(f"stochastic_grad(): render must return a credit for {name!r}, got {sorted(credit)}")
    return image.detach(), credit


def _loss_and_weight(loss_fn, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The loss, and its gradient with respect to the image if it is a scalar."""
    leaf = image.clone().requires_grad_()
    with torch.enable_grad():
        loss = loss_fn(leaf)
        if loss.ndim == 0:
            if not loss.requires_grad:
                raise ValueError("stochastic_grad(): a scalar loss must be differentiable in the image, got a constant")
            (weight,) = torch.autograd.grad(loss, leaf)
            return loss.detach(), weight
    return _per_pixel(loss.detach(), image).sum(), None


def _per_pixel(loss: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    if loss.shape != image.shape[:3]:
        need = f"a scalar or a number per pixel {list(image.shape[:3])}"
        raise ValueError(f"stochastic_grad(): loss_fn must return {need}, got {list(loss.shape)}")
    return loss


def _difference(loss_fn, weight: torch.Tensor | None, plus: torch.Tensor, minus: torch.Tensor) -> torch.Tensor:
    """The difference in loss that each pixel [N, H, W] makes between the two pictures."""
    if weight is None:
        difference = _per_pixel(loss_fn(plus), plus) - _per_pixel(loss_fn(minus), minus)
    else:
        difference = (weight * (plus - minus)).sum(-1)
    if not bool(difference.isfinite().all()):
        raise RuntimeError("stochastic_grad(): a picture or its loss is not finite: no gradient was added")
    return difference


def _signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    bits = torch.randint(0, 2, like.shape, generator=generator, device=like.device, dtype=torch.int8)
    return (2 * bits - 1).to(like.dtype)


def _credited(name: str, rows: int, difference: torch.Tensor, plus: Mapping, minus: Mapping) -> torch.Tensor:
    """The sum [K] of the differences of the pixels that each row contributed to, every pixel counted once."""
    if plus[name] is None or minus[name] is None:
        return difference.double().sum().expand(rows)
    rows_of = union(name, rows, plus[name], minus[name], difference.shape)
    largest = difference.abs().max().double().clamp(min=torch.finfo(torch.float64).tiny) if difference.numel() else 1.0
    # In integers, whose sum does not depend on the order of the atomic additions.
    fixed = (difference.double() / largest * _UNIT).round().long()
    sums = torch.zeros(rows + 1, dtype=torch.int64, device=difference.device)  # the last: for no row
    sums.index_add_(0, rows_of.flatten(), fixed[..., None].expand(rows_of.shape).flatten())
    return sums[:rows].double() * (largest / _UNIT)
