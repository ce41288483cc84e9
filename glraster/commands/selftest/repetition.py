"""Whether the same call gives the same bits again."""

import torch

import glraster

from ...doctor import Finding
from .scene import SIZE, Scene, make_scene, render

__all__ = ["outputs_repeat"]

_TIMES = 3


def outputs_repeat(device: str) -> list[Finding]:
    """Outputs at every run; gradients too, where PyTorch is told to be deterministic; on a CPU for any threads."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    findings = []
    try:
        outputs = [_render(device)[0] for _ in range(_TIMES)]
        findings.append(_compare(f"outputs repeat on {device}", f"equal to the last bit in {_TIMES} runs", outputs))
        torch.use_deterministic_algorithms(True)
        gradients = [_render(device)[1] for _ in range(_TIMES)]
        found = f"equal to the last bit in {_TIMES} runs, deterministic algorithms being switched on"
        findings.append(_compare(f"gradients repeat on {device}", found, gradients))
        if device == "cpu":
            torch.set_num_threads(1 if threads > 1 else 2)
            outputs = [outputs[0], _render(device)[0]]
            found = f"equal to the last bit on {threads} threads and on {torch.get_num_threads()}"
            findings.append(_compare(f"outputs repeat on {device} threads", found, outputs))
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
    return findings


def _render(device: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """All outputs, and the gradients of a smooth loss."""
    scene = Scene(*(t.requires_grad_(t.is_floating_point()) for t in make_scene().to(device)))
    with glraster.SoftwareRasterizer(device) as glctx:
        rast, rast_db = glraster.rasterize(glctx, scene.pos, scene.tri, SIZE)
    outputs = [rast, rast_db, *render(rast, rast_db, scene).values()]
    loss = torch.stack([output.square().mean() for output in outputs]).sum()
    gradients = torch.autograd.grad(loss, [scene.pos, scene.attr, scene.tex, scene.color])
    return [output.detach() for output in outputs], list(gradients)


def _compare(check: str, found: str, runs: list[list[torch.Tensor]]) -> Finding:
    first, *others = runs
    equal = all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))
    finite = all(bool(tensor.isfinite().all()) for tensor in first)
    if equal and finite:
        return Finding(check, "ok", found)
    return Finding(check, "broken", "not equal from run to run" if finite else "not finite", "please report this")
