"""One study as it stands in both books and on the disk."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from poolstudy.checks.doctor.trouble import Cure
from poolstudy.errors import ConfigurationError, StoreError, one_line
from poolstudy.search import Book, Search, TriedAttempt, read_books
from poolstudy.spec.config import StudyConfig
from poolstudy.study.recovery import recover
from poolstudy.study.uploader import Delivery
from poolstudy.tracking import FoundRun, Tracker, every_run, is_own
from poolstudy.trial.attempt_folder import trained_result

_PATIENCE = 60.0  # seconds for MLflow to be told what was left


@dataclass(frozen=True)
class Ward:
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
class Case:
    """A study.

    Attributes:
        uri: where its runs are, resolved.
        book: Optuna's; None where it has none.
        runs: MLflow's, that are not deleted, oldest first; of a store that others use too, those only that are known
            to be of this book.
        strangers: how many others there are.
    """

    ward: Ward
    study: str
    uri: str
    book: Book | None
    runs: tuple[FoundRun, ...]
    strangers: int

    @classmethod
    def read(cls, ward: Ward, study: str, uri: str) -> Self:
        """As it stands now.

        Raises:
            StoreError: a book cannot be read.
        """
        books = read_books(ward.optuna) if ward.optuna.exists() else {}
        book, runs = books.get(study), tuple(every_run(uri, study))
        ours = runs if is_own(uri, ward.root) else tuple(_of(book, runs))
        return cls(ward, study, uri, book, ours, strangers=len(runs) - len(ours))

    @property
    def shared(self) -> bool:
        """Whether other projects may write to its store, so that no lock here tells whether one works on a run."""
        return not is_own(self.uri, self.ward.root)

    @functools.cached_property
    def own(self) -> tuple[FoundRun, ...]:
        """The study's own run, of which there should be one; first the one that goes on."""
        found = (run for run in self.runs if run.kind == "study")
        return tuple(sorted(found, key=lambda run: run.tags.get("poolstudy.book", "") != self.book_id))

    @property
    def book_id(self) -> str:
        return self.book.id if self.book else ""

    @property
    def attempts(self) -> tuple[TriedAttempt, ...]:
        return self.book.attempts if self.book else ()

    @property
    def staging(self) -> Path:
        """Where the folders of attempts lie that MLflow has not heard everything of."""
        return self.ward.mlruns / "staging" / self.study

    def waits(self, name: str) -> bool:
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
            f"config.json of study {self.study}: {reason}",
            "the configuration that it was started with",
            f"start the study again: poolstudy run {self.study}",
        )

    @functools.cached_property
    def settling(self) -> Cure:
        """One cure for all that a coordinator that died left open."""
        what = "settles what is left open, as the next start would: what was not trained to its end is interrupted"
        return Cure(what, functools.partial(settle, self))

    def tracker(self) -> Tracker:
        tracker = Tracker(self.uri, str(self.ward.artifacts), self.study, self.ward.root, restore=False)
        tracker.book = self.book_id
        return tracker

    def search(self) -> Search:
        """Optuna's book, to be written to. There must be an attempt."""
        return Search(self.ward.optuna, self.config, self.attempts[0].spec.data)


def _of(book: Book | None, runs: Sequence[FoundRun]) -> Iterator[FoundRun]:
    """The runs of a book: those it has noted, and those that say so, as an earlier version's do not."""
    noted = {attempt.run_id for attempt in book.attempts} if book else set()
    for run in runs:
        tag = run.tags.get("poolstudy.book", "")
        said = tag == (book.id if book else "") and (tag or run.kind == "study")
        if said or run.kind == "reproduction" or run.run_id in noted:
            yield run


def settle(case: Case) -> None:
    """Does what a study's start does about what the last one left open, but for what is still to be drawn.

    Raises:
        PoolstudyError: the study's configuration is not what it was, or a store cannot be written.
    """
    search, tracker = case.search(), case.tracker()
    delivery = Delivery(tracker)
    try:
        for folder in recover(search, tracker, case.staging):
            if folder.result is None:
                delivery.add(folder)
                delivery.ready(folder)
        if not delivery.settle(_PATIENCE):
            raise StoreError(f"MLflow's store {case.uri} does not answer", "one that does", "try again later")
        for attempt, run_id in delivery.opened():
            search.opened_run(attempt, run_id)
    finally:
        delivery.close()
        search.close()
