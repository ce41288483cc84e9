"""Recordings: whole in the end, after Ctrl-C too, and no harm to the loop where they fail."""

import os
import signal
import subprocess
import sys
import threading
import time

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from glraster.viewer import Viewer
from glraster.viewer.grid import Picture
from glraster.viewer.record import WAITING, Recorder, yield_to_others


@pytest.fixture
def film(imageio_ffmpeg):
    """Reads the frames of a film: a function of its path."""

    def read(path):
        reader = imageio_ffmpeg.read_frames(str(path))
        width, height = next(reader)["size"]
        return [np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader]

    return read


def test_png_frames(tmp_path, imageio_ffmpeg):
    with Viewer("record", path=tmp_path / "frames", fps=1e9) as viewer:
        for i in viewer.loop(range(3)):
            image = torch.full((300, 300, 3), i / 2)
            image[0] = torch.tensor([1.0, 0, 0])
            viewer.show(image=image)
            while viewer._recorder.written < i:  # else the queue might drop one, as it should
                time.sleep(0.01)
    names = sorted(p.name for p in (tmp_path / "frames").iterdir())
    assert names == ["frame_000000.png", "frame_000001.png", "frame_000002.png"]
    frames = [imageio.imread(tmp_path / "frames" / name) for name in names]
    assert [int(f[200, 150, 0]) for f in frames] == [0, 128, 255]
    rows = (frames[0] == [255, 0, 0]).all(-1).nonzero()[0]
    assert len(set(rows)) == 1 and rows[0] > 300  # the bottom row is at the bottom


def test_files_have_the_size_of_what_is_shown(tmp_path, imageio_ffmpeg):
    folder = tmp_path / "100 %d"  # which is no number for ffmpeg
    with Viewer("record", path=folder) as viewer:
        viewer.show(a=torch.zeros(300, 300, 3))
        viewer.show(b=torch.ones(300, 700, 3))
    files = sorted(folder.iterdir())
    first, second = (imageio.imread(file) for file in files)
    assert [file.name for file in files] == ["frame_000000.png", "frame_000001.png"]
    assert first.shape[1] < 400 < second.shape[1] and second.max() == 255


def test_film(tmp_path, film):
    path = tmp_path / "folder" / "film.mp4"
    with Viewer("record", path=path, fps=1e3) as viewer:
        for i in viewer.loop(range(4)):
            viewer.show(image=torch.tensor([0.0, i / 3, 0.0]).expand(301, 299, 3))
            while viewer._recorder.written < i:
                time.sleep(0.01)
    frames = film(path)
    assert len(frames) == 4
    assert [abs(int(f[170, 150, 1]) - g) < 8 for f, g in zip(frames, (0, 85, 170, 255), strict=True)] == [True] * 4


def test_a_new_picture_does_not_change_the_size_of_a_film(tmp_path, film):
    with Viewer("record", path=tmp_path / "film.mp4") as viewer:
        viewer.show(a=torch.zeros(64, 64, 3))
        viewer.show(b=torch.zeros(80, 700, 3))
    assert len(film(tmp_path / "film.mp4")) == 2


SCRIPT = """
import os, signal, sys, time, torch
from glraster.viewer import Viewer
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
viewers = [Viewer("record", path=path) for path in sys.argv[1:]]
told = False
for _ in viewers[0].loop(range(100000)):
    for viewer in viewers:
        viewer.show(image=torch.rand(64, 64, 3))
    time.sleep(0.05)
    if not told and len(os.listdir(sys.argv[2])) > 20 and os.path.getsize(sys.argv[1]) > 40000:  # both have frames
        told = True
        print("running", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_whole_after_an_interruption(tmp_path, how, film):
    path, folder = tmp_path / "film.mp4", tmp_path / "frames"
    command = [sys.executable, "-c", SCRIPT, str(path), str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    assert process.stdout.readline() == b"running\n"
    os.killpg(process.pid, how)  # all of the group, as a terminal does
    process.communicate(timeout=60)
    deadline = time.monotonic() + 20  # after SIGKILL the encoder ends on its own
    frames = []
    while len(frames) < 10 and time.monotonic() < deadline:
        frames = film(path) if path.stat().st_size > 2000 else []
        time.sleep(0.1)
    assert len(frames) >= 10 and all(frame.std() > 10 for frame in frames)
    pictures = [imageio.imread(name) for name in folder.glob("*.png")]
    assert len(pictures) >= 10 and all(picture.std() > 10 for picture in pictures)


def test_full_disk_gives_one_warning_and_the_loop_goes_on(tmp_path, monkeypatch, imageio_ffmpeg):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("glraster.viewer.record.compose", full)
    viewer = Viewer("record", path=tmp_path / "frames")
    with pytest.warns(RuntimeWarning, match="recording to .*frames ends: .*No space left") as caught:
        done = 0
        for _ in viewer.loop(range(20)):
            viewer.show(image=torch.zeros(4, 4, 3))
            time.sleep(0.01)
            done += 1
        viewer.close()
    assert done == 20 and len([w for w in caught if "recording" in str(w.message)]) == 1


def test_dead_encoder_gives_one_warning_and_the_loop_goes_on(tmp_path, imageio_ffmpeg):
    """A device without space, for ffmpeg itself."""
    path = tmp_path / "film.mp4"
    path.symlink_to("/dev/full")
    viewer = Viewer("record", path=path)
    with pytest.warns(RuntimeWarning, match="recording to") as caught:
        for _ in viewer.loop(range(40)):
            viewer.show(image=torch.rand(256, 256, 3))
            time.sleep(0.01)
        viewer.close()
    assert len([w for w in caught if "recording" in str(w.message)]) == 1


def test_slow_encoder_does_not_hold_the_loop(tmp_path, monkeypatch, imageio_ffmpeg):
    go = threading.Event()
    monkeypatch.setattr(Recorder, "_write", lambda self, pictures: go.wait(20))
    recorder = Recorder(tmp_path / "frames", 30)
    for _ in range(50):
        recorder.put(lambda: [Picture("a", np.zeros((2, 2, 3), np.uint8))])  # returns while the encoder stands still
    assert 50 - WAITING - 1 <= recorder.dropped <= 50 - WAITING
    go.set()
    recorder.close()
    assert recorder.written + recorder.dropped == 50


def test_threads_of_the_viewer_go_last_at_any_priority():
    """Also in a program that has the lowest priority already, which it may not leave."""
    priorities = []

    def run():
        own = threading.get_native_id()
        for _ in range(3):
            yield_to_others()
            priorities.append(os.getpriority(os.PRIO_PROCESS, own))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert priorities == [min(before + 10 * i, 19) for i in (1, 2, 3)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
