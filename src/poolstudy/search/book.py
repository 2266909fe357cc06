"""The first book, to be read: what was tried, in what order, and what came of it. Nothing here changes a study."""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import optuna
import pandas as pd
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from poolstudy.errors import StoreError, one_line
from poolstudy.records import State
from poolstudy.search.attempts import attempt_of, late_runs, state_of
from poolstudy.search.parts import STORE_ERRORS, storage_of
from poolstudy.space import Value

_COLUMNS = ("number", "state", "value", "datetime_start", "datetime_complete", "duration", "params", "user_attrs")
_SEED = 0  # of fANOVA's forest: the same study has the same importance


@dataclass(frozen=True)
class Tried:
    """One Optuna trial: an attempt at a slot, or a configuration that had been seen before.

    Attributes:
        number: Optuna's, from 0.
        name: of its run; "" for a duplicate.
        state: as in the ledger; "duplicate"; None while it runs.
        value: the objective it reached; None where it reached none.
        settings: what was sampled.
        duplicate_of: the number of the trial that had the same settings.
    """

    number: int
    name: str
    run_id: str
    state: State | str | None
    value: float | None
    settings: Mapping[str, Value]
    reason: str
    duplicate_of: int | None
    started: datetime | None
    ended: datetime | None

    @property
    def pooling(self) -> str:
        return str(self.settings.get("pooling", "unknown"))


@dataclass(frozen=True)
class Book:
    """A study.

    Attributes:
        tried: every trial, in the order in which they were asked for.
        ranges: of each dimension that is a range, its ends.
        study: a copy in memory, for Optuna's own functions.
    """

    name: str
    maximize: bool
    tried: tuple[Tried, ...]
    ranges: Mapping[str, tuple[float, float]]
    study: optuna.Study = field(repr=False, compare=False)

    def ranked(self) -> list[Tried]:
        """The complete trials, best first; duplicates are none of them."""
        complete = [one for one in self.tried if one.state == "complete" and one.value is not None]
        return sorted(complete, key=lambda one: ((-1 if self.maximize else 1) * (one.value or 0), one.number))

    def importances(self) -> dict[str, dict[str, float]]:
        """By evaluator's name how much of the objective's variation each dimension accounts for, the first most.

        Nothing where fewer than two trials are complete, or all reached the same.
        """
        if len({one.value for one in self.ranked()}) < 2:
            return {}
        evaluators = {"PED-ANOVA": PedAnovaImportanceEvaluator(), "fANOVA": FanovaImportanceEvaluator(seed=_SEED)}
        found = {}
        for name, evaluator in evaluators.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found[name] = get_param_importances(self.study, evaluator=evaluator)
            except (ValueError, RuntimeError):  # too few trials, or nothing that varies
                continue
        return {name: one for name, one in found.items() if any(one.values())}

    def frame(self) -> pd.DataFrame:
        """Every trial as a row, under the names that the params and the metrics have elsewhere."""
        frame = self.study.trials_dataframe(_COLUMNS)
        frame["name"] = [one.name for one in self.tried]
        frame = frame.rename(columns={"state": "optuna_state"})
        return frame.rename(columns=lambda name: str(name).removeprefix("params_").removeprefix("user_attrs_"))


def open_book(database: Path, name: str) -> Book:
    """A study as it stands.

    Raises:
        StoreError: there is no such database or study, or it cannot be read.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    remedy = "run the study on this machine (make study)"
    if not database.is_file():
        raise StoreError(f"no {database}", "the database of a study", remedy)
    try:
        study = optuna.load_study(study_name=name, storage=storage_of(database))
        trials = study.get_trials(deepcopy=False)
    except KeyError:
        raise StoreError(f"no study {name!r} in {database}", "it there", remedy) from None
    except (OSError, RuntimeError, *STORE_ERRORS) as error:
        found = f"{database} cannot be read ({one_line(error)})"
        raise StoreError(found, "an SQLite file of Optuna's", "mend it or move it away") from None
    maximize = study.direction == optuna.study.StudyDirection.MAXIMIZE
    late = late_runs(study)
    tried = tuple(_tried(one, late.get(one.number, "")) for one in trials)
    return Book(
        name,
        maximize,
        tried,
        _ranges(trials),
        _copied(study, trials),
    )


def _copied(study: optuna.Study, trials: list[FrozenTrial]) -> optuna.Study:
    """The same trials in memory: read once, and with the attributes only that a plot is to tell of each."""
    copy = optuna.create_study(study_name=study.study_name, direction=study.direction)
    for trial in trials:
        own = deepcopy(trial)
        own.user_attrs = {key: value for key, value in trial.user_attrs.items() if key != "ledger"}
        copy.add_trial(own)
    return copy


def _tried(trial: FrozenTrial, late_run: str) -> Tried:
    attributes = trial.user_attrs
    duplicate = attributes.get("duplicate_of")
    return Tried(
        number=trial.number,
        name=attempt_of(trial).name if "ledger" in attributes else "",
        run_id=late_run or attributes.get("run_id", ""),
        state="duplicate" if duplicate is not None else state_of(trial),
        value=attributes.get("objective", trial.value if trial.state == TrialState.COMPLETE else None),
        settings=trial.params,
        reason=attributes.get("reason", ""),
        duplicate_of=duplicate,
        started=trial.datetime_start.astimezone() if trial.datetime_start else None,
        ended=trial.datetime_complete.astimezone() if trial.datetime_complete else None,
    )


def _ranges(trials: list[FrozenTrial]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if isinstance(distribution, FloatDistribution | IntDistribution) and not distribution.single():
                found[name] = float(distribution.low), float(distribution.high)
    return found
