"""Random and hostile input: an error of a documented type or a correct result, never a crash.

The tests named fuzz, here and in test_fuzz_texture.py, run once more under AddressSanitizer and
UndefinedBehaviorSanitizer.
"""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from fuzzing import DTYPES, SIDES, SMALL, floats, fuzz
from hypothesis import given
from hypothesis import strategies as st
from reference import antialias as antialias_reference
from reference import interpolate as interpolate_reference
from reference.rasterize import decode_id

import glraster
from glraster import antialias, antialias_construct_topology_hash, interpolate, rasterize
from glraster.cuda_kernels import sources
from glraster.interop.corners import order_corners


def vertex_indices(num_triangles: int, num_vertices: int, wild: bool = True):
    """[T, 3] int32 of which some lie outside of 0 .. V - 1."""
    inside = st.integers(0, max(0, num_vertices - 1))
    outside = st.sampled_from([-1, num_vertices, num_vertices + 1, 2**31 - 1, -(2**31)])
    elements = st.one_of(inside, inside, inside, outside) if wild or num_vertices == 0 else inside
    return hnp.arrays(np.int32, (num_triangles, 3), elements=elements).map(lambda a: torch.from_numpy(a.copy()))


@st.composite
def scenes(draw):
    """pos, tri and ranges of a random scene, in either mode."""
    N, V, T = draw(SMALL), draw(st.integers(0, 8)), draw(st.integers(0, 6))
    special = draw(st.booleans())
    tri = draw(vertex_indices(T, V, wild=draw(st.booleans())))
    if draw(st.booleans()):
        pos, ranges = draw(floats((N, V, 4), special)), None
    else:
        pos, ranges = draw(floats((V, 4), special)), []
        for _ in range(N):
            first = draw(st.integers(0, T))
            ranges.append([first, draw(st.integers(0, T - first))])
        ranges = torch.tensor(ranges, dtype=torch.int32).reshape(-1, 2)
    if draw(st.booleans()):
        pos[..., 3] = pos[..., 3].abs() + 0.25  # in front of the eye, so that more is seen
    return pos, tri, ranges


def usable(pos, tri) -> torch.Tensor:
    """Whether a triangle has existing vertices with finite positions: [N, T] or, in range mode, [T]."""
    inside = ((tri >= 0) & (tri < pos.shape[-2])).all(-1)
    if pos.shape[-2] == 0:
        return inside.expand(*pos.shape[:-2], len(tri))
    corners = pos[..., torch.where((tri >= 0) & (tri < pos.shape[-2]), tri, 0).long(), :]
    return inside & corners.isfinite().flatten(-2).all(-1)


@pytest.fixture(scope="module", params=os.environ.get("GLRASTER_FUZZ_CONTEXTS", "software gl").split())
def any_context(request):
    """A context of each class, kept through all examples of a test."""
    if request.param == "gl":
        request.getfixturevalue("gl_available")
    kind = glraster.RasterizeCudaContext if request.param == "software" else glraster.RasterizeGLContext
    with kind(device="cpu") as glctx:
        yield glctx


@fuzz
@given(scene=scenes(), H=SIDES, W=SIDES, dtype=DTYPES, cull=st.sampled_from(["none", "back", "front"]))
def test_fuzz_rasterize(any_context, scene, H, W, dtype, cull):
    pos, tri, ranges = scene
    pos = pos.to(dtype).requires_grad_()
    rast, rast_db = rasterize(any_context, pos, tri, (H, W), ranges, cull=cull)
    N = len(pos) if ranges is None else len(ranges)
    assert rast.shape == rast_db.shape == (N, H, W, 4)
    ids = decode_id(rast[..., 3])
    seen = ids >= 0
    assert (ids < len(tri)).all() and rast.isfinite().all()
    u, v, z = rast.detach()[..., :3].unbind(-1)
    assert (u >= 0).all() and (v >= 0).all() and (u + v <= 1 + 1e-6).all() and (z.abs() <= 1).all()
    assert not rast[~seen].any() and not rast_db[~seen].any()
    good = usable(pos.detach(), tri)
    if ranges is None:
        assert good.gather(1, ids.clamp(min=0).flatten(1))[seen.flatten(1)].all() if len(tri) else not seen.any()
    elif N:
        assert good[ids[seen]].all()
        image = seen.nonzero()[:, 0]
        first, count = ranges.long().unbind(1)
        assert ((ids[seen] >= first[image]) & (ids[seen] < (first + count)[image])).all()
    (rast.sum() + rast_db.sum()).backward()
    assert not pos.grad[..., 2].any()
    undrawn = torch.ones(pos.shape[-2], dtype=torch.bool)
    undrawn[tri[ids[seen].unique()].long().flatten()] = False
    assert not pos.grad[..., undrawn, :].any()
    if pos.isfinite().all() and (pos.abs() < 3).all():
        assert rast_db.isfinite().all() and pos.grad.isfinite().all()


