"""The code in README.md and docs/: every Python block is a program that runs, every command names what there is.

A block says after its three backquotes what it is: python, with "opengl" or "gpu" where it needs one, or "file" where
it must be a program of its own (tests/test_processes.py runs those); console, for commands; or another language, such
as text, or {toctree} for the contents. All programs run in one process, each in a folder and namespace of its own.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KINDS = {"python", "python file", "python opengl", "python gpu", "console", "text", "json", "cpp", "glsl", "{toctree}"}
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = """
import json, os, sys, tempfile, traceback
failures = {}
for name, program in json.load(sys.stdin).items():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            exec(compile(program, name, "exec"), {"__name__": "__main__"})
        except BaseException:
            failures[name] = traceback.format_exc()
        os.chdir("/")
print(json.dumps(failures), file=sys.__stderr__)
"""


def blocks() -> dict[str, tuple[str, str]]:
    """Kind and text of every block, by page and line."""
    found = {}
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found[f"{page.name}:{line}"] = match[1].strip(), match[2]
    return found


BLOCKS = blocks()
PROGRAMS = {name: text for name, (kind, text) in BLOCKS.items() if kind == "python"}
ON_OPENGL = {name: text for name, (kind, text) in BLOCKS.items() if kind == "python opengl"}
ON_GPU = {name: text for name, (kind, text) in BLOCKS.items() if kind == "python gpu"}


def failures(programs: dict[str, str]) -> dict[str, str]:
    """Runs programs one after another in a process of their own; the tracebacks of those that fail."""
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", RUN]
    done = subprocess.run(command, input=json.dumps(programs), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


def test_programs():
    assert PROGRAMS and not failures(PROGRAMS)


def test_programs_on_opengl(gl_available):
    assert ON_OPENGL and not failures(ON_OPENGL)


def test_programs_on_a_gpu(cuda):
    assert ON_GPU and not failures(ON_GPU)


def test_programs_for_gpus_compile():
    for name, text in ON_GPU.items():
        compile(text, name, "exec")


def test_a_failing_program_is_seen():
    (name,) = failures({"right": "open('file', 'w').close()", "wrong": "open('file')"})
    assert name == "wrong"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page):
    text = page.read_text()
    assert {match[1].strip() for match in FENCE.finditer(text)} <= KINDS
    assert text.count("\n```") + text.startswith("```") == 2 * len(FENCE.findall(text))
    indented = re.search(r"^(?![-*\d ]).*\n\n    \S.*", FENCE.sub("", text), re.MULTILINE)
    assert not indented, f"a block without backquotes: {indented and indented[0]}"


def test_commands_name_what_there_is():
    makefile = (ROOT / "Makefile").read_text()
    commands = [text for kind, text in BLOCKS.values() if kind == "console"]
    targets = {target for text in commands for target in re.findall(r"^make ([\w-]+)", text, re.MULTILINE)}
    assert {"demo", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    files = {
        file for text in commands for file in re.findall(r"\b(?:samples|benchmarks|tests|docker)/[\w./]+\.\w+", text)
    }
    assert len(files) > 3 and [file for file in files if not (ROOT / file).exists()] == []
