"""The host library's instruction-set levels give the same numbers, to the last bit."""

import ctypes
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from scenes import soup, sphere

import glraster
from glraster.cuda_kernels import host, launcher, sources

LEVELS = {"base": [], "avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=256"]}


def library_for(level: str, folder) -> ctypes.CDLL:
    """rasterize.cu and barycentrics.cu, compiled as the library in use was, for another level."""
    used = host.host_library().glr_built_from().decode()
    words = [word for word in shlex.split(used)[1:] if not word.startswith(("-march", "-mprefer"))]
    language = words.index("-x")

    def compile_one(stem: str) -> str:
        target = str(folder / f"{stem}.o")
        subprocess.run([*words, *LEVELS[level], "-c", str(sources.FOLDER / f"{stem}.cu"), "-o", target], check=True)
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, ("rasterize", "barycentrics")))
    library = folder / "other.so"
    subprocess.run([*words[:language], *words[language + 2 :], "-shared", *objects, "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def draw() -> list[torch.Tensor]:
    context, found = glraster.SoftwareRasterizer("cpu"), []
    for dtype in (torch.float32, torch.float64):
        for (pos, tri), size in ((soup(0, 2, 200), (123, 301)), (sphere(5), (200, 200)), (sphere(2), (64, 1))):
            found += glraster.rasterize(context, pos.to(dtype), tri, size)
            with glraster.DepthPeeler(context, pos.to(dtype), tri, size) as peeler:
                found += [peeler.rasterize_next_layer()[0] for _ in range(2)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_levels_agree(tmp_path, monkeypatch, level):
    capability = torch.backends.cpu.get_cpu_capability()
    runs_on = host._LEVELS[level]
    if runs_on is not None and capability not in runs_on:
        pytest.skip(f"this processor has {capability}")
    expected, other, launched = draw(), library_for(level, tmp_path), set()

    def run(name: str, parameters: bytes, threads: int) -> None:
        launched.add(name)
        getattr(other, name)(parameters, ctypes.c_int32(threads))

    monkeypatch.setattr(launcher, "run_on_host", run)
    found = draw()
    assert launched == {f"{name}_{kind}" for name in ("rasterize_cells", "barycentrics_fwd") for kind in ("f32", "f64")}
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
