"""One study as it stands in both books and on the disk."""

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

_PATIENCE = 60.0  # seconds for MLflow to be told what was left


@dataclass(frozen=True)
class Project:
    """A project: its folder, and where it tracks.

    Attributes:
        uri: of MLflow's store, resolved.
        artifacts: where an SQLite store keeps files.
    """

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
        uri: where its runs are, resolved.
        history: Optuna's; None where it has none.
        runs: MLflow's, that are not deleted, oldest first; of a store that others use too, those only that are known
            to be of this book.
        foreign_runs: how many others there are.
    """

    project: Project
    name: str
    uri: str
    history: StudyHistory | None
    runs: tuple[StoredRun, ...]
    foreign_runs: int

    @classmethod
    def read(cls, project: Project, study: str, uri: str) -> Self:
        """As it stands now.

        Raises:
            StoreError: a book cannot be read.
        """
        histories = read_histories(project.optuna) if project.optuna.exists() else {}
        history, runs = histories.get(study), tuple(every_run(uri, study))
        ours = runs if is_own(uri, project.root) else tuple(_of(history, runs))
        return cls(project, study, uri, history, ours, foreign_runs=len(runs) - len(ours))

    @property
    def shared(self) -> bool:
        """Whether other projects may write to its store, so that no lock here tells whether one works on a run."""
        return not is_own(self.uri, self.project.root)

    @functools.cached_property
    def own(self) -> tuple[StoredRun, ...]:
        """The study's own run, of which there should be one; first the one that goes on."""
        found = (run for run in self.runs if run.kind == "study")
        return tuple(sorted(found, key=lambda run: run.tags.get("poolstudy.book", "") != self.study_uid))

    @property
    def study_uid(self) -> str:
        return self.history.study_uid if self.history else ""

    @property
    def attempts(self) -> tuple[StudyAttempt, ...]:
        return self.history.attempts if self.history else ()

    @property
    def staging(self) -> Path:
        """Where the folders of attempts lie that MLflow has not heard everything of."""
        return self.project.mlruns / "staging" / self.name

    def is_staged(self, name: str) -> bool:
        """Whether an attempt has a folder there, which the study's next start delivers."""
        return (self.staging / name).is_dir()

    def trained(self, name: str) -> bool:
        """Whether that folder holds a result: it counts, and is still to be drawn."""
        return trained_result(self.staging / name) is not None

    @functools.cached_property
    def config(self) -> StudyConfig:
        """What was asked for, as the study's own run has it.

        Raises:
            ConfigurationError: it has it not, or another version of this program wrote it.
        """
        text = self.own[0].text("config.json") if self.own else None
        try:
            if text:
                return StudyConfig.model_validate_json(text)
            reason = "it is not there"
        except ValidationError as error:
            reason = one_line(error)
        raise ConfigurationError(
            f"config.json of study {self.name}: {reason}",
            "the configuration that it was started with",
            f"start the study again: poolstudy run {self.name}",
        )

    @functools.cached_property
    def recovery_fix(self) -> Fix:
        """One cure for all that a coordinator that died left open."""
        what = "settles what is left open, as the next start would: what was not trained to its end is interrupted"
        return Fix(what, functools.partial(recover_study, self))

    def tracker(self) -> Tracker:
        tracker = Tracker(self.uri, str(self.project.artifacts), self.name, self.project.root, restore=False)
        tracker.study_uid = self.study_uid
        return tracker

    def search(self) -> Search:
        """Optuna's book, to be written to. There must be an attempt."""
        return Search(self.project.optuna, self.config, self.attempts[0].spec.data)


def _of(history: StudyHistory | None, runs: Sequence[StoredRun]) -> Iterator[StoredRun]:
    """The runs of a book: those it has noted, and those that say so, as an earlier version's do not."""
    noted = {attempt.run_id for attempt in history.attempts} if history else set()
    for run in runs:
        tag = run.tags.get("poolstudy.book", "")
        said = tag == (history.study_uid if history else "") and (tag or run.kind == "study")
        if said or run.kind == "reproduction" or run.run_id in noted:
            yield run


def recover_study(study: StudyState) -> None:
    """Does what a study's start does about what the last one left open, but for what is still to be drawn.

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
