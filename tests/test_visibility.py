"""The two ways to find what is visible, cells (made for CPUs) and lists (made for GPUs), are equal to the last bit."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from scenes import soup, sphere, triangles

import glraster
from glraster import software
from glraster.rasterize import make_scene
from glraster.scene import Scene

CONTEXT = glraster.SoftwareRasterizer("cpu")


def scene_of(pos, tri, size, ranges=None, cull="none") -> Scene:
    return make_scene("test", CONTEXT, pos, tri, size, ranges, cull)[1]


def assert_equal_layers(scene: Scene, layers: int = 1, least: float = 0.1) -> None:
    """Of each way, every layer from the one before; at least so much of the first one shows triangles."""
    cells = lists = None
    for layer in range(layers):
        cells = CONTEXT.find_visible(scene, cells, peeling=True, by_cells=True)
        lists = CONTEXT.find_visible(scene, lists, peeling=True, by_cells=False)
        assert torch.equal(cells.ids, lists.ids)
        if layer == 0:
            assert torch.equal(CONTEXT.find_visible(scene).ids, cells.ids.int())
            assert (cells.ids.int() >= 0).float().mean() >= least


def tangle(seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Triangles of all sizes that share corners, some of which lie behind the eye: [2, 60, 4] and [40, 3]."""
    generator = torch.Generator().manual_seed(seed)
    pos = torch.randn(2, 60, 4, generator=generator)
    pos[..., 3] = pos[..., 3] * 0.5 + 1
    return pos, torch.randint(0, 60, (40, 3), generator=generator, dtype=torch.int32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("range_mode", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_tangles(range_mode, layers, dtype):
    pos, tri = tangle()
    ranges = torch.tensor([[0, 25], [0, 0], [10, 30]], dtype=torch.int32) if range_mode else None
    assert_equal_layers(scene_of((pos[0] if range_mode else pos).to(dtype), tri, (150, 201), ranges), layers)


@pytest.mark.parametrize("cull", ["none", "back", "front"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [(64, 64), (131, 77), (500, 700)], ids=str)
def test_small_triangles(size, dtype, cull):
    pos, tri = sphere(4, num_views=2)
    assert_equal_layers(scene_of(pos.to(dtype), tri, size, cull=cull), 2)


@pytest.mark.parametrize("seed", range(6))
def test_triangles_at_the_near_and_far_planes(seed):
    """Half of the corners within a few roundings of a plane: fixed-point depths must not run over."""
    pos, tri = soup(seed, 2, 300, behind_eye=0.0)
    generator = torch.Generator().manual_seed(seed)
    side = torch.randint(-1, 2, pos.shape[:2], generator=generator).float()
    near = side + 3e-7 * torch.randint(-4, 5, pos.shape[:2], generator=generator)
    pos[..., 2] = torch.where(side != 0, near, pos[..., 2] / pos[..., 3]) * pos[..., 3]
    pos[..., :2] *= 0.1 if seed % 2 else 1.0
    assert_equal_layers(scene_of(pos, tri, (64, 96)), 2, least=0.02)


@pytest.mark.parametrize("size", [(1, 1), (1, 9000), (9000, 1), (3, 20_000), (20_000, 3), (40, 8200)], ids=str)
def test_long_images(size):
    assert_equal_layers(scene_of(*tangle(), size))


def test_triangles_narrower_than_the_grid():
    generator = torch.Generator().manual_seed(0)
    pos = torch.randn(1, 3000, 4, generator=generator) * 0.5
    pos[:, 1::3] = pos[:, ::3] + 3e-5 * torch.randn(1, 1000, 4, generator=generator)
    pos[..., 3] = 1
    assert_equal_layers(scene_of(pos, torch.arange(3000, dtype=torch.int32).reshape(-1, 3), (256, 256)), 2, least=0.001)


def test_lists_that_are_full(monkeypatch):
    scene = scene_of(*soup(1, 2, 60), (90, 110))
    expected = CONTEXT.find_visible(scene, by_cells=False).ids
    monkeypatch.setattr(software, "_MOST_LEFT", 3)
    monkeypatch.setattr(software, "_MOST_RECORDS", 5)
    assert torch.equal(CONTEXT.find_visible(scene, by_cells=False).ids, expected) and (expected.int() >= 0).any()


def test_more_images_than_are_drawn_at_a_time():
    pos, tri = sphere(5)
    shift = torch.linspace(-1, 1, 300)[:, None, None] * torch.tensor([1.0, 0, 0, 0])
    ids = CONTEXT.find_visible(scene_of(pos + pos[..., 3:] * shift, tri, (8, 8))).ids
    for image in (0, 150, 299):
        expected = CONTEXT.find_visible(scene_of(pos + pos[..., 3:] * shift[image], tri, (8, 8))).ids
        assert torch.equal(ids[image], expected[0]) and (expected >= 0).any()


def test_threads_change_nothing():
    scene, found = scene_of(*soup(4, 1, 200), (300, 300)), []
    before = torch.get_num_threads()
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        found.append(CONTEXT.find_visible(scene).ids)
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_calls_at_the_same_time_and_memory_given_back():
    scenes = [scene_of(*soup(seed, 1, 200), (100 + 50 * seed, 100)) for seed in range(4)]
    expected = [CONTEXT.find_visible(scene).ids for scene in scenes]
    CONTEXT.shrink()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: CONTEXT.find_visible(scenes[n % 4]).ids, range(40)))
    assert all(torch.equal(ids, expected[n % 4]) for n, ids in enumerate(found))


def test_closed_contexts_give_nothing_back():
    context = glraster.SoftwareRasterizer("cpu")
    context.shrink()
    context.close()
    with pytest.raises(RuntimeError, match="this SoftwareRasterizer is closed"):
        context.shrink()


def test_depth_in_fixed_point_by_hand():
    """A plane z/w = x/2 over 8 x 1 pixels, in keys: 32 bits of depth, rounded down, above the id."""
    pos = torch.tensor([[[-1.0, -1, -0.5, 1], [3, -1, 1.5, 1], [-1, 3, -0.5, 1]]])
    inside = torch.tensor([[[-1.0, -1, -0.5, 1], [1, -1, 0.5, 1], [1, 9, 0.5, 1], [-1, 9, -0.5, 1]]])
    centres = (torch.arange(8).double() * 2 + 1) / 8 - 1
    expected = (centres / 2 * (2**31 - 1)).floor().long() + 2**31
    for corners, tri in ((pos, triangles([0, 1, 2])), (inside, triangles([0, 1, 2], [0, 2, 3]))):
        keys = CONTEXT.find_visible(scene_of(corners, tri, (1, 8)), peeling=True).ids.flatten()
        assert ((keys >> 32 & 0xFFFFFFFF) - expected).abs().max() <= 1 and (keys.int() >= 0).all()


def test_too_little_memory(monkeypatch):
    def fail(name, count, *, failed, **fields):
        failed.fill_(1)

    monkeypatch.setattr(software.KERNELS, "launch", fail)
    with pytest.raises(MemoryError, match=r"rasterize\(\): not enough memory for lists of 20 triangles"):
        CONTEXT.find_visible(scene_of(*sphere(0), (4, 4)))


@pytest.mark.parametrize("size", [(48, 48), (3, 9000), (700, 1)], ids=str)
@pytest.mark.parametrize("cull", ["none", "back"])
def test_slivers(size, cull):
    """The lists' way tells from the area on the grid which way small triangles face, where that is clear."""
    generator = torch.Generator().manual_seed(5)
    count = 4000
    size_of_pixel = 2 / torch.tensor([size[1], size[0]])
    middle = 2 * torch.rand((count, 1, 2), generator=generator) - 1
    along = torch.randn((count, 3, 1), generator=generator) * torch.randn((count, 1, 2), generator=generator)
    width = 10 ** (-4 * torch.rand((count, 1, 1), generator=generator))  # in pixels: from one down to none at all
    points = middle + size_of_pixel * (3 * along + width * torch.randn((count, 3, 2), generator=generator))
    w = 0.5 + torch.rand((count, 3, 1), generator=generator)
    depth = 2 * torch.rand((count, 3, 1), generator=generator) - 1
    pos = torch.cat([points * w, depth * w, w], -1).reshape(1, 3 * count, 4)
    tri = torch.arange(3 * count, dtype=torch.int32).view(count, 3)
    assert_equal_layers(scene_of(pos, tri, size, cull=cull), layers=2, least=0.01)
