"""Which rows of a parameter contributed to a pixel."""

import torch

__all__ = ["texel_credit", "union", "vertex_credit"]

_LARGE_IDS = 0x4A800000  # from 2^24 on, `rasterize` stores an id as the float whose bit pattern is this plus the id


def vertex_credit(rast: torch.Tensor, tri: torch.Tensor) -> torch.Tensor:
    """The vertices that contributed to each pixel: those of the triangle that it shows.

    Args:
        rast: [N, H, W, 4] from `rasterize`.
        tri: [T, 3] int32, the triangles, or any list of rows [T, M]: what one primitive contributes.

    Returns:
        [N, H, W, 3 or M] int64; -1 where there is no triangle.
    """
    channel = rast[..., 3].float().contiguous()
    bits = channel.view(torch.int32) - _LARGE_IDS
    ids = torch.where(channel > 2**24, bits, channel.int()).long()
    rows = tri.long()[(ids - 1).clamp(min=0)] if len(tri) else ids.new_zeros(*ids.shape, tri.shape[1])
    return torch.where(ids[..., None] > 0, rows, -1)


def texel_credit(uv: torch.Tensor, mask: torch.Tensor, size: tuple[int, int], filter_mode: str = "nearest"):
    """The texels that contributed to each pixel, of a texture [h w, C] with boundary mode 'clamp'.

    Args:
        uv: [N, H, W, 2], texture coordinates; row 0 of the texture is v = 0.
        mask: [N, H, W], whether there is a surface.
        size: (height, width) of the texture.
        filter_mode: 'nearest', or 'linear' for the four texels of a bilinear lookup. Crediting the nearest texel alone
            converges faster under a bilinear lookup too.

    Returns:
        [N, H, W, 1 or 4] int64; -1 where there is no surface.
    """
    h, w = size
    limits = torch.tensor([w - 1, h - 1], device=uv.device)
    texels = uv.double() * (limits + 1)
    corners = [texels.floor()]
    if filter_mode == "linear":
        low = (texels - 0.5).floor()
        corners = [low + low.new_tensor(offset) for offset in ((0, 0), (1, 0), (0, 1), (1, 1))]
    elif filter_mode != "nearest":
        raise ValueError(f"texel_credit(): filter_mode must be 'nearest' or 'linear', got {filter_mode!r}")
    # What is not finite has no texel; a coordinate far outside must not overflow on its way to an integer.
    columns_rows = [corner.nan_to_num().clamp(min=0).minimum(limits.double()).long() for corner in corners]
    rows = torch.stack([texel[..., 1] * w + texel[..., 0] for texel in columns_rows], -1)
    return torch.where(mask[..., None].bool(), rows, -1)


def union(name: str, rows: int, plus: torch.Tensor, minus: torch.Tensor, pixels: torch.Size) -> torch.Tensor:
    """The rows that contributed to each pixel in either picture, each once.

    Args:
        name: of the parameter, for messages.
        rows: how many it has.
        plus, minus: integers [N, H, W, M], -1 for none; M may differ.
        pixels: N, H, W.

    Returns:
        [N, H, W, M + M] int64; `rows` stands for none.
    """
    for credit in (plus, minus):
        integers = isinstance(credit, torch.Tensor) and not credit.dtype.is_floating_point
        if not integers or credit.shape[:-1] != pixels:
            got = f"{credit.dtype} {list(credit.shape)}" if isinstance(credit, torch.Tensor) else type(credit).__name__
            raise ValueError(f"stochastic_grad(): credit of {name!r} must be integers {[*pixels, 'M']}, got {got}")
    both = torch.cat([plus.long(), minus.long()], -1)
    if both.numel() and not -1 <= int(both.min()) <= int(both.max()) < rows:
        found = f"{int(both.min())}..{int(both.max())}"
        raise ValueError(f"stochastic_grad(): credit of {name!r} must be rows 0..{rows - 1} or -1, got {found}")
    ordered = both.sort(-1).values
    repeated = torch.zeros_like(ordered, dtype=torch.bool)
    repeated[..., 1:] = ordered[..., 1:] == ordered[..., :-1]
    return torch.where(repeated | (ordered < 0), rows, ordered)
