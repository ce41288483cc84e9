"""The documentation's pages are complete: errors, limits, samples, the API; and what README.md promises of itself."""

import ast
import functools
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import glraster
from glraster import antialias, contexts, mipmap, rasterize, texture
from glraster.viewer import images

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GALLERY = runpy.run_path(str(DOCS / "gallery.py"))
# Where messages speak to those who change glraster, not to those who use it.
INTERNAL = {"compile_check.py", "launcher.py", "order_free_sums.py", "sources.py"}
EXCEPTIONS = re.compile(r"(\w*Error|warnings\.warn|SystemExit)$")


@functools.cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Every node of the sources, and setup.py, with the name of its file."""
    folders = (ROOT / name for name in ("glraster", "cuda_kernels", "interop", "viewer"))
    paths = {path.resolve() for folder in folders for path in folder.rglob("*.py")} | {ROOT / "setup.py"}
    used = [path for path in sorted(paths) if path.name not in INTERNAL]
    return [(path.name, node) for path in used for node in ast.walk(ast.parse(path.read_text()))]


def template(node: ast.AST) -> str:
    """The text of a string's expression, with … for what changes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return "…"


def messages() -> Iterator[tuple[str, str]]:
    """Place and template of every error that is raised, and of every warning, if it says anything."""
    for name, node in nodes():
        call = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and call.args and EXCEPTIONS.search(ast.unparse(call.func)):
            text = template(call.args[0])
            if len(re.findall(r"\w{2,}", text)) > 2:
                yield f"{name}:{node.lineno}", text


def strings() -> set[str]:
    """Every string in the sources, but for single words: messages are often put together of several."""
    kinds = (ast.Constant, ast.JoinedStr, ast.BinOp)
    return {text for _, node in nodes() if isinstance(node, kinds) and " " in (text := template(node))}


def documented() -> list[str]:
    """The messages of docs/errors.md."""
    return re.findall(r"^\| `(.+?)` \|", (DOCS / "errors.md").read_text(), re.MULTILINE)


def fits(row: str, text: str) -> bool:
    """Whether a documented message, with … for anything, is a part of a text."""
    end = 0
    for part in row.split("…"):
        begin = text.find(part, end)
        if begin < 0:
            return False
        end = begin + len(part)
    return True


def test_every_error_is_documented():
    rows = documented()
    missing = [f"{place}: {text}" for place, text in messages() if not any(fits(row, text) for row in rows)]
    assert not missing, "\n".join(["not in docs/errors.md:", *missing])


