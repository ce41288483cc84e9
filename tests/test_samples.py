"""The samples of the core operations, with few iterations, as a user runs them."""

import os
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import pytest

ROOT = Path(__file__).parents[1]


def run_sample(name: str, *arguments: object) -> str:
    command = [sys.executable, ROOT / "samples" / name, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_triangle(tmp_path):
    run_sample("triangle.py", "--context", "software", "--device", "cpu", "--out", tmp_path / "triangle.png")
    picture = imageio.imread(tmp_path / "triangle.png")
    covered = (picture != picture[0, 0]).any(-1)
    rows = covered.sum(1)
    assert covered.any()
    assert rows[: len(rows) // 2].sum() < rows[len(rows) // 2 :].sum()  # its tip is at the top


def test_cube(tmp_path):
    few = ["--resolution", 16, "--max-iter", 200, "--seed", 1]
    out = run_sample("cube.py", *few, "--device", "cpu", "--out", tmp_path)
    distances = [float(word) for line in out.splitlines() for word in line.split()[-1:] if word[0].isdigit()]
    assert distances[-1] < 0.2 * distances[0]


@pytest.mark.parametrize("context", ["software"])
def test_fit_mesh(tmp_path, context):
    few = ["--max-iter", 40, "--views", 12, "--resolution", 64]
    out = run_sample("fit_mesh.py", *few, "--context", context, "--device", "cpu", "--out", tmp_path)
    words = out.split()
    before, after = float(words[words.index("before,") - 1]), float(words[words.index("after;") - 1])
    assert after > before + 0.1
    for name in ("before.png", "after.png", "target.png", "comparison.png", "loss.png", "fitted.obj"):
        assert (tmp_path / name).stat().st_size > 0
