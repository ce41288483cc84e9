"""The one way to call a kernel: parameter structs as the sources have them, checks of a call's fields, threads."""

import re
import subprocess
import sys

import pytest
import torch

from glraster import HostLibraryError, texture
from glraster.cuda_kernels import host, launcher, sources
from glraster.cuda_kernels.sources import FOLDER
from glraster.interpolate import KERNELS

FILES = sorted(file.stem for file in FOLDER.glob("*.cu"))
NUMBERS = {"N": 1, "H": 2, "W": 2, "V": 3, "A": 1, "num_triangles": 1, "num_diff_attrs": 0, "attr_stride": 0}


@pytest.fixture
def fields() -> dict:
    """Of a forward interpolation of one attribute over 2 x 2 pixels."""
    tensors = {"attr": torch.ones(3, 1), "rast": torch.ones(1, 2, 2, 4), "out": torch.zeros(1, 2, 2, 1)}
    return tensors | {"tri": torch.tensor([[0, 1, 2]], dtype=torch.int32)} | NUMBERS


def test_every_file_is_launched_by_a_module():
    assert sorted(launcher.kernel_files()) == FILES


def test_offsets_are_the_compilers(tmp_path):
    """Of every field of every struct, in both instances."""
    lines, expected = [], []
    for stem in FILES:
        source, offset = sources.read_source(stem), 0
        for field in source.fields:
            for instance in ("<float>", "<double>") if source.typed else ("",):
                name = f"{stem}::{source.struct}{instance}"
                lines.append(f'std::printf("%zu\\n", offsetof({name}, {field.name}));')
                expected.append(offset)
            offset += 8 * (field.length or 1)
        assert launcher.kernel_files()[stem]._struct.size == offset
    includes = ["#include <cstddef>", "#include <cstdio>", f'#include "{FOLDER}/common/portability.cuh"']
    structs = []
    for stem in FILES:
        text = (FOLDER / f"{stem}.cu").read_text()
        constants = re.findall(r"^constexpr int.*;", text, re.MULTILINE)
        (struct,) = re.findall(
            r"^(?:template <class T>\n)?struct \w+Params \{\n.*?^\};", text, re.DOTALL | re.MULTILINE
        )
        structs.append(f"namespace {stem} {{\n" + "\n".join([*constants, struct]) + "\n}")
    program = tmp_path / "offsets.cpp"
    program.write_text("\n".join([*includes, *structs, "int main() {", *lines, "}"]))
    subprocess.run(["g++", "-std=c++17", "-fopenmp", "-w", str(program), "-o", str(tmp_path / "offsets")], check=True)
    printed = subprocess.run([tmp_path / "offsets"], check=True, capture_output=True, text=True).stdout
    assert [int(line) for line in printed.split()] == expected


def test_host_library_of_other_sources_is_refused(monkeypatch):
    path = host.host_library()._name
    monkeypatch.setattr(host, "digest", lambda: "of other sources")
    with pytest.raises(HostLibraryError, match=r"was built from other sources than those in .*: install the package"):
        host._load(path, "a library")


def test_host_library_without_a_digest_is_refused(tmp_path):
    (tmp_path / "empty.c").write_text("int nothing;\n")
    library = tmp_path / "old.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "empty.c")], check=True)
    with pytest.raises(HostLibraryError, match="was built from other sources"):
        host._load(str(library), "a library")


def test_unknown_and_missing_fields(fields):
    with pytest.raises(TypeError, match=r"InterpolateParams has no fields \['attrs'\], and needs values for \['H'\]"):
        KERNELS.launch("interpolate_fwd", 4, attrs=fields["attr"], **{k: v for k, v in fields.items() if k != "H"})


@pytest.mark.parametrize(
    ("name", "tensor", "got"),
    [
        ("tri", torch.zeros(1, 3, dtype=torch.int64), "torch.int32 .* got torch.int64 on cpu"),
        ("rast", torch.zeros(1, 2, 2, 4, dtype=torch.float64), "torch.float32 .* got torch.float64"),
        ("out", torch.zeros(1, 2, 4, 1)[:, :, ::2], "contiguous, got torch.float32 on cpu, not contiguous"),
        ("rast", torch.zeros(1, 2, 2, 4, device="meta"), "meta"),
    ],
)
def test_tensors_that_do_not_fit(fields, name, tensor, got):
    with pytest.raises((ValueError, RuntimeError), match=got):
        KERNELS.launch("interpolate_fwd", 4, **fields | {name: tensor})


