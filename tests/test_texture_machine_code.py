"""What NVIDIA's compiler makes of texture lookups: wide accesses, loads before stores, no divisions of 64 bits."""

import re

_SLOW = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)|F2F|I2F\S*64|F2I\S*64|MUFU\.\w*64H?")
_CONSTANTS = {"TEXTURE_BOUNDARY": "CLAMP", "TEXTURE_ANISOTROPIC": 0, "TEXEL_INDEX": "int32_t"}


def test_three_channels(gpu_code, request):
    """Lookups of one sample have no arrays in memory and no numbers of 64 bits but addresses and sums of gradients."""
    # Before Hopper, the sums that are kept for background take the last one past 64.
    older = request.node.callspec.params["gpu_code"] in ("sm_86", "sm_89")
    most = {"linear_fwd": 40, "mipmap_fwd": 48, "linear_bwd": 64, "mipmap_bwd": 72 if older else 64}
    kernels = gpu_code("texture", *(f"texture_{name}" for name in most), TEXTURE_CHANNELS=3, **_CONSTANTS)
    for name, registers in most.items():
        kernel = kernels[f"texture_{name}"]
        assert kernel.use.stack == 0 and kernel.use.registers <= registers, kernel.use
        assert not re.search(r"(div|rem)_[su]64", kernel.listing)
        assert kernel.count("MATCH|REDUX") == 0
        slow = [i for i in kernel.instructions if _SLOW.match(i) and i != "F2F.F64.F32"]  # on the way to a sum
        assert not slow and ("bwd" in name or "F2F.F64.F32" not in kernel.instructions)
    assert max(loop.count("SHFL") for loop in kernels["texture_linear_bwd"].loops) >= 6  # a row of two texels
    linear = kernels["texture_linear_fwd"].instructions
    of_texels = [i for i, name in enumerate(linear) if name.startswith("LDG") and "CONSTANT" in name]
    assert len(of_texels) == 12
    of_pixels = [i for i, name in enumerate(linear) if name.startswith("STG") and i > of_texels[0]]
    assert len(of_pixels) == 3 and min(of_pixels) > max(of_texels)


def test_multiples_of_four_channels(gpu_code):
    """One access moves four channels, of any multiple of four."""
    texels = {"nearest_fwd": 1, "linear_fwd": 4, "mipmap_fwd": 4}
    kernels = gpu_code("texture", *(f"texture_{name}" for name in texels), TEXTURE_CHANNELS="kFours", **_CONSTANTS)
    for name, least in texels.items():
        kernel = kernels[f"texture_{name}"]
        loads = [i for i in kernel.instructions if i.startswith("LDG") and "CONSTANT" in i]
        assert kernel.use.stack == 0 and len(loads) >= least and all(".128" in i for i in loads)
        assert all(".128" in i for i in kernel.instructions if i.startswith("STG"))
