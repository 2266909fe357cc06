"""Attempts in Optuna: trials with the user attributes `ledger`, `run_id`, `state`, `reason` and `objective`.

The data of a study stand once, in the study's attribute `data`, and not in the spec of each trial.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from optuna.trial import FrozenTrial

from poolstudy.spec.records import Attempt, DataIdentity, State, TrialSpec
from poolstudy.spec.space import HyperParameters

LATE_RUN = "run_id of trial "
"""With a trial's number, the study's attribute for the `run_id` of a trial that ended before its run was opened."""


@dataclass(frozen=True)
class EndedAttempt:
    """Attempt that has ended; `run_id` is empty if it has no MLflow run."""

    attempt: Attempt
    state: State
    reason: str
    run_id: str


def late_runs(attributes: Mapping[str, object]) -> dict[int, str]:
    """Return, from a study's user attributes, the runs that were opened after their trials had ended, by number."""
    return {int(key.removeprefix(LATE_RUN)): str(run) for key, run in attributes.items() if key.startswith(LATE_RUN)}


def run_of(trial: FrozenTrial, late: Mapping[int, str]) -> str:
    """Return the ID of a trial's MLflow run, empty if none is recorded; `late` as `late_runs` returns it."""
    return late.get(trial.number) or str(trial.user_attrs.get("run_id", ""))


def ledger_of(slot: int, retry: int, spec: TrialSpec) -> dict[str, Any]:
    """Return the user attribute `ledger` of an attempt."""
    return {"slot": slot, "retry": retry, "spec": spec.model_dump(mode="json", exclude={"data"})}


def attempt_of(trial: FrozenTrial, data: DataIdentity | None) -> Attempt:
    """Return the attempt stored in a trial; `data` is None for an early study, where each spec has its own."""
    ledger = trial.user_attrs["ledger"]
    return Attempt(number=trial.number, slot=ledger["slot"], retry=ledger["retry"], spec=spec_of(trial, data))


def spec_of(trial: FrozenTrial, data: DataIdentity | None) -> TrialSpec:
    return TrialSpec.model_validate({"data": data, **_spec_values(trial)})


def hyperparameters_of(trial: FrozenTrial) -> HyperParameters:
    return HyperParameters.model_validate(_spec_values(trial)["hyperparameters"])


def _spec_values(trial: FrozenTrial) -> dict[str, Any]:
    spec = trial.user_attrs["ledger"]["spec"]
    return cast("dict[str, Any]", json.loads(spec) if isinstance(spec, str) else spec)  # a text: up to version 0.1


def state_of(trial: FrozenTrial) -> State | None:
    """Return how a trial ended; None while it runs."""
    state: State | None = trial.user_attrs.get("state")
    return state if trial.state.is_finished() else None