def test_inputs_of_any_strides(fields):
    rast = torch.rand(4, 1, 2, 2)
    rast[3] = 1
    KERNELS.launch("interpolate_fwd", 4, **fields | {"rast": rast.permute(1, 2, 3, 0)})
    torch.testing.assert_close(fields["out"], torch.ones(1, 2, 2, 1))


def test_too_long_a_list():
    kernels = launcher.kernel_files()["texture"]
    numbers = [field for field in kernels.source.fields if field.code != "P"]
    given = {field.name: 0 if field.length is None else [0] for field in numbers}
    with pytest.raises(ValueError, match="level holds 32 values, got 33"):
        kernels.launch("texture_linear_fwd", 1, level=[torch.zeros(1, 1, 1, 1)] * 33, **given)


@pytest.fixture
def counted(monkeypatch):
    """The threads of every launch on the host, by kernel."""
    seen, run = {}, launcher.run_on_host

    def note(name, parameters, threads):
        seen[name] = threads
        run(name, parameters, threads)

    monkeypatch.setattr(launcher, "run_on_host", note)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield seen
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


def test_deterministic_mode_serializes_only_what_adds(counted):
    tex, uv = torch.rand(1, 4, 4, 3, requires_grad=True), torch.rand(1, 128, 256, 2, requires_grad=True)
    torch.use_deterministic_algorithms(True)
    texture(tex, uv).sum().backward()
    assert counted == {"texture_linear_fwd_f32": 2, "texture_linear_bwd_f32": 1}
    texture(tex.detach(), uv).sum().backward()  # nothing is added up
    assert counted["texture_linear_bwd_f32"] == 2


def test_threads_are_counted_once(counted, monkeypatch):
    """A switch of the mode between counting and launching must not leave one copy to two threads."""
    tex, uv = torch.rand(1, 4, 4, 3, requires_grad=True), torch.rand(1, 128, 256, 2)
    out = texture(tex, uv)
    expected = torch.autograd.grad(out.double().sum(), tex, retain_graph=True)[0]
    module = sys.modules["glraster.texture"]
    asked = module.threads_for

    def then_switch(*arguments, **options):
        threads = asked(*arguments, **options)
        torch.use_deterministic_algorithms(False)
        return threads

    monkeypatch.setattr(module, "threads_for", then_switch)
    torch.use_deterministic_algorithms(True)
    grad = torch.autograd.grad(out.double().sum(), tex)[0]
    assert counted["texture_linear_bwd_f32"] == 1
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 640 * 480, 2**20 + 7, 2**31 - 1])
def test_division_by_reciprocal(divisor):
    """As pixel_spans.cuh divides: the high half of a product, and one step at most."""
    bits = launcher.reciprocal(divisor)
    assert -(2**63) <= bits < 2**63
    for n in [0, 1, divisor - 1, divisor, divisor + 1, 5 * divisor - 1, 5 * divisor, 2**40 + 12345, 2**62 // divisor]:
        quotient = n * (bits % 2**64) >> 64
        assert quotient + (n - quotient * divisor >= divisor) == n // divisor


def test_zeros_in_one_piece():
    shapes, dtypes = [(2, 3, 1), (1, 1), (0, 4), (5,)], [torch.float32, torch.float64, torch.float32, torch.float64]
    zeros = launcher.new_zeros_list(torch.zeros(1), shapes, dtypes)
    assert [tuple(z.shape) for z in zeros] == shapes and [z.dtype for z in zeros] == dtypes
    assert all(z.is_contiguous() and not z.any() and z.storage_offset() * z.itemsize % 16 == 0 for z in zeros)
    assert len({z.untyped_storage().data_ptr() for z in zeros}) == 1