@fuzz
@given(scene=scenes(), H=SIDES, W=SIDES)
def test_fuzz_validation(any_context, scene, H, W):
    pos, tri, ranges = scene
    drawn = range(len(tri)) if ranges is None else sorted({t for f, c in ranges.tolist() for t in range(f, f + c)})
    wild = [(t, i) for t in drawn for i in tri[t].tolist() if not 0 <= i < pos.shape[-2]]
    vertices = sorted({i for t in drawn for i in tri[t].tolist()})
    images = list(pos) if ranges is None else [pos]
    try:
        result = rasterize(any_context, pos, tri, (H, W), ranges, validate=True)
    except ValueError as error:
        if wild:
            assert f"got {wild[0][1]} in triangle {wild[0][0]}" in str(error)
            return
        unbounded = [(n, i) for n, p in enumerate(images) for i in vertices if not p[i].isfinite().all()]
        if unbounded:
            name = str(list(unbounded[0])) if ranges is None else str(unbounded[0][1])
            assert str(error).endswith(f"at vertex {name}")
            return
        assert "must have an area" in str(error)
    else:
        assert not wild or not images
        assert all(p[i].isfinite().all() for p in images for i in vertices if not wild)
        for a, b in zip(result, rasterize(any_context, pos, tri, (H, W), ranges), strict=True):
            assert torch.equal(a, b)


@st.composite
def rasters(draw, N, H, W, num_triangles):
    """rast with any values, and ids of which some do not exist."""
    rast = draw(floats((N, H, W, 4), special=draw(st.booleans())))
    some = st.sampled_from(
        [-1.0, 0.5, num_triangles + 1.0, 2.0**24, 2.0**24 + 2, 2.0**31, 1e30, np.inf, np.nan, -np.inf]
    )
    existing = st.integers(0, num_triangles).map(float)
    ids = hnp.arrays(np.float64, (N, H, W), elements=st.one_of(existing, existing, some))
    rast[..., 3] = torch.from_numpy(draw(ids).copy())
    return rast


@fuzz
@given(data=st.data(), dtype=DTYPES, keep_facing=st.booleans())
def test_fuzz_order_corners(data, dtype, keep_facing):
    V, T = data.draw(SMALL, label="V"), data.draw(SMALL, label="T")
    tri = data.draw(vertex_indices(T, V))
    ordered = order_corners(data.draw(floats((V, 4))).to(dtype), tri, keep_facing)
    assert torch.equal(ordered.sort(1)[0], tri.sort(1)[0])  # the same vertices
    turned = torch.stack([(ordered == tri.roll(shift, 1)).all(1) for shift in range(3)]).any(0)
    assert not keep_facing or turned.all()


@fuzz
@given(data=st.data(), dtype=DTYPES)
def test_fuzz_interpolate(data, dtype):
    N, H, W, V, A, T = (data.draw(SMALL, label=name) for name in "NHWVAT")
    form = data.draw(st.sampled_from([(V, A), (1, V, A), (N, V, A)]))
    attr = data.draw(floats(form, special=False)).to(dtype).requires_grad_()
    rast = data.draw(rasters(N, H, W, T)).to(dtype).requires_grad_()
    rast_db = data.draw(floats((N, H, W, 4))).to(dtype).requires_grad_()
    tri = data.draw(vertex_indices(T, V))
    indices = st.lists(st.integers(-A, A - 1), max_size=5) if A else st.just([])
    diff_attrs = data.draw(st.one_of(st.none(), st.just("all"), indices))
    out, out_da = interpolate(attr, rast, tri, rast_db, diff_attrs)
    D = len(diff_attrs or []) if diff_attrs != "all" else A
    assert out.shape == (N, H, W, A) and out_da.shape == (N, H, W, 2 * D)
    # The reference takes existing vertices only: the others' triangles become triangles that nothing refers to.
    ids = _ids_as_the_kernels_read_them(rast.detach())
    missing = ~((tri >= 0) & (tri < V)).all(-1)
    known = rast.detach().clone()
    exists = (ids >= 0) & (ids < T)
    if T:
        exists &= ~missing[ids.clamp(0, T - 1)]
    known[..., 3] = torch.where(exists, ids + 1, 0)
    expected, expected_da = interpolate_reference.interpolate(
        attr.detach(), known, tri.clamp(0, max(0, V - 1)), rast_db.detach(), diff_attrs
    )
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    moderate = (torch.cat([rast[..., :2], rast_db], -1).abs() < 10).all(-1)  # else 1 - u - v may lose all its digits
    torch.testing.assert_close(out.detach().double()[moderate], expected[moderate], **tolerance)
    torch.testing.assert_close(out_da.detach().double()[moderate], expected_da[moderate], **tolerance)
    assert not out[~exists].any() and not out_da[~exists].any()
    (out.sum() + out_da.sum()).backward()
    assert attr.grad.shape == attr.shape and rast.grad.shape == rast.shape
    assert not rast.grad[~exists].any() and not rast.grad[..., 2:].any()


