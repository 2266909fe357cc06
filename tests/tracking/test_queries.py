"""Queries of an MLflow store on SQLite."""

import itertools
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import make_result, make_spec, open_trial
from mlflow import MlflowClient

from poolstudy.errors import RunNotFound, StoreError
from poolstudy.spec.records import State
from poolstudy.tracking import StoredRun, Tracker, find_run, run_link, study_run

HISTORY = "epoch,loss,accuracy,val_loss,val_accuracy,seconds\n1,1.5,0.25,1.25,0.5,2.0\n2,1.0,0.5,1.125,0.75,1.5\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reading")


def start(root: Path, study: str, objective: str = "best_val_accuracy") -> Tracker:
    tracker = Tracker("sqlite:///mlruns/mlflow.db", "mlruns/artifacts", study, root)
    tracker.open_study({"objective": objective}, {})
    return tracker


def trial(tracker: Tracker, slot: int, state: State | None, losses: list[float]) -> str:
    """Create a trial with these validation losses; its accuracy is 0.5 + best epoch / 10."""
    run_id = open_trial(tracker, make_spec(slot=slot), f"trial-{slot:04d}", 0)
    if state:
        tracker.close_trial(run_id, state, result=make_result(losses) if losses else None)
    return run_id


@pytest.fixture(scope="module")
def tracker(root: Path) -> Tracker:
    return start(root, "s")


