"""Whether the two books agree, attempt by attempt. Optuna's is the authority; MLflow's follows."""

import functools
from collections import Counter
from collections.abc import Iterator

import psutil

from poolstudy.checks.doctor.disk import REPRODUCTIONS, removal
from poolstudy.checks.doctor.issue import Fix, Issue, note, wrong
from poolstudy.checks.doctor.study_state import StudyState
from poolstudy.checks.finding import some
from poolstudy.search import StudyAttempt
from poolstudy.tracking import STATUS, RunRepair, StoredRun, params_of, tags_of


def find_database_issues(study: StudyState) -> Iterator[Issue]:
    """Every disagreement about which attempts and runs there are, and how they stand."""
    yield from _own_run(study)
    if study.history is None:
        yield from _unknown_to_optuna(study)
    else:
        yield from _open_attempts(study)
        yield from _slots(study)
        runs = {run.run_id: run for run in study.runs}
        for attempt in study.attempts:
            if not attempt.open:
                yield from _ended(study, attempt, runs.get(attempt.run_id))
        yield from _unknown_runs(study)
    yield from _reproductions(study)
    if study.foreign_runs:
        found = f"{some(study.foreign_runs, 'run')} of other projects, as far as can be told"
        yield note(study.name, f"{found}: left alone")


# The study's own run


def _own_run(study: StudyState) -> Iterator[Issue]:
    if len(study.own) > 1:
        found = f"{len(study.own)} runs of the study itself: {', '.join(run.run_id for run in study.own)}"
        yield wrong(study.name, found, "the first goes on; delete the others in MLflow's pages")
    elif not study.own and study.attempts:
        yield wrong(study.name, "MLflow has no run of the study itself", f"start it again: poolstudy run {study.name}")
    for run in (one for one in study.own if one.status == "RUNNING"):
        found = f"its own run {run.run_id} is RUNNING"
        if study.shared and not study.study_uid:  # nothing on it says whose it is
            yield note(study.name, f"{found}: another project may work on it")
            continue
        done = len({attempt.slot for attempt in study.attempts if attempt.state in ("complete", "pruned")})
        fix = Fix(
            f"closes run {run.run_id} of the study itself as interrupted",
            functools.partial(_close_study, study, run.run_id, done),
        )
        yield wrong(study.name, f"{found}, and no process works on the study", fix)


def _close_study(study: StudyState, run_id: str, done: int) -> None:
    study.tracker().close_study(run_id, "interrupted", {"trials": float(done)})


# Attempts that are open


def _open_attempts(study: StudyState) -> Iterator[Issue]:
    """What a coordinator that died left open: the next start settles it, or the doctor does now."""
    assert study.history
    for attempt in (one for one in study.attempts if one.open):
        found = f"{attempt.name} is {attempt.word} in Optuna, and no process works on the study"
        yield _delivered(study, found) if study.trained(attempt.name) else wrong(study.name, found, study.recovery_fix)
    if study.history.loose and study.attempts:
        found = f"{some(study.history.loose, 'trial')} of Optuna's open that never became attempts"
        yield wrong(study.name, found, study.recovery_fix)


def _delivered(study: StudyState, found: str) -> Issue:
    return note(study.name, found, f"what it left is delivered by: poolstudy run {study.name}")


# Attempts that have ended


def _slots(study: StudyState) -> Iterator[Issue]:
    settled = Counter(attempt.slot for attempt in study.attempts if attempt.settled)
    for slot, times in settled.items():
        if times > 1:
            names = ", ".join(f"{one.name} {one.state}" for one in study.attempts if one.slot == slot)
            yield wrong(study.name, f"slot {slot} has ended {times} times ({names})", "the last one counts")


def _ended(study: StudyState, attempt: StudyAttempt, run: StoredRun | None) -> Iterator[Issue]:
    """An attempt that Optuna has as ended, beside its run."""
    name, state = attempt.name, attempt.state
    if not attempt.consistent or state is None:
        found = f"{name} is {attempt.word} in Optuna, and {state or 'without a state'} in the ledger"
        yield wrong(study.name, found, "restore mlruns/optuna.db: an ended trial of Optuna's cannot be changed")
    elif run is None:
        yield _without_run(study, attempt)
    elif run.status == "RUNNING":
        yield _undelivered(study, attempt, run)
    else:
        if (run.state, run.status) != (state, STATUS[state]):
            found = f"{name} is {state} in Optuna; run {run.run_id} is {run.status}, {run.state or 'without a state'}"
            fix = Fix(
                f"gives run {run.run_id} the state {state}",
                lambda: RunRepair(study.uri).set_state(run.run_id, state),
            )
            yield wrong(study.name, found, fix)
        yield from _told(study, attempt, run)


def _without_run(study: StudyState, attempt: StudyAttempt) -> Issue:
    name, run_id = attempt.name, attempt.run_id
    if run_id and RunRepair(study.uri).is_deleted(run_id):
        fix = Fix(f"takes run {run_id} back out of MLflow's bin", lambda: RunRepair(study.uri).restore(run_id))
        return wrong(study.name, f"{name} is {attempt.state} in Optuna; its run {run_id} was deleted in MLflow", fix)
    found = f"{name} is {attempt.state} in Optuna; MLflow has no run {run_id or 'of it'}"
    if study.is_staged(name):
        return _delivered(study, found)
    if attempt.state in ("lost", "interrupted"):
        return note(study.name, found, "it had nothing that would be missed")
    return wrong(study.name, found, "restore MLflow's database and artifacts from a backup")


