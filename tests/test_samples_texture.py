"""The samples about textures: each runs with few iterations and comes close to its result."""

import re

import imageio.v3 as imageio
import numpy as np
import pytest
from sample_runs import run_sample


def earth(*arguments: object) -> float:
    """The PSNR that the sample reports last."""
    small = ("--size", 64, "--resolution", 32, "--pictures", 32, "--max-iter", 60)
    return float(re.findall(r"PSNR of the texture ([\d.]+) dB", run_sample("earth", *small, *arguments).stdout)[-1])


@pytest.mark.slow
def test_earth(tmp_path):
    world = np.tile(np.linspace(40, 220, 64, dtype=np.uint8)[:, None, None], (1, 128, 3))
    world[:, ::8] = 255 - world[:, ::8]  # meridians, which run together where nothing prefilters them
    imageio.imwrite(tmp_path / "world.png", world)
    plain, mip = (earth("--texture", tmp_path / "world.png", "--out", tmp_path, *o) for o in ((), ("--mip",)))
    assert mip > plain + 2
    truth, result = imageio.imread(tmp_path / "earth_anisotropic.png").astype(float).reshape(2, -1)
    assert abs(truth - result).mean() < 16
    first = imageio.imread(tmp_path / "earth_anisotropic.png")[4:68, 4:68].astype(float)
    assert first[:16].mean() < first[-16:].mean(), "the top row of a file is the north of the map"


@pytest.mark.slow
def test_envphong(tmp_path):
    few = ["--size", 16, "--resolution", 64, "--max-iter", 60]
    output = run_sample("envphong", *few, "--out", tmp_path).stdout
    assert float(re.findall(r"([\d.]+) of its start", output)[-1]) < 0.6
    truth, result = imageio.imread(tmp_path / "envphong.png").astype(float).reshape(2, -1)
    assert abs(truth - result).mean() < 16


def test_floor(tmp_path):
    run_sample("floor", "--out", tmp_path)
    picture = imageio.imread(tmp_path / "floor.png").astype(float)
    assert (picture[0] == (140, 178, 230)).all(), "the sky, at the top"
    trilinear, anisotropic = np.split(picture[..., 0], 2, axis=1)
    near, far = slice(-60, None), slice(28, 40)
    assert abs(trilinear[near] - anisotropic[near]).mean() < 2, "near squares need little filtering"
    assert anisotropic[near].std(axis=1).mean() > 100
    assert anisotropic[far].std(axis=1).mean() > 5 * trilinear[far].std(axis=1).mean(), "far squares stay apart"
    for half in (trilinear, anisotropic):
        assert abs(half[far].mean() - 127.5) < 2, "filtering keeps the mean"


def test_bake(tmp_path):
    pytest.importorskip("xatlas")
    few = ["--size", 64, "--resolution", 48, "--views", 8, "--max-iter", 60]
    baked, optimized = map(float, re.findall(r"([\d.]+) dB", run_sample("bake", *few, "--out", tmp_path).stdout))
    assert baked > 24 and optimized > baked + 6
    assert imageio.imread(tmp_path / "bake.png").shape == (3 * 56, 4 * 56, 3)
