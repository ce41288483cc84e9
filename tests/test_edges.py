"""rasterize where geometry degenerates: no area, slivers, large triangles, very small and very large units."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from reference import rasterize as reference
from scenes import project, soup, sphere, triangles

import glraster
from glraster import rasterize
from glraster.facing import NO_AREA, find_unseen

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def exact_sign(corners: list) -> int:
    """Of det(x, y, w) of three corners (x, y, z, w), with rational numbers."""
    (a, b, _, c), (d, e, _, f), (g, h, _, i) = [[Fraction(value) for value in corner] for corner in corners]
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return (det > 0) - (det < 0)


def without_area(kind: str, count: int, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles that have no area, exactly, and pixels enough to show in: [3 count, 4], [count, 3]."""
    generator = torch.Generator().manual_seed(sum(map(ord, kind)))
    # float32 with room for a middle: its sum with another needs one more bit of the mantissa
    a, b = (((torch.rand(count, 4, generator=generator) - 0.5) * 2**22).round().double() / 2**21 for _ in range(2))
    a[:, 3], b[:, 3] = a[:, 3].abs() + 0.5, b[:, 3].abs() + 0.5
    a[:, 2], b[:, 2] = -0.2 * a[:, 3], -0.2 * b[:, 3]
    corners = torch.stack([a, b, (a + b) / 2], 1)
    if kind == "middle first":
        corners = corners[:, [2, 0, 1]]
    elif kind == "edge-on":  # a plane through the eye, with corners at different depths
        corners[:, :, 1] = corners[:, :, 0] / 2
        corners[:, 2] = a.flip(0) * torch.tensor([1, 0, -1, 1.0])
        corners[:, 2, 1] = corners[:, 2, 0] / 2
    elif kind == "equal corners":
        corners[:, 2] = corners[:, 1]
    tri = torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3)
    if kind == "repeated index":
        tri[:, 2] = tri[:, 0]
    return corners.reshape(-1, 4).to(dtype), tri


KINDS = ["middle last", "middle first", "edge-on", "equal corners", "repeated index"]


@DTYPES
@pytest.mark.parametrize("kind", KINDS)
def test_triangles_without_area_draw_nothing(glctx, device, kind, dtype):
    pos, tri = without_area(kind, 2000, dtype)
    assert not any(exact_sign(pos[t.long()].tolist()) for t in tri[:100])
    behind = torch.tensor([[-1.0, -1, 0.9, 1], [3, -1, 0.9, 1], [-1, 3, 0.9, 1]], dtype=dtype)
    pos, tri = torch.cat([pos, behind]).to(device), torch.cat([tri, triangles([6000, 6001, 6002])]).to(device)
    rast, _ = rasterize(glctx, pos[None], tri, (64, 64))
    assert (rast[..., 3] == 2001).all()  # and they hide nothing
    ranges = torch.tensor([[0, 2000], [1000, 1001]], dtype=torch.int32)
    rast, _ = rasterize(glctx, pos, tri, (64, 64), ranges)
    assert not rast[0].any() and (rast[1, ..., 3] == 2001).all()


def test_triangles_without_area_in_some_images(glctx, device):
    whole = torch.tensor([[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]])
    flat = whole.clone()
    flat[:, 1] = 0.3 * flat[:, 0]
    pos = torch.stack([torch.cat([first, second]) for first, second in ((whole, flat), (flat, whole), (flat, flat))])
    for cull in ("none", "back"):
        rast, _ = rasterize(glctx, pos.to(device), triangles([0, 1, 2], [3, 4, 5]).to(device), (9, 9), cull=cull)
        assert [image.unique().tolist() for image in rast[..., 3].cpu()] == [[1], [2], [0]]


