"""End of attempts, in both databases: first in Optuna's, then, from the attempt's folder, in MLflow's."""

from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy.spec.records import Attempt, State
from poolstudy.trial.attempt_folder import AttemptFolder, folders, remove_attempt

if TYPE_CHECKING:
    from poolstudy.search import Search
    from poolstudy.tracking import Tracker


def finish_attempt(search: "Search", folder: AttemptFolder, state: State, reason: str = "") -> tuple[State, str]:
    """End an attempt with its result's state, or with `state` if it has none; return the state and the reason."""
    result = folder.result
    if result:
        state, reason = result.state, result.failure
    objective = search.objective(result) if result and state != "failed" else None
    search.end(folder.attempt.number, state, objective=objective, reason=reason)
    folder.end(state, reason)
    return state, reason


def recover(search: "Search", tracker: "Tracker", staging: Path) -> list[AttemptFolder]:
    """End in Optuna's database what a crash left open; return every attempt that MLflow does not have in full.

    An attempt that was trained to its end counts; the others are tried again. A folder whose attempt Optuna does not
    know belongs to another study and is removed.
    """
    left = {_key(folder.attempt): folder for folder in folders(staging)}
    for attempt in search.unfinished():
        folder = _folder_of(attempt, left, staging)  # a new one if the crash came before it was made
        run_id = folder.run_id or search.run_of(attempt) or tracker.find_trial(attempt.spec, attempt.retry)
        if run_id:
            search.opened_run(attempt, run_id)
        finish_attempt(search, folder, "interrupted")
    ended = {_key(past.attempt): past for past in search.settled()}
    for key, folder in list(left.items()):
        if key not in ended or folder.attempt != ended[key].attempt:
            remove_attempt(left.pop(key).path)
    open_runs = {run.run_id for run in tracker.runs("trial", running=True)}
    for key, past in ended.items():
        if key in left and left[key].run_id not in ("", past.run_id):  # only its folder has the run's ID
            search.opened_run(past.attempt, left[key].run_id)
        if key not in left and past.run_id in open_runs:  # its folder was deleted
            _folder_of(past.attempt, left, staging).note_run(past.run_id)
        if key in left and left[key].ended is None:
            left[key].end(past.state, past.reason)
    return [left[key] for key in sorted(left)]


def _key(attempt: Attempt) -> tuple[int, int]:
    return attempt.slot, attempt.retry


def _folder_of(attempt: Attempt, left: dict[tuple[int, int], AttemptFolder], staging: Path) -> AttemptFolder:
    """Return the attempt's folder; if `left` has none, make one and add it."""
    folder = left.get(_key(attempt))
    if folder is None or folder.attempt != attempt:
        remove_attempt(staging / attempt.name)
        folder = left[_key(attempt)] = AttemptFolder.make(staging, attempt)
    return folder
