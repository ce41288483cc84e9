"""Compiling for GPUs, keeping what was compiled, and the way to the driver; without a GPU."""

import ctypes
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import emulation
import pytest

import glraster
from glraster.cuda_kernels import compile_check, compiler, cuda, launcher, nvidia_compilers, sources
from glraster.cuda_kernels.compiler import CudaError, Kernel
from glraster.cuda_kernels.order_free_sums import OrderFreeSums

ARCHITECTURES = compile_check.ARCHITECTURES
FOLDER = Path(compiler.__file__).parent
KERNEL = Kernel(FOLDER / "interpolate.cu", "interpolate_fwd", "_f32", "InterpolateParams")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty folder for compiled kernels."""
    monkeypatch.setenv("GLRASTER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_compiles_and_takes_the_structs(nvcc, emulation_folder, tmp_path, architecture):
    """Every file compiles without warnings or spills, and the kernels' parameters have the sizes of their mirrors."""
    jobs = {(job.file.stem, job.deterministic): job for job in reversed(compile_check.jobs_for([architecture]))}
    assert {stem for stem, _ in jobs} == {file.stem for file in FOLDER.glob("*.cu")} == set(launcher.kernel_files())
    parameter_bytes = ctypes.CDLL(str(emulation_folder / "libemulation.so")).emulated_parameter_bytes
    parameter_bytes.restype = ctypes.c_int64

    def compile_one(job):
        cubin = tmp_path / f"{job.file.stem}{job.deterministic}.cubin"
        return job, compile_check.compile_with_nvcc(job, cubin), cubin.read_bytes()

    with ThreadPoolExecutor(2) as pool:
        for job, uses, image in pool.map(compile_one, jobs.values()):
            size = launcher.kernel_files()[job.file.stem]._struct.size
            expected = size + (ctypes.sizeof(OrderFreeSums) if job.deterministic else 0)
            assert uses
            for use in uses:
                found = parameter_bytes(image, ctypes.c_size_t(len(image)), use.entry.encode())
                assert (use.entry, found, use.spilled) == (use.entry, expected, 0)


FIRST_AND_LAST = {
    "rasterize": ["rasterize_triangles", "rasterize_tiles"],
    "upload": ["upload_integers"],
    "corners": ["corners_order"],
    "depth": ["depth_bwd", "depth_jvp"],
    "edge_gradients": ["edge_gradients_bwd", "edge_gradients_jvp"],
    "facing": ["facing_find"],
    "topology": ["topology_keys", "topology_match"],
    "soft_rasterize": ["soft_fwd", "soft_bwd"],
    "texture": ["texture_mipmap_fwd", "texture_mipmap_jvp", "texture_mipmap_bwd"],
}


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.cu")), ids=lambda file: file.stem)
def test_nvrtc_compiles(nvrtc, file, deterministic):
    """Without the headers of the host: every file, some of its kernels, as machine code and as PTX."""
    source = launcher.kernel_files()[file.stem].source
    constants = (("TEXTURE_BOUNDARY", "WRAP"), ("TEXTURE_CHANNELS", 4)) if "texture" in file.stem else ()
    for name in FIRST_AND_LAST.get(file.stem, [f"{file.stem}_fwd", f"{file.stem}_bwd"]):
        for suffix, target in zip(
            ("_f32", "_f64") if source.typed else ("_entry", "_entry"), ("sm_90", "compute_75"), strict=True
        ):
            kernel = Kernel(file, name, suffix, source.struct, constants, deterministic)
            image = nvrtc.compile(kernel.source, name, target, compiler.options_for(constants, deterministic))
            if target.startswith("sm_"):
                assert image.startswith(b"\x7fELF")
            else:
                assert f".entry {kernel.entry}(".encode() in image


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.cu")), ids=lambda file: file.stem)
def test_nvrtc_compiles_every_kernel(nvrtc, file):
    constants = tuple((name, values[0]) for name, values in launcher.kernel_files()[file.stem].constants.items())
    source, options = f'#include "{file.name}"\n', compiler.options_for(constants, False)
    assert nvrtc.compile(source, "every_entry", "sm_90", options).startswith(b"\x7fELF")


def test_nvrtc_says_what_is_wrong(nvrtc):
    assert nvrtc.version.startswith("NVRTC ") and {75, 80, 90} <= set(nvrtc.capabilities)
    with pytest.raises(CudaError, match="NVRTC could not compile broken:\nbroken.cu.1.: error: ") as caught:
        nvrtc.compile("nonsense", "broken", "sm_90", [])
    assert str(caught.value).endswith('errors detected in the compilation of "broken.cu".')


def test_check_fails_on_errors_and_on_missing_nvcc(monkeypatch, capsys):
    def refuse(job, cubin):
        raise RuntimeError(f"nvcc could not compile {job.file.name}")

    monkeypatch.setattr(compile_check, "compile_with_nvcc", refuse)
    monkeypatch.setattr(compile_check.shutil, "which", lambda name: "/bin/nvcc")
    assert compile_check.main(["--arch", "sm_80"]) == 1
    assert "nvcc could not compile interpolate.cu" in capsys.readouterr().out
    monkeypatch.setattr(compile_check.shutil, "which", lambda name: None)
    assert compile_check.main([]) == 2


