"""What NVIDIA's compiler makes of texture lookups: wide accesses, loads before stores, no divisions of 64 bits."""

import re

import machine_code
import pytest

from glraster.cuda_kernels import compile_check, sources

ARCHITECTURES = [*(pytest.param(f"sm_{n}", marks=pytest.mark.slow) for n in (86, 89, 120)), "sm_90"]
_SLOW = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)|F2F|I2F\S*64|F2I\S*64|MUFU\.\w*64H?")


@pytest.fixture
def compiled(nvdisasm, tmp_path, architecture):
    """compiled(channels): what each kernel of texture.cu needs, its listing, and its instructions."""

    def compile_for(channels):
        constants = (("TEXTURE_BOUNDARY", "CLAMP"), ("TEXTURE_CHANNELS", channels))
        constants += (("TEXTURE_ANISOTROPIC", 0), ("TEXEL_INDEX", "int32_t"))
        job = compile_check.Job(sources.FOLDER / "texture.cu", architecture, constants, False)
        uses = {use.entry: use for use in compile_check.compile_with_nvcc(job, tmp_path / "texture.cubin")}
        listings = machine_code.cuda_kernels(nvdisasm, tmp_path / "texture.cubin")
        return {name: (use, listings[name], machine_code.instructions_of(listings[name])) for name, use in uses.items()}

    return compile_for


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_three_channels(compiled, architecture):
    """Lookups of one sample have no arrays in memory and no numbers of 64 bits but addresses and sums of gradients."""
    kernels = compiled(3)
    for name, registers in (("linear_fwd", 40), ("mipmap_fwd", 48), ("linear_bwd", 64), ("mipmap_bwd", 64)):
        use, listing, instructions = kernels[f"texture_{name}_f32"]
        assert use.stack == 0 and use.registers <= registers, use
        assert not re.search(r"(div|rem)_[su]64", listing)
        slow = [i for i in instructions if _SLOW.match(i) and i != "F2F.F64.F32"]  # on the way to a sum
        assert not slow and ("bwd" in name or "F2F.F64.F32" not in instructions)
    _, _, linear = kernels["texture_linear_fwd_f32"]
    of_texels = [i for i, name in enumerate(linear) if name.startswith("LDG") and "CONSTANT" in name]
    assert len(of_texels) == 12
    of_pixels = [i for i, name in enumerate(linear) if name.startswith("STG") and i > of_texels[0]]
    assert len(of_pixels) == 3 and min(of_pixels) > max(of_texels)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_multiples_of_four_channels(compiled, architecture):
    """One access moves four channels, of any multiple of four."""
    kernels = compiled("kFours")
    for name, texels in (("nearest_fwd", 1), ("linear_fwd", 4), ("mipmap_fwd", 4)):
        use, _, instructions = kernels[f"texture_{name}_f32"]
        loads = [i for i in instructions if i.startswith("LDG") and "CONSTANT" in i]
        assert use.stack == 0 and len(loads) >= texels and all(".128" in i for i in loads)
        assert all(".128" in i for i in instructions if i.startswith("STG"))
