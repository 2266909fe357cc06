"""Folder of an attempt, with everything that is still to be uploaded to MLflow.

    attempt.json    its Optuna trial, slot, retry and spec
    code.patch      uncommitted changes to the code, if any
    run_id          ID of its MLflow run, once there is one
    epochs.jsonl    its epochs, each with the millisecond at which it ended
    files/  images/  result.json    written by its worker process (tasks.py)
    end.json        how it ended, once it is in Optuna's database

It is mlruns/staging/<study>/<name of the attempt> until its run is closed. After any crash, the next start
uploads what is there.
"""

import contextlib
import shutil
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from poolstudy.spec.frozen import Frozen
from poolstudy.spec.records import Attempt, EpochRecord, State, TrialResult
from poolstudy.system.files import replacing
from poolstudy.system.formats import now_ms


class TimedEpoch(Frozen):
    """Epoch, the time when it ended (milliseconds since 1970), and the system metrics, such as a GPU's load."""

    ended_at: int
    record: EpochRecord
    system: dict[str, float] = Field(default_factory=dict)


class End(Frozen):
    """End of an attempt: its state, the reason, and the time in milliseconds since 1970."""

    state: State
    reason: str = ""
    ended_at: int


class _Start(Frozen):
    attempt: Attempt
    began_at: int


class AttemptFolder:
    """Folder of one attempt. Raises FileNotFoundError or ValueError if attempt.json is missing or damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        start = _Start.model_validate_json((path / _START).read_text())
        self.attempt, self.began_at = start.attempt, start.began_at

    @classmethod
    def make(cls, staging: Path, attempt: Attempt, patch: str = "") -> Self:
        """Create the folder; in an existing one, replace attempt.json only."""
        path = staging / attempt.name
        path.mkdir(parents=True, exist_ok=True)
        if patch:
            (path / _PATCH).write_text(patch)
        with replacing(path / _START) as file:
            file.write_text(_Start(attempt=attempt, began_at=now_ms()).model_dump_json())
        return cls(path)

    def _read(self, name: str) -> str:
        """Return the text of a file; empty if there is none."""
        with contextlib.suppress(FileNotFoundError):
            return (self.path / name).read_text()
        return ""

    @property
    def patch(self) -> str:
        """Uncommitted changes to the code when the attempt began."""
        return self._read(_PATCH)

    @property
    def run_id(self) -> str:
        """ID of its MLflow run; empty if it has none yet."""
        return self._read(_RUN).strip()

    def note_run(self, run_id: str) -> None:
        with replacing(self.path / _RUN) as file:
            file.write_text(run_id)

    def add_epoch(self, record: EpochRecord, system: dict[str, float] | None = None) -> None:
        """Append an epoch that has just ended, with the system metrics by name."""
        with (self.path / _EPOCHS).open("a") as file:
            file.write(TimedEpoch(ended_at=now_ms(), record=record, system=system or {}).model_dump_json() + "\n")

    def epochs(self) -> tuple[TimedEpoch, ...]:
        """Return its epochs in order, without a line that was cut short."""
        lines = self._read(_EPOCHS).splitlines(keepends=True)
        return tuple(TimedEpoch.model_validate_json(line) for line in lines if line.endswith("\n"))

    @cached_property
    def result(self) -> TrialResult | None:
        """Result that its worker process wrote; cached, so read it only after that process has ended."""
        return trained_result(self.path)

    def end(self, state: State, reason: str) -> None:
        """Record how it ended, once Optuna's database has it."""
        with replacing(self.path / _END) as file:
            file.write_text(End(state=state, reason=reason, ended_at=now_ms()).model_dump_json())

    @property
    def ended(self) -> End | None:
        """Record of its end; None if Optuna's database may not have that yet."""
        text = self._read(_END)
        return End.model_validate_json(text) if text else None

    def remove(self) -> None:
        """Remove the folder; if interrupted, what is left does not count as an attempt's folder."""
        remove_attempt(self.path)


_START, _PATCH, _RUN, _EPOCHS, _END = "attempt.json", "code.patch", "run_id", "epochs.jsonl", "end.json"

UNREAD = "_unread"
"""Folder beside those of the studies, for attempts that this version cannot read."""


def folders(staging: Path) -> Iterator[AttemptFolder]:
    """Yield a study's attempts by name; remove folders without attempt.json.

    Attempts that cannot be read are moved to UNREAD: another version may have trained them.
    """
    for path in sorted(staging.glob("*")):
        try:
            yield AttemptFolder(path)
        except (FileNotFoundError, NotADirectoryError):
            remove_attempt(path)
        except ValueError:
            folder = unread(staging)
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(folder / f"{path.name}-{now_ms()}")


def unread(staging: Path) -> Path:
    """Return the folder of a study's unreadable attempts; it exists only if there are any."""
    return staging.parent / UNREAD / staging.name


def trained_result(folder: Path) -> TrialResult | None:
    """Return the result in a trial's folder; None if its training did not end, or another version wrote it."""
    try:
        return TrialResult.model_validate_json((folder / "result.json").read_text())
    except (FileNotFoundError, ValidationError):
        return None


def remove_attempt(path: Path) -> None:
    """Remove an attempt's folder, its attempt.json first."""
    with contextlib.suppress(OSError):
        (path / _START).unlink()
    shutil.rmtree(path, ignore_errors=True)