@pytest.fixture(scope="module")
def done(tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """Return a complete trial with its files, found by the first 12 digits of its ID."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "history.csv").write_text(HISTORY)
    (folder / "layers.csv").write_text('layer,shape\nconv_1,"(3, 3)"\n')
    run_id = open_trial(tracker, make_spec(), "trial-0007", 0)
    tracker.log_files(run_id, folder)
    tracker.close_trial(run_id, "complete", result=make_result([1.25, 1.125]))
    return find_run(tracker.uri, run_id[:12])


def test_a_run_is_found_by_its_id_and_by_its_first_digits(tracker: Tracker, done: StoredRun) -> None:
    assert find_run(tracker.uri, done.run_id) == done
    assert (done.name, done.study, done.kind, done.state, done.status) == (
        "trial-0007", "s", "trial", "complete", "FINISHED",
    )  # fmt: skip
    assert done.params["filters_2"] == "4"
    assert done.metrics["best_val_accuracy"] == pytest.approx(0.7)
    assert done.tags["poolstudy.spec_digest"] == make_spec().digest
    assert done.end is not None
    assert done.start <= done.end
    assert done.files == ("history.csv", "layers.csv", "spec.json")
    link = f"http://127.0.0.1:5000/#/experiments/{tracker.experiment_id}/runs/{done.run_id}"
    assert run_link("http://127.0.0.1:5000/", done) == link


def test_files_are_read_back_unchanged(done: StoredRun, tmp_path: Path) -> None:
    assert done.spec() == make_spec()
    history = done.history()
    assert history is not None
    assert [record.epoch for record in history] == [1, 2]
    assert history[1].val_loss == 1.125
    assert done.table("layers.csv") == [{"layer": "conv_1", "shape": "(3, 3)"}]
    assert done.read("history.csv", tmp_path) == tmp_path / "history.csv"
    assert (tmp_path / "history.csv").read_text() == HISTORY
    assert done.read("model.keras", tmp_path) is None
    with pytest.raises(ValueError, match="no file of a run"):
        done.read("../mlflow.db", tmp_path)  # type: ignore[arg-type]


def test_a_run_without_files_has_its_epochs_in_the_store(tracker: Tracker) -> None:
    run_id = trial(tracker, 8, None, [])
    for record in make_result([1.25, 1.5]).history:
        tracker.log_epoch(run_id, record)
    run = find_run(tracker.uri, run_id)
    assert (run.state, run.standing, run.end) == (None, "running", None)
    assert run.history() is None
    assert run.table("layers.csv") is None
    assert run.logged_epochs() == make_result([1.25, 1.5]).history


@pytest.mark.parametrize("damage", ["{}", "no JSON", "\udcff"])
def test_a_damaged_file_is_named(tracker: Tracker, damage: str) -> None:
    run_id = trial(tracker, 9, "complete", [1.0])
    run = find_run(tracker.uri, run_id)
    spec = Path(run.artifacts.removeprefix("file://")) / "spec.json"
    spec.write_bytes(damage.encode(errors="surrogateescape"))
    with pytest.raises(StoreError, match=rf"spec\.json of run {run_id} is damaged"):
        run.spec()


def test_a_missing_file_is_named(tracker: Tracker, tmp_path: Path) -> None:
    run = find_run(tracker.uri, trial(tracker, 9, "complete", [1.0]))
    assert run.files == ("spec.json",)
    (Path(run.artifacts.removeprefix("file://")) / "spec.json").unlink()
    with pytest.raises(StoreError, match=r"spec\.json of run .* cannot be read"):
        run.read("spec.json", tmp_path)


@pytest.mark.parametrize(
    "text", ["", "abc", "ABCD", "xyz1", "best ", "../mlflow.db", "a" * 33, "abcd'", "abc%", "abcd\n"]
)
def test_text_that_cannot_be_an_id_is_never_looked_up(root: Path, tracker: Tracker, text: str) -> None:
    with pytest.raises(RunNotFound, match="names no run; expected a run ID") as caught:
        find_run(tracker.uri, text)
    assert caught.value.exit_code == 2


def test_an_ambiguous_id_lists_the_runs_that_match(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count(1)
    monkeypatch.setattr(uuid, "uuid4", lambda: SimpleNamespace(hex=f"beefbeef{next(numbers):024d}"))
    ids = [trial(tracker, slot, "complete", [1.0]) for slot in (11, 12, 13, 14, 15, 16)]
    monkeypatch.undo()
    with pytest.raises(RunNotFound) as caught:
        find_run(tracker.uri, "beef")
    message = str(caught.value)
    assert message.startswith("6 runs begin with beef: ")
    assert [run_id in message for run_id in ids].count(True) == 5
    assert "trial-0016" in message
    assert message.endswith(", …; expected one; give more digits")
    assert find_run(tracker.uri, ids[3]).name == "trial-0014"


def test_neither_an_unknown_run_nor_a_deleted_one_is_found(tracker: Tracker) -> None:
    run_id = trial(tracker, 17, "complete", [1.0])
    MlflowClient(tracker.uri).delete_run(run_id)
    for text in (run_id, "0" * 32):
        with pytest.raises(RunNotFound, match=f"no run begins with {text}"):
            find_run(tracker.uri, text)


def test_without_a_store_none_is_made(tmp_path: Path) -> None:
    for text in ("best", "abcd"):
        with pytest.raises(StoreError, match=r"no .*mlflow\.db; expected the database of a study; run one first"):
            find_run(f"sqlite:///{tmp_path}/mlflow.db", text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("objective", "best"),
    # Accuracies 0.6, 0.7, 0.7 and (pruned) 0.8; least losses 1.0, 1.5, 1.25 and 0.5. On a tie the lowest slot wins.
    [("best_val_accuracy", "trial-0002"), ("best_val_loss", "trial-0001")],
)
def test_the_best_is_the_best_complete_trial_by_the_studys_own_objective(root: Path, objective: str, best: str) -> None:
    tracker = start(root, objective, objective)
    with pytest.raises(RunNotFound, match=f"no trial of study {objective} is complete yet"):
        find_run(tracker.uri, "best")
    for slot, losses in {3: [2.0, 1.25], 1: [1.0, 2.0], 2: [2.0, 1.5]}.items():
        trial(tracker, slot, "complete", losses)
    trial(tracker, 4, "pruned", [2.0, 1.0, 0.5])
    trial(tracker, 5, "failed", [])
    assert find_run(tracker.uri, "best").name == best
    start(root, f"after {objective}")
    with pytest.raises(RunNotFound, match=f"study after {objective}"):
        find_run(tracker.uri, "best")
    of_earlier_study = study_run(tracker.uri, objective).best()
    assert of_earlier_study is not None
    assert of_earlier_study.name == best
    with pytest.raises(StoreError, match="no study 'nothing'"):
        study_run(tracker.uri, "nothing")


def test_attempts_and_trials_are_those_of_the_slot_and_of_the_study(root: Path) -> None:
    tracker = start(root, "attempts")
    lost = trial(tracker, 1, "lost", [])
    retry = open_trial(tracker, make_spec(slot=1), "trial-0001-retry-1", 1)
    tracker.close_trial(retry, "complete", result=make_result([1.0]))
    trial(tracker, 10, "complete", [1.0])
    run = find_run(tracker.uri, lost)
    assert [attempt.name for attempt in run.attempts()] == ["trial-0001", "trial-0001-retry-1"]
    assert [attempt.name for attempt in run.trials()] == ["trial-0001", "trial-0001-retry-1", "trial-0010"]


def test_a_resumed_study_has_no_state_yet(root: Path) -> None:
    tracker = start(root, "resumed")
    run_id = tracker.open_study({}, {})
    tracker.close_study(run_id, "interrupted", {"trials": 1})
    ended = find_run(tracker.uri, run_id)
    assert (ended.standing, ended.end is None) == ("interrupted", False)
    tracker.open_study({}, {})
    resumed = find_run(tracker.uri, run_id)
    assert (resumed.standing, resumed.end) == ("running", None)
