"""The page, in a real browser: pictures, camera and buttons; several watchers, reloads, loops that end."""

import io
import re
import socket
import threading
import time

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from PIL import Image
from viewer_scene import put_on_show

from glraster.viewer import Viewer
from glraster.viewer.grid import arrange

PATIENCE = 90  # seconds; software WebGL on a busy machine is slow


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"never: {what}")


def canvas(browser) -> np.ndarray:
    """What the page shows beside its panel."""
    browser.execute_script("document.querySelectorAll('.mantine-Notification-root').forEach(e => e.remove())")
    area = browser.find_element("css selector", "canvas").rect
    whole = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    left, top = int(area["x"]), int(area["y"])
    return np.asarray(whole)[top : top + int(area["height"]), left : left + int(area["width"])]


def shows(browser, row: float, column: float, color) -> bool:
    """Whether a square picture has about this colour at a place, in parts of its sides from the top left."""
    if not browser.find_elements("css selector", "canvas"):
        return False
    seen = canvas(browser)
    (cell,) = arrange([(1, 1)], seen.shape[:2])
    y, x = cell.y + int(row * cell.height), cell.x + int(column * cell.width)
    return bool(np.abs(seen[y, x].astype(int) - np.array(color)).max() < 12)


def press(browser, text):
    """Clicks a button, in one step: the page may replace its buttons between two."""
    find = (
        "const b = [...document.querySelectorAll('button')].find(b => b.innerText == arguments[0]); if (b) b.click();"
    )
    until(lambda: browser.execute_script(find + " return !!b", text), f"a button {text}")


def drag(browser, x, y):
    from selenium.webdriver.common.action_chains import ActionChains

    area = browser.find_element("css selector", "canvas")
    ActionChains(browser).move_to_element(area).click_and_hold().move_by_offset(x, y).release().perform()


@pytest.fixture
def viewer(browser):
    made = Viewer("web", port=0, title="fit")
    yield made
    browser.get("about:blank")
    made.close()


def address(viewer, name="127.0.0.1"):
    return f"http://{name}:{viewer._live.port}"


def quarters():
    """Red, green above, blue at the top right: no two corners alike."""
    image = torch.zeros(64, 64, 3)
    image[:32, :, 0] = image[32:, :32, 1] = image[32:, 32:, 2] = 1
    image[:8, :8] = torch.nan
    return image


def test_page_shows_the_picture_under_any_host_name_and_after_a_reload(browser, viewer):
    viewer.show(image=quarters())
    browser.get(address(viewer, "gpu-server.example"))
    for _ in range(2):
        until(lambda: shows(browser, 0.25, 0.25, (0, 255, 0)), "green at the top left")
        assert shows(browser, 0.25, 0.75, (0, 0, 255))
        assert shows(browser, 0.75, 0.75, (255, 0, 0))
        assert shows(browser, 0.95, 0.05, (255, 0, 255))  # not a number
        browser.refresh()
    viewer.show(image=1 - quarters())  # the next picture arrives without a reload
    until(lambda: shows(browser, 0.25, 0.25, (255, 0, 255)), "the next picture")


def test_dragging_turns_the_camera_and_the_next_picture_shows_it(browser, viewer):
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    viewer.mesh(vertices, faces)
    before = viewer.camera.pose
    browser.get(address(viewer))
    until(lambda: canvas(browser)[200, 250, 0] > 100, "the square")
    time.sleep(1)
    assert np.allclose(viewer.camera.pose.eye, before.eye, atol=0.05)  # a browser that has only come moves nothing
    drag(browser, 120, 0)
    until(lambda: abs(viewer.camera.pose.eye[0]) > 0.3 * before.eye[2], "a turned camera")
    assert viewer.camera.pose.eye[0] < 0  # what is in front goes to the right: the eye goes to the left
    assert np.allclose(viewer.camera.pose.target, 0, atol=1e-3)

    def agrees():
        seen = canvas(browser)
        expected = viewer.pictures((seen.shape[0], seen.shape[1]))[0].pixels
        shown = seen[-expected.shape[0] - 30 :, :].astype(int)
        return abs((shown[..., 0] > 60).mean() - (expected[..., 0] > 60).mean() * expected.size / shown.size) < 0.03

    until(agrees, "a picture from the new side")
    viewer.camera.reset()  # the loop may move the camera too: the browser follows
    until(lambda: np.allclose(viewer._live.ask("poses")[0].eye, before.eye, atol=0.05), "to follow")


