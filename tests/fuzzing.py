"""What hypothesis draws from."""

import os

import hypothesis.extra.numpy as hnp
import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("GLRASTER_FUZZ_EXAMPLES", "60"))
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, -1e-30, 1e10, -1e10, 3e38, -3e38, np.inf, -np.inf, np.nan]
DTYPES = st.sampled_from([torch.float32, torch.float64])
SMALL = st.integers(0, 4)
SIDES = st.integers(1, 12)


def floats(shape, special: bool = True, low: float = -2.0, high: float = 2.0):
    """Float32 tensors of a shape, as float64: numbers between low and high, and special ones among them."""
    ordinary = st.floats(low, high, width=32)
    elements = st.one_of(ordinary, ordinary, st.sampled_from(np.float32(SPECIAL).tolist())) if special else ordinary
    return hnp.arrays(np.float32, shape, elements=elements).map(lambda a: torch.from_numpy(a.copy()).double())
