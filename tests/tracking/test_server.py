"""The pages as a new user meets them: the printed link, in a real browser."""

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
# The left and upper ends of the pictures in the row of the table that is called so, once they are loaded.
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
# How many large pictures stand beside each other.
LARGE_PICTURES = """
const shown = [...document.querySelectorAll('img')].filter(image => image.clientWidth > 100);
const large = shown.filter(image => image.naturalWidth > 400);
return new Set(large.map(image => Math.round(image.getBoundingClientRect().left))).size;
"""
TEXT = "return document.body.innerText"


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
    """A fresh one, as a new user has it."""
    with chromium(1600, 1400) as chrome:
        chrome.set_script_timeout(120)  # seconds, where others use the cores as well
        yield chrome


def shown(browser: Chrome, script: str, *arguments: str, least: int = 1) -> Any:
    """What a script finds on the page, once it is so many."""

    def found(page: Chrome) -> Any:
        value = page.execute_script(script, *arguments)
        return value if (value if isinstance(value, int) else len(value)) >= least else None

    return WebDriverWait(browser, 120).until(found)


def press(browser: Chrome, text: str) -> None:
    """Clicks the first element that has just this text and is no word of a sentence, once there is one."""
    path = f"//*[not(self::em)][text()[normalize-space()='{text}']]"

    def pressed(page: Chrome) -> bool:
        element = page.find_element(By.XPATH, path)
        try:
            element.click()
        except (
            ElementNotInteractableException
        ):  # so selenium takes a file's name on the compare page, which is in sight
            page.execute_script("arguments[0].click()", element)
        return True

    passing = [NoSuchElementException, StaleElementReferenceException]
    WebDriverWait(browser, 120, ignored_exceptions=passing).until(pressed)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_the_printed_link_shows_the_trials_pictures_side_by_side(link: str, browser: Chrome, key: str) -> None:
    if browser.current_url != link:
        browser.get(link)
    places = shown(browser, PICTURES_OF_ROW, key, least=5)
    assert len({left for left, _ in places}) == 5
    assert len({top for _, top in places}) == 1


@pytest.mark.slow
def test_the_best_comes_first_and_nothing_stands_in_the_way(
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
    for local_path in range(4):
        WebDriverWait(browser, 120).until(lambda page: len(page.find_elements(By.CSS_SELECTOR, boxes)) >= 5)
        browser.execute_script("document.querySelectorAll(arguments[0])[arguments[1]].click()", boxes, local_path)
    press(browser, "Compare")
    press(browser, "kernels.png")
    assert shown(browser, LARGE_PICTURES, least=4) == 4