def test_buttons_pause_step_and_quit(browser, viewer):
    seen = []

    def run():
        for i in viewer.loop(range(100000)):
            seen.append(i)
            viewer.show(image=quarters(), depth=quarters()[..., 0] * i)
            viewer.log(loss=1 / (i + 1))
            time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        browser.get(address(viewer))
        press(browser, "Pause")
        until(lambda: ">Continue<" in browser.page_source, "the button to go on")
        count = len(seen)
        time.sleep(0.3)
        assert len(seen) == count
        press(browser, "Step")
        until(lambda: len(seen) == count + 1, "one iteration")
        until(lambda: f"Iteration {count} of 100000" in browser.page_source, "the number of the iteration")
        until(lambda: browser.find_elements("css selector", ".uplot"), "a plot")
        time.sleep(0.5)
        assert len(seen) == count + 1
        press(browser, "Continue")
        until(lambda: len(seen) > count + 3, "more iterations")
        press(browser, "Quit the loop")
        thread.join(30)
        assert not thread.is_alive()
    finally:
        viewer.controls.quit()
        thread.join()
    until(lambda: "ended" in browser.page_source, "the end of the loop on the page")  # which is still there
    viewer.stage.remove("depth")
    viewer.show(image=1 - quarters())
    until(lambda: shows(browser, 0.25, 0.25, (255, 0, 255)), "a picture after the loop")


def test_screenshot_for_the_documentation(browser, viewer, screenshots):
    put_on_show(viewer)
    browser.get(address(viewer))
    until(lambda: browser.find_elements("css selector", ".uplot") and canvas(browser).std() > 20, "pictures and plots")
    time.sleep(1)  # whatever still moves
    browser.save_screenshot(str(screenshots / "viewer_web.png"))


def test_two_watchers_and_one_who_leaves(browser, viewer):
    viewer.show(image=quarters())
    browser.get(address(viewer))
    until(lambda: shows(browser, 0.25, 0.25, (0, 255, 0)), "the picture")
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    browser.get(address(viewer))
    until(lambda: shows(browser, 0.25, 0.25, (0, 255, 0)), "the picture for the second")
    assert len(viewer._live.ask("poses")) == 2
    browser.close()
    browser.switch_to.window(first)
    until(lambda: len(viewer._live.ask("poses")) == 1, "the second to be gone")
    viewer.show(image=1 - quarters())
    until(lambda: shows(browser, 0.25, 0.25, (255, 0, 255)), "the next picture for the first")


def test_address_is_printed_and_a_port_in_use_moves_on(capsys, viser):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Viewer("web", port=port) as viewer:
            out = capsys.readouterr().out
            assert f"Port {port} is in use, taking {viewer._live.port}." in out
            assert f"http://127.0.0.1:{viewer._live.port}\n" in out
            assert re.search(rf"ssh -L {viewer._live.port}:127.0.0.1:{viewer._live.port} \S+@\S+", out)


def test_addresses_that_cannot_be_had(viser):
    with pytest.raises(RuntimeError, match="cannot listen at host '192.0.2.1'"):
        Viewer("web", host="192.0.2.1")
    with pytest.raises(ValueError, match="port must be a number from 0 to 65535, got 70000"):
        Viewer("web", port=70000)


def test_a_failing_page_gives_one_warning_and_the_loop_goes_on(viser):
    viewer, done = Viewer("web", port=0), 0
    with pytest.warns(RuntimeWarning, match="the page ends: TypeError") as caught:
        for i in viewer.loop(range(30)):
            viewer.controls.total = "many"
            viewer.show(image=quarters() * i)
            if i == 20:
                until(lambda: not viewer._live.alive, "the end of the page")
            done += 1
    viewer.wait()  # there is nothing to wait for any more
    viewer.close()
    assert done == 30 and len([w for w in caught if "page ends" in str(w.message)]) == 1


def test_recording_beside_the_page(tmp_path, monkeypatch, viser, imageio_ffmpeg):
    monkeypatch.chdir(tmp_path)
    with Viewer("web", port=0) as viewer:
        viewer.show(image=quarters())
        viewer.toggle_recording()
        viewer.show(image=quarters())
        viewer.toggle_recording()
        viewer.screenshot("now.png")
    assert (tmp_path / "recording_0.mp4").stat().st_size > 500
    assert imageio.imread(tmp_path / "now.png").shape[2] == 3
