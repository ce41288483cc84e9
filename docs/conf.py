"""How Sphinx builds the documentation, without GPU, OpenGL or network: `make docs` writes it to docs/_build/html."""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import gallery  # noqa: E402 - beside this file

from glraster.version import __version__  # noqa: E402

project = "glraster"
author = "the glraster developers"
copyright = "the glraster developers; MIT licence"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "samples/GALLERY_HEADER.rst"]
language = "en"
smartquotes = False  # they make one dash of the two before options

html_theme = "furo"
html_title = f"glraster {release}"
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

myst_heading_anchors = 4  # links to headings are those of code hosts: page.md#words-of-the-heading

# What stands between single backquotes in a docstring is a name, linked where it is one of the library's.
default_role = "py:obj"
autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # they stand in the docstrings, with shapes and units
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = ["Source"]

gallery.write_sources(DOCS / "_build" / "samples")
sphinx_gallery_conf = {
    "examples_dirs": "_build/samples",
    "gallery_dirs": "samples",
    "plot_gallery": "False",  # `make pictures` runs the samples, and leaves their pictures in docs/gallery
    "image_scrapers": (),
    "reset_modules": (),
    "subsection_order": "gallery.group_order",
    "within_subsection_order": "gallery.sample_order",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
}


def edit_docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Several named results of a function, "name: what it is" each, become a list below the tuple of their names; and
    pages that are named become links."""
    lines[:] = [re.sub(r"`?docs/(\w+)\.md`?", r":doc:`/\1`", line) for line in lines]
    if "Returns:" not in lines:
        return
    begin = lines.index("Returns:") + 1
    end = next((i for i in range(begin, len(lines)) if lines[i] and not lines[i].startswith(" ")), len(lines))
    named = [re.match(r"    (\w+): +(.*)", line) for line in lines[begin:end]]
    names = [match[1] for match in named if match]
    if len(names) > 1:
        pairs = zip(named, lines[begin:end], strict=True)
        items = [f"    - `{match[1]}`: {match[2]}" if match else line for match, line in pairs]
        lines[begin:end] = [f"    ({', '.join(names)})", "", *(re.sub(r"^ {8}", "      ", item) for item in items)]


def setup(app) -> None:
    app.connect("autodoc-process-docstring", edit_docstring, priority=400)  # before napoleon's
