"""What there is to do: which files come of which mesh and camera, and which part of that is this process's."""

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from ...camera import View

__all__ = ["Work", "mesh_names", "plan"]


@dataclasses.dataclass(frozen=True)
class Work:
    """What is to be made of a mesh."""

    mesh: str
    name: str  # of its folder
    files: dict[int, dict[str, Path]]  # by number of the view: the file of each output
    films: dict[str, Path]  # by output; of all views

    @property
    def steps(self) -> int:
        """How many views there are to draw."""
        return len(self.files)


def mesh_names(meshes: Sequence[str]) -> dict[str, str]:
    """A name for the folder of each mesh: what it is called, with as much of its path as tells it from others."""
    paths = {mesh: Path(os.path.abspath(mesh)) for mesh in dict.fromkeys(meshes)}
    names = {mesh: path.stem for mesh, path in paths.items()}
    if len(set(names.values())) < len(names):
        common = os.path.commonpath([path.parent for path in paths.values()])
        names = {mesh: str(path.relative_to(common).with_suffix("")) for mesh, path in paths.items()}
        if len(set(names.values())) < len(names):
            names = {mesh: str(path.relative_to(common)) for mesh, path in paths.items()}
    return names


def plan(options: argparse.Namespace, views: Sequence[View]) -> list[Work]:
    """What is still to be done, mesh by mesh; files that there are count as done, unless `--overwrite`."""
    names = mesh_names(options.meshes)
    index, count = options.shard
    works = []
    if options.format == "mp4":
        mine = list(names)[index::count]
        for mesh in mine:
            films = {output: Path(options.out, names[mesh], f"{output}.mp4") for output in options.outputs}
            films = {output: path for output, path in films.items() if options.overwrite or not path.exists()}
            works.append(Work(mesh, names[mesh], {number: {} for number in range(len(views))} if films else {}, films))
        return works
    total = len(names) * len(views)
    first, last = total * index // count, total * (index + 1) // count  # so that few processes read the same mesh
    for place, (mesh, name) in enumerate(names.items()):
        files = {}
        for number, view in enumerate(views):
            if first <= place * len(views) + number < last:
                paths = {o: Path(options.out, name, o, f"{view.name}.{options.format}") for o in options.outputs}
                paths = {o: path for o, path in paths.items() if options.overwrite or not path.exists()}
                if paths:
                    files[number] = paths
        works.append(Work(mesh, name, files, {}))
    return works