def _undelivered(study: StudyState, attempt: StudyAttempt, run: StoredRun) -> Issue:
    found = f"{attempt.name} is {attempt.state} in Optuna; run {run.run_id} is RUNNING, and no process works on it"
    return _delivered(study, found) if study.is_staged(attempt.name) else wrong(study.name, found, study.recovery_fix)


def _told(study: StudyState, attempt: StudyAttempt, run: StoredRun) -> Iterator[Issue]:
    """Whether the run's tags and params are those of the spec that trained."""
    expected = tags_of(attempt.spec) | {"poolstudy.attempt": str(attempt.retry)}
    ours = {key: value for key, value in expected.items() if key.startswith("poolstudy.")}  # a colour may be changed
    strange = {key: value for key, value in ours.items() if run.tags.get(key) != value}
    if strange:
        found = f"{attempt.name}: {', '.join(strange)} of run {run.run_id} not as its spec says"
        fix = Fix(
            f"corrects {some(len(strange), 'tag')} of run {run.run_id}",
            lambda: RunRepair(study.uri).set_tags(run.run_id, strange),
        )
        yield wrong(study.name, found, fix)
    params = params_of(attempt.spec)
    other = [f"{key} is {run.params.get(key, 'missing')}" for key in params if run.params.get(key) != params[key]]
    if other:
        found = f"{attempt.name}: params of run {run.run_id} not as its spec says ({', '.join(other)})"
        yield wrong(study.name, found, "MLflow lets no param be changed: believe spec.json")


# Runs that Optuna does not know


def _unknown_to_optuna(study: StudyState) -> Iterator[Issue]:
    trials = [run for run in study.runs if run.kind == "trial"]
    if trials or study.own:
        found = f"{some(len(trials), 'trial')} in MLflow, and Optuna has no such study"
        yield wrong(study.name, found, "restore mlruns/optuna.db, or go on under another study.name")
    for run in trials:
        if run.status == "RUNNING":
            found = f"{run.name}: run {run.run_id} is RUNNING, and no process works on the study"
            close = functools.partial(_close_trial, study, run.run_id)
            yield wrong(study.name, found, Fix(f"closes run {run.run_id} as interrupted", close))


def _close_trial(study: StudyState, run_id: str) -> None:
    study.tracker().close_trial(run_id, "interrupted")


def _unknown_runs(study: StudyState) -> Iterator[Issue]:
    attempts = {(one.slot, one.retry): one for one in study.attempts}
    known = {one.run_id for one in study.attempts}
    for run in study.runs:
        if run.kind != "trial" or run.run_id in known:
            continue
        attempt = attempts.get((_number(run, "trial"), _number(run, "attempt")))
        if attempt and attempt.open and not attempt.run_id:
            continue  # its own, which was not noted any more
        what = f"a second run of {attempt.name}" if attempt else "no attempt that Optuna knows"
        found = f"run {run.run_id} ({run.name}, {run.standing}) is {what}"
        if run.state in ("complete", "pruned", "failed"):
            yield wrong(study.name, found, "see which of them is right, and delete the other in MLflow's pages")
        else:
            fix = Fix(
                f"puts run {run.run_id} into MLflow's bin",
                functools.partial(RunRepair(study.uri).put_in_bin, run.run_id),
            )
            yield wrong(study.name, found, fix)


def _number(run: StoredRun, tag: str) -> int:
    text = run.tags.get(f"poolstudy.{tag}", "")
    return int(text) if text.isdecimal() else -1


# Reproductions


def _reproductions(study: StudyState) -> Iterator[Issue]:
    """They hold no lock of the study: each names its process."""
    going_on = set()
    for run in (one for one in study.runs if one.kind == "reproduction" and one.status == "RUNNING"):
        folder = study.project.mlruns / "staging" / REPRODUCTIONS / run.run_id
        process = run.tags.get("poolstudy.process", "unknown")
        if _lives(run):
            going_on.add(run.run_id)
            yield note(study.name, f"{run.name} (run {run.run_id}) goes on, in process {process}")
            continue
        found = f"{run.name}: run {run.run_id} is RUNNING, and its process {process} has ended"
        if study.shared and not folder.exists():
            yield note(study.name, f"{found} or runs on another machine")
            continue
        close = functools.partial(_close_reproduction, study, run.run_id)
        yield wrong(study.name, found, Fix(f"closes run {run.run_id} as interrupted", close))
    for run in study.runs:
        folder = study.project.mlruns / "staging" / REPRODUCTIONS / run.run_id
        if folder.is_dir() and run.run_id not in going_on:
            found = f"{folder.relative_to(study.project.mlruns)} was left by a reproduction that has ended"
            yield wrong(study.name, found, removal(folder, study.project.mlruns))


def _close_reproduction(study: StudyState, run_id: str) -> None:
    study.tracker().close_reproduction(run_id, "interrupted", "")


def _lives(run: StoredRun) -> bool:
    """Whether the process that opened the run lives; one that began later has only its number."""
    process = run.tags.get("poolstudy.process", "")
    try:
        return process.isdecimal() and psutil.Process(int(process)).create_time() <= run.start.timestamp()
    except psutil.Error:
        return False
