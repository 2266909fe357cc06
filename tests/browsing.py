"""A page in a real browser, and what it asked for."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

OFFLINE = {"file", "data", "chrome"}
"""What a page may ask for that needs no network; the last is the browser's own first page."""


@contextlib.contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator[Chrome]:
    """A headless Chromium that remembers what it is asked to fetch."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver and program, "Debian: apt-get install chromium chromium-driver"
    options = ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.add_argument(f"--window-size={width},{height}")
        chrome = Chrome(options, Service(driver))
        try:
            yield chrome
        finally:
            chrome.quit()


def requested(browser: Chrome) -> set[str]:
    """The schemes of all that the browser asked for."""
    logged: list[Any] = browser.get_log("performance")  # type: ignore[no-untyped-call]
    found = (
        re.search(r'"method":"Network.requestWillBeSent".*?"url":"([a-z]+):', entry["message"]) for entry in logged
    )
    return {match[1] for match in found if match}


def uncaught(browser: Chrome) -> list[str]:
    """The errors that the page's scripts did not catch."""
    logged: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in logged if "Uncaught" in entry["message"]]
