"""Shading: by hand, beside integrals over the whole sphere, in a white furnace; gradients."""

import math

import pytest
import torch

from glraster import shading
from glraster.shading.cubes import around, hammersley, texel_directions, texel_solid_angles
from glraster.shading.microfacets import DIELECTRIC, lobe

F64 = torch.float64
SUN = torch.nn.functional.normalize(torch.tensor([0.5, 0.6, 0.6], dtype=F64), dim=0)


def sky(directions: torch.Tensor) -> torch.Tensor:
    """A smooth environment: brighter above, and around a soft sun."""
    base = 0.4 + 0.3 * directions[..., 1:2] + 0.2 * directions[..., :1] * directions[..., 2:]
    sun = torch.exp(2 * (directions @ SUN.to(directions) - 1))[..., None]
    return base + sun * torch.tensor([1, 0.8, 0.6]).to(directions)


@pytest.fixture(scope="module")
def sphere() -> tuple[torch.Tensor, torch.Tensor]:
    """Directions all around [S, 3], and the light from there times its solid angle [S, 3]."""
    directions = texel_directions(64).view(-1, 3)
    return directions, sky(directions) * texel_solid_angles(64).reshape(-1, 1)


@pytest.fixture(scope="module")
def light() -> shading.EnvironmentLight:
    return shading.EnvironmentLight(sky(texel_directions(64)).float())


def normals() -> torch.Tensor:
    """[8, 3]."""
    generator = torch.Generator().manual_seed(2)
    return torch.nn.functional.normalize(torch.randn(8, 3, dtype=F64, generator=generator), dim=1)


def tilted(normal: torch.Tensor, degrees: float) -> torch.Tensor:
    """Unit vectors [.., 3] at an angle to normals."""
    angle = math.radians(degrees)
    return around(normal, torch.tensor([[math.sin(angle), 0, math.cos(angle)]], dtype=F64))[..., 0, :]


def image(vectors: torch.Tensor) -> torch.Tensor:
    """[1, 1, K, C] float32."""
    return vectors.float()[None, None]


def test_lambert_and_phong_by_hand():
    normal, light = torch.tensor([0.0, 0, 1]), torch.tensor([0.6, 0, 0.8])
    assert shading.lambert(normal, light).item() == pytest.approx(0.8)
    assert shading.lambert(normal, -light).item() == 0
    assert shading.phong(normal, torch.tensor([-0.6, 0, 0.8]), light, 7).item() == pytest.approx(1)
    assert shading.phong(normal, normal, light, 3).item() == pytest.approx(0.8**3)
    assert shading.phong(normal, normal, -light, 3).item() == 0
    view = torch.tensor([0.1, 0.2, 0.9], dtype=F64, requires_grad=True)
    inputs = normal.double().requires_grad_(), view, light.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *vectors: shading.phong(*vectors, 4.5), inputs)


def test_cubes():
    for size in (1, 2, 7):
        assert texel_solid_angles(size).sum().item() == pytest.approx(4 * math.pi)
    assert texel_solid_angles(1)[0, 0, 0].item() == pytest.approx(4 * math.pi / 6)
    points = hammersley(64)
    assert points.min() > 0 and points.max() < 1 and points.mean(0).tolist() == pytest.approx([0.5, 0.5], abs=0.01)
    axis, local = normals(), torch.nn.functional.normalize(torch.randn(5, 3, dtype=F64), dim=1)
    turned = around(axis, local)
    torch.testing.assert_close((turned * axis[:, None]).sum(-1), local[:, 2].expand(8, 5))
    torch.testing.assert_close(turned @ turned.mT, (local @ local.T).expand(8, 5, 5))


def test_harmonics_are_orthonormal(sphere):
    directions, _ = sphere
    basis = shading.spherical_harmonics(directions)
    gram = basis.T @ (basis * texel_solid_angles(64).reshape(-1, 1))
    torch.testing.assert_close(gram, torch.eye(9, dtype=F64), atol=1e-3, rtol=0)


def test_irradiance(sphere, light):
    """The integral of light times n . l / pi, from harmonics and from the blurred cube map: within 2 %."""
    directions, power = sphere
    normal = normals()
    expected = (normal @ directions.T).clamp(min=0) @ power / math.pi
    found = light.irradiance(image(normal))[0, 0].double()
    assert (found / expected - 1).abs().max() < 0.02
    coefficients = shading.project_environment(sky(texel_directions(32)))
    assert (shading.harmonics_irradiance(normal, coefficients) / expected - 1).abs().max() < 0.02
    white = shading.project_environment(torch.ones(6, 8, 8, 1, dtype=F64))
    torch.testing.assert_close(shading.harmonics_irradiance(normal, white), torch.ones(8, 1, dtype=F64))


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
def test_scattered_light_is_the_integral(sphere, roughness):
    """Under a white sky, A + B and B are what the microfacet model reflects in all: within 1 %."""
    directions, _ = sphere
    above = directions[:, 2] > 0
    weights = texel_solid_angles(64).reshape(-1, 1)[above]
    normal = torch.tensor([0.0, 0, 1], dtype=F64)
    for degrees in (0, 40, 70):
        view = tilted(normal, degrees)
        parts = [torch.full((1, 1, 1, 1), value) for value in (math.cos(math.radians(degrees)), roughness)]
        A, B = (value.item() for value in shading.scattered(*parts))
        for base in (1.0, 0.5):  # metals have F0 = base colour and nothing matt
            color = torch.full((3,), base, dtype=F64)
            whole = (shading.ggx(normal, view, directions[above], color, 1.0, roughness) * weights).sum(0)
            assert base * A + B == pytest.approx(whole[0].item(), rel=0.01)