def raised() -> Iterator[str]:
    """Messages that are put together only when they are raised."""
    glctx, tri, pos = glraster.SoftwareRasterizer("cpu"), torch.zeros(1, 3, dtype=torch.int32), torch.zeros(2, 3, 4)
    rast = torch.zeros(2, 8, 8, 4)
    for call in (
        lambda: glraster.rasterize(glctx, pos, tri.long(), (8, 8)),
        lambda: glraster.rasterize(glctx, pos[..., :3], tri, (8, 8)),
        lambda: glraster.rasterize(pos, tri, tri, (8, 8)),
        lambda: glraster.interpolate(torch.zeros(3, 3, 1), rast, tri),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            call()
        yield str(caught.value)


def test_every_documented_error_exists():
    said = {*strings(), *raised()}
    stale = [row for row in documented() if not any(fits(row, text) for text in said)]
    assert not stale, f"docs/errors.md has messages that nothing says: {stale}"


def test_a_message_is_found_whatever_it_is_put_together_of():
    (raised,) = ast.parse('raise ValueError(f"{op}(): tri must be {need}, " + f"got {tri.shape}")').body
    assert template(raised.exc.args[0]) == "…(): tri must be …, got …"
    assert fits("must … got …", "…(): tri must be …, got …") and not fits("must … got …", "got what it must")


@pytest.mark.parametrize(
    "row, number",
    [
        ("triangles of a call", rasterize.__globals__["MAX_TRIANGLES"]),
        ("the same for `antialias`", antialias.__globals__["_MAX_TRIANGLES"]),
        ("sides of a texture", mipmap.MAX_SIDE),
        ("sides of a soft image", mipmap.MAX_SIDE),
        ("images of a minibatch in the viewer", images.MOST_IMAGES),
    ],
)
def test_limits_are_those_of_the_code(row, number):
    (cells,) = re.findall(rf"^\| {re.escape(row)}.*", (DOCS / "limits.md").read_text(), re.MULTILINE)
    assert f"{number:,}" in cells


def test_limits_of_modes_are_those_of_the_code():
    text = (DOCS / "limits.md").read_text()
    assert contexts.OpenGLRasterizer.reach == 1e4 and contexts.SoftwareRasterizer.reach == 1e15
    assert "1e4 views (OpenGL), 1e15 (software)" in text
    with pytest.raises(ValueError, match="max_anisotropy must be .* 1024"):
        texture.__globals__["_check_max_anisotropy"](1025)
    assert "| `max_anisotropy` | 1,024 |" in text
    steps = re.search(r"kMostSteps = (\d+)", (ROOT / "cuda_kernels" / "common" / "surface_pair.cuh").read_text())[1]
    assert f"over {steps} triangles" in text


def test_every_sample_has_its_place_and_picture_in_the_gallery():
    programs = {path.stem for path in (ROOT / "samples").glob("*.py") if "def main(" in path.read_text()}
    shown = [name for names in GALLERY["GROUPS"].values() for name in names]
    assert sorted(shown) == sorted(programs)
    assert [name for name in shown if not (GALLERY["PICTURES"] / f"{name}.webp").exists()] == []


def test_every_page_is_in_the_contents():
    index = (DOCS / "index.md").read_text()
    listed = set(
        re.findall(r"^([\w/]+)$", "".join(re.findall(r"```{toctree}(.*?)```", index, re.DOTALL)), re.MULTILINE)
    )
    assert {page.stem for page in DOCS.glob("*.md")} - {"index"} == {page for page in listed if "/" not in page}


def test_every_public_module_has_a_page_of_its_own():
    pages = {path.stem: path.read_text() for path in (DOCS / "api").glob("*.rst")}
    contents = re.findall(r"^   (\w+)$", pages.pop("index"), re.MULTILINE)
    public = {
        path.parent.name for path in (ROOT / "glraster").glob("*/__init__.py") if "__all__ = [" in path.read_text()
    }
    public -= {"commands", "cuda_kernels", "doctor", "interop", "shaders"}
    assert public | {"glraster", "soft", "optim"} <= set(pages) and sorted(pages) == sorted(contents)
    assert all(f"automodule:: {'glraster.' * (name != 'glraster')}{name}\n" in text for name, text in pages.items())


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api" / "glraster.rst").read_text()
    shown = set(re.findall(r"^\.\. auto\w+:: (\w+)$", text, re.MULTILINE)) | {
        "SoftAux",
        "soft_rasterize",
        "__version__",
    }
    assert set(glraster.__all__) - shown == {"RasterizeCudaContext", "RasterizeGLContext"}


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert links and [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_times_in_the_readme_are_those_of_the_page_of_measurements():
    readme, page = (ROOT / "README.md").read_text(), (DOCS / "performance.md").read_text()
    claims = {"rasterize, software": r"rasterized in (\d+) ms", "rasterize, OpenGL": r"renderer: (\d+) ms"}
    claims["render, forward and backward"] = r"forward and backward, in (\d+) ms"
    for row, claim in claims.items():
        claimed = float(re.search(claim, readme.replace("\n", " "))[1])
        measured = float(re.search(rf"^\| {row} \| ([\d.]+) ", page, re.MULTILINE)[1])
        assert abs(claimed - measured) < 0.2 * measured, f"{row}: README.md says {claimed} ms, measured were {measured}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
