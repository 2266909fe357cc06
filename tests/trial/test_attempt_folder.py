"""Attempts are written to disk and read back."""

import time
from pathlib import Path

import pytest
from conftest import make_result, make_spec

from poolstudy.spec.records import Attempt
from poolstudy.trial.attempt_folder import AttemptFolder, folders, unread

ATTEMPT = Attempt(number=9, slot=7, retry=1, spec=make_spec())


@pytest.fixture
def folder(tmp_path: Path) -> AttemptFolder:
    return AttemptFolder.make(tmp_path, ATTEMPT, patch="a change")


def test_a_folder_is_read_as_it_was_written(folder: AttemptFolder, tmp_path: Path) -> None:
    first, second = make_result([1.25, 1.125]).history
    folder.add_epoch(first)
    folder.add_epoch(second)
    folder.note_run("a" * 32)
    folder.end("pruned", "why")
    (again,) = folders(tmp_path)
    assert again.path.name == "trial-0007-retry-1"
    assert (again.attempt, again.began_at) == (ATTEMPT, folder.began_at)
    assert (again.patch, again.run_id) == ("a change", "a" * 32)
    assert [timed.record for timed in again.epochs()] == [first, second]
    assert folder.began_at <= again.epochs()[0].ended_at <= again.epochs()[1].ended_at
    end = again.ended
    assert end is not None
    assert (end.state, end.reason) == ("pruned", "why")
    assert end.ended_at >= again.epochs()[1].ended_at


def test_a_new_folder_has_only_its_attempt(tmp_path: Path) -> None:
    folder = AttemptFolder.make(tmp_path, ATTEMPT)
    assert (folder.run_id, folder.patch, folder.epochs(), folder.ended, folder.result) == ("", "", (), None, None)


def test_an_epoch_that_was_cut_short_is_ignored(folder: AttemptFolder) -> None:
    (record,) = make_result([1.25]).history
    folder.add_epoch(record)
    with (folder.path / "epochs.jsonl").open("a") as file:
        file.write('{"ended_at": 17955, "rec')
    assert [timed.record for timed in folder.epochs()] == [record]


def test_a_folder_without_an_attempt_is_removed(folder: AttemptFolder, tmp_path: Path) -> None:
    (tmp_path / "cut-short" / "files").mkdir(parents=True)
    assert [attempt.path for attempt in folders(tmp_path)] == [folder.path]
    assert list(tmp_path.iterdir()) == [folder.path]
    folder.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b'{"attempt": {"of": "another version"}}', b"\xff"])
def test_an_attempt_that_cannot_be_read_is_moved_away_whole(tmp_path: Path, content: bytes) -> None:
    staging = tmp_path / "staging" / "tiny"
    for _ in range(2):  # the second time beside one of the same name
        attempt = AttemptFolder.make(staging, ATTEMPT)
        attempt.add_epoch(make_result([1.25]).best)
        (attempt.path / "attempt.json").write_bytes(content)
        assert list(folders(staging)) == []
        assert list(staging.iterdir()) == []
        time.sleep(0.002)
    kept = [path for path in unread(staging).iterdir() if path.name.startswith("trial-0007-retry-1-")]
    assert [sorted(file.name for file in path.iterdir()) for path in kept] == [["attempt.json", "epochs.jsonl"]] * 2
