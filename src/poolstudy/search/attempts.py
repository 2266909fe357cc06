"""An attempt as Optuna keeps it: a trial with the user attributes `ledger`, `run_id`, `state` and `reason`.

What the trials of a study are trained on stands once, at the study (`data`), and not in the spec of each. A spec is
JSON text: Optuna holds every trial in memory, and a text takes a quarter of the nested dictionaries that it says.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

from optuna.trial import FrozenTrial

from poolstudy.spec.records import Attempt, CountedTrial, DataIdentity, State, TrialSpec
from poolstudy.spec.space import HyperParameters

LATE_RUN = "run_id of trial "
"""And a trial's number: the study's attribute that stands for the `run_id` of a trial that had ended by then."""


class AttemptStatus(NamedTuple):
    """How an attempt stands: what a coordinator keeps of each, be there ten thousand.

    Attributes:
        number: of its trial in Optuna.
        state: None while it is under way.
        objective: what it reached; None where it reached nothing.
    """

    number: int
    state: State | None
    reason: str
    objective: float | None

    @classmethod
    def of(cls, trial: FrozenTrial) -> Self:
        noted = trial.user_attrs
        return cls(trial.number, state_of(trial), str(noted.get("reason", "")), noted.get("objective"))


@dataclass(frozen=True)
class EndedAttempt:
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


def ledger_of(slot: int, retry: int, spec: TrialSpec) -> dict[str, Any]:
    """The attribute `ledger` of an attempt."""
    return {"slot": slot, "retry": retry, "spec": spec.model_dump_json(exclude={"data"})}


def attempt_of(trial: FrozenTrial, data: DataIdentity | None) -> Attempt:
    """The attempt that a trial is.

    Args:
        data: of its study; trials of earlier versions of this program have their own.
    """
    ledger = trial.user_attrs["ledger"]
    return Attempt(number=trial.number, slot=ledger["slot"], retry=ledger["retry"], spec=spec_of(trial, data))


def spec_of(trial: FrozenTrial, data: DataIdentity | None) -> TrialSpec:
    return TrialSpec.model_validate({"data": data, **_noted(trial)})


def hyperparameters_of(trial: FrozenTrial) -> HyperParameters:
    return HyperParameters.model_validate(_noted(trial)["hyperparameters"])


def _noted(trial: FrozenTrial) -> dict[str, Any]:
    """The spec as it was noted: earlier versions of this program noted no text."""
    spec = trial.user_attrs["ledger"]["spec"]
    return cast("dict[str, Any]", json.loads(spec) if isinstance(spec, str) else spec)


def ended_of(trial: FrozenTrial, late: Mapping[int, str]) -> CountedTrial:
    """A trial that counts.

    Args:
        late: as `late_runs` gives them.
    """
    noted = trial.user_attrs
    return CountedTrial(
        slot=noted["ledger"]["slot"],
        state=noted["state"],
        objective=noted["objective"],
        run_id=run_of(trial, late),
        hyperparameters=hyperparameters_of(trial),
    )


def state_of(trial: FrozenTrial) -> State | None:
    """How it ended; None while it has not."""
    state: State | None = trial.user_attrs.get("state")
    return state if trial.state.is_finished() else None
