"""`glraster run`: programs for nvdiffrast and GPUs, unmodified; what they ask of CUDA, one by one."""

import io
import os
import pickle
import queue
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import glraster
from glraster.cli import main
from glraster.commands.on_cpu import on_cpu

PROGRAM = Path(__file__).with_name("program_for_gpus.py")
ROOT = Path(__file__).parents[1]


def start(*arguments: object) -> subprocess.CompletedProcess:
    """`glraster run` in a process of its own."""
    command = [sys.executable, "-m", "glraster", "run", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)


def test_a_program_for_gpus():
    done = start("--cpu", PROGRAM, "--steps", 40)
    assert done.returncode == 0, done.stdout + done.stderr
    loss, moved, milliseconds = map(float, re.findall(r"\d+\.\d+", done.stdout))
    assert loss < 0.005 and 0.05 < moved < 0.4 and milliseconds > 0
    assert "Warning" not in done.stderr


@pytest.fixture
def in_this_process(monkeypatch, tmp_path):
    """Runs a program's text; what the command changes is changed back."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvdiffrast", "nvdiffrast.torch", "nvdiffrast.torch.ops"):
        monkeypatch.setitem(sys.modules, name, None)

    def run(text: str, *arguments: str, options: tuple[str, ...] = ()) -> int:
        (tmp_path / "program.py").write_text(text)
        return main(["run", *options, str(tmp_path / "program.py"), *arguments])

    return run


def test_the_programs_names(in_this_process, tmp_path, capsys):
    (tmp_path / "beside_it.py").write_text("NUMBER = 7\n")
    program = """
import sys, pickle
import beside_it, nvdiffrast, nvdiffrast.torch.ops, nvdiffrast.torch as dr
class Here: pass
assert __name__ == "__main__" and sys.modules["__main__"].Here is Here
assert type(pickle.loads(pickle.dumps(Here()))) is Here
print(sys.argv[1:], sys.argv[0] == __file__, beside_it.NUMBER, nvdiffrast.__version__, dr.rasterize.__module__)
"""
    assert in_this_process(program, "--flag", "-m", "--cpu", "x y") == 0
    expected = f"['--flag', '-m', '--cpu', 'x y'] True 7 {glraster.__version__} glraster.rasterize\n"
    assert capsys.readouterr().out == expected
    del sys.modules["beside_it"]


def test_a_module(in_this_process, monkeypatch, tmp_path, capsys):
    folder = tmp_path / "a_package_to_run"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "__main__.py").write_text("import sys\nfrom . import other\nprint(__name__, sys.argv[1:])\n")
    (folder / "other.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "-m", "a_package_to_run", "1"]) == 0
    assert capsys.readouterr().out == "__main__ ['1']\n"
    assert main(["run", "-m", "no_such_package.inner"]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("code", ["0", "3", "'words'", "None"])
def test_exit_codes(in_this_process, code):
    with pytest.raises(SystemExit) as caught:
        in_this_process(f"import sys\nsys.exit({code})")
    assert repr(caught.value.code) == code


def test_errors_are_the_programs(in_this_process, capsys, tmp_path, no_gpu):
    assert in_this_process("def inner():\n    1 / 0\n\ninner()") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback") and lines[1] == f'  File "{tmp_path}/program.py", line 4, in <module>'
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert in_this_process(PROGRAM.read_text()) == 1  # where there is no GPU, and without --cpu
    assert capsys.readouterr().err.endswith("RuntimeError: this program needs a GPU\n")
    assert in_this_process("def f(:") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f'  File "{tmp_path}/program.py", line 1' and lines[-1].startswith("SyntaxError")
    assert main(["run", str(tmp_path / "absent.py")]) == 2
    assert capsys.readouterr().err == f"error: there is no file '{tmp_path}/absent.py'\n"


@pytest.fixture
def cpu(monkeypatch, no_gpu):
    """What --cpu does, for the length of a test: without a GPU, which a program of its own would not see."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with on_cpu():
        yield


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, device="cuda"),
        lambda: torch.zeros(2, device=0),
        lambda: torch.tensor([1.0], device=torch.device("cuda:1")),
        lambda: torch.zeros(2).cuda(),
        lambda: torch.zeros(2).cuda(0, non_blocking=True),
        lambda: torch.zeros(2).to("cuda"),
        lambda: torch.zeros(2).to(0),
        lambda: torch.zeros(2).to(torch.device("cuda", 0), torch.float64, non_blocking=True),
        lambda: torch.zeros(2).to(device="cuda", dtype=torch.int32),
        lambda: torch.zeros(2).new_ones(2, device="cuda"),
        lambda: torch.zeros(2).type("torch.cuda.FloatTensor"),
        lambda: torch.zeros(2).type(torch.cuda.LongTensor),
        lambda: torch.cuda.FloatTensor([1.0, 2.0]),
        lambda: torch.empty(2, pin_memory=True).pin_memory(),
        lambda: torch.rand(2, generator=torch.Generator(device="cuda"), device="cuda"),
        lambda: torch.nn.Linear(2, 2).cuda().weight,
        lambda: torch.nn.Linear(2, 2).to("cuda:0").weight,
        lambda: torch.nn.Linear(2, 2).to(0).weight,
        lambda: torch.nn.Linear(2, 2, device="cuda").bias,
    ],
)
def test_tensors_are_on_the_cpu(cpu, make):
    tensor = make()
    assert tensor.device == torch.device("cuda") == torch.device(0) == torch.device("cpu") and not tensor.is_cuda


