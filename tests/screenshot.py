"""A picture of a web page, as a reader with that screen and that taste would see it: all of it, not only what fits on the screen.

    python -m tests.screenshot http://127.0.0.1:6066/#/chat out.png --width 390 --dark

Needs Chromium, ChromeDriver and selenium. `--ready` names a condition in JavaScript to wait for.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["DASHBOARD_READY", "capture", "chromium", "look_as", "wait_until"]

DASHBOARD_READY = "document.documentElement.dataset.state === 'live'"
WAIT_S = 30
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A headless browser with an empty profile of its own. Its console is read with ``browser.get_log("browser")``."""
    options = ChromeOptions()
    options.binary_location = _program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = Chrome(options=options, service=Service(_program("chromedriver")))
        try:
            yield browser
        finally:
            browser.quit()


def look_as(browser: Chrome, width: int, height: int, dark: bool = False) -> None:
    """Give the page that many CSS pixels, and the reader's preference of light or dark."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def wait_until(browser: Chrome, condition: str) -> None:
    """Wait for a condition in JavaScript.

    Raises
    ------
    selenium.common.TimeoutException : it does not hold within `WAIT_S` seconds.
    """
    WebDriverWait(browser, WAIT_S, poll_frequency=0.05).until(lambda b: b.execute_script(f"return ({condition})"), condition)


def capture(browser: Chrome, file: Path) -> None:
    """Write the whole page as PNG."""
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip})
    file.write_bytes(base64.b64decode(picture["data"]))


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed. On Debian: apt-get install chromium chromium-driver")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshot", description="Write a picture of a web page.")
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--width", type=int, default=1280, help="CSS pixels (default 1280)")
    parser.add_argument("--height", type=int, default=800, help="of the window; the picture is as high as the page (default 800)")
    parser.add_argument("--dark", action="store_true", help="as a reader who prefers dark")
    parser.add_argument(
        "--ready", default=DASHBOARD_READY, help="JavaScript condition to wait for (default: the dashboard shows data)"
    )
    arguments = parser.parse_args()
    with chromium() as browser:
        look_as(browser, arguments.width, arguments.height, arguments.dark)
        browser.get(arguments.url)
        wait_until(browser, arguments.ready)
        capture(browser, arguments.file)


if __name__ == "__main__":
    main()
