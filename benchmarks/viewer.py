"""What it costs a loop to be watched: 512 x 512 pictures at 30 a second; and how fast a large mesh turns.

    python benchmarks/viewer.py [--seconds 2] [--repeat 5]

The loop works for a thirtieth of a second on one thread, then shows a picture and logs a number. Loops without and with
each output take turns; the run of each that took least counts. What its time is made of: `own`, the work of the loop's
own thread; `core`, its waiting for a core, which other programs take too, so that it means something on a machine at
rest alone; `lock`, the rest, its waiting for Python's lock. Then how busy the viewer's other threads and its processes
are, and how many of the 30 pictures a second got to where they are watched: the newest wins. The watcher of the page is
a program that receives and does nothing; the window needs a display (xvfb-run where there is none).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import glraster
from glraster import camera
from glraster.mesh import icosphere
from glraster.viewer import Camera, Viewer
from glraster.viewer.draw import MeshView

WARMING = 5  # iterations before clocks count
WATCHER = """
import os, sys, msgspec, viser
os.nice(19)  # browsers are mostly on another machine
from websockets.sync.client import connect
pose = {"wxyz": [0.0, 0.0, 1.0, 0.0], "position": [0.0, 0.0, 3.0]}
pose |= {"look_at": [0.0, 0.0, 0.0], "up_direction": [0.0, 1.0, 0.0]}
size = {"image_height": 720, "image_width": 1280, "fov": 0.7, "near": 0.01, "far": 100.0}
with connect(sys.argv[1], subprotocols=[f"viser-v{viser.__version__}"], max_size=None) as socket:
    socket.send(msgspec.msgpack.encode({"type": "ViewerCameraMessage"} | pose | size))
    for _ in socket:
        pass
"""


def work(seconds: float, matrix: torch.Tensor) -> None:
    """Keeps this thread busy for so much of its own time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        torch.mm(matrix, matrix)


def rendered(size: int) -> torch.Tensor:
    """A picture as loops show them: a lit sphere."""
    sphere = icosphere(4)
    pos = camera.transform(sphere.pos, camera.perspective() @ camera.look_at(torch.tensor([[0.0, 0, 3]])))
    with glraster.SoftwareRasterizer("cpu") as context:
        rast, _ = glraster.rasterize(context, pos, sphere.tri, (size, size))
    color, _ = glraster.interpolate(0.5 + 0.5 * sphere.vertex_normals(), rast, sphere.tri)
    return color[0]


def children(besides: int) -> float:
    """Seconds that the processes have worked which this one has started, besides one."""
    ticks = 0
    for path in Path("/proc/self/task").glob("*/children"):
        for child in set(path.read_text().split()) - {str(besides)}:
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def shown(viewer: Viewer | None) -> int:
    """How many pictures have got to the watcher, or into the file."""
    if viewer is None or viewer.output == "off":
        return 0
    return viewer._recorder.written if viewer._recorder else viewer._live.shown


def clocks(viewer: Viewer | None, watcher: int) -> dict[str, float]:
    """What all of them show."""
    own, core = (int(field) / 1e9 for field in Path("/proc/thread-self/schedstat").read_text().split()[:2])
    clock = time.perf_counter()
    found = {"clock": clock, "own": own, "core": core, "lock": clock - own - core}
    return found | {"threads": time.process_time() - own, "processes": children(watcher), "shown": shown(viewer)}


def run(viewer: Viewer | None, seconds: float, watcher: int = 0) -> dict[str, float]:
    """Times a loop; without a viewer it is a bare one."""
    picture, matrix = rendered(512), torch.rand(192, 192)
    steps = round(seconds * 30) + WARMING
    for i in viewer.loop(range(steps)) if viewer else range(steps):
        if i == WARMING:
            begun = clocks(viewer, watcher)
        work(1 / 30, matrix)
        if viewer:
            viewer.show(image=picture)
            viewer.log(loss=1.0)
        if i == steps - 1:
            took = {name: value - begun[name] for name, value in clocks(viewer, watcher).items()}
    each = 1e3 / (steps - WARMING)
    took |= {"threads": took["threads"] * each, "processes": took["processes"] * each}
    return took | {"shown": took["shown"] / took["clock"]}


