"""Which compiler is chosen for a GPU; whatever is wrong with one is a reason to take the other. No GPU is needed."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from glraster.cuda_kernels import compiler, nvidia_compilers
from glraster.cuda_kernels.compiler import CudaError, Kernel
from glraster.doctor import compilers as doctor

FOLDER = Path(compiler.__file__).parent
KERNEL = Kernel(FOLDER / "interpolate.cu", "interpolate_fwd", "_f32", "InterpolateParams")
NVCC = """#!/bin/sh
case $1 in
  --version) echo 'Cuda compilation tools, release 12.8, V12.8.93'; echo 'Build cuda_12.8.r12.8/compiler.1_0' ;;
  --list-gpu-arch) echo compute_75; echo compute_80; echo compute_100a ;;
esac
"""
BROKEN = {
    "crashes": ("kill -SEGV $$", "nvcc --version fails with exit code -11"),
    "fails": ("echo 'no license'; exit 3", r"nvcc --version fails with exit code 3 \(no license\)"),
    "says nothing": ("exit 0", "nvcc does not say its version"),
    "says another version": ("echo nvcc version X", r"nvcc does not say its version \(its answer: 'nvcc version X'\)"),
    "knows no GPU": (
        "[ $1 = --version ] && echo 'release 9.0, V9' && echo Build x",
        "--list-gpu-arch fails with exit code 1",
    ),
    "is no program": (None, r"nvcc --version does not run \("),
}


class Fake:
    """Stands for one of the compilers."""

    failed = False

    def __init__(self, version: str, major: int, *capabilities: int, broken: bool = False):
        self.version, self.major, self.capabilities, self.broken = version, major, list(capabilities), broken

    def compile(self, source, name, target, options):
        if self.broken:
            raise CudaError(f"{self.version} could not compile {name}:\nno reason")
        return f"{name} for {target} by {self.version}".encode()


@pytest.fixture
def found(monkeypatch):
    """found(nvcc, nvrtc): what there is, each a compiler or a reason."""

    def give(nvcc: Fake | str, nvrtc: Fake | str) -> None:
        monkeypatch.setattr(nvidia_compilers, "find_compilers", lambda: {"nvcc": nvcc, "nvrtc": nvrtc})

    return give


def chosen(capability: int, driver_major: int = 13) -> list[tuple[str, str]]:
    return [(c.version, target) for c, target in nvidia_compilers.compilers_for(capability, driver_major)]


def test_the_one_that_knows_the_card_is_taken(found):
    found(Fake("nvcc 12.0", 12, 75, 80, 86, 90), Fake("NVRTC 13.0", 13, 75, 80, 86, 89, 90, 100, 120))
    assert chosen(90) == [("nvcc 12.0", "sm_90"), ("NVRTC 13.0", "sm_90")]
    assert chosen(120) == [("NVRTC 13.0", "sm_120"), ("nvcc 12.0", "compute_90")]
    assert chosen(89) == [("NVRTC 13.0", "sm_89"), ("nvcc 12.0", "sm_86")]  # which a card of 8.9 runs
    assert chosen(130) == [("NVRTC 13.0", "compute_120"), ("nvcc 12.0", "compute_90")]


@pytest.mark.parametrize(
    ("capability", "known", "target"),
    [
        (90, [75, 80, 90], "sm_90"),
        (89, [75, 80, 86, 90], "sm_86"),
        (89, [75, 80, 87], "sm_80"),
        (87, [75, 80, 86], "compute_86"),
        (75, [70], "sm_70"),
        (120, [75, 80, 90], "compute_90"),
    ],
    ids=["known", "same generation", "a system on a chip", "on a system on a chip", "next", "newer"],
)
def test_target(capability, known, target):
    assert nvidia_compilers.target_for(capability, known) == target


def test_newer_than_the_driver_is_passed_over(found):
    found(Fake("nvcc 14.0", 14, 80), Fake("NVRTC 13.0", 13, 80))
    assert chosen(80, 13) == [("NVRTC 13.0", "sm_80")] and len(chosen(80, 14)) == 2
    assert nvidia_compilers.passed_over(80, 13) == ["nvcc 14.0 is newer than the driver, which is for CUDA 13"]
    with pytest.raises(
        CudaError, match="nvcc 14.0 is newer than the driver, which is for CUDA 12; NVRTC 13.0 is newer"
    ):
        chosen(80, 12)


def test_cards_that_are_too_old(found):
    found(Fake("nvcc 12.0", 12, 50, 60), Fake("NVRTC 13.0", 13, 75))
    assert chosen(70) == [("nvcc 12.0", "compute_60")]
    with pytest.raises(
        CudaError, match=r"compute capability is 3.5, nvcc 12.0 starts at 5.0; .* NVRTC 13.0 starts at 7"
    ):
        chosen(35)


def test_a_failed_compilation_is_left_to_the_other(found, monkeypatch, tmp_path):
    monkeypatch.setenv("GLRASTER_CACHE_DIR", str(tmp_path))
    nvcc, nvrtc = Fake("nvcc 13.0", 13, 80, broken=True), Fake("NVRTC 13.0", 13, 80)
    found(nvcc, nvrtc)
    with pytest.warns(UserWarning, match="compiled by NVRTC 13.0, for nvcc 13.0 could not compile interpolate_fwd_f32"):
        image = compiler.compile_kernel(KERNEL, 80, 13)
    assert image == b"interpolate_fwd_f32 for sm_80 by NVRTC 13.0"
    # From then on it goes first, and nothing is said again.
    other = replace(KERNEL, name="interpolate_bwd")
    assert compiler.compile_kernel(other, 80, 13) == b"interpolate_bwd_f32 for sm_80 by NVRTC 13.0"
    nvrtc.broken = True
    with pytest.raises(CudaError, match="(?s)NVRTC 13.0 could not compile .*nvcc 13.0 could not compile antialias_fwd"):
        compiler.compile_kernel(Kernel(FOLDER / "antialias.cu", "antialias_fwd", "_f32", "AntialiasParams"), 80, 13)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """programs(text): a PyCUDA that can be loaded, and an nvcc of that text alone on the PATH."""

    def install(text: str | None, driver: str = "") -> Path:
        for name, content in (("__init__", ""), ("driver", driver)):
            (tmp_path / "pycuda").mkdir(exist_ok=True)
            (tmp_path / "pycuda" / f"{name}.py").write_text(content)
        for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "bin").mkdir()
        if text is not None:
            (tmp_path / "bin" / "nvcc").write_text(text)
            (tmp_path / "bin" / "nvcc").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        return tmp_path / "bin" / "nvcc"

    return install


def find() -> dict:
    return nvidia_compilers.find_compilers.__wrapped__()


def test_nvcc_is_found(programs):
    nvcc = programs(NVCC)
    found = find()["nvcc"]
    assert (found.path, found.major, found.capabilities) == (str(nvcc), 12, [75, 80])
    assert found.version.startswith("nvcc 12.8 (Build cuda_12.8.r12.8/compiler.1_0)")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_nvcc_is_a_reason(kind, programs):
    text, reason = BROKEN[kind]
    programs(f"#!/bin/sh\n{text}" if text else "\x7fELF")
    found = find()["nvcc"]
    assert isinstance(found, str)
    with pytest.raises(CudaError, match=reason):
        raise CudaError(found)
    (finding,) = doctor.nvcc()
    assert finding.status == "broken" and finding.found == found and "NVRTC serves" in finding.advice


def test_an_nvcc_that_hangs_is_a_reason(programs, monkeypatch):
    programs("#!/bin/sh\nexec sleep 100")
    monkeypatch.setattr(nvidia_compilers, "_PATIENCE", 0.2)
    assert "nvcc --version does not run (" in find()["nvcc"] and "timed out after 0.2 seconds" in find()["nvcc"]


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        ("raise ImportError('libcuda.so.1: cannot open shared object file')", "libcuda.so.1: cannot open shared"),
        ("raise AttributeError('half installed')", "half installed"),
    ],
    ids=["no driver", "other error"],
)
def test_pycuda_that_cannot_be_loaded(driver, reason, programs):
    programs(NVCC, driver=driver)
    assert f"PyCUDA is installed but cannot be loaded ({reason}" in find()["nvcc"]


def test_without_nvcc_or_pycuda(programs, monkeypatch):
    programs(None)
    assert find()["nvcc"] == "PyCUDA finds no nvcc on the PATH"
    monkeypatch.setitem(sys.modules, "pycuda", None)
    assert find()["nvcc"].startswith("PyCUDA, which calls nvcc, is not installed (pip install ")


def test_without_nvrtc(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    reason = find()["nvrtc"]
    assert reason.startswith("NVRTC, which PyTorch's CUDA builds bring, cannot be loaded (") and "\n" not in reason
    (finding,) = doctor.nvrtc()
    assert finding.status == "absent" and finding.found == reason and "glraster[cuda13]" in finding.advice


def test_one_is_chosen_by_the_variable(programs, monkeypatch):
    programs(NVCC)
    for name in ("nvcc", "nvrtc"):
        monkeypatch.setenv("GLRASTER_CUDA_COMPILER", name)
        assert list(find()) == [name]
    monkeypatch.setenv("GLRASTER_CUDA_COMPILER", "gcc")
    with pytest.raises(CudaError, match="must be nvcc or nvrtc, got 'gcc'"):
        find()
