"""The report on a study: its counts and findings, and studies with few trials."""

import csv
import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import optuna
import pytest
from browsing import OFFLINE, chromium, requested, uncaught
from conftest import make_project, make_result, make_spec, open_trial
from mlflow import MlflowClient
from optuna.distributions import FloatDistribution
from PIL import Image
from selenium.webdriver.support.ui import WebDriverWait

from poolstudy.errors import StoreError
from poolstudy.reports.study import report
from poolstudy.reports.study.summary import StudySummary
from poolstudy.search import Search
from poolstudy.search.history import Range, StudyHistory, StudyTrial, read_history
from poolstudy.search.importance import importances
from poolstudy.search.plots import _kinds
from poolstudy.spec.load import load_config
from poolstudy.spec.records import State
from poolstudy.tracking import StoredRun, Tracker

EVIL = "<script>alert('x')</script>"
DATA = make_spec().data
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


# Summaries worked out by hand


def trial(
    number: int, state: State | Literal["duplicate"] | None, value: float | None = None, **settings: Any
) -> StudyTrial:
    """Return a trial that started at minute `number` and took half a minute."""
    begun = NOON + timedelta(minutes=number)
    name = f"trial-{number + 1:04d}"
    settings = {"pooling": "max", **settings}
    ended = begun + timedelta(seconds=30)
    return StudyTrial(number, name, f"run-{number}", "", state, value, settings, "", None, begun, ended)


@dataclass(frozen=True)
class Run:
    """The part of a run that a summary reads."""

    metrics: dict[str, float]


def summary(
    *trials: StudyTrial, maximize: bool = True, runs: dict[str, Run] | None = None, **ranges: Any
) -> StudySummary:
    history = StudyHistory("s", maximize, trials, ranges, ())
    return StudySummary(cast("StoredRun", None), history, cast("dict[str, StoredRun]", runs or {}))


def test_complete_trials_are_ranked_and_others_counted() -> None:
    study = summary(
        trial(0, "complete", 0.5),
        trial(1, "pruned", 0.9),
        trial(2, "complete", 0.75, pooling="average"),
        trial(3, "failed"),
        trial(4, None),
        trial(5, "duplicate", 0.75),
        trial(6, "complete", 0.75),
    )
    assert [trial.number for trial in study.ranked] == [2, 6, 0]  # of equals the first asked for
    assert study.counted == 4
    assert study.counts == {"complete": 3, "pruned": 1, "failed": 1, "running": 1, "duplicate": 1}
    assert study.groups() == {"average": [0.75], "max": [0.75, 0.5]}


def test_the_best_so_far_rises_in_steps_and_never_falls() -> None:
    trials = [trial(0, "pruned", 0.9), trial(1, "complete", 0.5), trial(2, "complete", 0.4), trial(3, "complete", 0.7)]
    assert summary(*trials).best_so_far() == [(1, 0.5), (2, 0.5), (3, 0.5), (3, 0.7)]
    assert summary(*trials, maximize=False).best_so_far() == [(1, 0.5), (2, 0.5), (2, 0.4), (3, 0.4)]
    assert summary().best_so_far() == []


def test_ends_of_ranges_are_reported() -> None:
    trials = [
        trial(0, "complete", 0.9, filters_1=64, dropout=0.005, learning_rate=0.01),
        trial(1, "complete", 0.8, filters_1=64, dropout=0.3, learning_rate=0.02),
        trial(2, "complete", 0.7, filters_1=48, dropout=0.0, learning_rate=0.01),
    ]
    study = summary(*trials, filters_1=Range(16, 64), dropout=Range(0, 0.6), learning_rate=Range(0.001, 0.1))
    filters, dropout = study.edges()
    assert filters == (
        "filters_1: the best trial has 64, at the upper end of 16 to 64; 2 of the best 3 are at this end; a range that "
        "goes higher may hold better values."
    )
    assert dropout == (
        "dropout: the best trial has 0.005, at the lower end of 0 to 0.6; 2 of the best 3 are at this end; no value "
        "lies beyond."
    )
    assert list(summary(filters_1=Range(16, 64)).edges()) == []


@pytest.mark.parametrize(
    ("rate", "upper"),
    # A hundredth of two decades is a factor of 1.0471: 0.0001 to 0.00010471, and 0.0095499 to 0.01.
    [(0.0001, False), (0.0001047, False), (0.0001048, None), (0.00019, None), (0.00954, None), (0.00956, True)],
)
def test_distance_to_an_end_is_logarithmic_in_a_logarithmic_range(rate: float, upper: bool | None) -> None:
    study = summary(trial(0, "complete", 0.9, learning_rate=rate), learning_rate=Range(0.0001, 0.01, log=True))
    edges = list(study.edges())
    assert len(edges) == (upper is not None)
    for edge in edges:
        assert (
            f"has {rate:g}, at the {'upper' if upper else 'lower'} end of 0.0001 to 0.01 (log scale); 1 of the" in edge
        )


