"""What the tests of the references share: float64 inputs, and comparison with golden data."""

import torch
from torch import Tensor


def leaf(tensor: Tensor) -> Tensor:
    return tensor.double().clone().requires_grad_()


def tensor64(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def assert_output(actual: Tensor, expected: Tensor):
    torch.testing.assert_close(actual.detach(), expected.double(), rtol=0, atol=1e-5)


def assert_gradient(actual: Tensor, expected: Tensor):
    """Far tighter than the 1e-3 that the library is held to: what is left is float32 rounding of the golden data."""
    torch.testing.assert_close(actual, expected.double(), rtol=0, atol=1e-5 * expected.abs().max().item())