def _ids_as_the_kernels_read_them(rast):
    channel = rast[..., 3]
    whole = torch.where((channel > 0) & (channel <= 2**24), channel, 0).long() - 1
    if rast.dtype == torch.float64:
        return torch.where((channel > 2**24) & (channel < 2**31), channel, whole + 1).long() - 1
    large = channel.contiguous().view(torch.int32).long() - 0x4A800000 - 1
    return torch.where(channel > 2**24, large, whole)


@fuzz
@given(data=st.data(), dtype=DTYPES)
def test_fuzz_antialias(data, dtype):
    N, H, W, C, V, T = (data.draw(SMALL, label=name) for name in "NHWCVT")
    hostile = data.draw(st.booleans(), label="hostile")
    color = data.draw(floats((N, H, W, C), special=False)).to(dtype).requires_grad_()
    form = data.draw(st.sampled_from([(V, 4), (1, V, 4), (N, V, 4)]))
    pos = data.draw(floats(form, special=hostile)).to(dtype).requires_grad_()
    rast = data.draw(rasters(N, H, W, T)).to(dtype).requires_grad_()
    tri = data.draw(vertex_indices(T, V, wild=hostile))
    table = antialias_construct_topology_hash(tri) if data.draw(st.booleans()) else None
    out = antialias(color, rast, pos, tri, table, data.draw(st.floats(-2, 2)))
    assert out.shape == color.shape and out.isfinite().all()
    assert (out - color).abs().max() <= 16 if out.numel() else True  # four sides, each at most half a difference
    if dtype == torch.float64 and not hostile and V:
        known = rast.detach().clone()
        known[..., 3] = _ids_as_the_kernels_read_them(known) + 1
        known[..., 2] = torch.nan_to_num(known[..., 2], nan=np.nan)
        expected = antialias_reference.antialias(color.detach(), known, pos.detach(), tri)
        unclear = (pos[..., 3].abs() < 1e-3).any()  # x/w as large as that may be rounded to either side of a switch
        if not unclear:
            torch.testing.assert_close(out.detach(), expected, rtol=1e-6, atol=1e-6)
    out.sum().backward()
    assert color.grad.isfinite().all() and rast.grad is None
    drawn = torch.zeros(V, dtype=torch.bool)
    drawn[[i for i in tri.flatten().tolist() if 0 <= i < V]] = True
    assert not pos.grad[..., ~drawn, :].any() and not pos.grad[..., 2].any()


def _things(rank: int):
    """Arguments of all kinds, most of them wrong."""
    shapes = [(), (0,), (3,), (2, 3), (1, 4), (0, 3), (2, 3, 4), (1, 2, 2, 4), (1, 2, 2, 2, 4)]
    kinds = [torch.float32, torch.float64, torch.int32, torch.int64, torch.bool, torch.float16, torch.complex64]
    tensors = st.builds(lambda s, d: torch.zeros(s, dtype=d), st.sampled_from(shapes), st.sampled_from(kinds))
    odd = [None, 0, -1, 1.5, "", "all", "cpu", [], [0], (2, 2), {}, object(), np.zeros((2, 3), np.int32)]
    odd += [torch.zeros((2, 3), device="meta"), torch.zeros((2, 3)).to_sparse(), torch.zeros(1, 2, 2, 4).to_mkldnn()]
    return st.one_of(tensors, st.sampled_from(odd))


