"""`glraster render`: its options, and the way through the meshes."""

import argparse
import collections
import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

import torch

import glraster

from ...camera import View
from ...mesh import load
from ...viewer.progress import new_bar
from ...whole_files import whole
from .cameras import bounding_sphere, make_views, transforms
from .files import Film, Look, read_picture, to_pixels, write
from .lighting import Lighting
from .options import add_arguments, check
from .picture import Painter
from .plan import Work, plan

__all__ = ["add_arguments", "run"]

_INTERRUPTED = 130  # the exit code of what SIGINT ends
_BATCH = 1 << 19  # samples that a job draws at a time


def run(options: argparse.Namespace) -> int:
    """Renders the meshes; returns 1 if something could not be rendered, 2 if the command line makes no sense."""
    try:
        check(options)
        works = plan(options, make_views(options))
        lighting = _lighting(options)
        texture = read_picture(options.texture)[..., :3] if options.texture is not None else None
        backend = {"gl": "opengl"}.get(options.context, options.context)
        glctx = glraster.context(options.device, backend)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failed, bar = 0, _Bar(sum(work.steps for work in works))
    with glctx, bar, _threads_of_jobs(options.jobs), ThreadPoolExecutor(options.jobs) as pool:
        for work in works:
            if work.steps:
                try:
                    _render(work, _Job(options, glctx, lighting, texture, pool, bar))
                except KeyboardInterrupt:
                    bar.say("interrupted: the same command goes on from here")
                    return _INTERRUPTED
                except Exception as error:  # of whatever kind: the others go on
                    failed += 1
                    bar.say(f"error: {work.mesh}: {_reason(error, work.mesh)}")
    _sum_up(works, failed)
    return 1 if failed else 0


@contextlib.contextmanager
def _threads_of_jobs(jobs: int) -> Iterator[None]:
    """Within this block each job has its share of the threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // jobs))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _reason(error: Exception, mesh: str) -> str:
    """What went wrong, in one line that does not begin with the mesh."""
    text = " ".join(str(error).split()).removeprefix(f"{mesh} ")
    return text if isinstance(error, OSError | RuntimeError | ValueError) else f"{type(error).__name__}: {text}"


def _lighting(options: argparse.Namespace) -> Lighting:
    if options.environment is not None:
        return Lighting.environment(options.environment, options.up)
    return Lighting.studio(options.light, options.up)


def _sum_up(works: Sequence[Work], failed: int) -> None:
    if done := sum(not work.steps for work in works):
        print(f"{done} of {len(works)} meshes: nothing left to do", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(works)} meshes could not be rendered", file=sys.stderr)


class _Job(NamedTuple):
    """What the work on all meshes has in common."""

    options: argparse.Namespace
    glctx: glraster.RasterizeContext
    lighting: Lighting
    texture: torch.Tensor | None
    pool: ThreadPoolExecutor
    bar: "_Bar"


def _render(work: Work, job: _Job) -> None:
    """Renders what is to do of one mesh, several batches of views at a time; frames of films in their order."""
    options = job.options
    mesh = load(work.mesh, normalize=options.normalize)
    if job.texture is not None:
        mesh = mesh.replace(textures=(job.texture,), material=None)
    views = make_views(options, bounding_sphere(mesh.pos, mesh.tri))
    if options.cameras is None and options.format != "mp4":
        with whole(Path(options.out, work.name, "transforms.json")) as partial:
            partial.write_text(transforms(options, views))
    painter = Painter(job.glctx, mesh, job.lighting, options.flat, options.ssaa)
    look = Look(options.background, options.depth_scale)
    with contextlib.ExitStack() as stack:
        films = {}
        if work.films:
            size = views[0].resolution
            if any(view.resolution != size for view in views):
                raise ValueError("its cameras have images of several sizes, which make no film: give --resolution")
            films = {o: stack.enter_context(Film(path, size, options.fps)) for o, path in work.films.items()}
        waiting: collections.deque[Future] = collections.deque()
        stack.callback(_abandon, waiting)
        batches = _batches(list(work.files), views, options.ssaa)
        for numbers in batches:
            chosen = [views[number] for number in numbers]
            paths = [work.files[number] for number in numbers]
            waiting.append(job.pool.submit(_make, painter, chosen, paths, list(films), options, look))
            if len(waiting) > 2 * options.jobs:
                _take(waiting.popleft(), films, job.bar)
        while waiting:
            _take(waiting.popleft(), films, job.bar)


def _make(painter: Painter, views: list[View], paths: list[dict[str, Path]], films: list[str], options, look) -> list:
    """Draws a batch of views and writes its files; the frames of films by output, view by view."""
    drawn = painter.draw(views, options.outputs)
    frames = []
    for i, files in enumerate(paths):
        for output, path in files.items():
            write(path, output, to_pixels(output, drawn[output][i], options.format, look))
        frames.append({output: to_pixels(output, drawn[output][i], "mp4", look) for output in films})
    return frames


def _take(batch: Future, films: dict[str, Film], bar: "_Bar") -> None:
    for frames in batch.result():
        for output, frame in frames.items():
            films[output].add(frame)
        bar.update()


def _abandon(waiting: Iterable[Future]) -> None:
    """After an error, or an interruption: what has begun ends, the rest does not begin."""
    for batch in waiting:
        batch.cancel()
    wait(waiting)


def _batches(numbers: Sequence[int], views: Sequence[View], ssaa: int) -> Iterator[list[int]]:
    """Numbers of views of one resolution, as many as are drawn at a time."""
    batch: list[int] = []
    for number in numbers:
        height, width = views[number].resolution
        most = max(1, _BATCH // (height * width * ssaa * ssaa))
        if batch and (len(batch) >= most or views[batch[0]].resolution != (height, width)):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


class _Bar:
    """Progress where tqdm is installed, and errors between."""

    def __init__(self, total: int):
        self._bar = None
        with contextlib.suppress(ImportError):
            self._bar = new_bar(total=total, desc="rendering") if total else None

    def update(self) -> None:
        if self._bar is not None:
            self._bar.update()

    def say(self, text: str) -> None:
        if self._bar is not None and sys.stderr.isatty():
            self._bar.clear()
        print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
