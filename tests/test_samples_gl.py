"""The samples about poses and layers: each runs with few iterations and reaches its result."""

import re

import imageio.v3 as imageio
import pytest
from sample_runs import run_sample


@pytest.fixture(params=["software", pytest.param("gl", marks=pytest.mark.slow)])
def context(request) -> str:
    """The --context of a sample."""
    if request.param == "gl":
        request.getfixturevalue("gl_available")
    return request.param


def test_pose(tmp_path, context):
    picture = tmp_path / "pose.png"
    output = run_sample("pose", "--context", context, "--trials", 4, "--max-iter", 40, "--out", picture).stdout
    assert re.search(r"under 1 degree: (\d+) of 4", output)[1] == "4"
    found = [[float(x) for x in re.findall(r"[\d.]+", line)[1:]] for line in output.splitlines() if "seed" in line]
    assert all(gradients < search for search, gradients in found), "gradients improve on the search"
    truth, searched, refined = imageio.imread(picture).astype(float).reshape(3, -1)
    assert abs(truth - refined).mean() < abs(truth - searched).mean()


@pytest.mark.slow
def test_peel(tmp_path, context):
    picture = tmp_path / "peel.png"
    output = run_sample("peel", "--context", context, "--max-iter", 100, "--resolution", 64, "--out", picture).stdout
    assert float(re.search(r"largest error of a colour or opacity: ([\d.]+)", output)[1]) < 0.02
    pixels = imageio.imread(picture).astype(float)
    upper, lower = pixels.reshape(2, pixels.shape[0] // 2, 3, pixels.shape[1] // 3, 3)
    truth, guess, fit = upper.swapaxes(0, 1)
    assert abs(truth - fit).mean() < 1 < abs(truth - guess).mean()
    assert all((layer < 250).any() for layer in lower.swapaxes(0, 1)), "each of the three layers shows something"
