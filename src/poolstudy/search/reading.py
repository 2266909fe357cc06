"""Reading: what Optuna's book says of every study, without the settings of any."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from poolstudy.errors import StoreError, one_line
from poolstudy.records import State, TrialSpec, trial_name
from poolstudy.search.attempts import LATE_RUN, spec_of, state_of
from poolstudy.search.parts import SETTLED, STATES, STORE_ERRORS, storage_of


@dataclass(frozen=True)
class Recorded:
    """An attempt as Optuna has it.

    Attributes:
        number: its Optuna trial.
        retry: 0 for the first attempt at its slot.
        word: Optuna's own state: RUNNING, COMPLETE, PRUNED, FAIL.
        state: as in the ledger; None while it runs, or where it was never noted.
        objective: what it reached.
    """

    number: int
    slot: int
    retry: int
    spec: TrialSpec
    word: str
    state: State | None
    reason: str
    objective: float | None
    run_id: str | None

    @property
    def name(self) -> str:
        """The name of its run."""
        return trial_name(self.slot, self.retry)

    @property
    def open(self) -> bool:
        return self.word in ("RUNNING", "WAITING")

    @property
    def consistent(self) -> bool:
        """Whether Optuna's own state is that of the ledger's."""
        return self.open or (self.state is not None and STATES[self.state].name == self.word)

    @property
    def settled(self) -> bool:
        """Whether its slot is not tried again after it."""
        return not self.open and self.state in SETTLED


@dataclass(frozen=True)
class Book:
    """A study as Optuna has it.

    Attributes:
        tracking_uri: where its runs are, as its configuration says.
        attempts: in the order in which they were asked for.
        loose: open trials that are no attempt yet, or repeat a configuration.
    """

    study: str
    tracking_uri: str | None
    attempts: tuple[Recorded, ...]
    loose: int


def read_books(database: Path) -> dict[str, Book]:
    """Every study by its name, of a database that exists.

    Raises:
        StoreError: it cannot be read, or another version of this program wrote it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = storage_of(database)
        studies = storage.get_all_studies()
        books = [_book(one.study_name, one.user_attrs, storage.get_all_trials(one._study_id)) for one in studies]
        storage.engine.dispose()
    except (OSError, RuntimeError, KeyError, ValidationError, *STORE_ERRORS) as error:
        found = f"{database} cannot be read ({one_line(error)})"
        raise StoreError(found, "an SQLite file of Optuna's, by this version", "mend it or move it away") from None
    return {book.study: book for book in books}


def _book(study: str, known: Mapping[str, Any], trials: list[FrozenTrial]) -> Book:
    attempts = tuple(_recorded(trial, known) for trial in trials if "ledger" in trial.user_attrs)
    open_ones = [trial for trial in trials if trial.state in (TrialState.RUNNING, TrialState.WAITING)]
    loose = len([trial for trial in open_ones if "ledger" not in trial.user_attrs])
    return Book(study, known.get("fingerprint", {}).get("tracking.uri"), attempts, loose)


def _recorded(trial: FrozenTrial, study: Mapping[str, Any]) -> Recorded:
    known = trial.user_attrs
    return Recorded(
        number=trial.number,
        slot=known["ledger"]["slot"],
        retry=known["ledger"]["retry"],
        spec=spec_of(trial),
        word=trial.state.name,
        state=state_of(trial),
        reason=known.get("reason", ""),
        objective=known.get("objective"),
        run_id=known.get("run_id") or study.get(f"{LATE_RUN}{trial.number}"),
    )
