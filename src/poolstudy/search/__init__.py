"""The ledger's first book: Optuna asks and remembers. Nothing else here knows Optuna.

Every attempt at a slot is one Optuna trial; its user attributes are `ledger` (slot, attempt, spec),
`run_id`, `state`, `reason`, `objective`. A configuration seen before is a trial of its own with
`duplicate_of`, and no slot.
"""

import random
import uuid
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from poolstudy.errors import StudyMismatch
from poolstudy.search.attempts import (
    LATE_RUN,
    AttemptStatus,
    EndedAttempt,
    attempt_of,
    ended_of,
    hyperparameters_of,
    late_runs,
    ledger_of,
    run_of,
    spec_of,
)
from poolstudy.search.history import StudyAttempt, StudyHistory, read_histories
from poolstudy.search.ranking import Ranking
from poolstudy.search.storage import OPTUNA_ERRORS, OPTUNA_STATES, SETTLED, known, open_study, sampler_of, suggest
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import (
    Attempt,
    CountedTrial,
    DataIdentity,
    EpochRecord,
    State,
    TrialResult,
    TrialSpec,
    draw_seed,
)
from poolstudy.spec.space import HyperParameters, Value

__all__ = ["OPTUNA_ERRORS", "Attempt", "Search", "StudyAttempt", "StudyHistory", "known", "late_runs", "read_histories"]

_DUPLICATES_IN_A_ROW = 10  # then an unseen configuration is drawn at random


