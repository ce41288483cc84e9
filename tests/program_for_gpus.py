"""A program as people write them for nvdiffrast and an NVIDIA GPU: tests/test_command_run.py runs it as it is.

It fits the vertices of a cube to a picture, and ends with exit code 3 where that fails.
"""

import argparse
import sys

import numpy as np
import nvdiffrast.torch as dr
import torch

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=20)
args = parser.parse_args()
if not torch.cuda.is_available():
    raise RuntimeError("this program needs a GPU")
torch.cuda.set_device(0)
torch.cuda.manual_seed(3)
torch.backends.cudnn.benchmark = True
device = torch.device("cuda")
glctx = dr.RasterizeCudaContext(device=device)

corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32) * 0.5
sides = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
faces = [[a, b, c] for a, b, c, _ in sides] + [[a, c, d] for a, _, c, d in sides]
faces = torch.tensor(faces, dtype=torch.int32, device="cuda")
truth = torch.from_numpy(corners).cuda()
colors = torch.rand(8, 3, device="cuda:0")
vertices = truth + 0.1 * torch.randn_like(truth, device=device)
start = vertices.cpu()
vertices.requires_grad_()
mvp = torch.tensor([[0.9, 0, 0.3, 0], [0, 1, 0, 0], [-0.3, 0, 0.9, 0], [-0.6, 0, 0.2, 2]]).to(device)


def render(v):
    pos = (torch.nn.functional.pad(v, (0, 1), value=1.0).cuda() @ mvp.t())[None].contiguous()
    rast, _ = dr.rasterize(glctx, pos, faces, resolution=[64, 64])
    color, _ = dr.interpolate(colors[None], rast, faces)
    return dr.antialias(color, rast, pos, faces)


target = render(truth).detach()
optimizer = torch.optim.Adam([vertices], lr=0.01)
first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
stream = torch.cuda.Stream()
first.record()
for _ in range(args.steps):
    with torch.cuda.stream(stream), torch.autocast("cuda", enabled=False):
        loss = (render(vertices) - target).abs().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
last.record()
torch.cuda.synchronize()
moved = (vertices.detach().cpu() - start).norm(dim=-1).mean().item()
per_step = first.elapsed_time(last) / args.steps
print(f"loss {loss.item():.5f}, vertices moved {moved:.3f}, {per_step:.1f} ms a step", file=sys.stdout)
sys.exit(0 if loss < 0.005 else 3)
