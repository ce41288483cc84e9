"""`glraster render`: its options, and the way through the meshes."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import torch

import glraster

from ...camera import View
from ...mesh import load
from ...viewer.progress import new_bar
from .cameras import bounding_sphere, make_views
from .files import Film, Look, needed, to_pixels, write
from .lighting import Lighting
from .options import add_arguments, check
from .picture import Painter
from .plan import Work, plan

__all__ = ["add_arguments", "run"]

_BATCH = 1 << 20  # samples that are drawn at a time


def run(options: argparse.Namespace) -> int:
    """Renders the meshes; returns 1 if something could not be rendered, 2 if the command line makes no sense."""
    try:
        check(options)
        works = plan(options, make_views(options))
        lighting = Lighting.studio(options.up)
        backend = {"gl": "opengl"}.get(options.context, options.context)
        glctx = glraster.context(options.device, backend)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failed, bar = 0, _Bar(sum(work.steps for work in works))
    with glctx, bar, ThreadPoolExecutor(options.jobs) as pool:
        for work in works:
            if work.steps:
                try:
                    _render(work, options, glctx, lighting, pool, bar)
                except (OSError, RuntimeError, ValueError) as error:
                    failed += 1
                    bar.say(f"error: {work.mesh}: {str(error).removeprefix(f'{work.mesh} ')}")
    done = sum(not work.steps for work in works)
    if done:
        print(f"{done} of {len(works)} meshes were done before", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(works)} meshes could not be rendered", file=sys.stderr)
    return 1 if failed else 0


def _render(work: Work, options, glctx, lighting, pool, bar) -> None:
    """Renders what is to do of one mesh. Drawing and writing go on at the same time."""
    mesh = load(work.mesh, normalize=options.normalize)
    if options.texture is not None:
        mesh = mesh.replace(textures=(_read_texture(options.texture),), material=None)
    views = make_views(options, bounding_sphere(mesh.pos, mesh.tri))
    painter = Painter(glctx, mesh, lighting, options.flat, options.ssaa)
    look = Look(options.background, options.depth_scale)
    with contextlib.ExitStack() as stack:
        films: dict[str, Film] = {}
        writing = stack.enter_context(_Writing(pool, 4 * options.jobs))
        for numbers in _batches(list(work.files), views, options.ssaa):
            drawn = painter.draw([views[number] for number in numbers], options.outputs)
            for i, number in enumerate(numbers):
                for output, path in work.files[number].items():
                    writing.start(_write, path, output, drawn[output][i], options.format, look)
                for output, path in work.films.items():
                    if output not in films:
                        films[output] = stack.enter_context(Film(path, views[number].resolution, options.fps))
                    films[output].add(to_pixels(output, drawn[output][i], "mp4", look))
                bar.update()


def _write(path, output: str, image: torch.Tensor, form: str, look: Look) -> None:
    write(path, output, to_pixels(output, image, form, look))


def _read_texture(path: str) -> torch.Tensor:
    """[h, w, 3], t upwards."""
    with needed("PIL.Image").open(path) as picture:
        pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
        return pixels.view(picture.height, picture.width, 3).flip(0).float() / 255


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


class _Writing:
    """Files on their way: not more than some at a time, since each holds an image."""

    def __init__(self, pool: ThreadPoolExecutor, most: int):
        self._pool, self._most = pool, most
        self._pending: set[Future] = set()

    def start(self, function, *arguments) -> None:
        """Hands over a file, and waits while there are too many. Raises the error of one that failed before."""
        while len(self._pending) >= self._most:
            self._collect(wait(self._pending, return_when=FIRST_COMPLETED).done)
        self._pending.add(self._pool.submit(function, *arguments))

    def _collect(self, done: set[Future]) -> None:
        self._pending -= done
        for future in done:
            future.result()

    def __enter__(self) -> "_Writing":
        return self

    def __exit__(self, kind, error, trace) -> None:
        done, _ = wait(self._pending)
        if kind is None:
            self._collect(set(done))


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