@DTYPES
def test_validate_names_triangles_without_area_and_no_others(device, dtype):
    """Against rational numbers: every one that has none, and none of their neighbours one rounding away."""
    parts = [without_area(kind, 150, dtype) for kind in KINDS]
    pos = torch.cat([pos[tri.long()] for pos, tri in parts])  # [T, 3, 4]
    nudged = pos.clone()
    corner = torch.randint(3, (len(pos),), generator=torch.Generator().manual_seed(0))
    where = torch.arange(len(pos)), corner, torch.arange(len(pos)) % 2
    nudged[where] = torch.nextafter(nudged[where], torch.full_like(nudged[where], 9))
    pos = torch.cat([pos, nudged, soup(0, 1, 200)[0].reshape(-1, 3, 4).to(dtype)])
    expected = torch.tensor([exact_sign(corners.tolist()) == 0 for corners in pos])
    tri = torch.arange(3 * len(pos), dtype=torch.int32).reshape(-1, 3).to(device)
    found = find_unseen(pos.reshape(-1, 4).to(device), tri).cpu() == NO_AREA
    assert torch.equal(found, expected) and 750 <= expected.sum() < 950
    order = expected.long().argsort(stable=True)  # the first that has none is named, and no other
    first = int((~expected).sum())
    with pytest.raises(ValueError, match=rf"must have an area, got none in triangle {first} of image 0"):
        context = glraster.RasterizeCudaContext(device)
        rasterize(context, pos[order].reshape(1, -1, 4).to(device), tri, (4, 4), validate=True)
    rasterize(context, pos[order[:first]].reshape(1, -1, 4).to(device), tri[:first], (4, 4), validate=True)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_sign_of_the_area_at_any_scale(device, scale):
    pos, tri = without_area("middle last", 100)
    pos[::6, 0] += 2.0**-21
    pos *= 2.0 ** round(np.log2(scale))
    expected = torch.tensor([exact_sign(pos[t.long()].tolist()) == 0 for t in tri])
    assert torch.equal(find_unseen(pos.to(device), tri.to(device)).cpu() == NO_AREA, expected) and expected.sum() == 50


def look(eye, up, target=(0, 0, 0)) -> torch.Tensor:
    """[4, 4] float32 matrix to clip space."""
    back = np.subtract(eye, target) / np.linalg.norm(np.subtract(eye, target))
    right = np.cross(up, back) / np.linalg.norm(np.cross(up, back))
    view = np.eye(4)
    view[:3, :3] = np.stack([right, np.cross(back, right), back])
    view[:3, 3] = -view[:3, :3] @ eye
    near, far, scale = 0.1, 100.0, 2.4
    projection = np.diag([scale, scale, (far + near) / (near - far), 0.0])
    projection[2, 3], projection[3, 2] = 2 * far * near / (near - far), -1.0
    return torch.tensor(projection @ view, dtype=torch.float32)


BOX = np.array([[x, y, z] for x in (-0.7, 0.7) for y in (-1.0, 0.0) for z in (-0.7, 0.7)])
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
BOX_TRI = triangles(*[t for a, b, c, d in SIDES for t in ([a, b, c], [a, c, d])])


@DTYPES
def test_top_of_a_box_at_eye_height(glctx, device, dtype):
    """The camera rolls, so that rounding leaves the top's corners on no line; seen from its own plane it is none."""
    angles = 2 * np.pi * np.arange(150) / 150
    eyes = [(4 * np.sin(a), 0, 4 * np.cos(a)) for a in angles]
    pos = project(BOX, [look(eye, (0.3 * np.cos(a), 1, -0.3 * np.sin(a))) for eye, a in zip(eyes, angles, strict=True)])
    top = torch.tensor((BOX[:, 1][BOX_TRI.numpy()] == 0).all(1)).nonzero().flatten()
    pos = pos.to(device, dtype).requires_grad_()
    rast, _ = rasterize(glctx, pos, BOX_TRI.to(device), (65, 65))
    assert not torch.isin(reference.decode_id(rast[..., 3].cpu()), top).any() and (rast[..., 3] > 0).any()
    assert (find_unseen(pos.detach(), BOX_TRI.to(device)).cpu()[:, top] > 0).all()
    rast[..., 0].sum().backward()
    norms = pos.grad.flatten(1).norm(dim=1)
    assert norms.max() < 20 * norms.median()