class FakeCompiler:
    """Counts what it is asked to compile."""

    def __init__(self):
        self.version, self.failed, self.asked = "1.0", False, []

    def compile(self, source, name, target, options):
        self.asked.append((name, target))
        return f"{name} for {target}".encode()


def test_compiled_once(cache, monkeypatch):
    fake = FakeCompiler()
    monkeypatch.setattr(compiler, "compilers_for", lambda capability, driver_major: [(fake, f"sm_{capability}")])
    first = compiler.compile_kernel(KERNEL, 80, 13)
    assert compiler.compile_kernel(KERNEL, 80, 13) == first == b"interpolate_fwd_f32 for sm_80"
    assert fake.asked == [("interpolate_fwd_f32", "sm_80")]
    (kept,) = cache.iterdir()
    assert kept.read_bytes() == first and kept.name.startswith("interpolate_fwd_f32-sm_80-")


def test_key_covers_all_that_goes_in(tmp_path, monkeypatch):
    def key(kernel=KERNEL, target="sm_80", version="1.0"):
        sources.digest.cache_clear()
        return compiler.cache_key(kernel, target, version)

    others = [{"name": "interpolate_bwd"}, {"suffix": "_f64"}, {"constants": (("A", 3),)}, {"constants": (("A", 4),)}]
    others += [{"deterministic": True}]
    keys = [key(), key(target="sm_90"), key(version="1.1"), *(key(replace(KERNEL, **other)) for other in others)]
    assert len(set(keys)) == len(keys)
    # Neither does the place of the sources count, nor other operations; the file and every header do.
    before, copied = key(), tmp_path / "elsewhere"
    shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns("*.so"))
    monkeypatch.setattr(compiler, "_FOLDER", copied)
    monkeypatch.setattr(sources, "FOLDER", copied)
    moved = replace(KERNEL, file=copied / "interpolate.cu")
    assert key(moved) == before
    (copied / "antialias.cu").write_text("")
    assert key(moved) == before
    for name in ("interpolate.cu", "common/neighbours.cuh"):
        (copied / name).write_text((copied / name).read_text() + "\n")
        assert key(moved) != before
        before = key(moved)


def test_key_covers_what_changes_nvcc_from_outside(nvcc, monkeypatch):
    """A kernel compiled for a debugger must not stay behind for others."""
    path = shutil.which("nvcc")
    monkeypatch.delenv("NVCC_PREPEND_FLAGS", raising=False)
    monkeypatch.delenv("NVCC_APPEND_FLAGS", raising=False)
    versions = [nvidia_compilers.Nvcc(path).version, nvidia_compilers.Nvcc(path, debugging=True).version]
    for name in ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"):
        monkeypatch.setenv(name, "-lineinfo")
        versions.append(nvidia_compilers.Nvcc(path).version)
    assert len({compiler.cache_key(KERNEL, "sm_80", version) for version in versions}) == 4
    assert nvidia_compilers.Nvcc(path).major == int(versions[0].removeprefix("nvcc ").split(".")[0])


def test_without_cuda_bindings(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(CudaError, match="glraster needs cuda-bindings on GPUs: pip install 'glraster\\[cuda\\]'"):
        cuda.cuda_driver.__wrapped__()


def test_without_driver(no_gpu, bindings):
    reason = cuda.unavailable_reason()
    assert reason.startswith("no NVIDIA driver on this machine: libcuda.so.1 cannot be loaded") and "\n" not in reason
    assert cuda.describe() == reason


CHECKS = ["launches", "threads_without_context", "capture", "errors", "render"]


def run_on_driver(check: str, folder: Path, cache: Path, **variables: str) -> None:
    script = (
        f"import sys, runpy; sys.argv = ['', {check!r}]; runpy.run_module('emulation.on_driver', run_name='__main__')"
    )
    libraries = ":".join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    done = emulation.run_python(script, LD_LIBRARY_PATH=libraries, GLRASTER_CACHE_DIR=str(cache), **variables)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.mark.parametrize("check", CHECKS)
def test_on_emulated_driver(nvcc, bindings, emulation_folder, shared_cache, check):
    run_on_driver(check, emulation_folder, shared_cache)


@pytest.mark.parametrize("check", ["launches", "capture", "render"])
def test_nvrtc_on_emulated_driver(nvrtc, emulation_folder, tmp_path, check):
    """The same with NVRTC's cubins, chosen by the variable and found by cuda.bindings."""
    run_on_driver(check, emulation_folder, tmp_path, GLRASTER_CUDA_COMPILER="nvrtc")


@pytest.mark.parametrize("check", ["graphics", "trial_catches_faults"])
def test_graphics_on_emulated_driver(gl_available, bindings, emulation_folder, shared_cache, check):
    run_on_driver(check, emulation_folder, shared_cache)


def test_import_needs_nothing():
    """Importing glraster loads neither PyCUDA nor cuda.bindings, compiles nothing and opens no library of CUDA."""
    script = """
import sys, torch
before = set(sys.modules)  # PyTorch imports cuda.bindings where it is there
import glraster, glraster.torch
assert not {name.split('.')[0] for name in set(sys.modules) - before} & {'pycuda', 'cuda', 'moderngl', 'OpenGL'}
assert 'libcuda' not in open('/proc/self/maps').read()
"""
    done = emulation.run_python(script)
    assert done.returncode == 0, done.stderr
    assert glraster.__all__
