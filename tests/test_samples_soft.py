"""The samples of soft rasterization, with few iterations, as a user runs them."""

import imageio.v3 as imageio
import pytest
from sample_runs import run_sample


def test_soft_deform(tmp_path):
    few = ["--max-iter", 15, "--batch", 6, "--resolution", 32, "--subdivisions", 2, "--lr", 0.03]
    words = run_sample("soft_deform", *few, "--out", tmp_path).stdout.split()
    before, after = float(words[words.index("before,") - 1]), float(words[words.index("after;") - 1])
    assert after > before + 0.1
    assert (tmp_path / "fitted.obj").stat().st_size > 0 and imageio.imread(tmp_path / "comparison.png").any()


def test_soft_turntable(tmp_path):
    run_sample("soft_turntable", "--frames", 8, "--resolution", 32, "--out", tmp_path)
    frames = imageio.imread(tmp_path / "turntable.gif", index=None).astype(int)
    assert len(frames) == 8
    # Frame 2 sees what frame 6 sees from the same side: one with wide edges, the other through the surface.
    background = (abs(frames - frames[0, 0, 0]) < 8).all(-1)
    assert background[2].sum() < background[0].sum() and (frames[2] != frames[6]).any()


@pytest.mark.slow
def test_soft_pose(tmp_path):
    out = run_sample("soft_pose", "--trials", 4, "--max-iter", 30, "--resolution", 24, "--out", tmp_path).stdout
    rows = [line for line in out.splitlines() if "within 5 degrees" in line]
    assert [row.split(" ")[0] for row in rows] == ["hard", "soft,", "soft,"]
    assert imageio.imread(tmp_path / "success.png").any() and imageio.imread(tmp_path / "trials.png").any()