def test_times_are_summed_over_both_databases() -> None:
    """Two trials of 30 s, a minute apart: 20 s and 25 s of them trained; 60 s of work in 90 s."""
    runs = {"run-0": Run({"train_seconds": 20}), "run-1": Run({"train_seconds": 25})}
    times = summary(trial(0, "complete", 1), trial(1, "pruned", 1), runs=runs).times()
    assert times is not None
    assert (times.training, times.around, times.whole) == (45, 15, 90)
    assert times.at_once == pytest.approx(2 / 3)
    lost = summary(trial(0, "lost")).times()  # its run is gone: all of its time is overhead
    assert lost is not None
    assert (lost.training, lost.around) == (0, 30)
    assert summary().times() is None


def history_of(duplicates: int) -> StudyHistory:
    """Return six configurations, better with less dropout (the rate matters little), and duplicates of the worst."""
    frozen = []
    for number in range(6 + duplicates):
        rank = min(number, 5)
        attributes = {"duplicate_of": 5} if number > 5 else {}
        frozen.append(
            optuna.trial.create_trial(
                value=1 - rank / 10 + 0.01 * (rank % 2),
                params={"dropout": rank / 10, "rate": float(rank % 2)},
                distributions={"dropout": FloatDistribution(0, 0.5), "rate": FloatDistribution(0, 1)},
                user_attrs=attributes,
            )
        )
    trials = [trial(number, "complete" if number < 6 else "duplicate", own.value) for number, own in enumerate(frozen)]
    return StudyHistory("s", True, tuple(trials), {}, tuple(frozen))


def test_a_configuration_that_was_asked_for_again_counts_once() -> None:
    once, again = history_of(0), history_of(18)
    assert set(importances(once)) == {"PED-ANOVA", "fANOVA"}
    assert importances(again) == importances(once)
    (edf,) = (kind.draw(optuna.visualization) for kind in _kinds(again, []) if kind.name == "edf")
    # The worst is one of six; with its duplicates it would be 19 of 24.
    assert edf.data[0].y[0] == pytest.approx(1 / 6)
    assert len(again.study.trials) == 24


# Real studies with made-up results


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("report") / "project")


Play = Callable[..., str]


@pytest.fixture(scope="module")
def play(root: Path) -> Play:
    """Return a function that records a study without training: play("name", ["complete", "failed"])."""

    def call(name: str, states: list[State], *overrides: str, reason: str = "") -> str:
        config = load_config("tiny", [f"study.name={name}", "study.trials=100", *overrides], root)
        tracker = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", name, root)
        study = tracker.open_study({"objective": "best_val_accuracy"}, config.model_dump(mode="json"))
        search = Search(root / "mlruns" / "optuna.db", config, DATA)
        for slot, state in enumerate(states, start=1):
            attempt = search.next_attempt(0)
            assert attempt is not None
            run_id = open_trial(tracker, attempt.spec, attempt.name, attempt.retry)
            search.opened_run(attempt, run_id)
            result = make_result([1.0, 1 / slot, 2.0][: 1 + slot % 3]) if state in ("complete", "pruned") else None
            for record in result.history if result else ():
                search.report(attempt.number, record)
            objective = search.objective(result) if result else None
            search.end(attempt.number, state, objective=objective, reason=reason if not result else "")
            tracker.close_trial(run_id, state, result=result, reason=reason if not result else "")
        search.close()
        tracker.close_study(study, "complete", {})
        return study

    return call


@pytest.fixture(scope="module")
def whole(root: Path, play: Play) -> str:
    most: list[State] = ["complete"] * 6
    return play("whole", [*most, "pruned", "failed", "complete", "complete"], "sampler=random", reason=EVIL)


@pytest.fixture(scope="module")
def page(root: Path, whole: str) -> str:
    return report("whole", root).page.read_text(encoding="utf-8")


def test_the_page_has_every_section_and_names_the_evaluators(page: str) -> None:
    titles = re.findall(r"<h[123]>([^<]+)</h[123]>", page)
    ours = ["Study whole", "Leaderboard", "The two poolings", "History"]
    ours += ["Hyperparameter importance", "PED-ANOVA", "fANOVA"]
    ours += ["Best trial at the end of a range", "Pruned", "Unsuccessful attempts", "Time", "Optuna&#39;s own plots"]
    optunas = ["Optimisation history", "Importance by PED-ANOVA", "Parallel coordinates", "Slices", "Contours"]
    optunas += ["Intermediate values", "Timeline", "Distribution"]
    assert [title.replace("'", "&#39;") for title in titles] == ours + optunas
    assert "it does not answer which pooling is better" in page


def test_the_page_holds_plotly_once_and_everything_else(page: str) -> None:
    assert page.count("plotly.js v") == 1
    own = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', own)
    assert "cdn.plot.ly/plotly" not in own


def test_what_is_markup_is_shown_as_text(page: str) -> None:
    assert "<script>alert" not in page
    assert '<td class="wide">&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</td>' in page


