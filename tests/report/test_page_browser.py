"""The page in a headless Chromium: sorted, filtered, slid and turned as by a person, from disk and without network.

Screenshots go to ISOSWEEP_SCREENSHOTS, else to pytest's folder.
"""

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from isosweep.report.browse import PageLimits, make_page
from isosweep.report.pipeline import TableRequest
from tests.report.hand import put, record
from tests.support.browser import browser, complaints, requests, require
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(1500)  # the first test trains the sweep
HOSTILE = "<script>window.hit=1</script>\"'><img src=x onerror=window.hit=1> & é"


class Page:
    """A page that is open in a browser."""

    def __init__(self, driver: Any, folder: Path, shots: Path) -> None:
        self.driver, self.folder, self.shots = driver, folder, shots

    def open(self, tab: str, more: str = "") -> None:
        self.driver.get("about:blank")
        self.driver.get(f"file://{self.folder}/index.html#tab={tab}{more}")
        self.until(lambda: self.js("return document.getElementById('panel').dataset.drawn") == tab)

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements("css selector", css)

    def one(self, css: str) -> Any:
        found = self.all(css)
        assert found, f"nothing is {css}"
        return found[0]

    def texts(self, css: str) -> list[str]:
        """Read at one moment: an element that is asked for later may have been replaced."""
        return self.js(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim())", css
        )

    def choose(self, css: str, value: str) -> None:
        from selenium.webdriver.support.ui import Select

        Select(self.one(css)).select_by_value(value)

    def until(self, what: Callable[[], Any], seconds: float = 60.0) -> None:
        until(what, seconds, 0.1, lambda: f"the console says {complaints(self.driver)}")

    def sees(self, read: Callable[[], Any], expected: Any, why: str = "", seconds: float = 20.0) -> None:
        """``read()`` becomes equal to ``expected``: DataTables draws in a timer, after the click has returned."""
        end = time.monotonic() + seconds
        while (found := read()) != expected and time.monotonic() < end:
            time.sleep(0.05)
        assert found == expected, why

    def drawn(self) -> None:
        """What the page has asked to draw is on the screen: its frame, and one after it."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
        )

    def shot(self, name: str) -> None:
        self.driver.save_screenshot(str(self.shots / f"{name}.png"))

    def pixels(self, css: str) -> np.ndarray:
        """What is seen of an element, [H, W, 3]."""
        data = self.one(css).screenshot_as_png
        return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    def keys(self, css: str, *keys: str) -> None:
        self.one(css).send_keys(*keys)


@pytest.fixture(scope="module")
def moved(small_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the small sweep, made in one place and moved to another with a space and an accent in its name."""
    require()
    made = tmp_path_factory.mktemp("made")
    root = small_sweep / "results" / "runs"
    make_page(TableRequest(("small",), root, published=None), made / "page", PageLimits())
    other = tmp_path_factory.mktemp("elsewhere") / "with späce"
    shutil.copytree(made / "page", other)
    shutil.rmtree(made)
    return other


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def page(driver: Any, moved: Path, tmp_path: Path) -> Iterator[Page]:
    """Open; afterwards nothing may have been asked of a network, and the console is silent."""
    driver.get("about:blank")
    requests(driver)  # what a test before has left is not this one's
    complaints(driver)
    shots = Path(os.environ.get("ISOSWEEP_SCREENSHOTS") or tmp_path)
    shots.mkdir(parents=True, exist_ok=True)
    yield Page(driver, moved, shots)
    asked = [r for r in requests(driver) if not r.startswith(("file:", "data:", "about:", "blob:"))]
    assert not asked
    # reading the picture of a WebGL canvas for a screenshot is slow, which Chromium tells the console
    assert [c for c in complaints(driver) if "ReadPixels" not in c] == []


ROWS = "#panel tbody tr"
PSNR = "td[data-metric='nvs/psnr']"


def numbers(page: Page, css: str = PSNR) -> list[float | None]:
    return [None if t == "–" else float(t) for t in page.texts(f"{ROWS} {css}")]


