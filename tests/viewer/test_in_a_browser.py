"""The viewer in a headless Chromium, used as by a person: it opens, the camera turns, layers and buttons are clicked.

What is looked at is an analytic ball. Screenshots go to ISOSWEEP_SCREENSHOTS, else to pytest's folder.
"""

import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import PIL.Image
import pytest

from isosweep.config import crop
from isosweep.config.settings import ViewSettings
from isosweep.errors import InputError
from isosweep.viewer import key_frames
from isosweep.viewer.browser import Browser
from isosweep.viewer.core import Viewer
from isosweep.viewer.looks import Look
from tests.support.browser import browser, complaints, requests, require
from tests.support.waiting import until
from tests.viewer.doubles import ball

pytestmark = pytest.mark.timeout(900)


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


class Page:
    """A viewer that works in a thread of its own, and the browser that looks at it."""

    def __init__(self, driver: Any, viewer: Viewer, front: Browser, shots: Path) -> None:
        self.driver, self.viewer, self.front, self.shots = driver, viewer, front, shots

    def until(self, what: Callable[[], Any], seconds: float = 200.0) -> None:
        until(what, seconds, 0.1, self.told)

    def told(self) -> str:
        seen = {number: window.last and window.last.look for number, window in self.front._windows.items()}
        return f"windows {seen}, work {self.viewer.has_work}, the console says {complaints(self.driver)}"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.front.server.get_port()}"

    @property
    def window(self) -> Any:
        (window,) = self.front._windows.values()
        return window

    @property
    def look(self) -> Look:
        return self.window._look()

    def rests(self) -> None:
        """The last picture of the ladder is shown, of the camera as it is now."""

        def at_rest() -> bool:
            last = self.window.last
            return last is not None and last.look.same(self.look) and not self.viewer.has_work

        self.until(at_rest)

    def shot(self, name: str, shows: Callable[[np.ndarray], Any]) -> np.ndarray:
        """The screen [H, W, 3] as soon as it shows something: a picture is drawn some time after it is sent."""
        taken: list[np.ndarray] = []

        def seen() -> bool:
            data = self.driver.get_screenshot_as_png()
            (self.shots / f"{name}.png").write_bytes(data)
            taken[:] = [np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")).astype(int)]
            return bool(shows(taken[-1]))

        self.until(seen)
        return taken[-1]

    def click(self, text: str) -> None:
        """Click on the label, button, option or heading with this text, where it is seen: on the innermost element."""
        self.until(
            lambda: self.driver.execute_script(
                "const seen = [...document.querySelectorAll('label, button, div, [role=option]')]"
                ".filter(e => e.innerText.trim() === arguments[0] && e.offsetParent); seen.at(-1)?.click();"
                "return seen.length",
                text,
            )
        )

    def choose(self, value: str) -> None:
        from selenium.webdriver.common.by import By

        boxes = self.driver.find_elements(By.CSS_SELECTOR, "input[aria-haspopup=listbox]")
        next(box for box in boxes if box.is_displayed()).click()
        self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, "[role=option]"))
        self.click(value)
        self.until(lambda: self.window.layer.value == value)

    def drag(self, right: int, down: int) -> None:
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.by import By

        canvas = self.driver.find_element(By.TAG_NAME, "canvas")
        chain = ActionChains(self.driver).move_to_element(canvas).click_and_hold()
        for _ in range(4):
            chain = chain.move_by_offset(right // 4, down // 4)
        chain.release().perform()


def different(one: np.ndarray, other: np.ndarray, part: float = 0.02) -> bool:
    """Whether more than this part of the screen is."""
    return bool((np.abs(one - other).sum(-1) > 30).mean() > part)


def shaded(image: np.ndarray) -> bool:
    """Whether the middle of the screen has many colours."""
    h, w, _ = image.shape
    middle = image[h // 2 - 50 : h // 2 + 50, w // 2 - 50 : w // 2 + 50]
    return len(np.unique(middle.reshape(-1, 3), axis=0)) > 50


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("viser", reason="viser is not installed: pip install 'isosweep[view]'")
    require()
    with browser(tmp_path_factory.mktemp("profile"), (900, 600)) as made:
        yield made


@pytest.fixture
def page(driver: Any, tmp_path: Path) -> Iterator[Page]:
    """Open, with the first picture shown; afterwards no other machine was asked for anything."""
    model, subject = ball()
    viewer = Viewer([subject], longest=256, mesh_cells=24)
    settings = ViewSettings(port=free_port())
    shots = Path(os.environ.get("ISOSWEEP_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            if not viewer.work():
                viewer.wait(0.02)

    worker = threading.Thread(target=work)
    requests(driver)
    with Browser(viewer, settings, tmp_path, training=True) as front:
        worker.start()
        found = Page(driver, viewer, front, shots)
        driver.get(found.address)
        found.until(lambda: front._windows)
        found.rests()
        yield found
        driver.get("about:blank")
        ended.set()
        worker.join()
    asked = [r for r in requests(driver) if r.startswith(("http", "ws"))]
    assert asked
    assert not [r for r in asked if not r.startswith(("http://127.0.0.1:", "ws://127.0.0.1:"))]
    assert model.modes
    assert not any(model.modes), "it was in evaluation whenever it was rendered"


def test_it_opens_and_a_turned_camera_changes_the_picture(page: Page) -> None:
    """The ball's colour is its normal in the scene's frame, so what is in the middle of it looks at the camera."""

    def faces_us(image: np.ndarray) -> bool:
        h, w, _ = image.shape
        return np.allclose(image[h // 2, w // 2], 255 * (-page.look.c2w[:, 2] / 2 + 0.5), atol=25)

    before, look = page.shot("rgb", faces_us), page.look
    page.drag(160, 40)
    page.until(lambda: not page.look.same(look))
    page.rests()
    after = page.shot("rgb-turned", faces_us)
    assert different(before, after)


def test_layers_mesh_and_buttons(page: Page) -> None:
    last = page.shot("layers-rgb", lambda image: not (image == 255).all())
    for layer in ("depth", "normal", "opacity"):
        page.choose(layer)
        last = page.shot(f"layers-{layer}", lambda image, last=last: different(image, last))
    page.choose("mesh")
    page.until(lambda: page.window.mesh is not None)
    page.shot("mesh", shaded)
    page.click("keep this camera")
    kept = page.front.folder / key_frames.FILE
    page.until(kept.is_file)
    kept.write_text("no json")
    page.click("keep this camera")
    page.until(lambda: "nothing is saved" in page.driver.find_element("tag name", "body").text)
    page.front.sliders[2].value = (-1.0, 0.25)
    page.click("crop")
    page.until(lambda: "save the crop" in page.driver.find_element("tag name", "body").text)
    page.click("save the crop")
    page.until(lambda: (page.front.folder / crop.FILE).is_file())
    assert crop.box_of(str(page.front.folder / crop.FILE)) == ((-1.0, -1.0, -1.0), (1.0, 1.0, 0.25))
    page.click("pause")
    page.until(lambda: page.viewer.paused)
    page.shot("panel", lambda image: True)
    page.click("stop")
    page.until(lambda: page.viewer.stopped)


def test_training_cameras_are_there_and_gone_again_and_a_closed_page_takes_no_time(page: Page) -> None:
    before = page.shot("cameras-not-yet", lambda image: not (image == 255).all())
    page.click("training cameras")
    page.until(lambda: page.front.cameras)
    there = page.shot("cameras-on", lambda image: different(image, before, 0.005))
    page.click("training cameras")
    page.shot("cameras-off", lambda image: different(image, there, 0.005))
    assert not any(handle.visible for handle in page.front.cameras or [])
    page.driver.switch_to.new_window("tab")
    first, _ = page.driver.window_handles
    page.driver.get(page.address)
    page.until(lambda: len(page.front._windows) == 2)
    page.driver.close()
    page.driver.switch_to.window(first)
    page.until(lambda: len(page.front._windows) == 1)
    page.driver.switch_to.new_window("tab")  # the browser lives on
    (last,) = (handle for handle in page.driver.window_handles if handle != first)
    page.driver.switch_to.window(first)
    page.driver.close()
    page.driver.switch_to.window(last)
    page.until(lambda: not page.viewer.watched)


def test_a_camera_that_moves_while_its_window_opens_is_drawn() -> None:
    """Cameras are told when they move, from the moment on at which somebody asks for it."""
    pytest.importorskip("viser", reason="viser is not installed: pip install 'isosweep[view]'")
    _, subject = ball()
    with Browser(Viewer([subject]), ViewSettings(port=free_port()), None, training=False) as front:
        client = MagicMock(client_id=7)
        camera = client.camera
        camera.wxyz, camera.position, camera.fov = np.array([1.0, 0, 0, 0]), np.zeros(3), 0.8
        camera.image_height, camera.image_width = 20, 30

        def moved_just_before(told: Callable[[Any], None]) -> None:
            camera.position = np.array([0.0, 0, 5])

        camera.on_update.side_effect = moved_just_before
        handed: list[Look] = []
        front.viewer.look = lambda number, look: handed.append(look)  # pyright: ignore[reportAttributeAccessIssue]
        front.server.get_clients = lambda: {7: client}
        front._opened(client)
        assert handed[-1].c2w[2, 3] == 5


def test_a_port_that_somebody_else_takes_at_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("viser", reason="viser is not installed: pip install 'isosweep[view]'")
    _, subject = ball()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        monkeypatch.setattr("isosweep.viewer.address.require", lambda settings: None)
        with pytest.raises(InputError, match=rf"port {port} of 127\.0\.0\.1 is in use"):
            Browser(Viewer([subject]), ViewSettings(port=port), None, training=False)
