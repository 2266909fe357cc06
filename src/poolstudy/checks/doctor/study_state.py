"""One study as the Optuna and MLflow databases and the disk have it."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from poolstudy.checks.doctor.issue import Fix
from poolstudy.errors import ConfigurationError, StoreError, one_line
from poolstudy.search import Search, StudyAttempt, StudyHistory, read_histories
from poolstudy.spec.config import StudyConfig
from poolstudy.study.recovery import recover
from poolstudy.study.uploader import Uploader
from poolstudy.tracking import StoredRun, Tracker, every_run, is_own
from poolstudy.trial.attempt_folder import trained_result

_PATIENCE = 60.0  # seconds for the upload to MLflow


@dataclass(frozen=True)
class Project:
    """A project's folder, its resolved MLflow address, and the folder where an SQLite store keeps artifacts."""

    root: Path
    uri: str
    artifacts: Path

    @property
    def mlruns(self) -> Path:
        return self.root / "mlruns"

    @property
    def optuna(self) -> Path:
        return self.mlruns / "optuna.db"


@dataclass(frozen=True)
class StudyState:
    """A study.

    Attributes:
        uri: the resolved address of its runs.
        history: Optuna's; None where it has none.
        runs: MLflow's that are not deleted, oldest first; in a shared store only those known to be this study's.
        foreign_runs: the number of the others.
    """

    project: Project
    name: str
    uri: str
    history: StudyHistory | None
    runs: tuple[StoredRun, ...]
    foreign_runs: int

    @classmethod
    def read(cls, project: Project, study: str, uri: str) -> Self:
        """Read the study.

        Raises:
            StoreError: a database cannot be read.
        """
        histories = read_histories(project.optuna) if project.optuna.exists() else {}
        history, runs = histories.get(study), tuple(every_run(uri, study))
        own = runs if is_own(uri, project.root) else tuple(_own_runs(history, runs))
        return cls(project, study, uri, history, own, foreign_runs=len(runs) - len(own))

    @property
    def shared(self) -> bool:
        """Whether other projects may write to its store; locks on this machine do not cover them."""
        return not is_own(self.uri, self.project.root)

    @functools.cached_property
    def own(self) -> tuple[StoredRun, ...]:
        """The run of the study itself, of which there should be one; the one in use comes first."""
        runs = (run for run in self.runs if run.kind == "study")
        return tuple(sorted(runs, key=lambda run: run.tags.get("poolstudy.book", "") != self.study_uid))

    @property
    def study_uid(self) -> str:
        return self.history.study_uid if self.history else ""

    @property
    def attempts(self) -> tuple[StudyAttempt, ...]:
        return self.history.attempts if self.history else ()

    @property
    def staging(self) -> Path:
        """The folder of attempts that are not fully uploaded."""
        return self.project.mlruns / "staging" / self.name

    def is_staged(self, name: str) -> bool:
        """Return whether an attempt has a folder that the study's next start uploads."""
        return (self.staging / name).is_dir()

    def trained(self, name: str) -> bool:
        """Return whether that folder holds a result: it counts, and is still to be rendered."""
        return trained_result(self.staging / name) is not None

    @functools.cached_property
    def config(self) -> StudyConfig:
        """The configuration of the study's own run.

        Raises:
            ConfigurationError: it is missing, or another version of this program wrote it.
        """
        text = self.own[0].text("config.json") if self.own else None
        try:
            if text:
                return StudyConfig.model_validate_json(text)
            reason = "it is missing"
        except ValidationError as error:
            reason = one_line(error)
        raise ConfigurationError(
            f"config.json of study {self.name}: {reason}",
            "the configuration that it was started with",
            f"start the study again: poolstudy run {self.name}",
        )

    @functools.cached_property
    def recovery_fix(self) -> Fix:
        """One fix for everything that a crash left open."""
        what = "ends what is left open, as the next start would: what was not trained to its end is interrupted"
        return Fix(what, functools.partial(recover_study, self))

    def tracker(self) -> Tracker:
        tracker = Tracker(self.uri, str(self.project.artifacts), self.name, self.project.root, restore=False)
        tracker.study_uid = self.study_uid
        return tracker

    def search(self) -> Search:
        """Open the study in Optuna's database, to write to it. There must be an attempt."""
        return Search(self.project.optuna, self.config, self.attempts[0].spec.data)


def _own_runs(history: StudyHistory | None, runs: Sequence[StoredRun]) -> Iterator[StoredRun]:
    """Yield the runs that Optuna's study has noted, those with its tag (older ones have none), and reproductions."""
    noted = {attempt.run_id for attempt in history.attempts} if history else set()
    for run in runs:
        tag = run.tags.get("poolstudy.book", "")
        tagged = tag == (history.study_uid if history else "") and (tag or run.kind == "study")
        if tagged or run.kind == "reproduction" or run.run_id in noted:
            yield run


def recover_study(study: StudyState) -> None:
    """End what a crash left open, as a study's start does, except what is still to be rendered.

    Raises:
        PoolstudyError: the study's configuration is not what it was, or a store cannot be written.
    """
    search, tracker = study.search(), study.tracker()
    uploader = Uploader(tracker)
    try:
        for folder in recover(search, tracker, study.staging):
            if folder.result is None:
                uploader.add(folder)
                uploader.finish(folder)
        if not uploader.flush(_PATIENCE):
            raise StoreError(f"MLflow's store {study.uri} does not answer", "one that does", "try again later")
        for attempt, run_id in uploader.drain_opened():
            search.opened_run(attempt, run_id)
    finally:
        uploader.close()
        search.close()
