"""Builds the host library: every kernel in glraster/cuda_kernels/*.cu, compiled for the CPU, and gpu_launch.cpp in one
shared library per instruction-set level. The rest of the package's description is in setup.cfg."""

import hashlib
import os
import platform
import runpy
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

KERNELS = Path("glraster/cuda_kernels")  # a link to the folder beside it; in a source distribution the folder itself
SOURCES = runpy.run_path(str(KERNELS / "sources.py"))
# The level is chosen when the library is loaded (cuda_kernels/host.py); wheels therefore run on every x86-64 machine.
ISA_LEVELS = {"base": [], "avx2": ["-march=x86-64-v3"], "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=256"]}
FLAGS = ["-x", "c++", "-std=c++17", "-O3", "-fPIC", "-fopenmp", "-fvisibility=hidden", "-Wall", "-Wno-unknown-pragmas"]
# No contraction: two inlined copies of one formula must round alike. No traps or errno: free to vectorize.
FLAGS += ["-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# GCC 12 otherwise makes branches of clamps, which keep loops from being vectorized. Vectors as arguments of functions
# are no matter between files here.
FLAGS += ["-fno-thread-jumps", "-Wno-psabi"]


def find_compiler():
    """The words of the compiler's command: $CXX, which may be more than one ("ccache g++"), else g++."""
    words = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    if shutil.which(words[0]) is None:
        cure = "on Debian and Ubuntu `apt-get install g++` brings one, and CXX=... names another"
        raise CompileError(f"glraster's kernels need a C++ compiler, and there is no {words[0]!r}: {cure}")
    return words


def run(command):
    """Runs the compiler, which says itself what is wrong; setuptools turns its error into one line."""
    done = subprocess.run(command)
    if done.returncode:
        raise CompileError(f"failed with exit code {done.returncode}: {shlex.join(command)}")


class BuildHostLibrary(build_ext):
    """Compiles and links with the host C++ compiler ($CXX, else g++); $GLRASTER_CXXFLAGS adds flags."""

    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split("."))) + ".so"  # a plain C library: no Python ABI in its name

    def build_extension(self, ext):
        level = ext.name.rsplit("_", 1)[1]
        command = [*find_compiler(), *FLAGS, *ISA_LEVELS[level], *shlex.split(os.environ.get("GLRASTER_CXXFLAGS", ""))]
        objects = Path(self.build_temp, level, hashlib.sha256(str(command).encode()).hexdigest()[:8])
        objects.mkdir(parents=True, exist_ok=True)
        stamp = objects / "stamp.cpp"  # tells what the library was built from, which is checked when it is loaded
        stamp.write_text(SOURCES["stamp"](command))

        def compile_one(source):
            target = objects / Path(source).with_suffix(".o").name
            newest = max(os.path.getmtime(f) for f in [source, "setup.py", *ext.depends])
            if self.force or not target.exists() or target.stat().st_mtime < newest:
                run([*command, "-c", source, "-o", str(target)])
            return str(target)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            compiled = list(pool.map(compile_one, [*ext.sources, str(stamp)]))
        output = Path(self.get_ext_fullpath(ext.name))
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_suffix(".partial")
        language = command.index("-x")
        run([*command[:language], *command[language + 2 :], "-shared", *compiled, "-o", str(partial)])
        partial.replace(output)  # a process that has the old file mapped keeps it whole


class Build(build):
    def run(self):
        find_compiler()  # before all that is printed about other files
        super().run()


class PlatformWheel(bdist_wheel):
    """The library is bound to a platform, not to a Python version."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


sources = sorted(str(f) for pattern in ("*.cu", "*.cpp") for f in KERNELS.glob(pattern))
headers = sorted(str(f) for f in KERNELS.glob("common/*.cuh"))
levels = list(ISA_LEVELS) if platform.machine() in ("x86_64", "AMD64") else ["base"]
if os.environ.get("GLRASTER_ISA_LEVELS"):  # names separated by blanks: a quicker build for one machine
    levels = os.environ["GLRASTER_ISA_LEVELS"].split()
    if unknown := set(levels) - set(ISA_LEVELS):
        raise SystemExit(f"GLRASTER_ISA_LEVELS: must be of {' '.join(ISA_LEVELS)}, got {' '.join(sorted(unknown))}")
setup(
    ext_modules=[Extension(f"glraster.cuda_kernels.host_{n}", sources, depends=headers) for n in levels],
    cmdclass={"build": Build, "build_ext": BuildHostLibrary, "bdist_wheel": PlatformWheel},
)
