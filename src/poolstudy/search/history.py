"""Studies in Optuna's database, read only."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from poolstudy.errors import StoreError
from poolstudy.search.attempts import attempt_of, late_runs, run_of, state_of
from poolstudy.search.storage import OPTUNA_STATES, SETTLED, reading_optuna
from poolstudy.spec.dimensions import Value
from poolstudy.spec.records import DataIdentity, State, TrialSpec

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("number", "state", "value", "datetime_start", "datetime_complete", "duration", "params", "user_attrs")


@dataclass(frozen=True)
class StudyTrial:
    """Optuna trial: an attempt at a slot, a duplicate, or neither yet."""

    number: int  # Optuna's, from 0
    name: str  # of its run; empty unless it is an attempt
    run_id: str  # empty if none is recorded
    word: str  # Optuna's own state: WAITING, RUNNING, COMPLETE, PRUNED, FAIL
    state: State | Literal["duplicate"] | None  # None while it runs, or if none is recorded
    value: float | None  # the objective
    settings: Mapping[str, Value]  # the sampled values
    reason: str
    duplicate_of: int | None  # the number of the trial with the same settings
    started: datetime | None
    ended: datetime | None

    @property
    def pooling(self) -> str:
        return str(self.settings.get("pooling", "unknown"))

    @property
    def open(self) -> bool:
        return self.word in ("RUNNING", "WAITING")


@dataclass(frozen=True)
class StudyAttempt(StudyTrial):
    """Optuna trial that is an attempt at a slot."""

    state: State | None
    slot: int
    retry: int  # 0 for the first attempt at its slot
    spec: TrialSpec

    @property
    def consistent(self) -> bool:
        """Return whether Optuna's own state fits the attempt's."""
        return self.open or (self.state is not None and OPTUNA_STATES[self.state].name == self.word)

    @property
    def settled(self) -> bool:
        """Return whether its slot is not tried again."""
        return not self.open and self.state in SETTLED


class Range(NamedTuple):
    """Ends of a dimension that is a range; `log` if it is sampled on a logarithmic scale."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class StudyHistory:
    """Study in Optuna's database."""

    name: str
    maximize: bool
    trials: tuple[StudyTrial, ...]  # in the order in which Optuna was asked
    ranges: Mapping[str, Range]  # of each dimension that is one
    frozen_trials: tuple[FrozenTrial, ...] = field(repr=False, compare=False)  # the same as Optuna's own objects
    tracking_uri: str | None = None  # of the MLflow store that its configuration names
    study_uid: str = ""  # random ID, also on its runs; empty if an earlier version made the study

    @cached_property
    def attempts(self) -> tuple[StudyAttempt, ...]:
        return tuple(trial for trial in self.trials if isinstance(trial, StudyAttempt))

    @property
    def loose(self) -> int:
        """Number of open trials that are no attempt."""
        return sum(trial.open and not isinstance(trial, StudyAttempt) for trial in self.trials)

    def ranked(self) -> list[StudyTrial]:
        """Return the complete trials without duplicates, best first."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        return sorted(complete, key=lambda trial: ((-1 if self.maximize else 1) * (trial.value or 0), trial.number))

    @cached_property
    def study(self) -> optuna.Study:
        """Copy in memory for Optuna's own functions; without `ledger`, which would fill the plots' labels."""
        return self._in_memory(self.frozen_trials)

    @cached_property
    def study_of_attempts(self) -> optuna.Study:
        """Copy without duplicates, for functions that count trials; its trials have other numbers."""
        return self._in_memory([trial for trial in self.frozen_trials if "duplicate_of" not in trial.user_attrs])

    def _in_memory(self, trials: Iterable[FrozenTrial]) -> optuna.Study:
        copy = optuna.create_study(study_name=self.name, direction="maximize" if self.maximize else "minimize")
        for trial in trials:
            own = deepcopy(trial)
            own.user_attrs = {key: value for key, value in trial.user_attrs.items() if key != "ledger"}
            copy.add_trial(own)
        return copy

    def frame(self) -> "pd.DataFrame":
        """Return a row for every trial; the columns are named like the params and metrics in MLflow."""
        frame = self.study.trials_dataframe(_COLUMNS)
        frame["name"] = [trial.name for trial in self.trials]
        frame = frame.rename(columns={"state": "optuna_state"})
        return frame.rename(columns=lambda name: str(name).removeprefix("params_").removeprefix("user_attrs_"))


def read_histories(database: Path) -> dict[str, StudyHistory]:
    """Return every study by its name, of a database that exists.

    Raises:
        StoreError: it cannot be read, or another version of poolstudy wrote it.
    """
    with reading_optuna(database) as storage:
        return {study.study_name: _history_of(storage, study) for study in storage.get_all_studies()}


def read_history(database: Path, name: str) -> StudyHistory:
    """Return one study.

    Raises:
        StoreError: the database or the study does not exist, or cannot be read.
    """
    remedy = "run the study on this machine (make study)"
    if not database.is_file():
        raise StoreError(f"no {database}", "the database of a study", remedy)
    with reading_optuna(database) as storage:
        for study in storage.get_all_studies():
            if study.study_name == name:
                return _history_of(storage, study)
    raise StoreError(f"no study {name!r} in {database}", "a study of that name", remedy)


def _history_of(storage: optuna.storages.RDBStorage, study: Any) -> StudyHistory:
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    attributes = study.user_attrs
    data = DataIdentity.model_validate(attributes["data"]) if "data" in attributes else None
    late = late_runs(attributes)
    return StudyHistory(
        name=study.study_name,
        maximize=study.direction == StudyDirection.MAXIMIZE,
        trials=tuple(_trial_of(trial, run_of(trial, late), data) for trial in trials),
        ranges=_ranges(trials),
        frozen_trials=tuple(trials),
        tracking_uri=attributes.get("fingerprint", {}).get("tracking.uri"),
        study_uid=attributes.get("book", ""),
    )


def _trial_of(trial: FrozenTrial, run_id: str, data: DataIdentity | None) -> StudyTrial:
    attributes = trial.user_attrs
    common: dict[str, Any] = {
        "number": trial.number,
        "run_id": run_id,
        "word": trial.state.name,
        "value": attributes.get("objective", trial.value if trial.state == TrialState.COMPLETE else None),
        "settings": trial.params,
        "reason": attributes.get("reason", ""),
        "duplicate_of": attributes.get("duplicate_of"),
        "started": trial.datetime_start.astimezone() if trial.datetime_start else None,
        "ended": trial.datetime_complete.astimezone() if trial.datetime_complete else None,
    }
    if "ledger" in attributes:
        attempt = attempt_of(trial, data)
        own: dict[str, Any] = {"slot": attempt.slot, "retry": attempt.retry, "spec": attempt.spec}
        return StudyAttempt(name=attempt.name, state=state_of(trial), **own, **common)
    return StudyTrial(name="", state="duplicate" if "duplicate_of" in attributes else state_of(trial), **common)


def _ranges(trials: list[FrozenTrial]) -> dict[str, Range]:
    return {
        name: Range(float(values.low), float(values.high), values.log)
        for trial in trials
        for name, values in trial.distributions.items()
        if isinstance(values, FloatDistribution | IntDistribution) and not values.single()
    }
