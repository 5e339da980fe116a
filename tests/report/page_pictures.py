"""Pictures of a page's views for docs/images/, in the window sizes of a desktop, a laptop and a phone.

python scripts/report.py results/runs --page page
python -m tests.report.page_pictures page docs/images [VIEW ...]

All views, or those named (the ledger is of the view `table`). Needs Chromium and selenium.
"""

import io
import sys
import tempfile
from pathlib import Path

import PIL.Image

from tests.report.test_page_browser import Page
from tests.support.browser import browser

DESKTOP, LAPTOP, PHONE = (1440, 900), (1280, 720), (390, 844)
SHOTS = (
    ("runs", DESKTOP, ""), ("curves", DESKTOP, ""), ("meshes", DESKTOP, ""), ("table", DESKTOP, "ledger"),
    ("runs", LAPTOP, ""), ("images", LAPTOP, ""), ("settings", LAPTOP, ""), ("meshes", LAPTOP, ""),
    ("runs", PHONE, ""), ("images", PHONE, ""), ("meshes", PHONE, ""), ("table", PHONE, "ledger"),
)  # fmt: skip
"""View, size of the window, and the class of what is scrolled to."""
QUALITY = 70


def main(folder: Path, target: Path, *wanted: str) -> None:
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile), DESKTOP) as driver:
        page = Page(driver, folder.resolve(), target)
        for tab, (width, height), part in SHOTS:
            if wanted and tab not in wanted:
                continue
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            page.open(tab)
            page.until(lambda: page.js("return [...document.images].every(i => i.complete)"))
            if tab == "meshes":
                page.until(lambda: page.js("return document.getElementById('mesh-canvas')?.dataset.ready"))
            if part:
                page.js("document.querySelector(arguments[0])?.scrollIntoView()", f".{part}")
            page.drawn()
            name = f"page-{part or tab}-{width}.webp"
            with PIL.Image.open(io.BytesIO(driver.get_screenshot_as_png())) as made:
                made.convert("RGB").save(target / name, quality=QUALITY, method=6)
            print(f"{name} {(target / name).stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
