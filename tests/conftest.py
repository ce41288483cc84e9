"""Fixtures: where a test runs, and the data it may use. Every skip comes from here."""

import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import emulation
import numpy as np
import pytest
import torch

import glraster
from glraster.cuda_kernels import compile_check, machine_code, nvidia_compilers, sources

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared"
OWN_PROCESS = "GLRASTER_TEST_IN_ITS_OWN_PROCESS"
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.hookimpl(tryfirst=True)  # before the marked ones are selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that compile the emulated GPU are slow, all of them."""
    for item in items:
        if "emulation_folder" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem) -> bool | None:
    """Runs a test marked `own_process` in a process of its own, where nothing that other tests left counts."""
    if pyfuncitem.get_closest_marker("own_process") is None or os.environ.get(OWN_PROCESS):
        return None
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "", pyfuncitem.nodeid]
    environment, root = os.environ | {OWN_PROCESS: "1"}, pyfuncitem.config.rootpath
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return True


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    """Every device of this machine."""
    return torch.device(request.param)


@pytest.fixture
def cuda() -> torch.device:
    """The current GPU."""
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture
def deterministic():
    """Every sum of gradients has the same bits on every run."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def same_bits(request, device) -> None:
    """For tests that compare the bits of gradients: a GPU's atomic additions come in any order unless told otherwise.

    A CPU is told nothing: it keeps its order in scenes as small as those of tests.
    """
    if device.type == "cuda":
        request.getfixturevalue("deterministic")


@pytest.fixture
def no_gpu() -> None:
    """Skips where PyTorch sees a GPU."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")


@pytest.fixture
def bindings() -> None:
    """Needs cuda-bindings, with or without a GPU."""
    pytest.importorskip("cuda.bindings.driver")


@pytest.fixture
def rich() -> None:
    """Needs the package of that name."""
    pytest.importorskip("rich")


@pytest.fixture(scope="session")
def gcc() -> None:
    """Needs a C compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")


@pytest.fixture(scope="session")
def emulation_folder() -> Path:
    """The emulated GPU and driver, compiled."""
    return emulation.built()


@pytest.fixture
def nvcc() -> None:
    """Needs NVIDIA's compiler."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")


@pytest.fixture(scope="session")
def nvdisasm() -> str:
    """NVIDIA's disassembler: on the PATH, or from the package nvidia-cuda-nvdisasm."""
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    found = machine_code.find_nvdisasm()
    if found is None:
        pytest.skip("no nvdisasm (pip install nvidia-cuda-nvdisasm)")
    return found


@pytest.fixture(params=["sm_90", *(pytest.param(f"sm_{n}", marks=pytest.mark.slow) for n in (86, 89, 120))])
def gpu_code(request, nvdisasm, tmp_path):
    """gpu_code(stem, *kernels, **constants): machine code of some float32 kernels of a file, by name, for one
    architecture; on most machines for one that stands for all."""

    def compile_some(stem: str, *kernels: str, **constants) -> dict[str, machine_code.CompiledKernel]:
        job = compile_check.Job(sources.FOLDER / f"{stem}.cu", request.param, tuple(constants.items()), False, kernels)
        return machine_code.compile_job(job, nvdisasm, tmp_path)

    return compile_some


@pytest.fixture
def nvrtc() -> nvidia_compilers.Nvrtc:
    """Needs NVIDIA's compiler in the form of a library."""
    try:
        return nvidia_compilers.Nvrtc()
    except nvidia_compilers.CudaError as error:
        pytest.skip(str(error))


@pytest.fixture
def compute_sanitizer() -> str:
    """The path of NVIDIA's checker of memory accesses, which is needed."""
    path = shutil.which("compute-sanitizer")
    if path is None:
        pytest.skip("no compute-sanitizer on the PATH")
    return path


@pytest.fixture
def debian_packages() -> None:
    """Needs a Debian system with package lists."""
    if shutil.which("apt-get") is None:
        pytest.skip("not a Debian system")
    if not list(Path("/var/lib/apt/lists").glob("*Packages*")):
        pytest.skip("this system has no package lists")


@pytest.fixture
def root() -> None:
    """Needs the right to become another user."""
    if os.getuid() != 0:
        pytest.skip("not root")


@pytest.fixture
def egl_library() -> None:
    """Needs EGL's loader, with or without a driver."""
    if ctypes.util.find_library("EGL") is None:
        pytest.skip("no EGL library")


@pytest.fixture(scope="session")
def gl_available() -> None:
    """Skips where no headless OpenGL context can be had."""
    try:
        glraster.RasterizeGLContext(device="cpu").close()
    except RuntimeError as error:
        pytest.skip(f"no OpenGL: {error}")


@pytest.fixture(scope="session")
def moderngl_available(gl_available) -> None:
    """Needs OpenGL and the package moderngl."""
    pytest.importorskip("moderngl")


@pytest.fixture
def float_atomics(moderngl_available) -> None:
    """Needs a driver that adds floats atomically."""
    from glraster.interop.context import HeadlessContext

    with_floats = ("GL_NV_shader_atomic_float",)
    try:
        HeadlessContext(version=(4, 3), extensions=with_floats).close()
    except glraster.OpenGLError as error:
        pytest.skip(str(error))


