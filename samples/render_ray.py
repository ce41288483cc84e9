"""Renders many meshes on a Ray cluster, or on all cores of this machine.

    pip install ray
    python samples/render_ray.py meshes/*.glb --out out/ray -- --views 24 --outputs color,depth

What stands behind -- are options of `glraster render`, which each task runs for one mesh. A task whose process or
machine dies is done again elsewhere, up to --retries times; a mesh that cannot be rendered is reported. Files are
written whole, and those that are there stay as they are: the same command again does what is missing.

Expected: pictures in OUT/MESH/OUTPUT/, and a line that says how many meshes were rendered, and how fast.
"""

import argparse
import contextlib
import io
import itertools
import os
import sys
import time
from collections.abc import Iterator

import ray
from tqdm import tqdm

WAITING = 1000  # tasks that Ray holds at a time; more only take its memory


def render(mesh: str, out: str, options: list[str]) -> str:
    """Runs in a process of Ray's: renders one mesh, and returns what went wrong, or nothing."""
    from glraster.cli import main  # here: the driver need not have it

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(["render", mesh, "--out", out, "--jobs", "1", *options])
    return (
        "" if code == 0 else next((line for line in said.getvalue().splitlines() if "error: " in line), f"code {code}")
    )


def folders(meshes: list[str], out: str) -> dict[str, str]:
    """Where the folder of each mesh goes: below OUT as its file lies below what all have in common."""
    parents = {mesh: os.path.dirname(os.path.abspath(mesh)) for mesh in meshes}
    common = os.path.commonpath(list(parents.values()))
    return {mesh: os.path.join(os.path.abspath(out), os.path.relpath(p, common)) for mesh, p in parents.items()}


def results(task, places: dict[str, str], options: list[str]) -> Iterator[tuple[str, str]]:
    """Each mesh as it is done, and what went wrong with it."""
    todo, waiting = iter(places.items()), {}
    while True:
        for mesh, out in itertools.islice(todo, WAITING - len(waiting)):
            waiting[task.remote(os.path.abspath(mesh), out, options)] = mesh
        if not waiting:
            return
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        mesh = waiting.pop(done)
        try:
            yield mesh, ray.get(done)
        except ray.exceptions.RayError as error:  # its process died too often
            yield mesh, f"error: {mesh}: {type(error).__name__}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meshes", nargs="+", help="files; on a cluster, where all its machines see them")
    parser.add_argument("--out", default="out/ray", help="folder that all machines see (default: out/ray)")
    parser.add_argument("--gpus", type=float, default=0.0, help="of a task: 0.25 puts four on a GPU (default: 0)")
    parser.add_argument("--retries", type=int, default=3, help="of a task whose process dies (default: 3)")
    parser.add_argument("--address", help="of a cluster, or auto; else this machine alone")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    args, options = parser.parse_args(words[:end]), words[end + 1 :]
    ray.init(address=args.address, log_to_driver=False, include_dashboard=False)
    task = ray.remote(render).options(num_cpus=1, num_gpus=args.gpus, max_retries=args.retries)
    places, begin, failed = folders(args.meshes, args.out), time.perf_counter(), 0
    for _, problem in tqdm(results(task, places, options), total=len(places), desc="meshes", disable=None):
        if problem:
            failed += 1
            tqdm.write(problem)
    seconds = time.perf_counter() - begin
    print(f"{len(places) - failed} of {len(places)} meshes in {seconds:.1f} s; see {args.out}")
    ray.shutdown()
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
