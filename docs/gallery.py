"""The samples for the page of pictures: sphinx-gallery wants a title in each docstring, which ours do not have."""

import ast
import re
import textwrap
from pathlib import Path

__all__ = ["GROUPS", "PICTURES", "group_order", "sample_order", "write_sources"]

SAMPLES = Path(__file__).parents[1] / "samples"
PICTURES = Path(__file__).parent / "gallery"  # NAME.webp, made by gallery_pictures.py
GROUPS = {
    "First": ["triangle", "cube", "pose"],
    "Shape": ["fit_mesh", "remesh_fit", "finemesh", "intersect", "gauss_newton"],
    "Textures, materials, transparency": ["earth", "floor", "envphong", "materials", "peel", "bake"],
    "Many meshes, many machines": ["ranges", "distributed", "render_ray"],
    "Soft rasterization": ["soft_turntable", "soft_deform", "soft_pose"],
    "Stochastic gradients": [
        "stochastic_texture",
        "stochastic_mesh",
        "stochastic_subdivision",
        "stochastic_cel",
        "stochastic_splats",
        "stochastic_volume",
    ],
}
HEADER = """Samples
=======

Short programs, one idea each. They stand in `samples/` of the source tree, run on a CPU, and take `--device`,
`--context`, `--out` and `--view`. Every picture here is what the program draws, most of them
after fewer steps than by default: `make pictures` runs them all.
"""


def write_sources(folder: Path) -> None:
    """Writes a copy of every sample whose docstring is reStructuredText, in a folder for each group."""
    for number, (group, names) in enumerate(GROUPS.items()):
        place = folder / f"{number}"
        place.mkdir(parents=True, exist_ok=True)
        _write(place / "GALLERY_HEADER.rst", f"{group}\n{'-' * len(group)}\n")
        for name in names:
            _write(place / f"{name}.py", _with_title(name, (SAMPLES / f"{name}.py").read_text()))
    _write(folder / "GALLERY_HEADER.rst", HEADER)


def group_order(folder: str) -> int:
    """Sorts the groups' folders."""
    return int(Path(folder).name)


def sample_order(file: str) -> int:
    """Sorts the samples of a group."""
    return [name for names in GROUPS.values() for name in names].index(Path(file).stem)


def _with_title(name: str, text: str) -> str:
    doc = ast.get_docstring(ast.parse(text))
    body = text.split('"""', 2)[2]
    # Commands are the paragraphs that are indented; single backquotes hold names.
    rst = re.sub(r"\n\n(?=    )", "\n\n.. code-block:: console\n\n", doc).replace("`", "``")
    picture = PICTURES / f"{name}.webp"
    image, thumbnail = "", ""
    if picture.exists():
        image = f"\n\n.. image:: /gallery/{picture.name}\n   :alt: {name}.py draws this\n"
        thumbnail = f"\n# sphinx_gallery_thumbnail_path = 'gallery/{picture.name}'\n"
    return f'r"""\n{name}.py\n{"=" * (len(name) + 3)}\n\n{textwrap.dedent(rst)}{image}"""{body}{thumbnail}'


def _write(path: Path, text: str) -> None:
    """Leaves a file alone that is as it should be, so that Sphinx does not read it again."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
