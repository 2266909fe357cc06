"""An attempt as Optuna keeps it: a trial with the user attributes `ledger`, `run_id`, `state` and `reason`."""

from collections.abc import Mapping
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from poolstudy.records import Attempt, State, TrialSpec

LATE_RUN = "run_id of trial "
"""And a trial's number: the study's attribute that stands for the `run_id` of a trial that had ended by then."""


@dataclass(frozen=True)
class Settled:
    """An attempt that has ended, how, why, and its run in MLflow if it has one."""

    attempt: Attempt
    state: State
    reason: str
    run_id: str


def late_runs(noted: Mapping[str, object]) -> dict[int, str]:
    """The runs that were opened after their trials had ended, by the trials' numbers; of a study's user attributes."""
    return {int(key.removeprefix(LATE_RUN)): str(run) for key, run in noted.items() if key.startswith(LATE_RUN)}


def run_of(trial: FrozenTrial, late: Mapping[int, str]) -> str:
    """A trial's run in MLflow as it was noted, at the study or at the trial; empty where none was."""
    return late.get(trial.number) or str(trial.user_attrs.get("run_id", ""))


def attempt_of(trial: FrozenTrial) -> Attempt:
    ledger = trial.user_attrs["ledger"]
    return Attempt(number=trial.number, slot=ledger["slot"], retry=ledger["retry"], spec=spec_of(trial))


def spec_of(trial: FrozenTrial) -> TrialSpec:
    return TrialSpec.model_validate(trial.user_attrs["ledger"]["spec"])


def state_of(trial: FrozenTrial) -> State | None:
    """How it ended; None while it has not."""
    state: State | None = trial.user_attrs.get("state")
    return state if trial.state.is_finished() else None
