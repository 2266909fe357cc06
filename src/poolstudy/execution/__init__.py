"""Engines that train trials: an engine takes tasks and gives events; it knows neither Optuna nor MLflow.

`local.LocalEngine` uses processes on this machine. Another engine needs the same methods
(`call`, `call_each`, `start`, `running`, `events`, `answer`, `stop`, `retire`, `close`).
"""

from dataclasses import dataclass

from poolstudy.spec.records import EpochRecord, TrialResult

Key = tuple[str, int]
"""Identifier of a task: the name of its job and a number."""


@dataclass(frozen=True)
class EpochEnded:
    """Record of an epoch; the worker waits for `answer`."""

    key: Key
    record: EpochRecord


@dataclass(frozen=True)
class Finished:
    """Success: the task's files are in its folder."""

    key: Key
    result: TrialResult


@dataclass(frozen=True)
class Failed:
    """Failure of the task itself; another try would fail as well."""

    key: Key
    reason: str


@dataclass(frozen=True)
class Lost:
    """Death or hang of the worker process; another try may succeed."""

    key: Key
    reason: str


Event = EpochEnded | Finished | Failed | Lost
