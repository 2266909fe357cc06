"""Disagreements between the Optuna and MLflow databases, attempt by attempt. Optuna's is the authority."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator

import psutil

from poolstudy.checks.doctor.files import REPRODUCTIONS, removal
from poolstudy.checks.doctor.study_state import StudyState
from poolstudy.checks.finding import Fix, Issue, note, some, wrong
from poolstudy.search import StudyAttempt
from poolstudy.tracking import STATUS, RunRepair, StoredRun, Tracker
from poolstudy.trial.attempt_folder import trained_result


def find_database_issues(study: StudyState) -> Iterator[Issue]:
    """Yield every disagreement about the attempts and runs of a study, and about their states."""
    yield from _own_run(study)
    if study.history is None:
        yield from _unknown_to_optuna(study)
    else:
        yield from _open_attempts(study)
        yield from _slots(study)
        runs = {run.run_id: run for run in study.runs}
        for attempt in study.attempts:
            if not attempt.open and (issue := _ended(study, attempt, runs.get(attempt.run_id))):
                yield issue
        yield from _unknown_runs(study)
    yield from _reproductions(study)
    if study.foreign_runs:
        yield note(study.name, f"{some(study.foreign_runs, 'run')} that other projects seem to own: left alone")


def _own_run(study: StudyState) -> Iterator[Issue]:
    if len(study.own) > 1:
        found = f"{len(study.own)} runs of the study itself: {', '.join(run.run_id for run in study.own)}"
        yield wrong(study.name, found, "the first is used; delete the others in MLflow")
    elif not study.own and study.attempts:
        yield wrong(study.name, "MLflow has no run of the study itself", f"start it again: poolstudy run {study.name}")
    for run in (run for run in study.own if run.status == "RUNNING"):
        found = f"its own run {run.run_id} is RUNNING"
        if study.shared and not study.study_uid:  # no tag names the run's project
            yield note(study.name, f"{found}: another project may work on it")
        else:
            done = len({attempt.slot for attempt in study.attempts if attempt.state in ("complete", "pruned")})
            fix = _closing(study, run, Tracker.close_study, {"trials": float(done)})
            yield wrong(study.name, f"{found}, and no process works on the study", fix)


def _closing(study: StudyState, run: StoredRun, close: Callable[..., object], *args: object) -> Fix:
    """Return the fix that closes a run with a method of `Tracker`."""
    what = f"closes run {run.run_id} as interrupted"
    return Fix(what, lambda: close(study.tracker(), run.run_id, "interrupted", *args))


def _open_attempts(study: StudyState) -> Iterator[Issue]:
    """Yield what a crash left open in Optuna's database."""
    for attempt in (attempt for attempt in study.attempts if attempt.open):
        found = f"{attempt.name} is {attempt.word} in Optuna, and no process works on the study"
        trained = trained_result(study.staging / attempt.name)  # with a result it counts, and is still to be rendered
        yield _to_upload(study, found) if trained else wrong(study.name, found, study.recovery_fix)
    if study.history and study.history.loose and study.attempts:
        found = f"{some(study.history.loose, 'open trial')} in Optuna that never became attempts"
        yield wrong(study.name, found, study.recovery_fix)


def _to_upload(study: StudyState, found: str) -> Issue:
    return note(study.name, found, f"to upload what it left: poolstudy run {study.name}")


def _slots(study: StudyState) -> Iterator[Issue]:
    for slot, times in Counter(attempt.slot for attempt in study.attempts if attempt.settled).items():
        if times > 1:
            names = ", ".join(f"{attempt.name} {attempt.state}" for attempt in study.attempts if attempt.slot == slot)
            yield wrong(study.name, f"slot {slot} has ended {times} times ({names})", "the last one counts")


def _ended(study: StudyState, attempt: StudyAttempt, run: StoredRun | None) -> Issue | None:
    """Return what is wrong with the run of an attempt that has ended in Optuna's database."""
    name, state = attempt.name, attempt.state
    if not attempt.consistent or state is None:
        found = f"{name} is {attempt.word} in Optuna, and its user attribute state is {state or 'missing'}"
        return wrong(study.name, found, "restore mlruns/optuna.db: Optuna lets no ended trial be changed")
    if run is None:
        return _without_run(study, attempt)
    if run.status == "RUNNING":
        found = f"{name} is {state} in Optuna; run {run.run_id} is RUNNING, and no process works on it"
        staged = (study.staging / name).is_dir()
        return _to_upload(study, found) if staged else wrong(study.name, found, study.recovery_fix)
    if (run.state, run.status) == (state, STATUS[state]):
        return None
    found = f"{name} is {state} in Optuna; run {run.run_id} is {run.status}, {run.state or 'without a state'}"
    set_state = functools.partial(RunRepair(study.uri).set_state, run.run_id, state)
    return wrong(study.name, found, Fix(f"gives run {run.run_id} the state {state}", set_state))


