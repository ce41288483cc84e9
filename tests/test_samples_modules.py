"""The samples of meshes, materials and remeshing, with few iterations, as a user runs them."""

import imageio.v3 as imageio
import pytest
from sample_runs import run_sample

from glraster import mesh


def test_ranges(tmp_path):
    few = ["--resolution", 48, "--max-iter", 40]
    words = run_sample("ranges", *few, "--out", tmp_path / "ranges.png").stdout.split()
    assert float(words[words.index("after;") - 1]) < 0.05
    assert imageio.imread(tmp_path / "ranges.png").shape[:2] == (3 * 56, 4 * 56)


def test_materials(tmp_path):
    run_sample("materials", "--resolution", 24, "--out", tmp_path / "balls.png")
    picture = imageio.imread(tmp_path / "balls.png").astype(float)
    gold, red, banded = (picture[16 + 32 * row, 16::32][:5] for row in range(3))  # middles of the balls
    assert (gold[2:, 0] > gold[2:, 2] + 40).all() and (red[:, 0] > red[:, 1] + 60).all()
    assert (banded[:, 2] > banded[:, 0]).all()
    green = picture[8:24, :, 1]
    assert green[:, 8:24].std() > 1.5 * green[:, 136:152].std(), "a mirror shows more than rough gold"


@pytest.mark.slow
def test_remesh_fit(tmp_path):
    few = ["--resolution", 96, "--views", 8, "--seconds", 1000, "--max-iter", 60, "--points", 5000]
    out = run_sample("remesh_fit", *few, "--out", tmp_path).stdout
    fixed, remeshed = (float(line.split("distance ")[1].split(",")[0]) for line in out.splitlines()[:2])
    assert remeshed < 0.5 * fixed and remeshed < 2e-3
    found = mesh.load(tmp_path / "remeshed.obj")
    assert len(found.tri) > 1280 and (found.topology.counts == 2).all()
    assert imageio.imread(tmp_path / "comparison.png").any()


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["fit_mesh", "remesh_fit"])
def test_no_work_for_nothing(sample, tmp_path):
    (tmp_path / "line.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    refused = run_sample(sample, "--mesh", tmp_path / "line.obj", "--out", tmp_path, code=2).stderr
    assert "line.obj holds no visible surface" in refused
    (tmp_path / "file").write_text("")
    assert "cannot write to" in run_sample(sample, "--out", tmp_path / "file" / "out", code=2).stderr
