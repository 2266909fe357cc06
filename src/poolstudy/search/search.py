"""Optuna's study while it runs.

Every attempt at a slot is one Optuna trial; its user attributes are `ledger` (slot, retry, spec), `run_id`, `state`,
`reason`, `objective`. A configuration seen before is a trial with `duplicate_of`, and has no slot.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from poolstudy.errors import StudyMismatch
from poolstudy.search.attempts import (
    LATE_RUN,
    EndedAttempt,
    attempt_of,
    hyperparameters_of,
    late_runs,
    ledger_of,
    run_of,
    spec_of,
    state_of,
)
from poolstudy.search.planning import planned_order, required_values
from poolstudy.search.storage import OPTUNA_STATES, SETTLED, open_study, sampler_of, suggest
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
from poolstudy.spec.space import HyperParameters


class Search:
    """Trials of one study.

    Args:
        database: SQLite file; made if it does not exist.
        data: what the trials are trained on.

    Attributes:
        study_uid: random ID of the study, also on its runs; empty if an earlier version made the study.

    Raises:
        StudyMismatch: the study exists with other settings.
        StoreError: the database cannot be used.
    """

    def __init__(self, database: Path, config: StudyConfig, data: DataIdentity) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = config
        self._data = data
        self._running: dict[int, optuna.Trial] = {}
        self._waiting_duplicates: list[tuple[int, int]] = []  # trial, slot
        self._duplicates_in_a_row = 0
        self._study = open_study(database, config)
        self._check_fingerprint()
        self.study_uid: str = self._study.user_attrs.get("book", "")
        self._seen: dict[HyperParameters, int] = {}  # configuration: slot
        self._asks = 0
        self._slots: dict[int, list[FrozenTrial]] = {}  # slot: its attempts in order
        self._order = planned_order(config)
        self._late_runs = late_runs(self._study.user_attrs)
        self._read()

    def _check_fingerprint(self) -> None:
        asked = self._config.fingerprint() | {"data.digest": self._data.digest}
        known = self._study.user_attrs.get("fingerprint")
        if known is None:
            self._study.set_user_attr("book", uuid.uuid4().hex)
            self._study.set_user_attr("fingerprint", known := asked)
        defaults = self._config.defaults()
        pairs = {
            key: [settings.get(key, defaults.get(key, "nothing")) for settings in (known, asked)]
            for key in sorted(known.keys() | asked.keys())
        }
        differing = [f"{key} is {was}, asked for {now}" for key, (was, now) in pairs.items() if was != now]
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
                self._update(ledger["slot"], trial)
                if ledger["retry"] == 0:
                    self._asks += 1
                    self._seen[hyperparameters_of(trial)] = ledger["slot"]

    def unfinished(self) -> Iterator[Attempt]:
        """Yield the attempts that an earlier process left open; call `end` for each.

        Open trials that never became an attempt are closed on the way.
        """
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.ask()  # queued for an attempt that was never made
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if "ledger" in trial.user_attrs:
                yield attempt_of(trial, self._data)
            elif "duplicate_of" in trial.user_attrs:
                original = self._trial(trial.user_attrs["duplicate_of"])
                self._end_duplicate(trial.number, original.user_attrs["ledger"]["slot"])
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)

    def settled(self) -> Iterator[EndedAttempt]:
        """Yield every attempt that has ended."""
        for trial in (trial for attempts in self._slots.values() for trial in attempts):
            if state := state_of(trial):
                reason = str(trial.user_attrs.get("reason", ""))
                yield EndedAttempt(attempt_of(trial, self._data), state, reason, run_of(trial, self._late_runs))

    def next_attempt(self, retries: int) -> Attempt | None:
        """Return what to train next: a slot to try again, or else a new configuration; None if the space has none.

        Args:
            retries: how often a lost slot is tried again; an interrupted one always is.
        """
        for slot in sorted(self._slots):
            if self.tries_again(slot, retries):
                return self._retry(slot)
        return self._ask()

    def tries_again(self, slot: int, retries: int) -> bool:
        """Return whether a slot in its present state is to be tried again."""
        states = [state_of(trial) for trial in self._slots[slot]]
        return states[-1] == "interrupted" or (states[-1] == "lost" and states.count("lost") <= retries)

    def _retry(self, slot: int) -> Attempt:
        first, retry = self._slots[slot][0], len(self._slots[slot])
        spec = spec_of(first, self._data)
        self._study.enqueue_trial(first.params, user_attrs={"ledger": ledger_of(slot, retry, spec)})
        self._study.sampler = optuna.samplers.RandomSampler()  # every value is queued: `qmc` must not advance
        trial = self._study.ask()
        suggest(trial, self._config.space)
        return self._start(trial, slot, retry, spec)

    def _ask(self) -> Attempt | None:
        while True:
            required = required_values(self._config, self._order, self._seen, self._asks, self._duplicates_in_a_row)
            if required is None:
                return None
            if required:
                self._study.enqueue_trial(required)
            self._study.sampler = sampler_of(self._config, draw_seed(self._config.study.seed, self._asks))
            trial = self._study.ask()
            self._asks += 1
            flat = suggest(trial, self._config.space)
            hyperparameters = self._config.space.hyperparameters(flat, **self._config.training.fixed)
            if hyperparameters not in self._seen:
                return self._open_slot(trial, hyperparameters)
            self._add_duplicate(trial, self._seen[hyperparameters])

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
        self._seen[hyperparameters] = slot
        self._duplicates_in_a_row = 0
        return self._start(trial, slot, 0, spec)

    def _start(self, trial: optuna.Trial, slot: int, retry: int, spec: TrialSpec) -> Attempt:
        self._running[trial.number] = trial
        self._update(slot, self._trial(trial.number))
        return Attempt(number=trial.number, slot=slot, retry=retry, spec=spec)

    def _add_duplicate(self, trial: optuna.Trial, slot: int) -> None:
        self._duplicates_in_a_row += 1
        trial.set_user_attr("duplicate_of", self._slots[slot][0].number)
        if state_of(self._slots[slot][-1]) in SETTLED:
            self._end_duplicate(trial.number, slot)
        else:  # the slot runs, or will again
            self._waiting_duplicates.append((trial.number, slot))

    def close(self) -> None:
        """End the duplicates that still wait for their slot."""
        for number, slot in self._waiting_duplicates:
            self._end_duplicate(number, slot)
        self._waiting_duplicates.clear()

    def _end_duplicate(self, number: int, slot: int) -> None:
        """End a duplicate with the objective of its slot, or as failed if the slot has none."""
        objectives = [trial.user_attrs["objective"] for trial in self._slots[slot] if "objective" in trial.user_attrs]
        if objectives:
            self._study.tell(number, objectives[-1])
        else:
            self._study.tell(number, state=TrialState.FAIL)

    def opened_run(self, attempt: Attempt, run_id: str) -> None:
        """Record the attempt's MLflow run: at its trial, or at the study if the trial has ended.

        Optuna refuses changes to a trial that has ended; a run is opened that late after the tracking server was away.
        """
        try:
            self._set_attribute(attempt.number, "run_id", run_id)
        except optuna.exceptions.UpdateFinishedTrialError:
            self._study.set_user_attr(f"{LATE_RUN}{attempt.number}", run_id)
            self._late_runs[attempt.number] = run_id

    def run_of(self, attempt: Attempt) -> str:
        """Return the ID of the attempt's MLflow run; empty if none is recorded."""
        return run_of(self._trial(attempt.number), self._late_runs)

    def report(self, number: int, record: EpochRecord) -> bool:
        """Record an epoch and return whether to prune the trial; never after its last epoch."""
        trial = self._running[number]
        trial.report(getattr(record, self._config.study.objective.epoch_metric), record.epoch)
        return record.epoch < self._config.training.epochs and trial.should_prune()

    def end(self, number: int, state: State, *, objective: float | None = None, reason: str = "") -> None:
        """End an attempt, and the duplicates that wait for it."""
        for key, value in (("state", state), ("reason", reason), ("objective", objective)):
            if value not in (None, ""):
                self._set_attribute(number, key, value)
        self._study.tell(number, objective if state == "complete" else None, state=OPTUNA_STATES[state])
        self._running.pop(number, None)
        trial = self._trial(number)
        slot = trial.user_attrs["ledger"]["slot"]
        self._update(slot, trial)
        if state in SETTLED:
            for waiting in [entry for entry in self._waiting_duplicates if entry[1] == slot]:
                self._waiting_duplicates.remove(waiting)
                self._end_duplicate(*waiting)

    def objective(self, result: TrialResult) -> float:
        return float(result.metrics()[self._config.study.objective.metric])

    @property
    def done(self) -> int:
        """Number of trials that count."""
        return len(self._counted())

    def ended(self) -> Iterator[CountedTrial]:
        """Yield the trials that count: complete before pruned, then best first, of equals the lower slot."""
        sign = -1 if self._config.study.objective.direction == "maximize" else 1

        def rank(item: tuple[int, FrozenTrial]) -> tuple[bool, float, int]:
            slot, trial = item
            return state_of(trial) == "pruned", sign * trial.user_attrs["objective"], slot

        for slot, trial in sorted(self._counted().items(), key=rank):
            yield CountedTrial(
                slot=slot,
                state=trial.user_attrs["state"],
                objective=trial.user_attrs["objective"],
                run_id=run_of(trial, self._late_runs),
                hyperparameters=hyperparameters_of(trial),
            )

    def failed(self) -> tuple[int, str] | None:
        """Return the number of slots that failed or were given up, and the last reason; None if there are none."""
        last = [trials[-1] for trials in self._slots.values() if state_of(trials[-1]) in ("failed", "lost")]
        return (len(last), last[-1].user_attrs.get("reason") or "unknown") if last else None

    def _counted(self) -> dict[int, FrozenTrial]:
        counted = {"complete", "pruned"}
        return {slot: trial for slot, trials in self._slots.items() for trial in trials if state_of(trial) in counted}

    def _update(self, slot: int, trial: FrozenTrial) -> None:
        """Record an attempt as it stands now, as the last of its slot."""
        trials = self._slots.setdefault(slot, [])
        trials[:] = [other for other in trials if other.number != trial.number] + [trial]

    # Optuna reads and annotates a trial by its number through the storage only.

    def _trial_id(self, number: int) -> int:
        return self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)

    def _trial(self, number: int) -> FrozenTrial:
        return self._study._storage.get_trial(self._trial_id(number))

    def _set_attribute(self, number: int, key: str, value: object) -> None:
        self._study._storage.set_trial_user_attr(self._trial_id(number), key, value)
