"""edge_gradients against central differences of supersampled images: a quick part of benchmarks/visibility.py."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

import glraster

SIZE = 96


@pytest.fixture(scope="module")
def benchmark():
    """The modules of the benchmark: scenes, truth, and what compares."""
    folder = str(Path(__file__).parents[1] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield [importlib.import_module(name) for name in ("visibility_scenes", "visibility_truth", "visibility")]
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def scenes(benchmark) -> dict:
    return {scene.name: scene for scene in benchmark[0].make_scenes()}


# Of the scene's largest derivative, in percent: the worst over cameras, colours and motions. Those of antialias on the
# spheres are 90 and 99.
LIMITS = {
    "icosphere, 1,280": 2.0,
    "icosphere, 20,480": 2.0,
    "sheet, 8,192": 1.0,
    "two sheets, small gap, 16": 1.0,
    "box through ball, coarse, 332": 4.5,
    "crossing sheets, 1,024": 3.0,
    "plank through the eye, 128": 5.5,
    "facets of a box, 12": 1.0,
    "facets of an icosphere, 80": 2.0,
}


@pytest.mark.parametrize("name", LIMITS)
def test_motions(benchmark, scenes, name):
    compare = benchmark[2]
    methods = {"edge_gradients": compare.METHODS["edge_gradients"]}
    with glraster.SoftwareRasterizer("cpu") as glctx:
        rows = list(compare.measure(glctx, scenes[name], SIZE, methods))
    assert max(abs(row["truth"]) for row in rows) > 0.1
    assert max(compare.error(row, "edge_gradients") for row in rows) < LIMITS[name]


def test_vertices(benchmark, scenes):
    _, truth, compare = benchmark
    scene, camera = scenes["icosphere, 320"], "perspective"
    colors = torch.stack(list(scene.colors().values()), 1)
    with glraster.SoftwareRasterizer("cpu") as glctx:
        found = truth.vertex_gradients(glctx, scene, camera, colors, SIZE, compare.METHODS["edge_gradients"])
        chosen = [v for v in range(0, 162, 4) if found[0][v].any()][:16]
        true = [truth.true_vertex_gradient(glctx, scene, v, camera, colors, SIZE) for v in chosen]
    for k, true_gradient in enumerate(torch.stack(true, 1)):
        cosine = torch.cosine_similarity(found[k][chosen].flatten(), true_gradient.flatten(), 0)
        assert cosine > 0.97


def test_float32_agrees_with_float64(benchmark, scenes):
    scene = scenes["icosphere, 20,480"]
    pos = benchmark[0].to_clip(scene.vertices, "perspective")[None].float()
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = pos.to(dtype).requires_grad_()
        image = benchmark[1].draw(
            glraster.SoftwareRasterizer("cpu"),
            scene,
            leaf,
            scene.colors()["smooth"][:, None],
            SIZE,
            glraster.edge_gradients,
        )
        gradients.append(torch.autograd.grad(image.square().sum(), leaf)[0].double())
    assert (gradients[0] - gradients[1]).abs().max() < 1e-4 * gradients[1].abs().max()
