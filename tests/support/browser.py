"""A headless Chromium that reaches no network but this machine, for tests that look at a page as a person does."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--proxy-server=127.0.0.1:9",
)  # fmt: skip


def require() -> tuple[str, str]:
    """Paths of browser and driver; skips, saying what is missing."""
    pytest.importorskip("selenium", reason="selenium is not installed: pip install 'isosweep[dev]'")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        missing = "chromium" if found is None else "chromedriver"
        pytest.skip(f"no {missing} on PATH: on Debian, apt-get install chromium chromium-driver")
    return found, driver


@contextmanager
def browser(profile: Path, size: tuple[int, int] = (1400, 1000)) -> Iterator[Any]:
    """A driver whose log of the console and of requests is kept; ``profile`` is a new, empty folder."""
    from selenium import webdriver

    path, driver = require()
    options = webdriver.ChromeOptions()
    options.binary_location = path
    for option in (*OPTIONS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    service = webdriver.ChromeService(executable_path=driver, env=environment)
    made = webdriver.Chrome(options=options, service=service)
    try:
        made.set_page_load_timeout(60)
        yield made
    finally:
        made.quit()


def requests(driver: Any) -> list[str]:
    """Addresses of everything that the page has asked for since the last call."""
    import json

    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return found


def complaints(driver: Any) -> list[str]:
    """Errors and warnings of the console since the last call."""
    return [e["message"] for e in driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