def test_ggx_is_reciprocal():
    normal = torch.tensor([0.0, 0, 1], dtype=F64)
    a, b = tilted(normal, 30), tilted(normal, 65).roll(1)
    a, b = (torch.nn.functional.normalize(v * torch.tensor([1, 1, 1.0]), dim=0) for v in (a, b))
    color = torch.tensor([0.9, 0.5, 0.1], dtype=F64)
    there = shading.ggx(normal, a, b, color, 0.4, 0.5) / b[2]
    back = shading.ggx(normal, b, a, color, 0.4, 0.5) / a[2]
    torch.testing.assert_close(there, back)
    assert not shading.ggx(normal, a, -b.abs(), color, 0.4, 0.5).any()


def test_white_furnace():
    """White surfaces under a white sky are white, whatever they are made of."""
    light = shading.EnvironmentLight(torch.ones(6, 32, 32, 3), samples=64)
    generator = torch.Generator().manual_seed(0)
    normal = torch.nn.functional.normalize(torch.randn(1, 20, 20, 3, generator=generator), dim=-1)
    view = torch.nn.functional.normalize(torch.randn(1, 20, 20, 3, generator=generator), dim=-1)
    view = view * torch.sign((view * normal).sum(-1, keepdim=True))
    metallic, roughness = torch.rand(2, 1, 20, 20, 1, generator=generator)
    white = torch.ones(1, 20, 20, 3)
    found = light.shade(normal, view, white, metallic, roughness)
    torch.testing.assert_close(found, white, atol=2e-5, rtol=0)
    grey = light.shade(normal, view, 0.5 * white, metallic, roughness)
    assert grey.min() > 0 and grey.max() < 1
    assert (light.shade(normal, view, white, metallic, roughness, multiple_scattering=False) < found + 1e-5).all()


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
def test_the_lobe_is_the_mean_direction(roughness):
    """Of the light that white metal reflects under a white sky, summed over all directions."""
    directions, solid = texel_directions(128).view(-1, 3), texel_solid_angles(128).reshape(-1, 1)
    normal, white = torch.tensor([0.0, 0, 1], dtype=F64), torch.ones(3, dtype=F64)
    for degrees in (0, 40, 70):
        view = tilted(normal, degrees)
        weights = shading.ggx(normal, view, directions, white, 1.0, roughness)[:, :1] * solid
        mean = (weights * directions).sum(0) / weights.sum()
        share, spread = lobe(*[torch.full((1, 1, 1, 1), v) for v in (math.cos(math.radians(degrees)), roughness)])
        assert spread.item() == pytest.approx(1 - mean.norm().item(), abs=2e-3)
        found = torch.lerp(normal, shading.reflect(view, normal), share.double().item())
        assert torch.linalg.cross(found, mean).norm() / found.norm() < 0.02


@pytest.mark.parametrize("step", [1, 2, 3])
def test_blurred_levels_are_the_integral(sphere, light, step):
    """Level by level, beside the sum over all directions of what white metal reflects head-on: within 2 %."""
    directions, power = sphere
    level, solid = light.levels[step], texel_solid_angles(64).reshape(-1, 1)
    picked, white = texel_directions(level.shape[1]).view(-1, 3)[::37], torch.ones(3, dtype=F64)
    weights = [shading.ggx(n, n, directions, white, 1.0, step / (len(light.levels) - 1)) for n in picked]
    expected = torch.stack([(w * power).sum(0) / (w * solid).sum(0) for w in weights])
    assert (level.view(-1, 3)[::37].double() / expected - 1).abs().max() < 0.02