def slivers(seed: int, count: int, behind_eye: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles far thinner than the grid that corners are rounded to, with steep planes: [1, 3 count, 4]."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(count, 4, generator=generator, dtype=torch.float64) * 0.7 for _ in range(2))
    a[:, 3], b[:, 3] = a[:, 3].abs() + 0.5, b[:, 3].abs() + 0.5
    if behind_eye:
        b[:, 3] *= -1
    middle = a + (b - a) * torch.rand(count, 1, generator=generator) + 1e-5 * torch.randn(count, 4, generator=generator)
    middle[:, 2] = torch.rand(count, generator=generator) - 0.5  # off the line in depth
    pos = torch.stack([a, middle, b], 1).reshape(1, -1, 4)
    return pos, torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3)


@DTYPES
@pytest.mark.parametrize("behind_eye", [False, True], ids=["before the eye", "across w = 0"])
def test_slivers_stay_between_their_corners(glctx, device, dtype, behind_eye):
    pos, tri = slivers(1, 3000, behind_eye)
    pos = pos[0].to(device, dtype)
    rast, rast_db = rasterize(glctx, pos[None], tri.to(device), (128, 128))
    seen = rast[..., 3] > 0
    u, v = rast[..., 0].double(), rast[..., 1].double()
    assert seen.sum() > 20 and rast.isfinite().all() and rast_db.isfinite().all()
    for weight in (u, v, 1 - u - v, 1 - v - u, (1 - rast[..., 0] - rast[..., 1]), (1 - rast[..., 1] - rast[..., 0])):
        assert weight.min() >= 0 and weight.max() <= 1
    corners = pos.double().cpu()[tri.long()]
    nearest, farthest = (limit.clamp(-1, 1) for limit in reference._depth_limits(corners[..., 2], corners[..., 3]))
    depth, shown = rast[..., 2].double().cpu()[seen.cpu()], reference.decode_id(rast[..., 3].cpu())[seen.cpu()]
    rounding = torch.finfo(dtype).eps
    assert (depth >= nearest[shown] - rounding).all() and (depth <= farthest[shown] + rounding).all()


def test_depth_of_slivers_is_clamped_where_surfaces_are_compared(device):
    """A steep sliver behind a plane: beside its true outline, its own plane would come before the other."""
    pos, tri = slivers(2, 3000, False)
    depth = pos[..., 2] / pos[..., 3]
    pos[..., 2] = (0.5 + 0.2 * depth.clamp(-1, 1)) * pos[..., 3]  # z/w from 0.3 to 0.7, steep as before
    plane = torch.tensor([[-1.0, -1, 0.29, 1], [3, -1, 0.29, 1], [-1, 3, 0.29, 1]], dtype=torch.float64)
    pos = torch.cat([pos[0], plane]).to(device)
    tri = torch.cat([tri, triangles([9000, 9001, 9002])]).to(device)
    context = glraster.RasterizeCudaContext(device)
    rast, _ = rasterize(context, pos, tri, (64, 64), torch.tensor([[0, 3001], [0, 3000]], dtype=torch.int32))
    assert (rast[0, ..., 3] == 3001).all() and (rast[1, ..., 3] > 0).sum() > 30


@DTYPES
@pytest.mark.parametrize("reach", [200.0, 2e3, 2e4])
def test_depth_of_a_ground_quad(glctx, device, reach, dtype):
    """Camera at 1.5 m, near plane at 0.1 m: two units in the last place of float32, against long doubles."""
    near, far, height = 0.1, 2 * reach, 1.5
    # View space (x, y, -z) with y = -height: clip z = z (f + n) / (f - n) - 2 f n / (f - n), w = z.
    corners = torch.tensor([(x, -height, z) for x, z in ((-reach, 1), (reach, 1), (reach, reach), (-reach, reach))])
    x, y, w = corners.double().unbind(1)
    pos = torch.stack([x, y, w * (far + near) / (far - near) - 2 * far * near / (far - near), w], 1).float().to(dtype)
    rast, _ = rasterize(glctx, pos[None].to(device), triangles([0, 1, 2], [0, 2, 3]).to(device), (64, 48))
    ids = reference.decode_id(rast[..., 3].cpu())
    _, row, column = (ids >= 0).nonzero(as_tuple=True)
    c = pos.double().numpy().astype(np.longdouble)[triangles([0, 1, 2], [0, 2, 3]).numpy()[ids[ids >= 0].numpy()]]
    fx = (2 * column.numpy().astype(np.longdouble) + 1) / 48 - 1
    fy = (2 * row.numpy().astype(np.longdouble) + 1) / 64 - 1
    qx, qy = c[..., 0] - fx[:, None] * c[..., 3], c[..., 1] - fy[:, None] * c[..., 3]
    a = np.roll(qx, -1, 1) * np.roll(qy, -2, 1) - np.roll(qx, -2, 1) * np.roll(qy, -1, 1)
    exact = ((a * c[..., 2]).sum(1) / (a * c[..., 3]).sum(1)).astype(np.float64)
    error = (rast[..., 2].cpu()[ids >= 0].double().numpy() - exact) / np.spacing(np.abs(exact).astype(np.float32))
    assert len(error) > 500 and np.abs(error).max() <= 2