def _without_run(study: StudyState, attempt: StudyAttempt) -> Issue:
    run_id, found = attempt.run_id, f"{attempt.name} is {attempt.state} in Optuna; "
    if run_id and RunRepair(study.uri).is_deleted(run_id):
        fix = Fix(f"restores run {run_id} in MLflow", functools.partial(RunRepair(study.uri).restore, run_id))
        return wrong(study.name, f"{found}its run {run_id} was deleted in MLflow", fix)
    found += f"MLflow has no run {run_id or 'of it'}"
    if (study.staging / attempt.name).is_dir():
        return _to_upload(study, found)
    if attempt.state in ("lost", "interrupted"):
        return note(study.name, found, "it had no result to lose")
    return wrong(study.name, found, "restore MLflow's database and artifacts from a backup")


def _unknown_to_optuna(study: StudyState) -> Iterator[Issue]:
    trials = [run for run in study.runs if run.kind == "trial"]
    if trials or study.own:
        found = f"{some(len(trials), 'trial')} in MLflow, and Optuna has no such study"
        yield wrong(study.name, found, "restore mlruns/optuna.db, or use another study.name")
    for run in (run for run in trials if run.status == "RUNNING"):
        found = f"{run.name}: run {run.run_id} is RUNNING, and no process works on the study"
        yield wrong(study.name, found, _closing(study, run, Tracker.close_trial))


def _unknown_runs(study: StudyState) -> Iterator[Issue]:
    """Yield runs of trials that Optuna does not know."""
    attempts = {(str(attempt.slot), str(attempt.retry)): attempt for attempt in study.attempts}
    known = {attempt.run_id for attempt in study.attempts}
    for run in (run for run in study.runs if run.kind == "trial" and run.run_id not in known):
        attempt = attempts.get((run.tags.get("poolstudy.trial", ""), run.tags.get("poolstudy.attempt", "")))
        if attempt and attempt.open and not attempt.run_id:
            continue  # a crash came before its run was noted
        what = f"a second run of {attempt.name}" if attempt else "no attempt that Optuna knows"
        found = f"run {run.run_id} ({run.name}, {run.standing}) is {what}"
        if run.state in ("complete", "pruned", "failed"):
            yield wrong(study.name, found, "decide which of them is right, and delete the other in MLflow")
        else:
            delete = functools.partial(RunRepair(study.uri).put_in_bin, run.run_id)
            yield wrong(study.name, found, Fix(f"marks run {run.run_id} as deleted in MLflow", delete))


def _reproductions(study: StudyState) -> Iterator[Issue]:
    """Yield open or left reproductions; they hold no lock of the study, but each names its process."""
    for run in study.runs:
        folder = study.project.mlruns / "staging" / REPRODUCTIONS / run.run_id
        if run.kind == "reproduction" and run.status == "RUNNING":
            process = run.tags.get("poolstudy.process", "unknown")
            if _is_alive(process, run):
                yield note(study.name, f"{run.name} (run {run.run_id}) is still running in process {process}")
                continue
            found = f"{run.name}: run {run.run_id} is RUNNING, and its process {process} has ended"
            if study.shared and not folder.exists():
                yield note(study.name, f"{found} or runs on another machine")
            else:
                yield wrong(study.name, found, _closing(study, run, Tracker.close_reproduction, ""))
        if folder.is_dir():
            found = f"{folder.relative_to(study.project.mlruns)} was left by a reproduction that has ended"
            yield wrong(study.name, found, removal(folder, study.project.mlruns))


def _is_alive(process: str, run: StoredRun) -> bool:
    """Return whether the process that opened the run is alive; one that began later only has its number."""
    try:
        return process.isdecimal() and psutil.Process(int(process)).create_time() <= run.start.timestamp()
    except psutil.Error:
        return False