@pytest.mark.parametrize("metallic", [0.0, 1.0])
@pytest.mark.parametrize("roughness", [0.4, 0.6, 0.8, 1.0])
def test_light_from_everywhere_is_the_integral(sphere, light, metallic, roughness):
    """Beside the sum over all directions, from which metals deviate where the light does not change evenly."""
    directions, power = sphere
    normal, color = normals(), torch.tensor([0.9, 0.6, 0.3], dtype=F64)
    solid, coat = texel_solid_angles(64).reshape(-1, 1), torch.full((3,), DIELECTRIC, dtype=F64)
    for degrees in (0, 30, 60):
        view = tilted(normal, degrees)
        expected = []
        for n, v in zip(normal, view, strict=True):
            reflected = shading.ggx(n, v, directions, color if metallic else coat, 1.0, roughness)
            matt = color * (1 - (reflected * solid).sum(0)) * ((directions @ n).clamp(min=0) @ power / math.pi)
            expected.append((reflected * power).sum(0) + (1 - metallic) * matt)
        material = color.expand(8, 3), torch.full((8, 1), metallic), torch.full((8, 1), roughness)
        inputs = [image(tensor) for tensor in (normal, view, *material)]
        found = light.shade(*inputs, multiple_scattering=False)[0, 0].double()
        error = (found / torch.stack(expected) - 1).abs()
        assert error.mean() < 0.015 and error.max() < (0.04 if metallic and degrees == 60 else 0.02)


def test_gradients_reach_everything():
    generator = torch.Generator().manual_seed(1)
    cube = torch.rand(6, 16, 16, 3, dtype=F64, generator=generator, requires_grad=True)
    directions = torch.randn(2, 1, 2, 2, 3, dtype=F64, generator=generator)
    normal, view = torch.nn.functional.normalize(directions, dim=-1)
    view = view * torch.sign((view * normal).sum(-1, keepdim=True))
    color = torch.rand(1, 2, 2, 3, dtype=F64, generator=generator)
    metallic, roughness = 0.2 + 0.6 * torch.rand(2, 1, 2, 2, 1, dtype=F64, generator=generator)
    inputs = [tensor.detach().requires_grad_() for tensor in (normal, view, color, metallic, roughness)]

    def shaded(cube, *inputs):
        return shading.EnvironmentLight(cube, samples=4).shade(*inputs)

    assert torch.autograd.gradcheck(shaded, (cube, *inputs), fast_mode=True)
    lit = view.roll(1, 1).detach()
    assert torch.autograd.gradcheck(lambda n, v, c, m, r: shading.ggx(n, v, lit, c, m, r), inputs, fast_mode=True)


def test_panorama():
    """Its middle is at +Z, its right quarter at +X, its last row at +Y; colours of directions come back."""
    t, s = torch.meshgrid((torch.arange(64) + 0.5) / 64, (torch.arange(128) + 0.5) / 128, indexing="ij")
    longitude, latitude = 2 * math.pi * (s - 0.5), math.pi * (t - 0.5)
    directions = torch.stack([latitude.cos() * longitude.sin(), latitude.sin(), latitude.cos() * longitude.cos()], -1)
    cube = shading.panorama_to_cube(directions)
    assert cube.shape == (6, 32, 32, 3)
    torch.testing.assert_close(cube, texel_directions(32).float(), atol=0.03, rtol=0)
    small = torch.rand(4, 8, 1, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: shading.panorama_to_cube(p, 4), small)


def test_a_mirror_shows_the_environment():
    cube = torch.rand(6, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    light = shading.EnvironmentLight(cube, samples=16)
    looked_at = texel_directions(16)[2, 3:5, 3:5].float()[None]  # on the face +Y, reflected from there to the eye
    normal = torch.nn.functional.normalize(looked_at + torch.tensor([0.0, 0, 1]), dim=-1)
    eye = shading.reflect(looked_at, normal)
    torch.testing.assert_close(eye, torch.tensor([0.0, 0, 1]).expand_as(eye), atol=1e-6, rtol=0)
    found = light.reflection(shading.reflect(eye, normal), torch.zeros(1, 2, 2, 1))
    torch.testing.assert_close(found[0], cube[2, 3:5, 3:5], atol=1e-4, rtol=0)


def test_errors():
    for cube in (torch.ones(6, 12, 12, 3), torch.ones(6, 4, 4, 3), torch.ones(5, 8, 8, 3), torch.ones(6, 8, 16, 3)):
        with pytest.raises(ValueError, match=r"EnvironmentLight\(\): cube must be"):
            shading.EnvironmentLight(cube)
    with pytest.raises(ValueError, match=r"panorama_to_cube\(\)"):
        shading.panorama_to_cube(torch.ones(2, 4))


def test_srgb_by_hand():
    """Numbers of the standard's curve and of its straight part, and both ways from each other."""
    srgb, linear = torch.tensor([0.0, 0.02, 0.5, 1.0], dtype=F64), torch.tensor([0.0, 0.0015479876, 0.2140411, 1.0])
    torch.testing.assert_close(shading.to_linear(srgb).float(), linear)
    x = torch.linspace(0, 1, 1001, dtype=F64)
    torch.testing.assert_close(shading.to_srgb(shading.to_linear(x)), x, rtol=0, atol=1e-7)


@pytest.mark.parametrize("function", [shading.to_linear, shading.to_srgb])
def test_srgb_gradients(function):
    x = torch.tensor([0.001, 0.03, 0.2, 0.9], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x)
    zero = torch.zeros(1, requires_grad=True)
    function(zero).backward()
    assert zero.grad.isfinite().all()
