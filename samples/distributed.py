"""One optimization in several processes: each draws its share of the views, and DistributedDataParallel adds up.

    torchrun --nproc-per-node 2 samples/distributed.py [--mesh bunny.obj] [--max-iter 300] [--out out/distributed]

A sphere becomes a mesh, as in fit_mesh.py. On GPUs there is a process for each (NCCL); on CPUs (Gloo) each has one
thread, or as many as OMP_NUM_THREADS says. torchrun starts them on several machines, too. Each process has a rasterizer
context of its own. Without torchrun there is one process, and the result is the same but for rounding.

Expected: fitted.obj and loss.png, and the intersection over union of silhouettes in held-out views, above 0.95.
"""

import os
import time

import fit_mesh
import options
import pictures
import torch
import torch.distributed as dist
from bear import bear as make_bear
from torch.nn.parallel import DistributedDataParallel

import glraster.torch as dr
from glraster import camera
from glraster import mesh as meshes


class Shape(torch.nn.Module):
    """A mesh whose vertices are to be found, and its loss in some views: what DistributedDataParallel wants."""

    def __init__(self, glctx, mesh: meshes.Mesh):
        super().__init__()
        self.glctx, self.mesh, self.steps = glctx, mesh, meshes.LargeSteps(mesh.tri, strength=19.0)
        self.topology = dr.antialias_construct_topology_hash(mesh.tri)
        self.unknowns = torch.nn.Parameter(self.steps.to_unknowns(mesh.pos))

    def guess(self) -> meshes.Mesh:
        return self.mesh.replace(pos=self.steps.to_positions(self.unknowns))

    def forward(self, mvps: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return fit_mesh.picture_loss(self.glctx, self.guess(), mvps, truth, self.topology)[0]


def join(device: torch.device | None) -> torch.device:
    """Meets the other processes, and returns the device of this one."""
    on_gpu = torch.cuda.is_available() if device is None else device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    backend = "nccl" if on_gpu else "gloo"
    if dist.is_torchelastic_launched():
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def fit(shape: Shape, mvps: torch.Tensor, truth: torch.Tensor, args) -> list[float]:
    """Moves the vertices; returns the mean loss of each step. All processes draw the same lots, each its own part."""
    rank, world = dist.get_rank(), dist.get_world_size()
    model = DistributedDataParallel(shape)  # its copies start from those of process 0
    optimizer, generator = meshes.UniformAdam([shape.unknowns], lr=0.03), torch.Generator().manual_seed(args.seed)
    losses = []
    for _ in range(args.max_iter):
        chosen = torch.randperm(len(mvps), generator=generator)[: args.batch][rank::world]
        optimizer.zero_grad()
        loss = model(mvps[chosen], truth[chosen])
        loss.backward()  # and the mean of the gradients over all processes
        optimizer.step()
        mean = loss.detach() / world
        dist.all_reduce(mean)
        losses.append(mean.item())
    return losses


def main() -> None:
    parser = options.make_parser(__doc__, out="out/distributed")
    parser.add_argument("--mesh", type=options.mesh_file, help="target (default: a procedural bear)")
    parser.add_argument("--max-iter", type=options.positive, default=300)
    parser.add_argument("--views", type=options.positive, default=48, help="pictures of the target")
    parser.add_argument(
        "--batch", type=options.positive, default=8, help="pictures per step, of all processes together"
    )
    parser.add_argument("--resolution", type=options.positive, default=192)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.device = device = join(args.device)
    if args.batch % dist.get_world_size():
        raise SystemExit(
            f"error: --batch must be a multiple of the {dist.get_world_size()} processes, got {args.batch}"
        )
    glctx = options.make_context(args)
    target = (args.mesh or make_bear()).to(device)
    mvps = (camera.perspective() @ camera.look_at(3 * camera.directions(args.views))).to(device)
    with torch.no_grad():
        truth = torch.cat([fit_mesh.render(glctx, target, mvp[None], args.resolution) for mvp in mvps])
    start = meshes.icosphere(4)
    shape = Shape(glctx, start.replace(pos=0.6 * start.pos).to(device))
    begin = time.perf_counter()
    losses = fit(shape, mvps, truth, args)
    if dist.get_rank() == 0:
        milliseconds = 1000 * (time.perf_counter() - begin) / args.max_iter
        held_out = (camera.perspective() @ camera.look_at(3 * camera.directions(11))).to(device)
        iou = fit_mesh.silhouette_iou(glctx, shape.guess(), target, held_out)
        os.makedirs(args.out, exist_ok=True)
        meshes.save(f"{args.out}/fitted.obj", shape.guess())
        pictures.save_curve(f"{args.out}/loss.png", losses, "loss")
        speed = f"{dist.get_world_size()} processes, {milliseconds:.1f} ms a step"
        print(f"{speed}, IoU {iou:.4f}, last loss {losses[-1]:.6f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
