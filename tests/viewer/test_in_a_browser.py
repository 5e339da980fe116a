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

pytestmark = pytest.mark.timeout(300)


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


class Page:
    """A viewer that works in a thread of its own, and the browser that looks at it."""

    def __init__(self, driver: Any, viewer: Viewer, front: Browser, shots: Path) -> None:
        self.driver, self.viewer, self.front, self.shots = driver, viewer, front, shots

    def until(self, what: Callable[[], Any], seconds: float = 100.0) -> None:
        until(what, seconds, 0.1, lambda: f"the console says {complaints(self.driver)}")

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

    def shot(self, name: str) -> np.ndarray:
        """The screen without the panel, [H, W, 3]."""
        self.driver.execute_async_script(
            "const done = arguments[0]; setTimeout(() => requestAnimationFrame(() => "
            "requestAnimationFrame(() => done())), 400)"
        )
        data = self.driver.get_screenshot_as_png()
        (self.shots / f"{name}.png").write_bytes(data)
        return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def click(self, text: str) -> None:
        """Click on the label, button or option with this text, where it is seen."""
        self.driver.execute_script(
            "const seen = [...document.querySelectorAll('label, button, [role=option]')]"
            ".filter(e => e.innerText.trim() === arguments[0] && e.offsetParent); seen.at(-1).click()",
            text,
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
        driver.get(f"http://127.0.0.1:{settings.port}")
        found = Page(driver, viewer, front, shots)
        found.until(lambda: front._windows)
        found.rests()
        yield found
        driver.get("about:blank")
        ended.set()
        worker.join()
    asked = [
        r for r in requests(driver) if not r.startswith(("data:", "about:", "blob:", "http://127.0.0.1:"))
    ]
    assert not asked
    assert model.modes
    assert not any(model.modes), "it was in evaluation whenever it was rendered"


def test_it_opens_and_a_turned_camera_changes_the_picture(page: Page) -> None:
    before, look = page.shot("rgb"), page.look
    middle = before[300, 450]
    assert np.ptp(middle) > 20, (
        f"the ball is coloured by its normals, and the middle of the screen is {middle}"
    )
    page.drag(160, 40)
    page.until(lambda: not page.look.same(look))
    page.rests()
    after = page.shot("rgb-turned")
    assert (np.abs(after - before).sum(-1) > 30).mean() > 0.02
    # the ball's colour is its normal in the scene's frame: what is in the middle now looks at the camera
    toward = -page.look.c2w[:, 2] / 2 + 0.5
    np.testing.assert_allclose(after[300, 450], 255 * toward, atol=25)


def test_layers_mesh_and_buttons(page: Page) -> None:
    rgb = page.shot("layers-rgb")
    for layer in ("depth", "normal", "opacity"):
        page.choose(layer)
        assert (np.abs(page.shot(f"layers-{layer}") - rgb).sum(-1) > 30).mean() > 0.02, layer
    page.choose("mesh")
    page.until(lambda: page.window.mesh is not None)
    assert len(np.unique(page.shot("mesh")[250:350, 400:500].reshape(-1, 3), axis=0)) > 50, "it is shaded"
    page.click("keep this camera")
    page.until(lambda: (page.front.folder / key_frames.FILE).is_file())
    page.front.sliders[2].value = (-1.0, 0.25)
    page.click("crop")
    page.until(lambda: "save the crop" in page.driver.find_element("tag name", "body").text)
    page.click("save the crop")
    page.until(lambda: (page.front.folder / crop.FILE).is_file())
    assert crop.box_of(str(page.front.folder / crop.FILE)) == ((-1.0, -1.0, -1.0), (1.0, 1.0, 0.25))
    page.click("pause")
    page.until(lambda: page.viewer.paused)
    page.shot("panel")
    page.click("stop")
    page.until(lambda: page.viewer.stopped)


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
