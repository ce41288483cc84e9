"""What the compilers make of the rasterizer's loops: vectors on a CPU, integers and few instructions on a GPU."""

import re
import shutil
from pathlib import Path

import pytest
from host_code import host_functions

from glraster.cuda_kernels import host, machine_code

LOOPS = {  # functions of which the loops do nearly all of the work, and what they mostly do, on vectors of 32 bytes
    "set_up_edges<float>": r"vpmulld|vpsubd",
    "set_up_depths<float>": r"vmulpd",
    "set_up_depths<double>": r"vmulpd",
    "cover_fixed<false>": r"vpminsd|vpblendvb|vblendvps",
    "cover_fixed<true>": r"vpminsd|vpblendvb|vblendvps",
    "cover_exact<false>": r"vm(ax|in)pd",
    "draw_lanes<false, float>": r"vpminsd",
    "draw_lanes<true, double>": r"vpminsd",
    "set_up_runs<float>": r"vmulpd",
    "barycentrics_row<float": r"vmulpd",
    "barycentrics_row<double": r"vmulpd",
    "set_up_tangents<float>": r"vmulpd",
    "set_up_tangents<double>": r"vmulpd",
    "barycentrics_row_jvp<float": r"vmulpd",
    "barycentrics_row_jvp<double": r"vmulpd",
}
DIVISIONS = {  # functions of many loops, each with an end of single numbers, and how often they divide vectors at least
    "texture_image_jvp<(Filter)2, (Boundary)0, float>": 8,
    "texture_image_jvp<(Filter)2, (Boundary)0, double>": 4,
}
CHANNELS = (  # functions that move a pixel's channels as one
    "read_changes<3, (Boundary)1, 1, false, TextureParams<float>",
    "read_changes<4, (Boundary)1, 2, true, TextureParams<float>",
)


