"""The order of the two books: Optuna is told first, MLflow follows from the attempt's folder.

`finish_attempt` is the one way in which an attempt ends; `recover` settles what a coordinator that died left open.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy.spec.records import Attempt, State
from poolstudy.trial.attempt_folder import AttemptFolder, folders, remove_attempt

if TYPE_CHECKING:
    from poolstudy.search import Search
    from poolstudy.tracking import Tracker


def finish_attempt(search: "Search", folder: AttemptFolder, state: State, reason: str = "") -> tuple[State, str]:
    """Ends an attempt: as its result says, or in `state` where its worker left none. Returns how, and why."""
    result = folder.result
    if result:
        state, reason = result.state, result.failure
    objective = search.objective(result) if result and state != "failed" else None
    search.end(folder.attempt.number, state, objective=objective, reason=reason)
    folder.end(state, reason)
    return state, reason


def recover(search: "Search", tracker: "Tracker", staging: Path) -> list[AttemptFolder]:
    """Settles in Optuna's book what was left open; returns every attempt that MLflow is still to be told of.

    What was trained to the end counts; the rest is tried again. A folder of an attempt that Optuna does not know
    is of another study's book, and goes; one that cannot be read is set aside.
    """
    left = {_key(folder.attempt): folder for folder in folders(staging)}
    for attempt in search.unfinished():
        folder = _folder_of(attempt, left, staging)  # none, if it died before it was made
        run_id = folder.run_id or search.run_of(attempt) or tracker.find_trial(attempt.spec, attempt.retry)
        if run_id:
            search.opened_run(attempt, run_id)
        finish_attempt(search, folder, "interrupted")
    settled = {_key(one.attempt): one for one in search.settled()}
    for key, folder in list(left.items()):
        if key not in settled or folder.attempt != settled[key].attempt:
            remove_attempt(left.pop(key).path)
    open_runs = {run.run_id for run in tracker.runs("trial", running=True)}
    for key, one in settled.items():
        if key in left and left[key].run_id not in ("", one.run_id):  # opened, and noted in its folder only
            search.opened_run(one.attempt, left[key].run_id)
        if key not in left and one.run_id in open_runs:  # its folder was deleted
            _folder_of(one.attempt, left, staging).note_run(one.run_id)
        if key in left and left[key].ended is None:
            left[key].end(one.state, one.reason)
    return [left[key] for key in sorted(left)]


def _key(attempt: Attempt) -> tuple[int, int]:
    return attempt.slot, attempt.retry


def _folder_of(attempt: Attempt, left: dict[tuple[int, int], AttemptFolder], staging: Path) -> AttemptFolder:
    """The attempt's own folder among those left, or a new one among them."""
    folder = left.get(_key(attempt))
    if folder is None or folder.attempt != attempt:
        remove_attempt(staging / attempt.name)
        folder = left[_key(attempt)] = AttemptFolder.make(staging, attempt)
    return folder
