"""The samples of stochastic gradients: each runs with few steps and comes close to its result."""

import os
import re
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"
pytestmark = [pytest.mark.usefixtures("moderngl_available"), pytest.mark.slow]


def run(sample: str, *arguments: object) -> str:
    command = [sys.executable, SAMPLES / f"{sample}.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # PyTorch only makes the scene
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def numbers(output: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+", output)]


def rows(path: Path, count: int) -> list[np.ndarray]:
    """The rows of a picture of pictures."""
    return np.split(imageio.imread(path).astype(float), count)


def test_texture(tmp_path):
    world = np.tile(np.linspace(40, 220, 64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    imageio.imwrite(tmp_path / "world.png", world)
    few = ["--size", 64, "--max-iter", 60, "--texture", tmp_path / "world.png"]
    assert numbers(run("stochastic_texture", *few, "--out", tmp_path))[0] > 30
    truth, result = rows(tmp_path / "stochastic_texture.png", 2)
    assert abs(truth - result).mean() < 16
    assert truth[8].mean() < truth[-12].mean(), "the top row of a file is the top of the picture"
    globe = ["--object", "globe", "--size", 32, "--resolution", 64, "--max-iter", 40, "--views", 4, "--pictures", 16]
    assert numbers(run("stochastic_texture", *globe, "--out", tmp_path))[0] > 18


def test_mesh(tmp_path):
    few = ["--max-iter", 80, "--resolution", 64, "--subdivisions", 3]
    before, after, folded = numbers(run("stochastic_mesh", *few, "--out", tmp_path))[:3]
    assert after > before + 0.15 and after > 0.8
    assert folded < 5
    assert (tmp_path / "fitted.obj").stat().st_size > 0


def test_cel(tmp_path):
    output = run("stochastic_cel", "--max-iter", 150, "--resolution", 48, "--out", tmp_path / "cel.png")
    before, after, threshold, angle = numbers(output)[:4]
    assert after < 0.2 * before and threshold < 0.2 and angle < 15  # 0.25 and 47 at the start
    truth, start, result = rows(tmp_path / "cel.png", 3)
    assert abs(truth - result).mean() < 0.3 * abs(truth - start).mean()


def test_subdivision(tmp_path):
    few = ["--size", 64, "--resolution", 64, "--cells", 8, "--max-iter", 100, "--pictures", 8]
    output = run("stochastic_subdivision", *few, "--out", tmp_path)
    assert "128 control triangles, 2,048 subdivided" in output and "perturb" in output
    before, after = numbers(output)[-2:]
    assert after < 0.7 * before


@pytest.mark.parametrize(("sample", "size"), [("splats", ["--splats", 100]), ("volume", ["--voxels", 12])])
def test_many_contributors(tmp_path, sample, size):
    few = ["--max-iter", 60, "--resolution", 32, "--views", 4, "--out", tmp_path / "picture.png"]
    before, after = numbers(run(f"stochastic_{sample}", *size, *few))[:2]
    assert after > before + 2
    truth, start, result = rows(tmp_path / "picture.png", 3)
    assert abs(truth - result).mean() < abs(truth - start).mean()
