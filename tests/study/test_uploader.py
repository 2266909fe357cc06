"""From folders to a real store on SQLite, which is away, or says no, when it is told to."""

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


class Moody(Tracker):
    """A store that is away for so many calls, or forgets to answer after it has made a run."""

    away_for = 0
    answers_lost = 0
    slow = False
    broken = False
    late: tuple[Any, ...] = ()

    def is_away(self, error: Exception) -> bool:
        return isinstance(error, ConnectionError)

    def _mood(self) -> None:
        if self.broken:
            raise MlflowException("no") from OSError(28, "No space left on device")
        if self.away_for:
            self.away_for -= 1
            raise ConnectionError("refused")

    def create_trial(self, *arguments: Any) -> str:
        self._mood()
        if self.slow:  # it makes a run, but only after one has looked for it and asked again
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
        self._mood()
        super().log_epochs(run_id, epochs)

    def close_trial(self, *arguments: Any, **named: Any) -> None:
        self._mood()
        super().close_trial(*arguments, **named)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delivery")


@pytest.fixture
def tracker(root: Path, request: pytest.FixtureRequest) -> Moody:
    """An experiment of its own for every test."""
    return Moody("sqlite:///mlflow.db", "artifacts", request.node.name.replace("[", "-").strip("]"), root)


@pytest.fixture
def uploader(tracker: Moody) -> Iterator[Uploader]:
    made = Uploader(tracker)
    yield made
    made.close()


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[int], AttemptFolder]:
    """An attempt at a slot that was trained for three epochs, its end told to nobody."""

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


def bring(uploader: Uploader, folder: AttemptFolder, epochs: tuple[EpochRecord, ...] = RESULT.history) -> None:
    """As the coordinator does it."""
    uploader.add(folder)
    for record in epochs:
        folder.add_epoch(record)
        uploader.epoch(folder)
    folder.end("complete", "")
    uploader.finish(folder)
    deadline = time.monotonic() + 30
    while not uploader.flush(0.2):
        assert time.monotonic() < deadline


def check_whole(tracker: Moody, count: int = 1) -> list[Run]:
    """So many runs, closed, each with three epochs and everything once."""
    client = MlflowClient(tracker.uri)
    found = client.search_runs([tracker.experiment_id], order_by=["attributes.start_time"])
    assert [run.info.status for run in found] == ["FINISHED"] * count
    for run in found:
        points = client.get_metric_history(run.info.run_id, "val_loss")
        assert [(point.step, point.value) for point in points] == [(1, 1.25), (2, 1.125), (3, 1.5)]
        assert len(client.get_metric_history(run.info.run_id, "best_val_loss")) == 1
        files = [item.path for item in client.list_artifacts(run.info.run_id)]
        assert sorted(files) == ["images", "spec.json", "summary.txt"]
        assert len(client.list_artifacts(run.info.run_id, "images")) == 2  # and its small copy
    return list(found)


def test_an_attempt_arrives_with_its_own_times_and_its_folder_goes(
    tracker: Moody, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    folder = trained(7)
    bring(uploader, folder)
    (run,) = check_whole(tracker)
    assert run.info.start_time == folder.began_at
    assert run.data.params["seed"] == "99"
    assert run.data.tags["poolstudy.state"] == "complete"
    assert list(uploader.drain_opened()) == [(folder.attempt, run.info.run_id)]
    assert not folder.path.exists()
    assert (uploader.pending(), uploader.away) == (0, None)


def test_what_waited_while_the_server_was_away_arrives_in_order_and_once(
    tracker: Moody, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.away_for = 2
    bring(uploader, trained(1))
    tracker.away_for = 1
    bring(uploader, trained(2))
    check_whole(tracker, 2)
    assert uploader.away is None


def test_a_server_that_is_away_is_said_to_be_and_nobody_waits_for_it(
    tracker: Moody, uploader: Uploader, trained: Callable[[int], AttemptFolder]
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
    tracker: Moody, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.answers_lost = 1
    bring(uploader, trained(1))
    check_whole(tracker)


def test_a_run_that_a_slow_server_made_after_all_goes(
    tracker: Moody, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.slow = True
    bring(uploader, trained(1))
    check_whole(tracker)


@pytest.mark.parametrize("step", ["create_trial", "describe", "log_epochs", "log_files", "log_images", "close_trial"])
def test_what_died_after_any_step_is_simply_brought_again(
    tracker: Moody, trained: Callable[[int], AttemptFolder], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder, does = trained(1), getattr(tracker, step)
    for record in RESULT.history:
        folder.add_epoch(record)
    folder.end("complete", "")

    def dies(*arguments: Any, **named: Any) -> None:
        does(*arguments, **named)
        raise RuntimeError("died")

    with monkeypatch.context() as once:
        once.setattr(tracker, step, dies)
        died = Uploader(tracker)
        died.add(folder)
        died.finish(folder)
        with pytest.raises(StoreError, match="died"):
            died.flush(20)
    again = Uploader(tracker)
    again.add(AttemptFolder(folder.path))
    again.finish(folder)
    assert again.flush(20)
    again.close()
    check_whole(tracker)
    assert not folder.path.exists()


def test_a_store_that_says_no_for_good_is_told_with_the_reason(
    tracker: Moody, uploader: Uploader, trained: Callable[[int], AttemptFolder]
) -> None:
    tracker.broken = True
    folder = trained(1)
    uploader.add(folder)
    with pytest.raises(StoreError, match=r"failed \(\[Errno 28\] No space left on device\)"):
        uploader.flush(20)
    assert folder.path.exists()


def test_a_run_that_is_deleted_while_its_attempt_trains_gets_a_successor(
    tracker: Moody, uploader: Uploader, trained: Callable[[int], AttemptFolder]
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
