"""The first book, to be read: what was tried, in what order, and what came of it. Nothing here changes a study."""

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
from poolstudy.spec.records import DataIdentity, State, TrialSpec
from poolstudy.spec.space import Value

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("number", "state", "value", "datetime_start", "datetime_complete", "duration", "params", "user_attrs")


@dataclass(frozen=True)
class StudyTrial:
    """One Optuna trial: an attempt at a slot, a configuration that had been seen before, or neither yet.

    Attributes:
        number: Optuna's, from 0.
        name: of its run; "" where it is no attempt.
        run_id: "" where none was noted.
        word: Optuna's own state: WAITING, RUNNING, COMPLETE, PRUNED, FAIL.
        state: as in the ledger; "duplicate"; None while it runs, or where it was never noted.
        value: the objective it reached; None where it reached none.
        settings: what was sampled.
        duplicate_of: the number of the trial that had the same settings.
    """

    number: int
    name: str
    run_id: str
    word: str
    state: State | Literal["duplicate"] | None
    value: float | None
    settings: Mapping[str, Value]
    reason: str
    duplicate_of: int | None
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
    """An attempt at a slot, as Optuna has it.

    Attributes:
        retry: 0 for the first attempt at its slot.
    """

    state: State | None
    slot: int
    retry: int
    spec: TrialSpec

    @property
    def consistent(self) -> bool:
        """Whether Optuna's own state is that of the ledger's."""
        return self.open or (self.state is not None and OPTUNA_STATES[self.state].name == self.word)

    @property
    def settled(self) -> bool:
        """Whether its slot is not tried again after it."""
        return not self.open and self.state in SETTLED


class Range(NamedTuple):
    """The values of a dimension that is a range: its ends, and whether it is sampled by logarithms."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class StudyHistory:
    """A study as Optuna has it.

    Attributes:
        trials: every trial, in the order in which they were asked for.
        ranges: of each dimension that is one.
        frozen_trials: the same as Optuna's own.
        tracking_uri: where its runs are, as its configuration says.
        study_uid: as its runs have it; empty where an earlier version made the study.
    """

    name: str
    maximize: bool
    trials: tuple[StudyTrial, ...]
    ranges: Mapping[str, Range]
    frozen_trials: tuple[FrozenTrial, ...] = field(repr=False, compare=False)
    tracking_uri: str | None = None
    study_uid: str = ""

    @cached_property
    def attempts(self) -> tuple[StudyAttempt, ...]:
        return tuple(one for one in self.trials if isinstance(one, StudyAttempt))

    @property
    def loose(self) -> int:
        """Open trials that are no attempt yet, or repeat a configuration."""
        return sum(one.open and not isinstance(one, StudyAttempt) for one in self.trials)

    def ranked(self) -> list[StudyTrial]:
        """The complete trials, best first; duplicates are none of them."""
        complete = [one for one in self.trials if one.state == "complete" and one.value is not None]
        return sorted(complete, key=lambda one: ((-1 if self.maximize else 1) * (one.value or 0), one.number))

    @cached_property
    def study(self) -> optuna.Study:
        """The same in memory, for Optuna's own functions; with the attributes only that a plot is to tell of each."""
        return self._in_memory(self.frozen_trials)

    @cached_property
    def study_of_attempts(self) -> optuna.Study:
        """The same without duplicates, for what counts trials; its trials have other numbers."""
        return self._in_memory([trial for trial in self.frozen_trials if "duplicate_of" not in trial.user_attrs])

    def _in_memory(self, trials: Iterable[FrozenTrial]) -> optuna.Study:
        copy = optuna.create_study(study_name=self.name, direction="maximize" if self.maximize else "minimize")
        for trial in trials:
            own = deepcopy(trial)
            own.user_attrs = {key: value for key, value in trial.user_attrs.items() if key != "ledger"}
            copy.add_trial(own)
        return copy

    def frame(self) -> "pd.DataFrame":
        """Every trial as a row, under the names that the params and the metrics have elsewhere."""
        frame = self.study.trials_dataframe(_COLUMNS)
        frame["name"] = [one.name for one in self.trials]
        frame = frame.rename(columns={"state": "optuna_state"})
        return frame.rename(columns=lambda name: str(name).removeprefix("params_").removeprefix("user_attrs_"))


def read_histories(database: Path) -> dict[str, StudyHistory]:
    """Every study by its name, of a database that exists.

    Raises:
        StoreError: it cannot be read, or another version of this program wrote it.
    """
    with reading_optuna(database) as storage:
        return {study.study_name: _book(storage, study) for study in storage.get_all_studies()}


def read_history(database: Path, name: str) -> StudyHistory:
    """One study.

    Raises:
        StoreError: there is no such database or study, or it cannot be read.
    """
    remedy = "run the study on this machine (make study)"
    if not database.is_file():
        raise StoreError(f"no {database}", "the database of a study", remedy)
    with reading_optuna(database) as storage:
        for study in storage.get_all_studies():
            if study.study_name == name:
                return _book(storage, study)
    raise StoreError(f"no study {name!r} in {database}", "it there", remedy)


def _book(storage: optuna.storages.RDBStorage, study: Any) -> StudyHistory:
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    known = study.user_attrs
    late, data = late_runs(known), DataIdentity.model_validate(known["data"]) if "data" in known else None
    return StudyHistory(
        name=study.study_name,
        maximize=study.direction == StudyDirection.MAXIMIZE,
        trials=tuple(_tried(trial, run_of(trial, late), data) for trial in trials),
        ranges=_ranges(trials),
        frozen_trials=tuple(trials),
        tracking_uri=known.get("fingerprint", {}).get("tracking.uri"),
        study_uid=known.get("book", ""),
    )


def _tried(trial: FrozenTrial, run_id: str, data: DataIdentity | None) -> StudyTrial:
    noted = trial.user_attrs
    common: dict[str, Any] = {
        "number": trial.number,
        "run_id": run_id,
        "word": trial.state.name,
        "value": noted.get("objective", trial.value if trial.state == TrialState.COMPLETE else None),
        "settings": trial.params,
        "reason": noted.get("reason", ""),
        "duplicate_of": noted.get("duplicate_of"),
        "started": trial.datetime_start.astimezone() if trial.datetime_start else None,
        "ended": trial.datetime_complete.astimezone() if trial.datetime_complete else None,
    }
    if "ledger" in noted:
        of = attempt_of(trial, data)
        return StudyAttempt(name=of.name, state=state_of(trial), slot=of.slot, retry=of.retry, spec=of.spec, **common)
    return StudyTrial(name="", state="duplicate" if "duplicate_of" in noted else state_of(trial), **common)


def _ranges(trials: list[FrozenTrial]) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single():
                found[name] = Range(float(distribution.low), float(distribution.high), distribution.log)
    return found
