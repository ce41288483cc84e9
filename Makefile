# make demo      fits a mesh to pictures and leaves the result in out/fit_mesh
# make test      lint and tests
# make test-all  these, and the tests that take long: installations, sanitizers, the emulated GPU, long optimizations
# make docs      the documentation, in docs/_build/html
# make pictures  every picture in it, anew; takes long
# All set up .venv first. PYTHON and TORCH choose the interpreter and the PyTorch build to start from.
PYTHON ?= python3
TORCH ?= torch==2.13.0
# By the path that holds in a source distribution too, where the links are folders.
KERNELS := $(wildcard glraster/cuda_kernels/*.cu glraster/cuda_kernels/*.cpp glraster/cuda_kernels/common/*.cuh)
RUN := .venv/bin/python

.PHONY: setup demo test test-all test-install lint format bench docs pictures screenshots system clean

setup: system .venv/installed

.venv/installed: setup.py setup.cfg pyproject.toml $(KERNELS)
	@test -x $(RUN) || $(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet "$(TORCH)"
	$(RUN) -m pip install --quiet --editable '.[dev]'
	@touch $@

# What pip cannot bring, each named with the Debian package that has it.
system:
	@command -v $(firstword $(CXX) g++) >/dev/null || { echo "No C++ compiler $(firstword $(CXX) g++). On Debian: apt-get install g++"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "No venv module. On Debian: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libEGL.so.1")' 2>/dev/null || \
		echo "No libEGL: the OpenGL context and its tests are skipped. On Debian: apt-get install libegl1 libgl1-mesa-dri"

demo: setup
	$(RUN) samples/fit_mesh.py --out out/fit_mesh

# Threads that wait do so asleep: PyTorch and glraster have threads of their own, and while those of one spin on the
# processors, the other's stand still. On busy machines that made tests several times slower.
test test-all: export OMP_WAIT_POLICY ?= passive
# A process for every core, but each takes a gigabyte. The tests of a file stay together: they share what they start.
PYTEST := $(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test: setup lint
	$(PYTEST)

test-all: test
	$(RUN) -m pytest -m slow
	docker/test_install.sh cpu </dev/null

# Installs as the CPU container image does, in a fresh Debian system; takes minutes and needs root and debootstrap.
test-install:
	docker/test_install.sh cpu

lint: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/clang-format --dry-run --Werror $(KERNELS)

format: setup
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .
	.venv/bin/clang-format -i $(KERNELS)

bench: setup
	$(RUN) benchmarks/cpu.py
	$(RUN) benchmarks/rasterize.py
	$(RUN) benchmarks/stochastic.py
	$(RUN) benchmarks/stochastic_fits.py
	$(RUN) benchmarks/viewer.py

# Warnings are errors: a link that leads nowhere, a docstring that is no reStructuredText, a page outside of the contents.
docs: setup
	rm -rf docs/samples
	$(RUN) -m sphinx -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "See docs/_build/html/index.html."

# All but those of docs/performance.md and docs/visibility.md, which belong to measurements.
pictures: setup screenshots
	$(RUN) docs/camera_pictures.py
	$(RUN) docs/concept_pictures.py
	$(RUN) docs/animation.py
	$(RUN) docs/gallery_pictures.py
	$(RUN) samples/floor.py --device cpu --out out/floor && cp out/floor/floor.png docs/floor.png

# The pictures of docs/viewer.md, from the tests that look at them.
screenshots: setup
	GLRASTER_SCREENSHOTS=1 $(RUN) -m pytest tests -k screenshot_for_the_documentation

clean:
	rm -rf .venv build dist *.egg-info glraster/cuda_kernels/*.so out docs/_build docs/samples