class Search:
    """The trials of one study.

    Args:
        database: SQLite file; made when it is not there.
        data: what the trials will be trained on.

    Attributes:
        book: drawn at random when the study is made, and put on its runs; empty where an earlier version made it.

    Raises:
        StudyMismatch: the study exists with other settings.
        StoreError: the database cannot be used.
    """

    def __init__(self, database: Path, config: StudyConfig, data: DataIdentity) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = config
        self._data = data
        self._live: dict[int, optuna.Trial] = {}
        self._waiting_duplicates: list[tuple[int, int]] = []  # trial, slot
        self._duplicates_in_a_row = 0
        self._study = open_study(database, config)
        self._check_fingerprint()
        self.study_uid: str = self._study.user_attrs.get("book", "")
        self._seen: dict[str, int] = {}  # its slot
        self._asks = 0
        self._slots: dict[int, list[AttemptStatus]] = {}  # its attempts, the last one last
        self._again: set[int] = set()  # the slots that may have to be tried again
        self._ended = Ranking(maximize=config.study.objective.direction == "maximize")
        self._plan = self._planned_order()
        self._late_runs = late_runs(self._study.user_attrs)
        self._read()

    # What the study is

    def _check_fingerprint(self) -> None:
        asked = self._config.fingerprint() | {"data.digest": self._data.digest}
        known = self._study.user_attrs.get("fingerprint")
        if known is None:
            self._study.set_user_attr("book", uuid.uuid4().hex)
            self._study.set_user_attr("fingerprint", known := asked)
        missing = "nothing"
        differing = [
            f"{key} is {known.get(key, missing)}, asked for {asked.get(key, missing)}"
            for key in sorted(known.keys() | asked.keys())
            if known.get(key, missing) != asked.get(key, missing)
        ]
        if differing:
            name = self._config.study.name
            raise StudyMismatch(
                f"study {name} exists with other settings ({'; '.join(differing)})",
                "the same settings to continue it (trials, timeout and execution may change)",
                f"undo the change, or start another study with study.name={name}-2",
            )
        if "data" not in self._study.user_attrs:
            self._study.set_user_attr("data", self._data.model_dump(mode="json"))

    def _read(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            if "duplicate_of" in trial.user_attrs:
                self._asks += 1
            if ledger := trial.user_attrs.get("ledger"):
                self._remember(ledger["slot"], trial)
                if ledger["retry"] == 0:
                    self._asks += 1
                    self._seen[_key(hyperparameters_of(trial))] = ledger["slot"]

    # After an interruption

    def unfinished(self) -> Iterator[Attempt]:
        """Attempts that were left open; each is to be settled by `end`.

        Trials that never became an attempt are closed on the way.
        """
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.ask()  # queued for an attempt that was never made
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "ledger" in trial.user_attrs:
                yield attempt_of(trial, self._data)
            elif "duplicate_of" in trial.user_attrs:
                original = self._frozen(trial.user_attrs["duplicate_of"])
                self._settle_duplicate(trial.number, original.user_attrs["ledger"]["slot"])
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)

    def settled(self) -> Iterator[EndedAttempt]:
        """Every attempt that has ended."""
        for attempts in self._slots.values():
            for number, state, reason, _ in attempts:
                if state:
                    trial = self._frozen(number)
                    yield EndedAttempt(attempt_of(trial, self._data), state, reason, run_of(trial, self._late_runs))

    # Asking

    def next_attempt(self, retries: int) -> Attempt | None:
        """The next thing to train: a slot to try again, or else a configuration never seen.

        Args:
            retries: how often a lost slot is tried again; an interrupted one always is.

        Returns:
            None when the space holds nothing new.
        """
        for slot in sorted(self._again):
            if self.tries_again(slot, retries):
                return self._retry(slot)
        return self._ask()

    def tries_again(self, slot: int, retries: int) -> bool:
        """Whether a slot, as it stands, is to be tried again."""
        states = [attempt.state for attempt in self._slots[slot]]
        return states[-1] == "interrupted" or (states[-1] == "lost" and states.count("lost") <= retries)

    def _retry(self, slot: int) -> Attempt:
        first, retry = self._frozen(self._slots[slot][0].number), len(self._slots[slot])
        spec = spec_of(first, self._data)
        self._study.enqueue_trial(first.params, user_attrs={"ledger": ledger_of(slot, retry, spec)})
        self._study.sampler = optuna.samplers.RandomSampler()  # nothing is to be sampled, and no sequence goes on
        trial = self._study.ask()
        suggest(trial, self._config.space)
        return self._opened(trial, slot, retry, spec)

    def _ask(self) -> Attempt | None:
        while True:
            planned = self._planned()
            if planned is None:
                return None
            if planned:
                self._study.enqueue_trial(planned)
            self._study.sampler = sampler_of(self._config, draw_seed(self._config.study.seed, self._asks))
            trial = self._study.ask()
            self._asks += 1
            flat = suggest(trial, self._config.space)
            hyperparameters = self._config.space.hyperparameters(flat, **self._config.training.fixed)
            if _key(hyperparameters) not in self._seen:
                return self._open_slot(trial, hyperparameters)
            self._duplicate(trial, hyperparameters)

    def _planned_order(self) -> list[dict[str, Value]] | None:
        """Every configuration in order, where the sampler `list` or `grid` has one."""
        space, sampler = self._config.space, self._config.sampler
        if sampler.name == "list":
            return [space.project(trial) for trial in sampler.trials]
        return self._shuffled(self._config.study.seed) if sampler.name == "grid" else None

    def _planned(self) -> dict[str, Value] | None:
        """What the next configuration must have; {} where the sampler may choose; None at the end."""
        space, seed = self._config.space, self._config.study.seed
        if self._plan is not None:
            return self._first_unseen(self._plan)
        size = space.size()
        if size is not None and len(self._seen) >= size:
            return None
        if size is not None and self._duplicates_in_a_row >= _DUPLICATES_IN_A_ROW:
            return self._first_unseen(self._shuffled(draw_seed(seed, self._asks)))
        if self._config.sampler.name == "tpe" and self._asks < self._config.sampler.n_startup_trials:
            # The random start takes the poolings in turn: the question is which is better, so both get a fair share.
            choices = space.pooling.choices
            return {"pooling": choices[self._asks % len(choices)]}
        return {}

    def _shuffled(self, seed: int) -> list[dict[str, Value]]:
        every = list(self._config.space.every())
        random.Random(seed).shuffle(every)
        return every

    def _first_unseen(self, flats: list[dict[str, Value]]) -> dict[str, Value] | None:
        fixed = self._config.training.fixed
        unseen = (flat for flat in flats if _key(self._config.space.hyperparameters(flat, **fixed)) not in self._seen)
        return next(unseen, None)

    def _open_slot(self, trial: optuna.Trial, hyperparameters: HyperParameters) -> Attempt:
        slot = len(self._slots) + 1
        spec = TrialSpec(
            study=self._config.study.name,
            slot=slot,
            seed=draw_seed(self._config.study.seed, slot),
            hyperparameters=hyperparameters,
            training=self._config.training.settings,
            data=self._data,
        )
        trial.set_user_attr("ledger", ledger_of(slot, 0, spec))
        self._seen[_key(hyperparameters)] = slot
        self._duplicates_in_a_row = 0
        return self._opened(trial, slot, 0, spec)

    def _opened(self, trial: optuna.Trial, slot: int, retry: int, spec: TrialSpec) -> Attempt:
        self._live[trial.number] = trial
        self._remember(slot, self._frozen(trial.number))
        return Attempt(number=trial.number, slot=slot, retry=retry, spec=spec)

    # Duplicates

    def _duplicate(self, trial: optuna.Trial, hyperparameters: HyperParameters) -> None:
        self._duplicates_in_a_row += 1
        slot = self._seen[_key(hyperparameters)]
        trial.set_user_attr("duplicate_of", self._slots[slot][0].number)
        if self._slots[slot][-1].state in SETTLED:
            self._settle_duplicate(trial.number, slot)
        else:  # it runs, or will again
            self._waiting_duplicates.append((trial.number, slot))

    def close(self) -> None:
        """Settles the duplicates that still wait."""
        for number, slot in self._waiting_duplicates:
            self._settle_duplicate(number, slot)
        self._waiting_duplicates.clear()

    def _settle_duplicate(self, number: int, slot: int) -> None:
        """Gives a duplicate the value that is known of its configuration, if one is."""
        known = [attempt.objective for attempt in self._slots[slot]]
        objective = next((value for value in reversed(known) if value is not None), None)
        if objective is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, objective)

    # While an attempt runs, and when it ends

    def opened_run(self, attempt: Attempt, run_id: str) -> None:
        """Notes the attempt's run in MLflow: at its trial, or at the study if the trial has ended.

        Optuna leaves a trial alone that has ended; a run is opened so late while the tracking server is away.
        """
        try:
            self._note(attempt.number, "run_id", run_id)
        except optuna.exceptions.UpdateFinishedTrialError:
            self._study.set_user_attr(f"{LATE_RUN}{attempt.number}", run_id)
            self._late_runs[attempt.number] = run_id

    def run_of(self, attempt: Attempt) -> str:
        """The attempt's run in MLflow as it was noted; empty where none was."""
        return run_of(self._frozen(attempt.number), self._late_runs)

    def report(self, number: int, record: EpochRecord) -> bool:
        """Notes an epoch; answers whether to prune the trial. After its last epoch there is nothing to save."""
        trial = self._live[number]
        trial.report(getattr(record, self._config.study.objective.epoch_metric), record.epoch)
        return record.epoch < self._config.training.epochs and trial.should_prune()

    def end(self, number: int, state: State, *, objective: float | None = None, reason: str = "") -> None:
        """Closes an attempt, as the ledger says."""
        for key, value in (("state", state), ("reason", reason), ("objective", objective)):
            if value not in (None, ""):
                self._note(number, key, value)
        value = objective if state == "complete" else None
        self._study.tell(number, value, state=OPTUNA_STATES[state])
        self._live.pop(number, None)
        trial = self._frozen(number)
        slot = trial.user_attrs["ledger"]["slot"]
        self._remember(slot, trial)
        if state in SETTLED:
            for waiting in [entry for entry in self._waiting_duplicates if entry[1] == slot]:
                self._waiting_duplicates.remove(waiting)
                self._settle_duplicate(*waiting)

    def objective(self, result: TrialResult) -> float:
        return float(result.metrics()[self._config.study.objective.metric])

    # Counting

    @property
    def done(self) -> int:
        """How many trials count."""
        return len(self._ended)

    def ended(self) -> Iterator[CountedTrial]:
        """The trials that count, best first; complete ones before pruned ones."""
        for number in self._ended:
            yield ended_of(self._frozen(number), self._late_runs)

    def failed(self) -> tuple[int, str] | None:
        """How many slots failed or were given up, and the last reason; None where none did."""
        last = [attempts[-1] for attempts in self._slots.values() if attempts[-1].state in ("failed", "lost")]
        return (len(last), last[-1].reason or "unknown") if last else None

    def _remember(self, slot: int, trial: FrozenTrial) -> None:
        """Takes note of an attempt as it stands now; it is the last of its slot."""
        attempts, now = self._slots.setdefault(slot, []), AttemptStatus.of(trial)
        attempts[:] = [other for other in attempts if other.number != now.number] + [now]
        state = now.state
        (self._again.add if state in ("lost", "interrupted") else self._again.discard)(slot)
        if state in ("complete", "pruned"):
            self._ended.put(slot, trial.number, state, trial.user_attrs["objective"])

    # Optuna lets a trial be read and annotated by its number through the storage only.

    def _trial_id(self, number: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study._storage.get_trial(self._trial_id(number))

    def _note(self, number: int, key: str, value: object) -> None:
        self._study._storage.set_trial_user_attr(self._trial_id(number), key, value)


def _key(hyperparameters: HyperParameters) -> str:
    """What tells a configuration from others: a text, which takes a sixth of its memory."""
    return hyperparameters.model_dump_json()
