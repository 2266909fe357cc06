"""Uploads of folders to a real SQLite store that is away, slow or broken when a test says so."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_result, make_spec
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from PIL import Image

from poolstudy.errors import StoreError
from poolstudy.spec.records import Attempt, EpochRecord
from poolstudy.study.uploader import Uploader
from poolstudy.tracking import Tracker
from poolstudy.trial.attempt_folder import AttemptFolder

RESULT = make_result([1.25, 1.125, 1.5])


class UnreliableTracker(Tracker):
    """Tracker that is away for some calls, or creates a run and does not answer."""

    away_for = 0
    answers_lost = 0
    slow = False
    broken = False
    late: tuple[Any, ...] = ()

    def is_away(self, error: Exception) -> bool:
        return isinstance(error, ConnectionError)

    def _fail_if_told(self) -> None:
        if self.broken:
            raise MlflowException("no") from OSError(28, "No space left on device")
        if self.away_for:
            self.away_for -= 1
            raise ConnectionError("refused")

    def create_trial(self, *arguments: Any) -> str:
        self._fail_if_told()
        if self.slow:  # it creates the run only after the next request for one
            self.slow = False
            self.late = arguments
            raise ConnectionError("timed out")
        run_id = super().create_trial(*arguments)
        if self.late:
            super().create_trial(*self.late)
            self.late = ()
        if self.answers_lost:
            self.answers_lost -= 1
            raise ConnectionError("reset by peer")
        return run_id

    def log_epochs(self, run_id: str, epochs: Any) -> None:
        self._fail_if_told()
        super().log_epochs(run_id, epochs)

    def close_trial(self, *arguments: Any, **named: Any) -> None:
        self._fail_if_told()
        super().close_trial(*arguments, **named)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploader")


@pytest.fixture
def tracker(root: Path, request: pytest.FixtureRequest) -> UnreliableTracker:
    """Return a tracker with an experiment of its own for every test."""
    return UnreliableTracker("sqlite:///mlflow.db", "artifacts", request.node.name.replace("[", "-").strip("]"), root)


@pytest.fixture
def uploader(tracker: UnreliableTracker) -> Iterator[Uploader]:
    made = Uploader(tracker)
    yield made
    made.close()


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[int], AttemptFolder]:
    """Return a function that makes the folder of an attempt, trained for three epochs; no database has its end."""

    def make(slot: int) -> AttemptFolder:
        attempt = Attempt(number=slot, slot=slot, retry=0, spec=make_spec(slot=slot))
        folder = AttemptFolder.make(tmp_path / "staging", attempt)
        (folder.path / "files").mkdir()
        (folder.path / "files" / "summary.txt").write_text("a summary")
        (folder.path / "images" / "weights").mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder.path / "images" / "weights" / "conv_1.png")
        (folder.path / "result.json").write_text(RESULT.model_dump_json())
        return folder

    return make


def upload(uploader: Uploader, folder: AttemptFolder, epochs: tuple[EpochRecord, ...] = RESULT.history) -> None:
    """Upload an attempt as the coordinator does."""
    uploader.add(folder)
    for record in epochs:
        folder.add_epoch(record)
        uploader.epoch(folder)
    folder.end("complete", "")
    uploader.finish(folder)
    deadline = time.monotonic() + 30
    while not uploader.flush(0.2):
        assert time.monotonic() < deadline


def check_whole(tracker: UnreliableTracker, count: int = 1) -> list[Run]:
    """Check that there are so many runs, closed, each with three epochs and everything once."""
    client = MlflowClient(tracker.uri)
    runs = client.search_runs([tracker.experiment_id], order_by=["attributes.start_time"])
    assert [run.info.status for run in runs] == ["FINISHED"] * count
    for run in runs:
        points = client.get_metric_history(run.info.run_id, "val_loss")
        assert [(point.step, point.value) for point in points] == [(1, 1.25), (2, 1.125), (3, 1.5)]
        assert len(client.get_metric_history(run.info.run_id, "best_val_loss")) == 1
        files = [item.path for item in client.list_artifacts(run.info.run_id)]
        assert sorted(files) == ["images", "spec.json", "summary.txt"]
        assert len(client.list_artifacts(run.info.run_id, "images")) == 2  # and its small copy
    return list(runs)


def test_an_attempt_is_uploaded_with_its_own_times_and_its_folder_removed(
    tracker: UnreliableTracker, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    folder = trained(7)
    upload(uploader, folder)
    (run,) = check_whole(tracker)
    assert run.info.start_time == folder.began_at
    assert run.data.params["seed"] == "99"
    assert run.data.tags["poolstudy.state"] == "complete"
    assert list(uploader.drain_opened()) == [(folder.attempt, run.info.run_id)]
    assert not folder.path.exists()
    assert (uploader.pending(), uploader.away) == (0, None)


def test_attempts_that_waited_for_the_server_are_uploaded_in_order_and_once(
    tracker: UnreliableTracker, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.away_for = 2
    upload(uploader, trained(1))
    tracker.away_for = 1
    upload(uploader, trained(2))
    check_whole(tracker, 2)
    assert uploader.away is None


def test_a_server_that_is_away_is_reported_and_not_waited_for(
    tracker: UnreliableTracker, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.away_for = 10**6
    folder = trained(1)
    uploader.add(folder)
    assert not uploader.flush(20)
    assert uploader.away is not None
    assert uploader.away.reason == "refused"
    assert uploader.wait_opened(folder, 60)  # is not worth waiting for
    assert uploader.pending() == 1
    tracker.away_for = 0


def test_a_run_whose_creation_was_not_answered_is_found_again(
    tracker: UnreliableTracker, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.answers_lost = 1
    upload(uploader, trained(1))
    check_whole(tracker)


def test_a_second_run_that_a_slow_server_created_late_is_deleted(
    tracker: UnreliableTracker, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.slow = True
    upload(uploader, trained(1))
    check_whole(tracker)


@pytest.mark.parametrize("step", ["create_trial", "describe", "log_epochs", "log_files", "log_images", "close_trial"])
def test_after_a_crash_at_any_step_the_attempt_is_uploaded_again(
    tracker: UnreliableTracker, trained: Callable[[int], AttemptFolder], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder, original = trained(1), getattr(tracker, step)
    for record in RESULT.history:
        folder.add_epoch(record)
    folder.end("complete", "")

    def crash(*arguments: Any, **named: Any) -> None:
        original(*arguments, **named)
        raise RuntimeError("crashed")

    with monkeypatch.context() as once:
        once.setattr(tracker, step, crash)
        crashed = Uploader(tracker)
        crashed.add(folder)
        crashed.finish(folder)
        with pytest.raises(StoreError, match="crashed"):
            crashed.flush(20)
    again = Uploader(tracker)
    again.add(AttemptFolder(folder.path))
    again.finish(folder)
    assert again.flush(20)
    again.close()
    check_whole(tracker)
    assert not folder.path.exists()


def test_a_lasting_failure_of_the_store_is_raised_with_its_reason(
    tracker: UnreliableTracker, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.broken = True
    folder = trained(1)
    uploader.add(folder)
    with pytest.raises(StoreError, match=r"failed \(\[Errno 28\] No space left on device\)"):
        uploader.flush(20)
    assert folder.path.exists()


def test_an_attempt_whose_run_is_deleted_while_it_trains_gets_another(
    tracker: UnreliableTracker, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    folder = trained(1)
    uploader.add(folder)
    assert uploader.wait_opened(folder, 20)
    MlflowClient(tracker.uri).delete_run(folder.run_id)
    for record in RESULT.history:
        folder.add_epoch(record)
        uploader.epoch(folder)
    folder.end("complete", "")
    uploader.finish(folder)
    assert uploader.flush(20)
    check_whole(tracker)
    first, second = (run_id for _, run_id in uploader.drain_opened())
    assert first != second