@pytest.fixture(scope="session")
def host_listings() -> dict[str, list[str]]:
    """Instructions of the functions named above, of the host library in use, where that has vectors of 32 bytes."""
    for tool in ("objdump", "nm"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    library = Path(host.host_library()._name)
    if library.stem not in ("host_avx2", "host_avx512"):
        pytest.skip(f"{library.name} has no vectors of 32 bytes")
    return host_functions(library, "|".join(map(re.escape, (*LOOPS, *DIVISIONS, *CHANNELS))))


@pytest.mark.parametrize("function", LOOPS)
def test_loops_are_vectorized(host_listings, function):
    """Without vectors, most arithmetic would be on single numbers of double precision; what is left is a loop's end."""
    found = [lines for name, lines in host_listings.items() if function in name]
    assert found
    for lines in found:
        vectors = sum(re.match(rf"(?:{LOOPS[function]})\b.*%[yz]mm", line) is not None for line in lines)
        single = sum(re.match(r"v(add|mul|sub|max|min)sd\b", line) is not None for line in lines)
        assert vectors > 0 and single <= max(vectors, 24), (vectors, single)


@pytest.mark.parametrize("function", DIVISIONS)
def test_tangents_of_levels_are_vectorized(host_listings, function):
    (lines,) = (lines for name, lines in host_listings.items() if function in name)
    assert sum(re.match(r"vdivp[sd]\b.*%[yz]mm", line) is not None for line in lines) >= DIVISIONS[function]


@pytest.mark.parametrize("function", CHANNELS)
def test_channels_are_lanes(host_listings, function):
    (lines,) = (lines for name, lines in host_listings.items() if function in name)
    assert any(line.startswith("vmulps") for line in lines)
    assert not [line for line in lines if re.match(r"v(add|mul|sub)ss\b", line)]


def test_rasterizer_on_gpus(gpu_code):
    """GeForce cards have a sixty-fourth of single precision's rate for double precision: pixels are integers there."""
    kernels = gpu_code("rasterize", "rasterize_triangles", "rasterize_tiles")
    triangles, tiles = kernels["rasterize_triangles"], kernels["rasterize_tiles"]
    assert machine_code.double_rate(triangles.instructions) <= 132
    assert "MUFU.RCP64H" not in tiles.instructions
    for kernel, registers in ((triangles, 72), (tiles, 64)):
        assert kernel.use.stack == 0 and kernel.use.registers <= registers
        over_pixels = [loop for loop in kernel.loops if loop.count("RED|ATOM")]
        integers = [loop for loop in over_pixels if not machine_code.double_rate(loop.instructions)]
        assert integers and (len(integers) == len(over_pixels) or kernel is tiles)
        for loop in integers:
            assert len(loop.instructions) <= 40 * loop.count("RED|ATOM")


_SUMS = [  # kernels that add to tensors, with the constants that they are compiled with
    ("barycentrics", ("barycentrics_bwd",), {}),
    pytest.param("depth", ("depth_bwd",), {}, marks=pytest.mark.slow),
    ("interpolate", ("interpolate_bwd",), {"INTERPOLATE_ATTRIBUTES": 4, "INTERPOLATE_DERIVATIVES": 0}),
    pytest.param("antialias", ("antialias_find", "antialias_bwd"), {}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("stem", "names", "constants"), _SUMS)
def test_sums_over_lanes(gpu_code, stem, names, constants):
    """Masks that are not constant would cost a MATCH and a REDUX for every shuffle; all values go in one loop."""
    least = {"barycentrics": 9, "depth": 12, "interpolate": 12, "antialias": 0}[stem]  # values of a thread
    for kernel in gpu_code(stem, *names, **constants).values():
        assert kernel.use.stack == 0 and kernel.count("MATCH|REDUX") == 0
        assert max((loop.count("SHFL") for loop in kernel.loops), default=0) >= least


_PIXELS = [  # kernels over pixels, and the constants that they are compiled with
    ("barycentrics", ("barycentrics_fwd", "barycentrics_bwd"), {}),
    ("depth", ("depth_bwd", "depth_jvp"), {}),
    (
        "interpolate",
        ("interpolate_fwd", "interpolate_bwd", "interpolate_jvp"),
        {"INTERPOLATE_ATTRIBUTES": "kAnyNumber"},
    ),
    ("antialias", ("antialias_find", "antialias_fwd"), {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stem", "names", "constants"), _PIXELS)
def test_no_divisions_of_64_bits(gpu_code, stem, names, constants):
    for kernel in gpu_code(stem, *names, **constants).values():
        assert not re.search(r"(div|rem)_[su]64", kernel.listing)


def test_four_attributes(gpu_code):
    """One access each for what a pixel shows of three corners, and for the result."""
    kernel = gpu_code("interpolate", "interpolate_fwd", INTERPOLATE_ATTRIBUTES=4, INTERPOLATE_DERIVATIVES=0)[
        "interpolate_fwd"
    ]
    assert kernel.use.stack == 0 and kernel.use.registers <= 40 and len(kernel.instructions) <= 250
    wide = [name for name in kernel.instructions if ".128" in name]
    assert sum(name.startswith("LDG") and "CONSTANT" in name for name in wide) == 3
    assert sum(name.startswith("STG") for name in wide) == 1


def test_pairs_are_found_in_few_instructions(gpu_code):
    kernel = gpu_code("antialias", "antialias_find")["antialias_find"]
    assert kernel.use.stack == 0 and len(machine_code.outer_loop(kernel.listing).instructions) <= 150


def test_loops_are_found():
    """In a listing by hand: one loop inside of another, and a jump forward that is none."""
    lines = [
        ".L_x_0:",
        "/*0000*/ MOV R0, R1 ;",
        ".L_x_1:",
        "/*0010*/ @P0 DADD R2, R2, R4 ;",
        "/*0020*/ RED.E.MIN.64 [R2] ;",
    ]
    lines += ["/*0030*/ @!P1 BRA `(.L_x_1) ;", "/*0040*/ @P2 BRA `(.L_x_2) ;", "/*0050*/ BRA `(.L_x_0) ;", ".L_x_2:"]
    (inner,) = machine_code.loops("\n".join(lines))
    assert inner.instructions == ("DADD", "RED.E.MIN.64", "BRA")
    assert inner.count("RED") == machine_code.double_rate(inner.instructions) == 1