@pytest.mark.filterwarnings("ignore:torch.set_default_tensor_type")
def test_default_devices(cpu):
    with torch.device("cuda"):
        assert torch.zeros(1).device.type == "cpu"
    torch.set_default_device("cuda")
    assert torch.zeros(1).device.type == "cpu"
    torch.set_default_device(None)
    torch.set_default_tensor_type("torch.cuda.FloatTensor")
    torch.set_default_tensor_type(torch.cuda.FloatTensor)
    assert torch.zeros(1).device.type == "cpu"
    assert torch.device("meta").type == "meta" and torch.zeros(1, device="meta").is_meta


def test_moving_makes_a_copy_as_between_devices(cpu):
    host = np.zeros(3, np.float32)
    moved = torch.from_numpy(host).cuda()
    moved += 1
    before = moved.cpu()
    also = moved.to("cpu")
    moved += 1
    assert host.tolist() == [0, 0, 0] and before.tolist() == also.tolist() == [1, 1, 1]
    leaf = torch.zeros(3, requires_grad=True)
    assert leaf.cuda() is leaf and leaf.to("cuda") is leaf  # an optimizer may have it
    assert moved.to(torch.float32) is moved
    leaf.cpu().sum().backward()
    assert leaf.grad.tolist() == [1, 1, 1]


def test_contexts(cpu):
    for device in ("cuda", "cuda:0", 0, torch.device("cuda"), None):
        with glraster.torch.RasterizeCudaContext(device=device) as glctx:
            assert glctx.device == torch.device("cpu")
    with pytest.raises(ValueError, match="device must be"):
        glraster.torch.RasterizeCudaContext(device="tpu")


def test_what_torch_cuda_says(cpu):
    exec(  # as a program, which is answered differently from PyTorch and this package
        "import torch\nassert torch.cuda.is_available() and torch.cuda.device_count() == 1",
        {"__name__": "__main__"},
    )
    glraster_asks = {"__name__": "glraster.somewhere", "torch": torch}
    assert eval("torch.cuda.is_available()", glraster_asks) is False
    assert torch.cuda.current_device() == 0 and "CPU" in torch.cuda.get_device_name(0)
    assert torch.cuda.get_device_properties(0).total_memory > torch.cuda.mem_get_info()[0] > 0
    assert torch.cuda.memory_allocated() == torch.cuda.max_memory_reserved(0) == 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.nvtx.range_push("step")
    torch.cuda.nvtx.range_pop()
    with pytest.raises(NotImplementedError, match=r"--cpu: torch.cuda.CUDAGraph has no counterpart on the CPU"):
        torch.cuda.CUDAGraph()


def test_seeds(cpu):
    torch.cuda.manual_seed(5)
    first = torch.rand(3, device="cuda")
    torch.cuda.manual_seed_all(5)
    assert torch.equal(first, torch.rand(3, device="cuda"))
    torch.manual_seed(5)
    assert torch.equal(first, torch.rand(3, device="cuda"))
    state = torch.cuda.get_rng_state()
    second = torch.rand(3, device="cuda")
    torch.cuda.set_rng_state(state)
    assert torch.equal(second, torch.rand(3, device="cuda"))
    assert isinstance(torch.default_generator, torch.Generator)


def test_events_and_streams(cpu):
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with pytest.raises(RuntimeError, match="must be recorded"):
        first.elapsed_time(last)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        first.record(stream)
        torch.zeros(4, device="cuda").record_stream(stream)
    stream.wait_stream(torch.cuda.current_stream())
    last.record()
    last.synchronize()
    assert last.query() and first.elapsed_time(last) > 0 > last.elapsed_time(first)

    @torch.cuda.device(0)
    def decorated():
        return 7

    assert decorated() == 7


def test_mixed_precision_does_without(cpu):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", ".*CUDA is not available")
        scaler = torch.amp.GradScaler("cuda")
        with torch.autocast("cuda", dtype=torch.float16):
            product = torch.ones(2, 2, device="cuda") @ torch.ones(2, 2, device="cuda")
    assert product.dtype == torch.float32 and scaler.scale(product) is product


def test_checkpoints_of_gpus(cpu, monkeypatch):
    """A file that says its tensor was on a GPU, loaded in every way that programs have."""
    file = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(torch.arange(3), file)
    assert b"cuda:0" in file.getvalue()
    for location in (None, "cuda", torch.device("cuda:0"), {"cuda:1": "cuda:0"}, lambda storage, _: storage):
        file.seek(0)
        assert torch.load(file, map_location=location).tolist() == [0, 1, 2]


def test_threads(cpu):
    answers: queue.Queue = queue.Queue()

    class Worker(threading.Thread):
        def run(self):
            answers.put(torch.zeros(1, device="cuda").device.type)

    threads = [Worker(), threading.Thread(target=lambda: answers.put(torch.zeros(1).cuda().device.type))]
    for thread in threads:
        thread.start()
        thread.join()
    assert [answers.get(timeout=5) for _ in threads] == ["cpu", "cpu"]


def test_all_is_as_before_afterwards(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    before = dict(vars(torch.cuda)), torch.load, torch.Generator, threading.Thread.start
    with on_cpu():
        assert torch.cuda.Event is not before[0]["Event"]
    assert (dict(vars(torch.cuda)), torch.load, torch.Generator, threading.Thread.start) == before
    assert type(pickle.loads(pickle.dumps(torch.device("cuda")))) is torch.device
    assert torch.device("cuda").type == "cuda"