def test_sorting_by_mouse_and_by_keyboard(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open("runs")
    before = numbers(page)
    assert (len(before), before.count(None)) == (17, 1)
    known = sorted(x for x in before if x is not None)
    head = "#panel th[title='nvs/psnr']"
    page.one(head).click()
    page.sees(
        lambda: numbers(page), [*known[::-1], None], "the first click: best first; what is missing is last"
    )
    page.sees(lambda: page.one(head).get_attribute("aria-sort"), "descending")
    page.shot("sorted")
    page.js("document.querySelector(arguments[0]).querySelector('[tabindex]')?.focus() ?? 0", head)
    page.js(
        "if (!document.activeElement.closest(arguments[0])) document.querySelector(arguments[0]).focus()",
        head,
    )
    assert page.js("return Boolean(document.activeElement.closest(arguments[0]))", head), (
        "headings take the focus"
    )
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.sees(lambda: numbers(page), [*known, None])


def test_filtering_by_any_key_and_by_words(page: Page) -> None:
    page.open("runs")
    page.choose("#filter-key", "model")
    box = next(b for b in page.all("#values label") if b.text.startswith("nerf"))
    assert box.text == "nerf (8)"
    box.click()
    page.sees(lambda: page.one("#count").text, "8 of 17 runs")
    page.sees(lambda: ["nerf" in t for t in page.texts(f"{ROWS} th")], [True] * 8)
    page.choose("#filter-key", "encoding.n_frequencies")  # a key of the config that only some encodings have
    next(b for b in page.all("#values label") if b.text.startswith("6")).click()
    page.sees(lambda: page.one("#count").text, "4 of 17 runs")
    page.shot("filtered")
    address = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(address)
    page.sees(lambda: page.one("#count").text, "4 of 17 runs")  # the filter is in the address
    page.one(".chip").click()
    page.one("#clear").click()
    page.keys("#words", "seed=1 ball-2 psnr>0")
    page.sees(lambda: page.one("#count").text, "4 of 17 runs")
    page.sees(lambda: page.js("return document.activeElement.id"), "words", "typing goes on")
    page.one("#tab-failures").click()
    page.until(lambda: "Every run that passes the filter is finished" in page.one("#panel").text)


def test_the_slider_by_mouse_and_by_keyboard(page: Page) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.open("images", "&v.kind=error")
    page.choose("#left", "truth")
    page.until(lambda: page.js("return [...document.images].every(i => i.complete)"))
    page.until(lambda: page.one("#compare .over img").get_attribute("alt").endswith("ground truth"))

    def cut() -> float:
        return float(
            page.js("return document.getElementById('compare').style.getPropertyValue('--cut')")[:-1]
        )

    def photograph_until() -> float:
        """Where the picture stops being the photograph, in per cent of the width: the error map is dark outside."""
        row = page.pixels("#compare")[-4].sum(-1)
        return 100.0 * float(np.argmax(row < 200)) / len(row)

    page.sees(cut, 50)
    page.sees(photograph_until, pytest.approx(50, abs=2))
    page.keys("#cut", Keys.ARROW_RIGHT * 10)
    page.sees(cut, 60)
    page.sees(photograph_until, pytest.approx(60, abs=2))
    stage = page.one("#compare")
    width = stage.size["width"]
    ActionChains(page.driver).move_to_element(stage).click_and_hold().move_by_offset(
        -round(width * 0.3), 0
    ).release().perform()
    page.sees(cut, pytest.approx(20, abs=1))
    page.sees(photograph_until, pytest.approx(20, abs=2))
    page.shot("slider")
    before = page.one("#compare .under").get_attribute("src")
    page.one("#next").click()
    page.until(lambda: page.one("#compare .under").get_attribute("src") != before)
    page.sees(lambda: page.js("return document.activeElement.id"), "next", "the keyboard stays on the button")
    for kind in ("rgb", "depth", "normal"):
        page.open("images", f"&v.kind={kind}&v.left={run(page, 'neus')}")
        page.until(
            lambda: page.js(
                "const i = document.querySelector('#compare .over img'); return i && i.naturalWidth"
            )
        )
        page.shot(f"images-{kind}")
    page.one("#peek").click()
    page.until(lambda: page.one("#compare .photo").is_displayed())


def run(page: Page, model: str) -> str:
    return page.js("return isosweep.index().runs.find(r => r.title.startsWith(arguments[0])).id", model)


def test_meshes_are_seen_and_turn_together(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open("meshes")
    page.until(lambda: page.one("#mesh-canvas").get_attribute("data-ready"))
    windows = len(page.all(".window"))
    assert windows >= 2

    def seen() -> list[np.ndarray]:
        """Each window below its caption, as it is on the screen."""
        page.drawn()
        found = []
        for window in page.all(".window"):
            data = window.screenshot_as_png
            found.append(np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")).astype(int)[50:-4, 4:-4])
        return found

    def outline(part: np.ndarray) -> np.ndarray:
        return np.abs(part - part[0, 0]).sum(-1) > 60

    first = seen()
    for part in first:
        drawn = outline(part)
        assert 0.02 < drawn.mean() < 0.98, "a mesh is there, and room around it"
        assert len(np.unique(part[drawn], axis=0)) > 50, "and it is shaded"
    page.shot("meshes")
    page.keys("#mesh-canvas", Keys.ARROW_LEFT * 6 + Keys.ARROW_UP * 3)
    turned = seen()
    assert all(np.abs(a - b).sum(-1).max() > 60 for a, b in zip(first, turned, strict=True)), (
        "all windows turn"
    )
    # the light follows the camera and alone changes every pixel: the outlines must move
    assert all((outline(a) != outline(b)).mean() > 0.003 for a, b in zip(first, turned, strict=True))
    page.keys("#mesh-canvas", Keys.HOME)
    assert all(np.abs(a - b).max() <= 2 for a, b in zip(first, seen(), strict=True)), "Home: as at the start"
    page.keys("#mesh-canvas", "-----")
    far = seen()
    assert far[0].shape == first[0].shape
    for near_part, far_part in zip(first, far, strict=True):
        assert outline(far_part).mean() < 0.7 * outline(near_part).mean(), (
            "minus: farther away, in all windows"
        )
    page.js(
        "const found = isosweep.index().runs.filter(r => r.mesh); for (const r of found) r.mesh = found[0].mesh"
    )
    page.one("#tab-runs").click()
    page.until(lambda: page.js("return document.getElementById('panel').dataset.drawn") == "runs")
    page.one("#tab-meshes").click()
    page.until(lambda: page.all("#mesh-canvas") and page.one("#mesh-canvas").get_attribute("data-ready"))
    page.keys("#mesh-canvas", Keys.ARROW_LEFT * 6)
    one, *others = seen()
    for other in others:  # edges differ by part of a pixel, where windows begin at one
        assert (outline(one) != outline(other)).mean() < 0.004, "one mesh, one camera: one picture"


def test_curves_failures_means_and_differences(page: Page) -> None:
    page.open("curves")
    charts = page.texts(".chart figcaption")
    assert {"val/psnr demo/ball-1", "val/psnr demo/ball-2"} <= set(charts), "small multiples: a chart a scene"
    ink = page.pixels(".chart canvas")
    blue = (np.abs(ink - np.array([0x00, 0x72, 0xB2])).sum(-1) < 30).sum()
    assert blue > 50, "the first run's curve, in its colour"
    before = page.texts(".legend td.number")
    page.js("const s = document.getElementById('step'); s.value = 0; s.dispatchEvent(new Event('input'))")
    page.until(lambda: page.texts(".legend td.number") != before)  # the values under the cursor
    page.shot("curves")
    page.open("failures")
    page.until(lambda: "Traceback (most recent call last)" in page.one("#panel").text)
    assert "the disk with the photographs is gone" in page.one("#panel").text
    page.shot("failures")
    page.open("table")
    assert len(page.all("#panel tbody tr")) >= 4
    page.shot("means")
    runs = page.js(
        "return isosweep.index().runs.filter(r => r.title.startsWith('neus freq') && r.scene === 'ball-1')"
        ".map(r => r.id)"
    )
    page.open("differences", f"&picked={','.join(runs)}")
    assert page.texts("#panel tbody th[scope=row]") == ["seed"]
    assert [t[0] for t in page.texts("#panel tbody td:not(.other)")] == ["0"]
    assert [t[0] for t in page.texts("#panel tbody td.other")] == ["1"], (
        "marked, and for eyes that cannot see it said"
    )
    page.shot("differences")


def test_tabs_by_keyboard_and_a_narrow_window(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.open("runs")
    page.keys("#tab-runs", Keys.ARROW_RIGHT)
    page.sees(lambda: page.js("return document.activeElement.id"), "tab-table")
    page.sees(lambda: page.one("#tab-table").get_attribute("aria-selected"), "true")
    try:
        size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for tab in ("runs", "table", "curves", "images", "meshes", "failures", "differences"):
            page.open(tab)
            assert page.js("return document.documentElement.scrollWidth") <= 390, tab
            page.shot(f"narrow-{tab}")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_that_are_markup_are_text(driver: Any, tmp_path: Path) -> None:
    error = {"type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE}
    wild = {
        "model": HOSTILE,
        "label": HOSTILE,
        "scene": HOSTILE,
        "config": {HOSTILE: HOSTILE},
        "overrides": [HOSTILE],
    }
    put(
        tmp_path / "runs", record(**wild), record(seed=1, **wild, values={f"nvs/{HOSTILE}": 1.0}),
        record(seed=2, **wild, status="failed", error=error, run_key="x"),
    )  # fmt: skip
    request = TableRequest((str(tmp_path / "runs"),), tmp_path, published=None, title=HOSTILE)
    make_page(request, tmp_path / "page", PageLimits())
    page = Page(driver, tmp_path / "page", tmp_path)
    for tab in ("runs", "table", "curves", "images", "meshes", "failures", "differences"):
        page.open(tab)
        assert page.js("return window.hit") is None, tab
        assert not page.all("img[src=x]"), tab
    page.open("runs")
    assert HOSTILE in page.one("h1").text
    assert page.driver.title == HOSTILE
    page.one("#panel button.link").click()
    page.until(lambda: page.one("#details").is_displayed())
    assert page.js("return window.hit") is None
    assert [c for c in complaints(driver) if "ReadPixels" not in c] == []
