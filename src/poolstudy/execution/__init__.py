"""Engines: where trials are trained. An engine takes tasks and gives events; it knows neither Optuna nor MLflow.

`local.LocalEngine` is one: processes on this machine. Another needs the same methods
(`call`, `call_each`, `start`, `running`, `events`, `answer`, `stop`, `retire`, `close`).
"""

from dataclasses import dataclass

from poolstudy.spec.records import EpochRecord, TrialResult

Key = tuple[str, int]
"""What a task is known by: the name of the job and a number."""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch ended; the worker waits for `answer`."""

    key: Key
    record: EpochRecord


@dataclass(frozen=True)
class Finished:
    """The task ended in good order and its files are in its folder."""

    key: Key
    result: TrialResult


@dataclass(frozen=True)
class Failed:
    """The task cannot be done; another try would fail as well."""

    key: Key
    reason: str


@dataclass(frozen=True)
class Lost:
    """The worker's process died or hung; another try may well succeed."""

    key: Key
    reason: str


Event = EpochEnded | Finished | Failed | Lost
