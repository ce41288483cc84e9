"""The processes of pages and windows: small, never in the way, and gone when they should be."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from glraster.viewer import Viewer
from glraster.viewer.camera import Pose
from glraster.viewer.controls import Controls, Stage
from glraster.viewer.mirror import Pixels

PAGE = """
import signal, sys, time
from glraster.viewer import Viewer
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
viewer = Viewer("web", port=0)
try:
    print(viewer._live.pid, flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print(viewer._live.alive, flush=True)
time.sleep(60)
"""


def until(condition, what):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_goes_last_and_has_no_torch(viser):
    with Viewer("web", port=0) as viewer:
        process = Path(f"/proc/{viewer._live.pid}")
        assert "torch" not in (process / "maps").read_text()
        priorities = {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in (process / "task").iterdir()}
    assert priorities == {19}
    assert not runs(int(process.name))


def test_its_death_gives_one_warning_and_the_loop_goes_on(viser):
    viewer, done = Viewer("web", port=0), 0
    with pytest.warns(RuntimeWarning, match="the page ends: its process ended, code -9") as caught:
        for i in viewer.loop(range(20)):
            viewer.show(image=torch.zeros(4, 4, 3))
            if i == 3:
                os.kill(viewer._live.pid, signal.SIGKILL)
                until(lambda: not viewer._live.alive, "the end of the page")
            done += 1
    viewer.wait()  # there is nothing to wait for any more
    viewer.close()
    assert done == 20 and len([w for w in caught if "page ends" in str(w.message)]) == 1
    with pytest.raises(RuntimeError, match="the page is closed"):
        viewer._live.ask("alive")


def test_it_ends_with_the_loops_process_and_not_by_an_interruption_which_that_may_survive(viser):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", PAGE], start_new_session=True, **pipes) as process:
        page = int(next(line for line in process.stdout if line.strip().isdigit()))
        os.killpg(process.pid, signal.SIGINT)  # all of the group, as a terminal does
        assert process.stdout.readline() == "True\n" and runs(page)
        process.kill()
    until(lambda: not runs(page), "the end of the page")


def test_both_sides_see_the_same_memory_as_it_grows():
    handle = os.memfd_create("test")
    ours, theirs = Pixels(handle), Pixels(os.dup(handle))
    for size in (5, 3, 100_000):
        ours(size)[:] = np.arange(size) % 251
        assert np.array_equal(theirs(size), np.arange(size) % 251)


class _Side:
    """The two ends of a viewer's cameras without a process between them: what is posted arrives when `deliver` runs."""

    def __init__(self):
        from glraster.viewer.camera import Camera
        from glraster.viewer.mirror import _Camera

        self.loops, self.moves, self._posted = Camera(), 0, []
        self.outputs = _Camera(lambda *call: self._posted.append(call))

    def deliver(self):
        for _, moves, pose in self._posted:
            self.moves = moves
            self.loops.reset() if pose is None else self.loops.place(*pose)
        self._posted.clear()

    def answer(self):
        from types import SimpleNamespace

        camera = self.loops
        state = {"pose": camera.pose, "home": camera.home, "at_home": camera.at_home, "fov": 50.0, "moves": self.moves}
        self.outputs.take(SimpleNamespace(**state))


def test_cameras_follow_each_other_and_the_newest_move_wins():
    sides = _Side()
    sides.loops.place((1, 0, 3), (0, 0, 0))
    sides.answer()
    assert sides.outputs.pose.eye.tolist() == [1, 0, 3] and sides.outputs.fov == 50
    same = sides.outputs.pose
    sides.answer()
    assert sides.outputs.pose is same  # by which outputs see that nothing has moved
    sides.outputs.orbit(0.5, 0)
    moved = sides.outputs.pose
    sides.answer()  # from before the move
    assert sides.outputs.pose is moved
    sides.deliver()
    sides.answer()
    assert sides.outputs.pose is moved and np.array_equal(sides.loops.pose.eye, moved.eye)
    sides.outputs.reset()
    sides.deliver()
    assert sides.loops.at_home
    sides.loops.look_at_sphere((0, 0, 0), 2)
    sides.answer()
    assert sides.outputs.at_home and isinstance(sides.outputs.pose, Pose)


def test_taking_pictures_has_a_budget(monkeypatch):
    """Within a loop large ones are taken more seldom, and hardly any where nobody watches."""
    viewer = Viewer("off", fps=50)
    monkeypatch.setattr(viewer, "controls", Controls(Stage(), looping=True))
    assert viewer._period() == 1 / 50
    viewer._costs = {"a": 0.002, "b": 0.001}
    assert viewer._period() == 1 / 50  # nothing but recordings, which want all
    viewer._live = type("Page", (), {"watched": False})()
    assert viewer._period() == 0.5
    viewer._live.watched = True
    assert viewer._period() == pytest.approx(0.1)
    viewer.controls.looping = False
    assert viewer._period() == 1 / 50
    viewer._live = None
    viewer.close()