def test_the_study_has_page_plots_and_table(root: Path, whole: str, page: str) -> None:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    assert "trials.csv" in {item.path for item in client.list_artifacts(whole)}
    logged = {item.path.removeprefix("report/") for item in client.list_artifacts(whole, "report")}
    names = ["history", "importances", "parallel_coordinate", "slices", "contours"]
    names += ["intermediate_values", "timeline", "edf"]
    assert logged == {"report.html", *(f"{name}.png" for name in names)}
    folder = root / "mlruns" / "reports" / "whole"
    for name in names:
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 300, name


def test_the_table_has_a_row_a_trial_and_the_names_of_the_params(root: Path, whole: str, page: str) -> None:
    with (root / "mlruns" / "reports" / "whole" / "trials.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    slots = [row for row in rows if row["name"]]
    assert [row["name"] for row in slots] == [f"trial-{slot:04d}" for slot in range(1, 11)]
    assert {"pooling", "pool_size", "filters_1", "dropout", "run_id", "value", "duration"} <= set(rows[0])
    assert [row["state"] for row in slots].count("complete") == 8
    assert [row["optuna_state"] for row in slots].count("PRUNED") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "states", "overrides", "missing", "present"),
    [
        ("none", [], (), "Leaderboard", "No trial is complete yet"),
        ("failed", ["failed"], (), "The two poolings", "because it was played"),
        ("one", ["complete"], (), "Hyperparameter importance", "Parallel coordinates"),
        ("same", ["complete"] * 2, ("space.pooling=max",), 'class="average"', "Slices"),
    ],
)
def test_small_studies_have_only_the_sections_they_can_fill(
    root: Path, play: Play, name: str, states: list[State], overrides: tuple[str, ...], missing: str, present: str
) -> None:
    play(name, states, *overrides, reason="because it was played")
    text = report(name, root).page.read_text(encoding="utf-8")
    own = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert missing not in own
    assert present in own


def test_the_ranges_are_read_from_optunas_database(root: Path, play: Play) -> None:
    play(
        "ranges",
        ["complete"],
        "space.learning_rate={low: 0.001, high: 0.1, log: true}",
        "space.dropout={low: 0, high: 0.5}",
    )
    ranges = read_history(root / "mlruns" / "optuna.db", "ranges").ranges
    assert ranges == {"learning_rate": Range(0.001, 0.1, log=True), "dropout": Range(0, 0.5)}


def test_an_unknown_study_is_refused(root: Path, whole: str) -> None:
    with pytest.raises(StoreError, match="no study 'nowhere'"):
        report("nowhere", root)


def test_a_study_of_another_machine_or_a_broken_database_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="the database of a study"):
        read_history(tmp_path / "optuna.db", "s")
    with pytest.raises(StoreError, match="no study 'elsewhere'"):
        read_history(root / "mlruns" / "optuna.db", "elsewhere")
    (tmp_path / "broken.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="cannot be read"):
        read_history(tmp_path / "broken.db", "s")


@pytest.mark.slow
def test_a_name_set_by_hand_is_shown_as_text(root: Path, play: Play, whole: str) -> None:
    """Names are checked only when poolstudy makes a study."""
    run = play("byhand", ["complete", "failed"], reason="because")
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    client.set_tag(run, "poolstudy.state", "<script>state")
    with sqlite3.connect(root / "mlruns" / "optuna.db") as database:
        database.execute("update trial_user_attributes set value_json = '\"<script>reason\"' where key = 'reason'")
        database.execute("update trial_params set param_name = '<script>param' where param_name = 'dropout'")
    try:
        text = report("byhand", root).page.read_text(encoding="utf-8")
    finally:
        with sqlite3.connect(root / "mlruns" / "optuna.db") as database:
            database.execute("update trial_params set param_name = 'dropout' where param_name = '<script>param'")
    for set_by_hand in ("state", "reason", "param"):
        assert f"<script>{set_by_hand}" not in text
        assert f"&lt;script&gt;{set_by_hand}" in text


# In a browser

DRAWN = """
const figures = [...document.querySelectorAll(".plot .figure")];
return figures.filter(one => one.querySelector(".main-svg")?.clientHeight > 50).length"""
FIGURES = "return document.querySelectorAll('.plot .figure').length"
SHOW = "document.querySelectorAll('.plot .figure')[arguments[0]].scrollIntoView()"
INK = "return getComputedStyle(document.querySelector('.js-plotly-plot .xtick text')).fill"


@pytest.mark.slow
def test_two_hundred_trials_are_a_page_that_asks_no_network_light_and_dark(root: Path, play: Play) -> None:
    play("many", ["complete", "pruned"] * 100, "space.dropout={low: 0.0, high: 0.9}")
    done = report("many", root)
    assert done.page.stat().st_size < 25e6
    with chromium(390, 844) as browser:
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        )
        browser.get(done.page.as_uri())
        assert browser.execute_script(DRAWN) == 0  # none is in view, none is drawn
        assert browser.execute_script(FIGURES) == 8
        for index in range(8):
            browser.execute_script(SHOW, index)
            WebDriverWait(browser, 60).until(lambda page: page.execute_script(DRAWN) > index)  # noqa: B023  # now
        assert browser.execute_script(INK) == "rgb(228, 228, 224)"
        assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert uncaught(browser) == []
        assert requested(browser) <= OFFLINE
