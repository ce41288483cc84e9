"""The samples that use several processes: each reaches in many what one reaches."""

import os
import re
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import trimesh
from sample_runs import run_sample

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    few = ["--max-iter", 8, "--views", 6, "--batch", 6, "--resolution", 48]
    alone = run_sample("distributed", *few, "--out", tmp_path / "alone").stdout
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [SAMPLES / "distributed.py", "--device", "cpu", *few, "--out", tmp_path / "both"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert alone.startswith("1 processes") and done.stdout.startswith("2 processes")
    losses = [float(re.search("last loss ([0-9.]+)", output)[1]) for output in (alone, done.stdout)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-6)
    first, second = (trimesh.load(tmp_path / name / "fitted.obj", process=False).vertices for name in ("alone", "both"))
    np.testing.assert_allclose(first, second, atol=1e-3)
    sphere = np.linalg.norm(first, axis=1)
    assert sphere.std() > 0.01  # and it has moved


@pytest.mark.slow
def test_meshes_on_ray(tmp_path, ray):
    (tmp_path / "in").mkdir()
    trimesh.creation.box().export(tmp_path / "in" / "box.ply")
    trimesh.creation.icosphere(1).export(tmp_path / "in" / "ball.ply")
    (tmp_path / "in" / "bad.ply").write_text("ply")
    words = [
        *sorted((tmp_path / "in").iterdir()),
        "--out",
        tmp_path / "out",
        "--",
        "--views",
        "2",
        "--resolution",
        "24",
    ]
    command = [sys.executable, SAMPLES / "render_ray.py", *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SAMPLES.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1 and "2 of 3 meshes" in done.stdout and "bad.ply" in done.stdout, done.stderr
    for name in ("box", "ball"):
        for view in ("000", "001"):
            assert imageio.imread(tmp_path / "out" / name / "color" / f"{view}.png").any()
