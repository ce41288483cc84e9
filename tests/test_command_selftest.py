"""`glraster selftest`: a report where all is well, and what it says where something is not."""

import re

import pytest
import torch

import glraster
from glraster.cli import main
from glraster.commands.selftest import agreement, command, derivatives, repetition, speed


@pytest.fixture
def quick(monkeypatch):
    """Small pictures, and few runs."""
    for module in (agreement, repetition):
        monkeypatch.setattr(module, "SIZE", (50, 60))
        monkeypatch.setattr(module, "make_scene", lambda: small_scene())
    monkeypatch.setattr(speed, "_SECONDS", 0.0)
    monkeypatch.setattr(speed, "SIZE", 32)
    monkeypatch.setattr(speed, "_SUBDIVISIONS", 1)
    monkeypatch.setattr(speed, "_TEXTURE", (16, 16, 4))


def small_scene():
    scene = derivatives.make_scene(subdivisions=2, clutter=20)
    return scene._replace(color=scene.color[:, :50, :60].contiguous())


def test_report(quick, capsys):
    assert main(["selftest", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "```text" and lines[-1] == "```" and lines[-2] == "all well"
    assert lines[1].startswith(f"glraster selftest: glraster {glraster.__version__}, PyTorch {torch.__version__}, ")
    marks = [line[:2] for line in lines if re.match("(ok|--|!!)  ", line)]
    assert len(marks) == 9 and marks[1:] == ["ok"] * 8 and marks[0] != "!!"
    table = dict(re.findall(r"^(\w+, [\w ]+?) {2,}([\d.]+)", "\n".join(lines), re.MULTILINE))
    assert {"rasterize, software", "texture, mipmapped", "antialias, 5 channels"} <= set(table)
    assert all(float(milliseconds) > 0 for milliseconds in table.values())


def wrong_gradient(x):
    """The same values, and gradients that are one tenth too large."""
    return 1.1 * x - 0.1 * x.detach()


def test_wrong_gradients_are_found(quick, monkeypatch, capsys):
    right = glraster.interpolate
    monkeypatch.setattr(glraster, "interpolate", lambda attr, *rest: right(wrong_gradient(attr), *rest))
    assert main(["selftest", "--device", "cpu", "--no-speed"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^!!  gradients of interpolate on cpu: .* by 0\.1 at most, those to attr$", out, re.MULTILINE)
    assert "1 of the checks failed" in out and "median ms" not in out


def test_outputs_that_change_from_run_to_run_are_found(quick, monkeypatch):
    right, calls = glraster.texture, []

    def restless(*arguments, **named):
        calls.append(1)
        return right(*arguments, **named) + 1e-6 * len(calls)

    monkeypatch.setattr(glraster, "texture", restless)
    assert {finding.status for finding in repetition.outputs_repeat("cpu")} == {"broken"}


def test_contexts_that_differ_are_found(quick, gl_available, monkeypatch):
    right = glraster.rasterize

    def flipped(glctx, *arguments):
        rast, rast_db = right(glctx, *arguments)
        return (rast.flip(1), rast_db) if isinstance(glctx, glraster.OpenGLRasterizer) else (rast, rast_db)

    monkeypatch.setattr(glraster, "rasterize", flipped)
    (finding,) = agreement.contexts_agree("cpu")
    assert finding.status == "broken" and "have another triangle" in finding.found


def test_without_opengl_the_rest_goes_on(quick, monkeypatch):
    def fail(**_):
        raise glraster.OpenGLError("no EGL here")

    monkeypatch.setattr(glraster, "OpenGLRasterizer", fail)
    (finding,) = agreement.contexts_agree("cpu")
    assert finding.status == "absent" and "no EGL here" in finding.found
    assert "rasterize, OpenGL" not in [row.operation for row in speed.measure("cpu")]


def test_devices_are_compared_by_outputs_and_gradients(quick, monkeypatch):
    """The CPU beside itself, then with an operation that is wrong at the second time."""
    (finding,) = agreement.devices_agree("cpu")
    assert finding.status == "ok" and "0 of 6000 pixels" in finding.found
    right, calls = glraster.antialias, []

    def other(color, *rest):
        calls.append(1)
        return right(wrong_gradient(color) if len(calls) > 1 else color, *rest)

    monkeypatch.setattr(glraster, "antialias", other)
    (finding,) = agreement.devices_agree("cpu")
    assert finding.status == "broken" and re.search("gradient to (color|attr|tex)", finding.found)


def test_errors_become_lines_of_the_report(monkeypatch):
    def fail(device):
        raise RuntimeError("CUDA driver fell over")

    (finding,) = command._checked("a check", fail, "cpu")
    assert finding.status == "broken" and finding.found == "RuntimeError: CUDA driver fell over"


def test_a_gpu_that_is_not_there(no_gpu, capsys):
    assert main(["selftest", "--device", "cuda"]) == 2
    assert capsys.readouterr().err.startswith("error: PyTorch sees no CUDA device")


def test_on_a_gpu(cuda, capsys):
    assert main(["selftest", "--device", "cuda"]) == 0, capsys.readouterr().out
