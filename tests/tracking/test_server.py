"""MLflow's pages in a real browser, opened by the printed link."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from books import store
from browsing import chromium
from conftest import Command, clean_environment
from mlflow import MlflowClient
from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from poolstudy.tracking.server import HOST, _free_port

KEYS = (
    "curves/learning",
    "kernels/conv_1",
    "weights/conv_1",
    "feature_maps/pool_1",
    "confusion/validation",
    "model/diagram",
)
# The left and top of each loaded picture in the table row of this name.
PICTURES_OF_ROW = """
const row = [...document.querySelectorAll('[role=row]')].find(one => one.textContent.trim() === arguments[0]);
if (!row) return [];
row.scrollIntoView({block: 'center'});
return [...row.querySelectorAll('img')].filter(image => image.naturalWidth > 0 && image.clientWidth > 20)
  .map(image => image.getBoundingClientRect()).map(box => [Math.round(box.left), Math.round(box.top)]);
"""
RUNS_OF_TABLE = """
const rows = [...document.querySelectorAll('[role=row]')];
const head = rows[rows.findIndex(one => one.textContent.trim() === arguments[0]) - 1];
return head ? head.innerText.split('\\n').filter(text => text.startsWith('trial-')) : [];
"""
# The number of large pictures side by side.
LARGE_PICTURES = """
const shown = [...document.querySelectorAll('img')].filter(image => image.clientWidth > 100);
const large = shown.filter(image => image.naturalWidth > 400);
return new Set(large.map(image => Math.round(image.getBoundingClientRect().left))).size;
"""
TEXT = "return document.body.innerText"


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        assert _free_port(wanted) != wanted


def test_without_a_study_there_is_nothing_to_show(project: Path, poolstudy: Command) -> None:
    result = poolstudy(project, "ui")
    assert result.returncode == 3
    assert "run one first (make study)" in result.stderr


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    """Start a browser with a new profile."""
    with chromium(1600, 1400) as chrome:
        chrome.set_script_timeout(120)  # seconds, for a busy machine
        yield chrome


def shown(browser: Chrome, script: str, *arguments: str, least: int = 1) -> Any:
    """Return the result of a script on the page, once it has at least `least` items."""

    def enough(page: Chrome) -> Any:
        value = page.execute_script(script, *arguments)
        return value if (value if isinstance(value, int) else len(value)) >= least else None

    return WebDriverWait(browser, 120).until(enough)


def press(browser: Chrome, text: str) -> None:
    """Click the first element with exactly this text that is not emphasised, once there is one."""
    path = f"//*[not(self::em)][text()[normalize-space()='{text}']]"

    def pressed(page: Chrome) -> bool:
        element = page.find_element(By.XPATH, path)
        try:
            element.click()
        except ElementNotInteractableException:  # a file name on the compare page, though it is visible
            page.execute_script("arguments[0].click()", element)
        return True

    passing = [NoSuchElementException, StaleElementReferenceException]
    WebDriverWait(browser, 120, ignored_exceptions=passing).until(pressed)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_the_printed_link_shows_the_trials_pictures_side_by_side(link: str, browser: Chrome, key: str) -> None:
    if browser.current_url != link:
        browser.get(link)
    positions = shown(browser, PICTURES_OF_ROW, key, least=5)
    assert len({left for left, _ in positions}) == 5
    assert len({top for _, top in positions}) == 1


@pytest.mark.slow
def test_the_best_run_comes_first_and_no_assistant_covers_the_page(
    link: str, browser: Chrome, finished: tuple[Path, Any]
) -> None:
    browser.get(link)
    shown(browser, PICTURES_OF_ROW, KEYS[0], least=5)
    names = shown(browser, RUNS_OF_TABLE, KEYS[0], least=5)
    client = MlflowClient(store(finished[0]))
    reached = {
        run.info.run_name: run.data.metrics["best_val_accuracy"]
        for run in client.search_runs(["1"], "tags.`poolstudy.kind` = 'trial'")
    }
    assert sorted(names) == sorted(reached)
    assert [reached[name] for name in names] == sorted(reached.values(), reverse=True)
    page = browser.execute_script(TEXT)
    assert "MLflow Assistant" not in page
    assert "Average pooling is blue, max pooling is vermilion." in page


@pytest.mark.slow
def test_a_run_shows_its_summary_and_its_diagram(link: str, browser: Chrome) -> None:
    browser.get(link)
    press(browser, "trial-0003")
    press(browser, "Artifacts")
    press(browser, "summary.txt")
    assert WebDriverWait(browser, 60).until(lambda page: "conv_1 (Conv2D)" in page.execute_script(TEXT))
    press(browser, "diagram.png")
    assert shown(browser, LARGE_PICTURES) == 1


@pytest.mark.slow
def test_compared_runs_show_their_pictures_side_by_side(link: str, browser: Chrome) -> None:
    browser.get(link)
    boxes = "[role=row] input[type=checkbox][aria-label^='Press Space to toggle row selection']"
    for row in range(4):
        WebDriverWait(browser, 120).until(lambda page: len(page.find_elements(By.CSS_SELECTOR, boxes)) >= 5)
        browser.execute_script("document.querySelectorAll(arguments[0])[arguments[1]].click()", boxes, row)
    press(browser, "Compare")
    press(browser, "kernels.png")
    assert shown(browser, LARGE_PICTURES, least=4) == 4