@fuzz
@given(data=st.data())
@pytest.mark.parametrize("name", ["rasterize", "interpolate", "antialias", "edge_gradients"])
def test_fuzz_arguments(any_context, name, data):
    rast = torch.zeros(1, 2, 2, 4)
    tri = torch.zeros((1, 3), dtype=torch.int32)
    arguments = {
        "rasterize": {"glctx": any_context, "pos": torch.zeros(1, 3, 4), "tri": tri, "resolution": (2, 2)}
        | {"ranges": None, "cull": "none"},
        "interpolate": {"attr": torch.zeros(3, 2), "rast": rast, "tri": tri, "rast_db": rast, "diff_attrs": "all"},
        "antialias": {"color": rast, "rast": rast, "pos": torch.zeros(3, 4), "tri": tri}
        | {"topology_hash": None, "pos_gradient_boost": 1.0},
        "edge_gradients": {"color": rast, "rast": rast, "pos": torch.zeros(3, 4), "tri": tri}
        | {"topology_hash": None, "crease": True},
    }[name]
    wrong = data.draw(st.lists(st.sampled_from(sorted(arguments)), min_size=1, max_size=3, unique=True))
    changed = {key: data.draw(_things(3), label=key) for key in wrong}
    try:
        result = getattr(glraster, name)(**(arguments | changed))
    except (TypeError, ValueError) as error:
        assert str(error).startswith(f"{name}(): "), error
    else:
        assert all(isinstance(t, torch.Tensor) for t in (result if isinstance(result, tuple) else (result,)))


ROOT = Path(__file__).parents[1]
KERNELS = sorted((ROOT / "glraster" / "cuda_kernels").glob("*.cu"))
SANITIZE = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


@pytest.fixture(scope="module")
def sanitized_library(tmp_path_factory) -> Path:
    """The host library, as far as it is fuzzed, with sanitizers."""
    folder = tmp_path_factory.mktemp("sanitized")
    flags = ["-x", "c++", "-std=c++17", "-O1", "-g1", "-fPIC", "-fopenmp", "-ffp-contract=off", *SANITIZE]
    jobs = []
    stamp = folder / "stamp.cpp"
    stamp.write_text(sources.stamp(flags))
    for file in [*KERNELS, stamp]:
        command = ["g++", *flags, "-c", str(file), "-o", str(folder / f"{file.stem}.o")]
        jobs.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for job in jobs:
        _, errors = job.communicate()
        assert job.returncode == 0, errors
    library = folder / "host_sanitized.so"
    objects = [str(path) for path in folder.glob("*.o")]
    subprocess.run(["g++", "-fopenmp", *SANITIZE, "-shared", *objects, "-o", str(library)], check=True)
    return library


def _run_sanitized(library: Path, *arguments: str) -> subprocess.CompletedProcess:
    # The sanitizer must come first, and find the C++ library that throws PyTorch's exceptions.
    finds = [["g++", f"-print-file-name={name}"] for name in ("libasan.so", "libstdc++.so.6")]
    preload = [subprocess.run(find, capture_output=True, text=True, check=True).stdout.strip() for find in finds]
    environment = os.environ | {
        "GLRASTER_HOST_LIBRARY": str(library),
        "GLRASTER_FUZZ_EXAMPLES": "25",
        "GLRASTER_FUZZ_CONTEXTS": "software",
        "LD_PRELOAD": " ".join(preload),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=ROOT)


OVERRUN = """
import torch
from glraster.interpolate import KERNELS
rast, out = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 1)
numbers = {"V": 0, "A": 1, "num_triangles": 0, "num_diff_attrs": 0, "attr_stride": 0}
KERNELS.launch("interpolate_fwd", 64, rast=rast, out=out, N=1, H=8, W=8, **numbers)
"""


@pytest.mark.slow
def test_the_sanitizer_sees_the_librarys_accesses(sanitized_library):
    done = _run_sanitized(sanitized_library, "-c", OVERRUN)
    assert done.returncode != 0 and "AddressSanitizer: heap-buffer-overflow" in done.stderr, done.stdout + done.stderr


@pytest.mark.slow
def test_fuzzing_is_clean_under_sanitizers(sanitized_library):
    options = ["-x", "-s", "-p", "no:cacheprovider", "-k", "fuzz and not sanitizers"]
    files = [str(Path(__file__)), str(Path(__file__).with_name("test_fuzz_texture.py"))]
    done = _run_sanitized(sanitized_library, "-m", "pytest", *files, *options)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


def test_another_host_library_must_exist():
    environment = os.environ | {"GLRASTER_HOST_LIBRARY": "/nowhere/host.so"}
    program = "import glraster; glraster.cuda_kernels.host.host_library()"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "HostLibraryError: GLRASTER_HOST_LIBRARY=/nowhere/host.so cannot be loaded" in done.stderr
