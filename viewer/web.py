"""The page for browsers: viser serves it. All of this runs in a process of its own, which `process` starts."""

import contextlib
import getpass
import io
import socket
import threading
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

from .camera import Pose
from .extras import needed
from .grid import compose
from .web_panel import Panel

if TYPE_CHECKING:
    from .mirror import Mirror

__all__ = ["WebOutput", "check_address"]

LARGEST = (1080, 1920)  # pixels of what is sent; browsers enlarge it
QUALITY = 92  # of JPEG
IDLE = 0.25  # seconds between two looks at the loop while nobody watches
PATIENCE, ATTEMPTS = 1.0, 4  # seconds that a browser has to take a new pose, and how often it is told


class WebOutput:
    """Serves the viewer's page.

    Every watcher gets pictures in the size of their page. The camera is one for all: whoever drags moves it.

    Raises:
        RuntimeError: viser is not installed, or the address cannot be listened at.
    """

    def __init__(self, viewer: "Mirror"):
        viser = needed("viser", "web")
        self._viewer, self._stage = viewer, viewer.stage
        warnings.filterwarnings("ignore", message="Queued a .* on a closed connection")  # somebody has just left
        with contextlib.redirect_stdout(io.StringIO()):  # its greeting: ours says how to come here from elsewhere
            self._server = viser.ViserServer(viewer.host, viewer.port, label=viewer.title, verbose=False)
        self.port = self._server.get_port()
        self._server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        self._server.scene.set_up_direction("+y")
        self._panel = Panel(self._server, viewer)
        self._lock, self._awake = threading.Lock(), threading.Event()
        self._watchers: dict[int, _Watcher] = {}
        self._begins: Pose | None = None
        self._set_initial_camera()
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._forget)
        self.alive = True
        self._thread = threading.Thread(target=self._run, name="glraster web", daemon=True)
        self._thread.start()
        if self.port != viewer.port and viewer.port:
            print(f"Port {viewer.port} is in use, taking {self.port}.")
        print("\n".join(_directions(viewer.host, self.port)), flush=True)

    def close(self) -> None:
        """Ends the page."""
        self.alive = False
        self._awake.set()
        self._stage.touch()
        if threading.current_thread() is not self._thread:
            self._thread.join(10)
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def _set_initial_camera(self) -> None:
        """Where browsers begin."""
        pose, camera = self._viewer.camera.pose, self._server.initial_camera
        if self._begins is pose:
            return
        self._begins = pose
        camera.position, camera.look_at = pose.eye, pose.target
        camera.fov = np.radians(self._viewer.camera.fov)

    async def _welcome(self, client) -> None:
        watcher = _Watcher(client, self._viewer)
        with self._lock:
            self._watchers[client.client_id] = watcher
        self._awake.set()
        self._stage.touch()

    async def _forget(self, client) -> None:
        with self._lock:
            self._watchers.pop(client.client_id, None)

    @property
    def poses(self) -> list[Pose]:
        """The camera of every watcher, as their browsers say."""
        return [watcher.pose() for watcher in self._watchers_now()]

    def _watchers_now(self) -> list["_Watcher"]:
        with self._lock:
            return list(self._watchers.values())

    def _run(self) -> None:
        seen = -1
        try:
            while self.alive:
                started = time.monotonic()
                watchers = self._watchers_now()
                self._viewer.watched = bool(watchers)
                version = self._stage.wait_newer(seen, timeout=0.5)
                sizes = {watcher.size() for watcher in watchers}
                for watcher in watchers:
                    watcher.follow()
                if version != seen or any(watcher.size() != watcher.sent_size for watcher in watchers):
                    seen = version
                    self._set_initial_camera()
                    self._panel.update()
                    for size in sizes:
                        self._send(size, [watcher for watcher in watchers if watcher.size() == size])
                pause = 1 / self._viewer.fps if watchers else IDLE
                self._awake.wait(max(0.0, pause - (time.monotonic() - started)))
                self._awake.clear()
        except Exception as error:  # what one watches must not stop an optimization
            if self.alive:
                self.alive = False
                warnings.warn(f"Viewer: the page ends: {error!r}", RuntimeWarning, stacklevel=2)

    def _send(self, size: tuple[int, int], watchers: list["_Watcher"]) -> None:
        pictures = self._viewer.pictures(size)
        image = compose(pictures, size)
        for watcher in watchers:
            watcher.sent_size = size
            watcher.client.scene.set_background_image(image, format="jpeg", jpeg_quality=QUALITY)


class _Watcher:
    """One browser, whose camera and the viewer's follow each other."""

    def __init__(self, client, viewer: "Mirror"):
        self.client, self._camera = client, viewer.camera
        self.sent_size: tuple[int, int] | None = None
        self._stage = viewer.stage
        self._known = self.pose()  # where its camera is, as it says
        self._told: Pose | None = viewer.camera.pose  # a pose that it has been given and not taken yet
        self._when, self._attempts = float("-inf"), 0
        client.camera.on_update(self._moved)

    def size(self) -> tuple[int, int]:
        """Height and width of its pictures."""
        height, width = self.client.camera.image_height, self.client.camera.image_width
        scale = min(1.0, LARGEST[0] / max(height, 1), LARGEST[1] / max(width, 1))
        return max(64, round(height * scale)), max(64, round(width * scale))

    def follow(self) -> None:
        """Gives the browser the viewer's pose, if another has changed it."""
        pose = self._camera.pose
        if _close(self._known, pose) or (self._told is pose and time.monotonic() - self._when < PATIENCE):
            return
        self._attempts = self._attempts + 1 if self._told is pose else 1
        if self._attempts > ATTEMPTS:  # it has its own will
            self._told = None
            return
        self._told, self._when = pose, time.monotonic()
        camera = self.client.camera
        with self.client.atomic():
            camera.up_direction, camera.position, camera.look_at = pose.up, pose.eye, pose.target

    async def _moved(self, _) -> None:
        self._known = self.pose()
        if self._told is not None:  # until it has taken the pose, what it says is older than that
            if _close(self._known, self._told):
                self._told = None
        elif not _close(self._known, self._camera.pose):
            self._camera.place(*self._known)
        self._stage.touch()  # perhaps its size has changed

    def pose(self) -> Pose:
        """Where its camera is."""
        camera = self.client.camera
        return Pose(camera.position, camera.look_at, camera.up_direction)


def _close(a, b) -> bool:
    return all(np.allclose(x, y, rtol=0, atol=1e-3 * np.linalg.norm(b[0] - b[1])) for x, y in zip(a, b, strict=True))


def check_address(host: str, port: int) -> None:
    """Asks whether one can listen there.

    Raises:
        RuntimeError: at no port of this host.
        ValueError: that is no port.
    """
    if not isinstance(port, int) or not 0 <= port < 65536:
        raise ValueError(f"Viewer(): port must be a number from 0 to 65535, got {port!r}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.bind(address)
    except OSError as error:
        raise RuntimeError(f"Viewer(): cannot listen at host {host!r}: {error}") from error


def _directions(host: str, port: int) -> list[str]:
    """How to get to the page, for this machine and for others."""
    name = socket.gethostname()
    local = "127.0.0.1" if host in ("0.0.0.0", "::", "127.0.0.1", "localhost") else host
    lines = [f"Viewer: http://{local}:{port}"]
    if host in ("0.0.0.0", "::"):
        lines.append(f"        http://{name}:{port} from other machines")
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "user"
    lines.append(f"        from afar: ssh -L {port}:{local}:{port} {user}@{name}, then http://localhost:{port}")
    return lines
