"""The pages as a new user meets them: the printed link, in a real browser."""

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, clean_environment
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from poolstudy.ui import HOST, _free_port

LOADED = """
return [...document.querySelectorAll('img')]
  .filter(image => image.naturalWidth > 0 && image.clientWidth > 20).length;
"""


def test_a_port_that_is_taken_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        assert _free_port(wanted) != wanted


def test_without_a_study_there_is_nothing_to_show(project: Path, poolstudy: Command) -> None:
    said = poolstudy(project, "ui")
    assert said.returncode == 3
    assert "run one first (make study)" in said.stderr


@pytest.fixture
def link(finished: tuple[Path, Any]) -> Iterator[str]:
    root, _ = finished
    with subprocess.Popen(
        [sys.executable, "-m", "poolstudy", "ui", "--port", "5432"],
        cwd=root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as ui:
        assert ui.stdout is not None
        yield ui.stdout.readline().strip()
        try:
            ui.terminate()
            assert ui.wait(timeout=20) == 0
        finally:
            ui.kill()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver and program, "Debian: apt-get install chromium chromium-driver"
    options = ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1400"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path}")
    chrome = Chrome(options, Service(driver))
    yield chrome
    chrome.quit()


@pytest.mark.slow
def test_the_printed_link_shows_the_trials_images_side_by_side(link: str, browser: Chrome) -> None:
    browser.get(link)
    # Five trials beside each other in the first grid on the page, and more grids below.
    WebDriverWait(browser, 90).until(lambda page: page.execute_script(LOADED) >= 5)
    text = browser.execute_script("return document.body.innerText")
    assert "Side by side" in text
    assert "curves/learning" in text
    assert all(f"trial-000{slot}" in text for slot in range(1, 6))