@pytest.fixture
def optimizer(moderngl_available):
    """Makes optimizers that are closed in the end, and looks for OpenGL errors."""
    from glraster.stochastic import StochasticOptimizer

    made = []

    def make(params, scene, **options):
        made.append(StochasticOptimizer(None, params, scene, **options))
        return made[-1]

    yield make
    for each in made:
        if each._device.gl is not None:  # not closed by the test
            with each._device:
                assert each._device.gl.error == "GL_NO_ERROR"
        each.close()


@pytest.fixture(params=["software", "gl"])
def glctx(request, device):
    """Both rasterizer contexts on every device."""
    if request.param == "software":
        context = glraster.RasterizeCudaContext(device)
    else:
        request.getfixturevalue("gl_available")
        context = glraster.RasterizeGLContext(device=device)
    yield context
    gl_pass = getattr(context, "_pass", None)
    if gl_pass is not None and gl_pass.context.usable:
        assert gl_pass.take_error() is None, "an OpenGL error was left behind"
    context.close()


@pytest.fixture(scope="session")
def on_cpu() -> glraster.SoftwareRasterizer:
    """The software rasterizer on the CPU, for fixtures of any scope."""
    return glraster.SoftwareRasterizer("cpu")


@pytest.fixture
def gl_context(gl_available):
    """An OpenGL context that may leave no OpenGL error behind."""
    with glraster.RasterizeGLContext(device="cpu") as made:
        yield made
        assert made._pass.take_error() is None


@pytest.fixture
def cuda_glctx(cuda, gl_available):
    """The OpenGL context on a GPU; skips where the two do not work together."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        context = glraster.RasterizeGLContext(device=cuda)
    if context.egl_device == "none":
        pytest.skip("; ".join(str(w.message) for w in caught) or "OpenGL and CUDA do not work together")
    yield context
    context.close()


@pytest.fixture
def golden():
    """Loads golden/NAME.npz, recorded results, as tensors (0-d arrays as Python values)."""

    def load(name: str) -> dict:
        data = np.load(GOLDEN / f"{name}.npz")
        return {key: data[key].item() if data[key].ndim == 0 else torch.from_numpy(data[key]) for key in data.files}

    return load


@pytest.fixture
def spot_path() -> Path:
    """The mesh shared/data/spot.obj."""
    path = SHARED / "data" / "spot.obj"
    if not path.exists():
        pytest.skip("shared/data is not here")
    return path


@pytest.fixture
def imageio_ffmpeg():
    """The package of that name, with its ffmpeg."""
    return pytest.importorskip("imageio_ffmpeg")


@pytest.fixture
def ray() -> None:
    """Needs the package of that name, which takes long to import."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no ray")


@pytest.fixture
def cv2():
    """The package OpenCV."""
    return pytest.importorskip("cv2")


@pytest.fixture
def openexr():
    """The package OpenEXR."""
    return pytest.importorskip("OpenEXR")


@pytest.fixture(scope="session")
def viser() -> None:
    """Needs the package of that name."""
    pytest.importorskip("viser")


@pytest.fixture(scope="session")
def window_packages() -> None:
    """Needs what the viewer's window and its tests are made of."""
    for package in ("glfw", "moderngl", "imgui_bundle", "Xlib"):
        pytest.importorskip(package)


@pytest.fixture
def screenshots(tmp_path) -> Path:
    """Where screenshots go: docs/ if the variable GLRASTER_SCREENSHOTS is set, as `make screenshots` does."""
    return Path(__file__).parents[1] / "docs" if os.environ.get("GLRASTER_SCREENSHOTS") else tmp_path


@pytest.fixture(scope="session")
def start_browser(tmp_path_factory, viser):
    """Starts headless Chromium with software WebGL, driven by selenium: a function of further flags."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with its driver: on Debian, apt-get install chromium chromium-driver")
    flags = "headless no-sandbox disable-quic no-first-run disable-background-networking disable-component-update "
    flags += "disable-sync disable-dev-shm-usage use-gl=angle use-angle=swiftshader enable-unsafe-swiftshader"

    def start(*further: str):
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*flags.split(), f"user-data-dir={tmp_path_factory.mktemp('profile')}", *further):
            options.add_argument(f"--{flag}")
        return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    return start


@pytest.fixture(scope="module")
def browser(start_browser):
    """One browser for the tests of a file; any name that ends in .example leads to this machine."""
    started = start_browser("window-size=900,560", "host-resolver-rules=MAP *.example 127.0.0.1")
    yield started
    started.quit()


@pytest.fixture(scope="session")
def xvfb(window_packages):
    """The name of an X display without a screen, started here."""
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb: on Debian, apt-get install xvfb")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    if not number:
        pytest.skip("Xvfb does not start")
    yield f":{number}"
    server.terminate()
    server.wait()


@pytest.fixture
def display(xvfb, monkeypatch):
    """A display for windows, as a connection on which one plays mouse and keyboard."""
    from Xlib.display import Display

    monkeypatch.setenv("DISPLAY", xvfb)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    connection = Display(xvfb)
    yield connection
    connection.close()
