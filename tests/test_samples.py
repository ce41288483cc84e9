"""The samples of the core operations, with few iterations, as a user runs them."""

import imageio.v3 as imageio
import pytest
from sample_runs import run_sample


def test_triangle(tmp_path):
    run_sample("triangle", "--context", "software", "--out", tmp_path / "triangle.png")
    picture = imageio.imread(tmp_path / "triangle.png")
    covered = (picture != picture[0, 0]).any(-1)
    rows = covered.sum(1)
    assert covered.any()
    assert rows[: len(rows) // 2].sum() < rows[len(rows) // 2 :].sum()  # its tip is at the top


@pytest.mark.slow
def test_cube(tmp_path):
    few = ["--resolution", 16, "--max-iter", 200, "--seed", 1]
    out = run_sample("cube", *few, "--out", tmp_path).stdout
    distances = [float(word) for line in out.splitlines() for word in line.split()[-1:] if word[0].isdigit()]
    assert distances[-1] < 0.2 * distances[0]


@pytest.mark.slow
def test_gauss_newton(tmp_path):
    out = run_sample("gauss_newton", "--resolution", 64, "--max-iter", 3, "--out", tmp_path / "found.png").stdout
    newton = [line.split() for line in out.splitlines() if "Gauss-Newton" in line]
    assert len(newton) == 2
    for *_, error, iterations, _ in newton:
        assert float(error) < 0.001 and int(iterations) <= 10
    assert imageio.imread(tmp_path / "found.png").any()


def test_intersect(tmp_path):
    few = ["--resolution", 64, "--max-iter", 60]
    out = run_sample("intersect", *few, "--context", "software", "--out", tmp_path / "found.png").stdout
    off = {line.split(":")[0]: float(line.split()[-1]) for line in out.splitlines() if "off by" in line}
    assert off["antialias"] == 0.25 and off["edge_gradients"] < 0.005
    assert imageio.imread(tmp_path / "found.png").any()


@pytest.mark.slow
def test_finemesh(tmp_path):
    few = ["--resolution", 48, "--max-iter", 60]
    out = run_sample("finemesh", *few, "--context", "software", "--out", tmp_path / "found.png").stdout
    lines = [line.replace(",", "").split() for line in out.splitlines() if "mean distance" in line]
    shrunk = {words[0]: float(words[-2]) / float(words[-4]) for words in lines}
    assert shrunk["edge_gradients:"] < 0.2 and shrunk["antialias:"] > 0.5
    assert imageio.imread(tmp_path / "found.png").any()


@pytest.mark.parametrize("context", ["software"])
def test_fit_mesh(tmp_path, context):
    few = ["--max-iter", 40, "--views", 12, "--resolution", 64]
    done = run_sample("fit_mesh", *few, "--context", context, "--out", tmp_path)
    words = done.stdout.split()
    before, after = float(words[words.index("before,") - 1]), float(words[words.index("after;") - 1])
    assert after > before + 0.1
    # Where nobody watches, progress is a line now and then and at the end, not a bar drawn again and again.
    lines = done.stderr.splitlines()
    assert "\r" not in done.stderr and len(lines) < 20 and lines[-1].startswith("fitting: 40 of 40 in ")
    for name in ("before.png", "after.png", "target.png", "comparison.png", "loss.png", "fitted.obj"):
        assert (tmp_path / name).stat().st_size > 0
