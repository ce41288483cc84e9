"""The doctor on this machine, and on machines broken in the ways that users meet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glraster.cli import main
from glraster.doctor import Finding, compilers, healthy, rendering, system

HERE = Path(__file__).parent


def doctor(*arguments: str, **environment: str) -> tuple[int, str]:
    """Runs `glraster doctor` in a process of its own; returns its exit code and output."""
    command = [sys.executable, "-m", "glraster", "doctor", *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.returncode, done.stdout


def findings(*arguments: str, **environment: str) -> dict[str, dict[str, str]]:
    """The findings of `glraster doctor --json` by what was checked; asserts that its exit code fits them."""
    code, output = doctor("--json", *arguments, **environment)
    report = json.loads(output)
    renders = [f for f in report["findings"] if f["check"].startswith("Rasterize")]
    assert report["works"] == any(f["status"] == "ok" for f in renders) == (code == 0)
    assert all(f["advice"] for f in report["findings"] if f["status"] != "ok"), "each problem needs advice"
    return {finding["check"]: finding for finding in report["findings"]}


def assert_software_still_works(report: dict[str, dict[str, str]]) -> None:
    assert report["RasterizeCudaContext(device='cpu')"]["status"] == "ok"
    assert report["RasterizeGLContext(device='cpu')"]["status"] == "broken"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory, gcc):
    """Compiles a C file of this folder into a shared library."""

    def build(source: str | Path, name: str, *options: str) -> Path:
        library = tmp_path_factory.mktemp("libraries") / name
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", *options, "-o", library, HERE / source]
        subprocess.run(command, check=True)
        return library

    return build


def test_this_machine(gl_available):
    report = findings()
    for check in ("Python", "PyTorch", "Host library", "EGL library", "EGL device 0"):
        assert report[check]["status"] == "ok", report[check]
    assert sys.version.split()[0] in report["Python"]["found"]
    assert torch.__version__ in report["PyTorch"]["found"]
    assert "OpenGL" in report["EGL device 0"]["found"]
    for context in ("RasterizeGLContext", "RasterizeCudaContext"):
        assert report[f"{context}(device='cpu')"]["status"] == "ok"


def test_plain_lines_without_rich(tmp_path):
    (tmp_path / "rich.py").write_text("raise ImportError('no rich here')\n")
    code, output = doctor(PYTHONPATH=str(tmp_path))
    assert code == 0
    assert "ok  Python: " in output and "Works: " in output


def test_table_in_a_terminal(monkeypatch, capsys, rich):
    reported = [Finding("Fine", "ok", "here [it] is"), Finding("Bad", "broken", "gone", "do this")]
    monkeypatch.setattr("glraster.cli.examine", lambda timeout: reported)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "here [it] is" in output and "-> do this" in output and "No rasterizer context works" in output


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon"])
def test_time_limits_that_are_none(timeout, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", f"--timeout={timeout}"])
    assert stopped.value.code == 2
    assert f"--timeout: must be a number of seconds greater than 0, got '{timeout}'" in capsys.readouterr().err


def test_egl_library_missing(compiled):
    report = findings(LD_PRELOAD=str(compiled("no_egl.c", "no_egl.so", "-ldl")))
    assert report["EGL library"]["status"] == "broken"
    assert "libEGL-hidden.so.1: cannot open shared object file" in report["EGL library"]["found"]
    assert "apt-get install libegl1" in report["EGL library"]["advice"]
    assert_software_still_works(report)


def test_vendor_files_missing(tmp_path, gl_available):
    report = findings(__EGL_VENDOR_LIBRARY_DIRS=str(tmp_path))
    assert report["EGL vendor files"]["status"] == "broken"
    assert str(tmp_path) in report["EGL vendor files"]["found"]
    assert report["EGL devices"]["status"] == "broken"
    assert_software_still_works(report)


def test_vendor_files_broken(tmp_path, gl_available):
    (tmp_path / "10_nvidia.json").write_text('{"ICD": {"library_path": "libEGL_nvidia_absent.so.0"}}')
    (tmp_path / "20_text.json").write_text("not JSON")
    (tmp_path / "30_list.json").write_text('{"ICD": []}')
    report = findings(__EGL_VENDOR_LIBRARY_DIRS=str(tmp_path))
    for name, found, advice in (
        ("10_nvidia.json", "libEGL_nvidia_absent.so.0: cannot open", "NVIDIA_DRIVER_CAPABILITIES"),
        ("20_text.json", "JSONDecodeError", "reinstall"),
        ("30_list.json", "TypeError", "reinstall"),
    ):
        vendor = report[f"EGL vendor {name}"]
        assert vendor["status"] == "broken" and found in vendor["found"] and advice in vendor["advice"]
    assert_software_still_works(report)


def test_egl_without_devices(compiled):
    library = compiled("broken_egl.c", "libEGL.so.1")
    report = findings(LD_PRELOAD=str(library))
    assert "lists no device" in report["EGL devices"]["found"]
    assert_software_still_works(report)


def test_driver_that_crashes(compiled):
    report = findings(LD_PRELOAD=str(compiled("broken_egl.c", "libEGL.so.1", "-DCRASH")))
    assert "crashed (Segmentation fault)" in report["EGL devices"]["found"]
    assert report["RasterizeCudaContext(device='cpu')"]["status"] == "ok"


def test_driver_that_hangs(compiled):
    report = findings("--timeout", "5", LD_PRELOAD=str(compiled("broken_egl.c", "libEGL.so.1", "-DHANG")))
    assert "no answer within 5 seconds" in report["EGL devices"]["found"]


@pytest.fixture
def pycuda(tmp_path, monkeypatch):
    """Stands a package named pycuda in front of any other, with the driver and OpenGL modules given as text."""

    def install(driver: str, gl: str = "") -> Path:
        package = tmp_path / "pycuda"
        package.mkdir(exist_ok=True)
        for name, text in (("__init__", ""), ("driver", driver), ("gl", gl)):
            (package / f"{name}.py").write_text(text)
        for name in [name for name in sys.modules if name.partition(".")[0] == "pycuda"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    return install


def test_pycuda_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (finding,) = compilers.pycuda()
    assert finding.status == "absent" and "not installed" in finding.found and "pip install" in finding.advice


def test_pycuda_without_a_driver(pycuda):
    missing = "libcuda.so.1: cannot open shared object file: No such file or directory"
    report = findings(PYTHONPATH=str(pycuda(f"raise ImportError({missing!r})\n")))
    assert report["PyCUDA"]["status"] == "broken" and missing in report["PyCUDA"]["found"]
    assert report["RasterizeCudaContext(device='cpu')"]["status"] == "ok"


def test_pycuda_that_aborts(pycuda):
    report = findings(PYTHONPATH=str(pycuda("import os\nos.abort()\n")))
    assert "crashed (Aborted)" in report["PyCUDA"]["found"]
    assert report["RasterizeCudaContext(device='cpu')"]["status"] == "ok"


@pytest.mark.parametrize(
    ("driver", "gl", "status", "found"),
    [
        (
            "def init():\n    raise RuntimeError('no CUDA-capable device is detected')\n",
            "",
            "broken",
            "no CUDA-capable",
        ),
        (
            "def init(): pass\n",
            "raise ImportError('compiled without GL')\n",
            "ok",
            "without OpenGL (compiled without GL)",
        ),
        ("def init(): pass\n", "", "ok", "with OpenGL"),
    ],
    ids=["no GPU", "without OpenGL", "with OpenGL"],
)
def test_pycuda_in_other_states(pycuda, driver, gl, status, found):
    pycuda(driver, gl)
    (finding,) = compilers.pycuda()
    assert finding.status == status and found in finding.found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (
            "int cuInit(unsigned flags) { return 100; }\nint cuGetErrorName(int code, const char** name)"
            ' { *name = "CUDA_ERROR_NO_DEVICE"; return 0; }',
            "CUDA error 100 (CUDA_ERROR_NO_DEVICE)",
        ),
        ("int other;", "undefined symbol: cuInit"),
    ],
    ids=["no device", "another library"],
)
def test_cuda_driver_that_does_not_start(compiled, tmp_path, code, found):
    source = tmp_path / "cuda.c"
    source.write_text(code)
    report = findings(LD_PRELOAD=str(compiled(source, "libcuda.so.1")))
    assert report["NVIDIA driver"]["status"] == "broken" and found in report["NVIDIA driver"]["found"]
    assert report["RasterizeCudaContext(device='cpu')"]["status"] == "ok"


def test_nothing_works(compiled, tmp_path):
    """A rasterizer that returns the wrong picture, or none, must not count."""
    (tmp_path / "sitecustomize.py").write_text(
        "import glraster\ndef rasterize(*_):\n    raise RuntimeError('no kernels')\nglraster.rasterize = rasterize\n"
    )
    code, output = doctor(PYTHONPATH=str(tmp_path))
    assert code == 1 and "No rasterizer context works" in output and "no kernels" in output


def test_wrong_picture_is_seen(monkeypatch):
    right = rendering.glraster.rasterize
    monkeypatch.setattr(rendering.glraster, "rasterize", lambda *a: (right(*a)[0].flip(1), None))
    (finding,) = rendering.render("RasterizeCudaContext", "cpu")
    assert finding.status == "broken" and "wrong in" in finding.found
    assert not healthy([finding])


def test_software_behind_an_opengl_context_is_seen(monkeypatch):
    class TakenOver(rendering.glraster.RasterizeCudaContext):
        egl_device = "none"

    monkeypatch.setattr(rendering.glraster, "RasterizeGLContext", TakenOver)
    (finding,) = rendering.render("RasterizeGLContext", "cpu")
    assert finding.status == "broken" and "software rasterizer has taken over" in finding.found


@pytest.mark.parametrize("capability, faster", [((8, 9), False), ((9, 0), True)])
def test_the_faster_context_is_named(monkeypatch, capability, faster):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr("glraster.interop.cuda_gl.interop_reason", lambda device: None)
    (finding,) = system.gl_cuda_interop()
    assert finding.status == "ok" and ("SoftwareRasterizer is the faster context" in finding.found) == faster


def test_absent_tools_are_no_fault(tmp_path):
    report = findings(PATH=str(tmp_path), CUDA_HOME=str(tmp_path))
    assert report["nvcc"]["status"] == "absent"
    assert report["RasterizeCudaContext(device='cpu')"]["status"] == "ok"
