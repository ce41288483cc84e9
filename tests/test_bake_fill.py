"""Filling: along the surface, over seams, where nothing is known, and between islands."""

import pytest
import torch
from bake_scenes import SIDE, two_islands

from glraster import bake, mesh

F64 = torch.float64


@pytest.fixture(scope="module")
def halves(on_cpu) -> bake.Texels:
    return bake.texels(on_cpu, two_islands(), SIDE)


def test_a_ramp_goes_over_the_seam(halves):
    """Known at both ends, eight texels apart in two halves: every texel is the mean of its neighbours."""
    known = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    known[0, 4:12, 2] = known[0, 4:12, 13] = True
    texture = torch.full((1, SIDE, SIDE, 2), torch.nan)
    texture[0, :, 2], texture[0, :, 13] = torch.tensor([0.0, 5.0]), torch.tensor([7.0, 5.0])
    found = bake.fill(texture, known, halves)
    ramp = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7])
    for columns, values in ((range(2, 6), ramp[:4]), (range(10, 14), ramp[4:])):
        expected = torch.stack([values, torch.full((4,), 5.0)], dim=1).expand(8, 4, 2)
        torch.testing.assert_close(found[0, 4:12, list(columns)], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[0, 4:12, 6, 0], torch.full((8,), 4.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[0, 4:12, 9, 0], torch.full((8,), 3.0), atol=1e-3, rtol=0)
    assert found.isfinite().all() and torch.equal(found[known], texture[known])
    assert found[..., 0].min() >= 0 and found[..., 0].max() <= 7 and (found[..., 1] - 5).abs().max() < 1e-5


def test_as_the_equations_say(on_cpu):
    """Against a dense solution in float64, on a sheet of one island with holes."""
    size = 48
    sheet = bake.texels(on_cpu, mesh.grid(2, 2), size)
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(1, size, size, generator=generator) < 0.02
    values = torch.rand(1, size, size, 1, generator=generator)
    unknown = (~known[0]).flatten().nonzero()[:, 0]
    matrix = torch.zeros(size * size, size * size, dtype=F64)
    for row in range(size):
        for column in range(size):
            for y, x in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= y < size and 0 <= x < size:
                    matrix[row * size + column, row * size + column] += 1
                    matrix[row * size + column, y * size + x] -= 1
    right = -matrix[:, known.flatten()] @ values.double().flatten()[known.flatten()]
    exact = values.double().flatten().clone()
    exact[unknown] = torch.linalg.solve(matrix[unknown][:, unknown], right[unknown])
    found = bake.fill(values.where(known[..., None], 0), known, sheet).double().flatten()
    assert (found - exact).abs().max() < 0.01 and (found - exact).abs().mean() < 1e-3


def test_parts_of_which_nothing_is_known(on_cpu):
    """Two squares that do not hang together; in the layout, one is beside what is known of the other."""
    square = two_islands()
    apart = square.replace(tri=square.uv_tri, pos=torch.nn.functional.pad(square.uv, (0, 1)))
    texels = bake.texels(on_cpu, apart, SIDE)
    known = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    known[0, 4:6, 2:6] = True
    texture = torch.zeros(1, SIDE, SIDE, 1)
    texture[0, 4, 2:6], texture[0, 5, 2:6] = 1.0, 3.0
    found = bake.fill(texture, known, texels)
    torch.testing.assert_close(found[0, 4:12, 10:14], torch.full((8, 4, 1), 2.0))  # the mean of all
    assert found[0, 6:12, 2:6].min() > 2.5


def test_between_islands(halves):
    texture = torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    found = bake.fill(texture, halves.inside, halves)
    assert torch.equal(found[halves.inside], texture[halves.inside])
    torch.testing.assert_close(found[halves.covered], bake.sew(texture, halves)[halves.covered])
    assert found.min() >= 0 and found.max() <= 1
    again = bake.fill(found, halves.covered, halves)
    assert torch.equal(again, found)


def test_without_a_layout():
    known = torch.zeros(1, 5, 7, dtype=torch.bool)
    known[0, 0, 0] = True
    texture = torch.rand(1, 5, 7, 2)
    found = bake.fill(texture, known)
    torch.testing.assert_close(found, texture[:, :1, :1].expand(1, 5, 7, 2))
    known[0, 4, 6] = True
    found = bake.fill(texture.double(), known)
    assert found.dtype == F64 and torch.equal(found[known], texture.double()[known])
    for side in (0, 1):
        low, high = sorted([texture[0, 0, 0, side], texture[0, 4, 6, side]])
        assert found[..., side].min() >= low - 1e-6 and found[..., side].max() <= high + 1e-6
    assert torch.equal(bake.fill(texture, torch.ones(1, 5, 7, dtype=torch.bool)), texture)


def test_only_what_lies_outside_is_known(halves):
    texture = torch.full((1, SIDE, SIDE, 1), 2.0)
    assert (bake.fill(texture, ~halves.covered, halves) == 2).all()


def test_known_texels_do_not_reach_through_thin_gaps(on_cpu):
    """Two islands side by side without a gap, of a surface that does not hang together there."""
    square = two_islands(gap=0)
    apart = square.replace(tri=square.uv_tri, pos=torch.rand(8, 3, generator=torch.Generator().manual_seed(0)))
    texels = bake.texels(on_cpu, apart, SIDE)
    known = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    known[0, 4:12, 2] = known[0, 4, 9] = True
    texture = torch.zeros(1, SIDE, SIDE, 1)
    texture[0, 4, 9] = 1
    found = bake.fill(texture, known, texels)
    assert found[0, 4:12, 2:6].abs().max() < 1e-4 and (found[0, 4:12, 6:10] - 1).abs().max() < 1e-4


def test_errors(halves):
    texture, known = torch.zeros(1, SIDE, SIDE, 3), torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"fill\(\): known must be true of a texel, got none"):
        bake.fill(texture, known, halves)
    for wrong in (
        (texture[0], known),
        (texture, known[0]),
        (texture[:, :8], known),
        (texture.repeat(2, 1, 1, 1), known),
    ):
        with pytest.raises(
            ValueError, match=r"fill\(\): texture and known must be \[1, H, W, C\] and \[1, H, W\], got"
        ):
            bake.fill(*wrong)
    with pytest.raises(ValueError, match=r"fill\(\): texture must have the size of texels, \[1, 16, 16\], got"):
        bake.fill(texture[:, :8], known[:, :8], halves)
