"""Projects in folders with letters that mean something in a URL."""

from pathlib import Path

import pytest
from conftest import make_identity, make_project, open_trial
from damage import examined

from poolstudy.checks.machine import storage
from poolstudy.errors import StoreError
from poolstudy.search import Search, read_histories
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.load import load_config
from poolstudy.tracking import Tracker, find_run


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def opened(root: Path) -> tuple[StudyConfig, Search]:
    config = load_config("tiny", [], make_project(root))
    (root / "mlruns").mkdir()
    return config, Search(root / "mlruns" / "optuna.db", config, make_identity())


@pytest.mark.slow
def test_a_study_in_a_folder_of_odd_letters_is_kept_there_and_healthy(tmp_path: Path) -> None:
    root = tmp_path / "a #b 100% {d} ü"
    config, search = opened(root)
    tracker = Tracker(config.tracking.uri, config.tracking.artifacts, "tiny", root)
    own = tracker.open_study({}, config.recorded())
    attempt = search.next_attempt(0)
    assert attempt
    run_id = open_trial(tracker, attempt.spec, attempt.name, attempt.retry)
    search.opened_run(attempt, run_id)
    search.end(attempt.number, "interrupted")
    tracker.close_trial(run_id, "interrupted")
    tracker.close_study(own, "interrupted", {})
    assert find_run(tracker.uri, run_id).spec() == attempt.spec
    assert examined(root) == (True, "1 study: nothing disagrees\n")
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


@pytest.mark.parametrize("name", ["a #b?c%41 d", "a?b", "%41"])
def test_a_folder_that_mlflow_would_take_for_another_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    config, search = opened(root)
    assert search.next_attempt(0)
    assert read_histories(root / "mlruns" / "optuna.db").keys() == {"tiny"}
    refused = f"MLflow cannot use {root}/mlruns/mlflow.db; expected a path without ? or %41"
    with pytest.raises(StoreError) as caught:
        Tracker(config.tracking.uri, config.tracking.artifacts, "tiny", root)
    assert str(caught.value).startswith(refused)
    with pytest.raises(StoreError) as caught:
        examined(root)
    assert str(caught.value).startswith(refused)
    found = storage.tracking_store(config.tracking.uri, root)
    assert (found.mark, found.found.startswith(refused)) == ("error", True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
