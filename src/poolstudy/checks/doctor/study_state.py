"""One study as the Optuna and MLflow databases and the disk have it."""

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from poolstudy.checks.finding import Fix
from poolstudy.errors import ConfigurationError, StoreError, one_line
from poolstudy.search import Search, StudyAttempt, StudyHistory, read_histories
from poolstudy.spec.config import StudyConfig
from poolstudy.study.recovery import recover
from poolstudy.study.uploader import Uploader
from poolstudy.system.locks import holder
from poolstudy.tracking import StoredRun, Tracker, database_of, every_run, is_own

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

    @property
    def locks(self) -> Path:
        return self.mlruns / "locks"

    def busy(self) -> bool:
        """Return whether a process runs one of its studies."""
        return any(holder(self.locks, path.stem) for path in self.locks.glob("*.lock"))

    def has_store(self) -> bool:
        """Return whether its MLflow store exists; a server is taken to exist."""
        database = database_of(self.uri)
        return database is None or database.exists()

    def histories(self) -> dict[str, StudyHistory]:
        """Return the studies in Optuna's database. Raises StoreError if it cannot be read."""
        return read_histories(self.optuna) if self.optuna.exists() else {}


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
        history, runs = project.histories().get(study), every_run(uri, study)
        noted = {attempt.run_id for attempt in history.attempts} if history else set()
        study_uid = history.study_uid if history else ""

        def is_ours(run: StoredRun) -> bool:
            """Return whether Optuna's study noted the run, or it has its tag (older ones have none)."""
            tag = run.tags.get("poolstudy.book", "")
            tagged = tag == study_uid and (tag or run.kind == "study")
            return bool(tagged or run.kind == "reproduction" or run.run_id in noted)

        ours = tuple(run for run in runs if is_own(uri, project.root) or is_ours(run))
        return cls(project, study, uri, history, ours, foreign_runs=len(runs) - len(ours))

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

    @functools.cached_property
    def config(self) -> StudyConfig:
        """The configuration of the study's own run.

        Raises:
            ConfigurationError: it is missing, or another version of this program wrote it.
        """
        text, reason = self.own[0].text("config.json") if self.own else None, "it is missing"
        try:
            if text:
                return StudyConfig.model_validate_json(text)
        except ValidationError as error:
            reason = one_line(error)
        expected, remedy = "the configuration that it was started with", "start the study again: poolstudy run"
        raise ConfigurationError(f"config.json of study {self.name}: {reason}", expected, f"{remedy} {self.name}")

    @functools.cached_property
    def recovery_fix(self) -> Fix:
        """One fix for everything that a crash left open."""
        what = "ends what is left open, as the next start would: what was not trained to its end is interrupted"
        return Fix(what, self._recover)

    def tracker(self) -> Tracker:
        tracker = Tracker(self.uri, str(self.project.artifacts), self.name, self.project.root, restore=False)
        tracker.study_uid = self.study_uid
        return tracker

    def _recover(self) -> None:
        """End what a crash left open, as a study's start does, except what is still to be rendered."""
        with contextlib.ExitStack() as stack:
            search = Search(self.project.optuna, self.config, self.attempts[0].spec.data)  # there is an attempt
            stack.callback(search.close)
            tracker = self.tracker()
            uploader = Uploader(tracker)
            stack.callback(uploader.close)
            for folder in recover(search, tracker, self.staging):
                if folder.result is None:
                    uploader.add(folder)
                    uploader.finish(folder)
            if not uploader.flush(_PATIENCE):
                raise StoreError(f"MLflow's store {self.uri} does not answer", "one that does", "try again later")
            for attempt, run_id in uploader.drain_opened():
                search.opened_run(attempt, run_id)
