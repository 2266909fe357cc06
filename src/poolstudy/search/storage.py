"""Optuna's parts: a study on SQLite, a sampler for one ask, a pruner, a trial's values."""

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.trial import TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from poolstudy.errors import StoreError, one_line
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.dimensions import Choices, FloatRange, IntRange, Value
from poolstudy.spec.records import State
from poolstudy.spec.space import SearchSpace
from poolstudy.system.locks import made_once

_PATIENCE = 20  # seconds to wait for another program that holds the database, as in MLflow
OPTUNA_ERRORS = (sqlite3.Error, SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""Errors of a database that Optuna cannot read or write."""

OPTUNA_STATES: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "lost": TrialState.FAIL,
    "interrupted": TrialState.FAIL,
}
"""Optuna's state of a trial, by the state of the attempt."""
SETTLED = ("complete", "pruned", "failed")
"""States after which a slot is not tried again."""


def open_study(database: Path, config: StudyConfig) -> optuna.Study:
    try:
        with made_once(database) as part:
            if part:
                storage_of(part).engine.dispose()
        return optuna.create_study(
            storage=storage_of(database),
            study_name=config.study.name,
            direction=config.study.objective.direction,
            pruner=pruner_of(config),
            load_if_exists=True,
        )
    except (OSError, RuntimeError, *OPTUNA_ERRORS) as error:  # RuntimeError: of another version of Optuna
        found = f"{database} cannot be used ({one_line(error)})"
        raise StoreError(found, "an SQLite file that can be written", "repair it or move it away") from None


def known(database: Path, study: str) -> bool:
    """Return whether a database has a study of this name.

    Raises:
        StoreError: the database cannot be read.
    """
    if not database.exists():
        return False
    with reading_optuna(database) as storage:
        return study in optuna.get_all_study_names(storage)


def count_trials(database: Path) -> tuple[int, int]:
    """Return the number of studies, and of their trials, in a database that exists.

    Raises:
        StoreError: the database cannot be read.
    """
    with reading_optuna(database) as storage:
        trials = [summary.n_trials for summary in optuna.get_all_study_summaries(storage)]
    return len(trials), sum(trials)


@contextlib.contextmanager
def reading_optuna(database: Path) -> Iterator[optuna.storages.RDBStorage]:
    """Yield a database that exists, for reading.

    Raises:
        StoreError: it cannot be read, or another version of poolstudy wrote it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = storage_of(database)
        try:
            yield storage
        finally:
            storage.engine.dispose()
    except (OSError, RuntimeError, KeyError, ValueError, *OPTUNA_ERRORS) as error:
        found = f"{database} cannot be read ({one_line(error)})"
        raise StoreError(found, "an Optuna database of this version", "repair it or move it away") from None


def storage_of(database: Path) -> optuna.storages.RDBStorage:
    url = URL.create("sqlite", database=str(database)).render_as_string()  # escapes what a URL cannot hold
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _PATIENCE}})


def sampler_of(config: StudyConfig, seed: int) -> optuna.samplers.BaseSampler:
    """Make a sampler for one ask, seeded because Optuna does not store a sampler's state."""
    settings: Any = config.sampler
    if settings.name == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=settings.n_startup_trials, seed=seed)
    if settings.name == "qmc":  # one sequence; Optuna stores its position in the study
        first = optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():  # experimental, but its version is pinned
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.QMCSampler(
                scramble=True, seed=config.study.seed, independent_sampler=first, warn_independent_sampling=False
            )
    return optuna.samplers.RandomSampler(seed=seed)


def pruner_of(config: StudyConfig) -> optuna.pruners.BasePruner:
    match config.pruner.name:
        case "median":
            # Optuna counts steps from 0, we count epochs from 1.
            return optuna.pruners.MedianPruner(config.pruner.n_startup_trials, config.pruner.n_warmup_steps + 1)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=config.pruner.min_resource,
                max_resource=config.training.epochs,
                reduction_factor=config.pruner.reduction_factor,
            )
        case "none":
            return optuna.pruners.NopPruner()


def suggest(trial: optuna.Trial, space: SearchSpace) -> dict[str, Value]:
    """Return the trial's value for every dimension of the space."""
    flat: dict[str, Value] = {}
    for name, values in space.dimensions().items():
        match values:
            case Choices():
                flat[name] = cast("Value", trial.suggest_categorical(name, values.choices))
            case IntRange():
                flat[name] = trial.suggest_int(name, values.low, values.high, step=values.step, log=values.log)
            case FloatRange():
                flat[name] = trial.suggest_float(name, values.low, values.high, step=values.step, log=values.log)
    return flat