def test_depth_across_the_eye_plane(glctx, device):
    pos, tri = soup(21, 2, 60, behind_eye=0.4)
    rast, _ = rasterize(glctx, pos.to(device), tri.to(device), (40, 40))
    ids = reference.decode_id(rast[..., 3].cpu())
    expected, _ = reference.barycentrics(pos, tri, ids, (40, 40))
    crossing = (pos[torch.arange(2)[:, None, None, None], tri.long()[ids]][..., 3] <= 0).any(-1) & (ids >= 0)
    assert crossing.sum() > 100
    torch.testing.assert_close(
        rast[crossing.to(device)][:, 2].cpu().double(), expected[crossing][:, 2], rtol=0, atol=1e-6
    )


def gradient(context, pos, tri, size, grad_db=True) -> torch.Tensor:
    pos = pos.clone().requires_grad_()
    rast, rast_db = rasterize(context, pos, tri, (size, size))
    generator = torch.Generator().manual_seed(0)
    g, g_db = (torch.randn(rast.shape, generator=generator).to(pos) for _ in range(2))
    torch.autograd.backward([rast, rast_db] if grad_db else [rast], [g, g_db] if grad_db else [g])
    return pos.grad


@DTYPES
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_gradients_do_not_depend_on_units(glctx, device, dtype, scale):
    scale = 2.0 ** round(np.log2(scale))  # of no rounding
    pos, tri = sphere(3, num_views=2)
    pos, tri = pos.to(device, dtype), tri.to(device)
    expected, scaled = gradient(glctx, pos, tri, 48), gradient(glctx, pos * scale, tri, 48) * scale
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_gradient_of_many_small_faces(device):
    """Faces of half a pixel and less: the gradient in float32 is that of the formula, in float64."""
    pos, tri = sphere(6)
    pos, tri = pos.to(device), tri.to(device)
    context = glraster.RasterizeCudaContext(device)
    found, expected = gradient(context, pos, tri, 192, False), gradient(context, pos.double(), tri, 192, False)
    ids = reference.decode_id(rasterize(context, pos, tri, (192, 192))[0][..., 3].cpu())
    theirs = pos.cpu().double().requires_grad_()
    rast, _ = reference.barycentrics(theirs, tri.cpu(), ids, (192, 192))
    rast.backward(torch.randn(rast.shape, generator=torch.Generator().manual_seed(0)).double())
    torch.testing.assert_close(expected.cpu(), theirs.grad, rtol=0, atol=1e-4 * float(theirs.grad.abs().max()))
    ratio = float((found.cpu().double() * theirs.grad).sum() / theirs.grad.square().sum())
    assert abs(ratio - 1) < 1e-4


@DTYPES
def test_gradients_of_slivers_are_bounded(glctx, device, dtype):
    """By their width on the screen, and by the rounding of the corners, which may be all that they are wide."""
    pos, tri = slivers(3, 2000, False)
    gradients = gradient(glctx, pos.to(device, dtype), tri.to(device), 32, False)
    assert gradients.isfinite().all() and gradients.abs().max() < 1e8
    area = torch.tensor([0.0, 1e-45, 1e-30, 1e-20], dtype=dtype, device=device)
    for size in area:  # S of zero, and so small that it has no inverse
        pos = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]]], dtype=dtype, device=device) * size
        assert gradient(glctx, pos, triangles([0, 1, 2]).to(device), 4).isfinite().all()
