"""Compiling for GPUs, keeping what was compiled, and the way to the driver; without a GPU."""

import ctypes
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import emulation
import pytest
import torch

import glraster
from glraster.cuda_kernels import compile_check, compiler, cuda, launcher, nvidia_compilers
from glraster.cuda_kernels.compiler import CudaError, Kernel
from glraster.cuda_kernels.order_free_sums import OrderFreeSums

ARCHITECTURES = compile_check.ARCHITECTURES
KERNEL = Kernel("interpolate_fwd", "f32", "InterpolateParams")
FOLDER = Path(compiler.__file__).parent


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty folder for compiled kernels."""
    monkeypatch.setenv("GLRASTER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def param_structs() -> dict[str, type[ctypes.Structure]]:
    """Every parameter struct, by the stem of its file."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("glraster."):
            structs = {n: s for n, s in vars(module).items() if n.endswith("Params") and isinstance(s, type)}
            found |= {n.removesuffix("Params").lower(): s for n, s in structs.items()}
    return found


@pytest.mark.parametrize(
    "architecture", [*(pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES[:-1]), ARCHITECTURES[-1]]
)
def test_compiles_and_takes_the_structs(nvcc, emulation_folder, tmp_path, architecture):
    """Every file compiles without warnings or spills, and the kernels' parameters have the sizes of their mirrors."""
    jobs = {(job.file.stem, job.deterministic): job for job in reversed(compile_check.jobs_for([architecture]))}
    assert {stem for stem, _ in jobs} == {file.stem for file in FOLDER.glob("*.cu")} == set(param_structs())
    parameter_bytes = ctypes.CDLL(str(emulation_folder / "libemulation.so")).emulated_parameter_bytes
    parameter_bytes.restype = ctypes.c_int64

    def compile_one(job):
        cubin = tmp_path / f"{job.file.stem}{job.deterministic}.cubin"
        return job, compile_check.compile_with_nvcc(job, cubin), cubin.read_bytes()

    with ThreadPoolExecutor(2) as pool:
        for job, uses, image in pool.map(compile_one, jobs.values()):
            size = ctypes.sizeof(param_structs()[job.file.stem])
            expected = size + (ctypes.sizeof(OrderFreeSums) if job.deterministic else 0)
            assert len(uses) >= 2
            for use in uses:
                found = parameter_bytes(image, ctypes.c_size_t(len(image)), use.entry.encode())
                assert (use.entry, found, use.spilled) == (use.entry, expected, 0)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.cu")), ids=lambda file: file.stem)
def test_nvrtc_compiles(nvrtc, file, deterministic):
    """Without the headers of the host: every file, one kernel forward and one backward, as machine code and as PTX."""
    names = {"rasterize": ["rasterize_tiles"], "upload": ["upload_integers"], "corners": ["corners_order"]}
    names |= {"texture": ["texture_mipmap_fwd", "texture_mipmap_bwd"]}
    constants = (("TEXTURE_BOUNDARY", "WRAP"), ("TEXTURE_CHANNELS", 4)) if "texture" in file.stem else ()
    for name in names.get(file.stem, [f"{file.stem}_fwd", f"{file.stem}_bwd"]):
        for suffix, target in (("f32", "sm_90"), ("f64", "compute_75")):
            kernel = Kernel(name, suffix, param_structs()[file.stem].__name__, constants, deterministic)
            image = nvrtc.compile(kernel.source, name, target, compiler.options_for(constants, deterministic))
            assert image.startswith(b"\x7fELF") if suffix == "f32" else f".entry {kernel.entry}(".encode() in image


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
        compiler._sources_digest.cache_clear()
        return compiler.cache_key(kernel, target, version)

    keys = [key(), key(target="sm_90"), key(version="1.1"), key(Kernel("interpolate_bwd", "f32", "InterpolateParams"))]
    keys += [key(Kernel("interpolate_fwd", "f64", "InterpolateParams")), key(Kernel(*keys_of(KERNEL), (("A", 3),)))]
    keys += [key(Kernel(*keys_of(KERNEL), (("A", 4),))), key(Kernel(*keys_of(KERNEL), (), True))]
    assert len(set(keys)) == len(keys)
    # Neither does the place of the sources count, nor other operations; the file and every header do.
    before, copied = key(), tmp_path / "elsewhere"
    shutil.copytree(FOLDER, copied, ignore=shutil.ignore_patterns("*.so"))
    monkeypatch.setattr(compiler, "_FOLDER", copied)
    assert key() == before
    (copied / "antialias.cu").write_text("")
    assert key() == before
    for name in ("interpolate.cu", "common/edge_table.cuh"):
        (copied / name).write_text((copied / name).read_text() + "\n")
        assert key() != before
        before = key()


def keys_of(kernel: Kernel) -> tuple[str, str, str]:
    return kernel.name, kernel.suffix, kernel.params


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


def test_device_of_another_kind():
    with pytest.raises(RuntimeError, match="kernels run on cpu and cuda tensors, got meta"):
        launcher.launch("interpolate_fwd", OrderFreeSums(), 1, torch.float32, torch.device("meta"))


def test_dense_keeps_what_fits():
    tensor = torch.rand((4, 6))
    assert launcher.dense(tensor) is tensor and launcher.dense(None) is None
    assert launcher.dense(tensor.T).is_contiguous()


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