def outputs(folder: str) -> dict[str, dict]:
    """The outputs that this machine has."""
    found = {"off": {"output": "off"}, "record, PNG": {"output": "record", "path": f"{folder}/frames"}}
    found |= {"record, MP4": {"output": "record", "path": f"{folder}/film.mp4"}}
    found |= {"web, nobody watches": {"output": "web", "port": 0}, "web, one watcher": {"output": "web", "port": 0}}
    return found | ({"window": {"output": "window"}} if os.environ.get("DISPLAY") else {})


def measure(arguments: dict, watched: bool, seconds: float) -> dict[str, float]:
    """Times one loop with one output."""
    with Viewer(**arguments) as viewer:
        if not watched:
            return run(viewer, seconds)
        address = f"ws://127.0.0.1:{viewer._live.port}"
        with subprocess.Popen([sys.executable, "-c", WATCHER, address]) as watcher:
            try:
                while not viewer._live.watched:
                    time.sleep(0.05)
                return run(viewer, seconds, watcher.pid)
            finally:
                watcher.terminate()


def slow_down(seconds: float, repeat: int) -> None:
    """Prints the table of outputs."""
    results: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeat):
            for name, arguments in outputs(folder).items():
                results.setdefault("no viewer", []).append(run(None, seconds))
                results.setdefault(name, []).append(measure(arguments, name == "web, one watcher", seconds))
    best = {name: min(runs, key=lambda run: run["clock"]) for name, runs in results.items()}
    bare = best["no viewer"]
    heads = ("clock", "own", "lock", "core", "threads, ms", "processes, ms", "pictures / s")
    print(f"\n{'output':22}" + "".join(f"{head:>14}" for head in heads))
    for name, found in best.items():
        parts = [f"{100 * (found[key] - bare[key]) / bare['clock']:+.1f} %" for key in heads[:4]]
        parts += [f"{found[key]:.1f}" for key in ("threads", "processes", "shown")]
        print(f"{name:22}" + "".join(f"{part:>14}" for part in parts))


def large_mesh(repeat: int) -> None:
    """Prints how long pictures of 1,000,000 triangles take on the CPU."""
    side = 708  # 2 * 707 * 707 triangles
    x, y = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    vertices = torch.stack([x, y, 0.2 * torch.sin(8 * x) * torch.cos(8 * y)], dim=-1).view(-1, 3)
    corner = (torch.arange(side - 1)[:, None] * side + torch.arange(side - 1)).view(-1, 1)
    faces = torch.cat([corner + torch.tensor([0, side, side + 1]), corner + torch.tensor([0, side + 1, 1])])
    orbiting = Camera(eye=(0.0, -1.5, 2.5))
    print(f"\n{len(faces):,} triangles, 960 x 660 pixels on the CPU: ms, and pictures a second")
    for mode in ("shaded", "wireframe", "normals", "depth", "ids"):
        view = MeshView("mesh", vertices, faces, mode=mode)
        view.draw(orbiting, (660, 960))
        times = []
        for _ in range(3 * repeat):
            orbiting.orbit(0.01, 0)
            begun = time.perf_counter()
            view.draw(orbiting, (660, 960))
            times.append(time.perf_counter() - begun)
        print(f"{mode:22}{1e3 * min(times):9.0f}{1 / min(times):9.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="that each loop lasts (default: 2)")
    parser.add_argument("--repeat", type=int, default=5, help="rounds (default: 5)")
    args = parser.parse_args()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    slow_down(args.seconds, args.repeat)
    torch.set_num_threads(threads)
    large_mesh(args.repeat)


if __name__ == "__main__":
    main()
