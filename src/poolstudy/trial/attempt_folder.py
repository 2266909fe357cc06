"""An attempt's folder: all that MLflow is still to be told of it. Disk is the queue to MLflow.

    attempt.json    what is tried: its Optuna trial, slot, retry and spec
    code.patch      what the code held beyond its commit, if anything
    run_id          its run, once MLflow gave it one
    epochs.jsonl    its epochs, each with the millisecond at which it ended
    files/  images/  result.json    what its worker leaves (worker.py)
    end.json        how it ended, once Optuna knows

It lies in mlruns/staging/<study>/ under the attempt's name until its run is closed. Whoever dies, the next
start reads here what is left to do.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from poolstudy.spec.records import Attempt, EpochRecord, State, TrialResult
from poolstudy.spec.space import Frozen
from poolstudy.system.files import replacing


class TimedEpoch(Frozen):
    """An epoch, when it ended (milliseconds since 1970), and what the machine did then, such as a GPU's load."""

    ended_at: int
    record: EpochRecord
    system: dict[str, float] = Field(default_factory=dict)


class End(Frozen):
    """How an attempt ended, why, and when: milliseconds since 1970."""

    state: State
    reason: str = ""
    ended_at: int


class _Start(Frozen):
    attempt: Attempt
    began_at: int


class AttemptFolder:
    """The folder of one attempt.

    Args:
        path: where it is; it holds an attempt.json.

    Raises:
        FileNotFoundError, ValueError: it holds none, or one that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        start = _Start.model_validate_json((path / _START).read_text())
        self.attempt, self.began_at = start.attempt, start.began_at

    @classmethod
    def make(cls, staging: Path, attempt: Attempt, patch: str = "") -> Self:
        """Makes the folder; one that is there already stays as it is, but for its attempt.json."""
        path = staging / attempt.name
        path.mkdir(parents=True, exist_ok=True)
        if patch:
            (path / _PATCH).write_text(patch)
        with replacing(path / _START) as file:
            file.write_text(_Start(attempt=attempt, began_at=now()).model_dump_json())
        return cls(path)

    @property
    def patch(self) -> str:
        """What the code held beyond its commit when the attempt began."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / _PATCH).read_text()
        return ""

    @property
    def run_id(self) -> str:
        """Its run in MLflow; empty where it has none yet."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / _RUN).read_text().strip()
        return ""

    def note_run(self, run_id: str) -> None:
        with replacing(self.path / _RUN) as file:
            file.write_text(run_id)

    def add_epoch(self, record: EpochRecord, system: dict[str, float] | None = None) -> None:
        """Notes an epoch that has just ended, and what the machine did meanwhile, by the names of its metrics."""
        with (self.path / _EPOCHS).open("a") as file:
            file.write(TimedEpoch(ended_at=now(), record=record, system=system or {}).model_dump_json() + "\n")

    def epochs(self) -> tuple[TimedEpoch, ...]:
        """Its epochs, in order. A line that was not written to its end is none."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self.path / _EPOCHS).read_text().splitlines(keepends=True)
            return tuple(TimedEpoch.model_validate_json(line) for line in lines if line.endswith("\n"))
        return ()

    @cached_property
    def result(self) -> TrialResult | None:
        """What its worker left; to be asked when that has ended."""
        return trained_result(self.path)

    def end(self, state: State, reason: str) -> None:
        """Notes how it ended; to be called when Optuna knows."""
        with replacing(self.path / _END) as file:
            file.write_text(End(state=state, reason=reason, ended_at=now()).model_dump_json())

    @property
    def ended(self) -> End | None:
        """How it ended; None where Optuna may not know yet."""
        with contextlib.suppress(FileNotFoundError):
            return End.model_validate_json((self.path / _END).read_text())
        return None

    def remove(self) -> None:
        """Removes it; what is left of it, should that be cut short, is no attempt's folder any more."""
        remove_attempt(self.path)


_START, _PATCH, _RUN, _EPOCHS, _END = "attempt.json", "code.patch", "run_id", "epochs.jsonl", "end.json"


UNREAD = "_unread"
"""The folder beside the studies' own for attempts that this version cannot read."""


def folders(staging: Path) -> Iterator[AttemptFolder]:
    """The attempts' folders in staging, in order of their names; removes what is no attempt's.

    One whose attempt.json cannot be read is set aside, whole: another version may have trained it.
    """
    for path in sorted(staging.glob("*")):
        try:
            yield AttemptFolder(path)
        except (FileNotFoundError, NotADirectoryError):
            remove_attempt(path)
        except ValueError:
            aside = unread(staging)
            aside.mkdir(parents=True, exist_ok=True)
            path.rename(aside / f"{path.name}-{now()}")


def unread(staging: Path) -> Path:
    """Where a study's attempts lie that could not be read; there if there are any."""
    return staging.parent / UNREAD / staging.name


def trained_result(folder: Path) -> TrialResult | None:
    """The result in a trial's folder; None where it was not trained to the end, or by another version of this."""
    try:
        return TrialResult.model_validate_json((folder / "result.json").read_text())
    except (FileNotFoundError, ValidationError):
        return None


def remove_attempt(path: Path) -> None:
    """Removes an attempt's folder, its attempt.json first."""
    with contextlib.suppress(OSError):
        (path / _START).unlink()
    shutil.rmtree(path, ignore_errors=True)


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)
