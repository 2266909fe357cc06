"""Whether the two books agree, attempt by attempt. Optuna's is the authority; MLflow's follows."""

import functools
from collections import Counter
from collections.abc import Iterator

import psutil

from poolstudy.checks.doctor.case import Case
from poolstudy.checks.doctor.disk import REPRODUCTIONS, remove
from poolstudy.checks.doctor.trouble import Cure, Trouble, note, wrong
from poolstudy.checks.finding import some
from poolstudy.search import TriedAttempt
from poolstudy.tracking import STATUS, FoundRun, Mender, params_of, tags_of


def look(case: Case) -> Iterator[Trouble]:
    """Every disagreement about which attempts and runs there are, and how they stand."""
    yield from _own_run(case)
    if case.book is None:
        yield from _unknown_to_optuna(case)
    else:
        yield from _open_attempts(case)
        yield from _slots(case)
        runs = {run.run_id: run for run in case.runs}
        for attempt in case.attempts:
            if not attempt.open:
                yield from _ended(case, attempt, runs.get(attempt.run_id))
        yield from _unknown_runs(case)
    yield from _reproductions(case)
    if case.strangers:
        found = f"{some(case.strangers, 'run')} of other projects, as far as can be told"
        yield note(case.study, f"{found}: left alone")


# The study's own run


def _own_run(case: Case) -> Iterator[Trouble]:
    if len(case.own) > 1:
        found = f"{len(case.own)} runs of the study itself: {', '.join(run.run_id for run in case.own)}"
        yield wrong(case.study, found, "the first goes on; delete the others in MLflow's pages")
    elif not case.own and case.attempts:
        yield wrong(case.study, "MLflow has no run of the study itself", f"start it again: poolstudy run {case.study}")
    for run in (one for one in case.own if one.status == "RUNNING"):
        found = f"its own run {run.run_id} is RUNNING"
        if case.shared and not case.book_id:  # nothing on it says whose it is
            yield note(case.study, f"{found}: another project may work on it")
            continue
        done = len({attempt.slot for attempt in case.attempts if attempt.state in ("complete", "pruned")})
        cure = Cure(
            f"closes run {run.run_id} of the study itself as interrupted",
            functools.partial(_close_study, case, run.run_id, done),
        )
        yield wrong(case.study, f"{found}, and no process works on the study", cure)


def _close_study(case: Case, run_id: str, done: int) -> None:
    case.tracker().close_study(run_id, "interrupted", {"trials": float(done)})


# Attempts that are open


def _open_attempts(case: Case) -> Iterator[Trouble]:
    """What a coordinator that died left open: the next start settles it, or the doctor does now."""
    assert case.book
    for attempt in (one for one in case.attempts if one.open):
        found = f"{attempt.name} is {attempt.word} in Optuna, and no process works on the study"
        yield _delivered(case, found) if case.trained(attempt.name) else wrong(case.study, found, case.settling)
    if case.book.loose and case.attempts:
        found = f"{some(case.book.loose, 'trial')} of Optuna's open that never became attempts"
        yield wrong(case.study, found, case.settling)


def _delivered(case: Case, found: str) -> Trouble:
    return note(case.study, found, f"what it left is delivered by: poolstudy run {case.study}")


# Attempts that have ended


def _slots(case: Case) -> Iterator[Trouble]:
    settled = Counter(attempt.slot for attempt in case.attempts if attempt.settled)
    for slot, times in settled.items():
        if times > 1:
            names = ", ".join(f"{one.name} {one.state}" for one in case.attempts if one.slot == slot)
            yield wrong(case.study, f"slot {slot} has ended {times} times ({names})", "the last one counts")


def _ended(case: Case, attempt: TriedAttempt, run: FoundRun | None) -> Iterator[Trouble]:
    """An attempt that Optuna has as ended, beside its run."""
    name, state = attempt.name, attempt.state
    if not attempt.consistent or state is None:
        found = f"{name} is {attempt.word} in Optuna, and {state or 'without a state'} in the ledger"
        yield wrong(case.study, found, "restore mlruns/optuna.db: an ended trial of Optuna's cannot be changed")
    elif run is None:
        yield _without_run(case, attempt)
    elif run.status == "RUNNING":
        yield _undelivered(case, attempt, run)
    else:
        if (run.state, run.status) != (state, STATUS[state]):
            found = f"{name} is {state} in Optuna; run {run.run_id} is {run.status}, {run.state or 'without a state'}"
            cure = Cure(
                f"gives run {run.run_id} the state {state}",
                lambda: Mender(case.uri).set_state(run.run_id, state),
            )
            yield wrong(case.study, found, cure)
        yield from _told(case, attempt, run)


def _without_run(case: Case, attempt: TriedAttempt) -> Trouble:
    name, run_id = attempt.name, attempt.run_id
    if run_id and Mender(case.uri).is_deleted(run_id):
        cure = Cure(f"takes run {run_id} back out of MLflow's bin", lambda: Mender(case.uri).restore(run_id))
        return wrong(case.study, f"{name} is {attempt.state} in Optuna; its run {run_id} was deleted in MLflow", cure)
    found = f"{name} is {attempt.state} in Optuna; MLflow has no run {run_id or 'of it'}"
    if case.waits(name):
        return _delivered(case, found)
    if attempt.state in ("lost", "interrupted"):
        return note(case.study, found, "it had nothing that would be missed")
    return wrong(case.study, found, "restore MLflow's database and artifacts from a backup")


def _undelivered(case: Case, attempt: TriedAttempt, run: FoundRun) -> Trouble:
    found = f"{attempt.name} is {attempt.state} in Optuna; run {run.run_id} is RUNNING, and no process works on it"
    return _delivered(case, found) if case.waits(attempt.name) else wrong(case.study, found, case.settling)


def _told(case: Case, attempt: TriedAttempt, run: FoundRun) -> Iterator[Trouble]:
    """Whether the run's tags and params are those of the spec that trained."""
    expected = tags_of(attempt.spec) | {"poolstudy.attempt": str(attempt.retry)}
    ours = {key: value for key, value in expected.items() if key.startswith("poolstudy.")}  # a colour may be changed
    strange = {key: value for key, value in ours.items() if run.tags.get(key) != value}
    if strange:
        found = f"{attempt.name}: {', '.join(strange)} of run {run.run_id} not as its spec says"
        cure = Cure(
            f"corrects {some(len(strange), 'tag')} of run {run.run_id}",
            lambda: Mender(case.uri).set_tags(run.run_id, strange),
        )
        yield wrong(case.study, found, cure)
    params = params_of(attempt.spec)
    other = [f"{key} is {run.params.get(key, 'missing')}" for key in params if run.params.get(key) != params[key]]
    if other:
        found = f"{attempt.name}: params of run {run.run_id} not as its spec says ({', '.join(other)})"
        yield wrong(case.study, found, "MLflow lets no param be changed: believe spec.json")


# Runs that Optuna does not know


def _unknown_to_optuna(case: Case) -> Iterator[Trouble]:
    trials = [run for run in case.runs if run.kind == "trial"]
    if trials or case.own:
        found = f"{some(len(trials), 'trial')} in MLflow, and Optuna has no such study"
        yield wrong(case.study, found, "restore mlruns/optuna.db, or go on under another study.name")
    for run in trials:
        if run.status == "RUNNING":
            found = f"{run.name}: run {run.run_id} is RUNNING, and no process works on the study"
            close = functools.partial(_close_trial, case, run.run_id)
            yield wrong(case.study, found, Cure(f"closes run {run.run_id} as interrupted", close))


def _close_trial(case: Case, run_id: str) -> None:
    case.tracker().close_trial(run_id, "interrupted")


def _unknown_runs(case: Case) -> Iterator[Trouble]:
    attempts = {(one.slot, one.retry): one for one in case.attempts}
    known = {one.run_id for one in case.attempts}
    for run in case.runs:
        if run.kind != "trial" or run.run_id in known:
            continue
        attempt = attempts.get((_number(run, "trial"), _number(run, "attempt")))
        if attempt and attempt.open and not attempt.run_id:
            continue  # its own, which was not noted any more
        what = f"a second run of {attempt.name}" if attempt else "no attempt that Optuna knows"
        found = f"run {run.run_id} ({run.name}, {run.standing}) is {what}"
        if run.state in ("complete", "pruned", "failed"):
            yield wrong(case.study, found, "see which of them is right, and delete the other in MLflow's pages")
        else:
            cure = Cure(
                f"puts run {run.run_id} into MLflow's bin", functools.partial(Mender(case.uri).put_in_bin, run.run_id)
            )
            yield wrong(case.study, found, cure)


def _number(run: FoundRun, tag: str) -> int:
    text = run.tags.get(f"poolstudy.{tag}", "")
    return int(text) if text.isdecimal() else -1


# Reproductions


def _reproductions(case: Case) -> Iterator[Trouble]:
    """They hold no lock of the study: each names its process."""
    going_on = set()
    for run in (one for one in case.runs if one.kind == "reproduction" and one.status == "RUNNING"):
        folder = case.ward.mlruns / "staging" / REPRODUCTIONS / run.run_id
        process = run.tags.get("poolstudy.process", "unknown")
        if _lives(run):
            going_on.add(run.run_id)
            yield note(case.study, f"{run.name} (run {run.run_id}) goes on, in process {process}")
            continue
        found = f"{run.name}: run {run.run_id} is RUNNING, and its process {process} has ended"
        if case.shared and not folder.exists():
            yield note(case.study, f"{found} or runs on another machine")
            continue
        close = functools.partial(_close_reproduction, case, run.run_id)
        yield wrong(case.study, found, Cure(f"closes run {run.run_id} as interrupted", close))
    for run in case.runs:
        folder = case.ward.mlruns / "staging" / REPRODUCTIONS / run.run_id
        if folder.is_dir() and run.run_id not in going_on:
            found = f"{folder.relative_to(case.ward.mlruns)} was left by a reproduction that has ended"
            yield wrong(case.study, found, remove(folder, case.ward.mlruns))


def _close_reproduction(case: Case, run_id: str) -> None:
    case.tracker().close_reproduction(run_id, "interrupted", "")


def _lives(run: FoundRun) -> bool:
    """Whether the process that opened the run lives; one that began later has only its number."""
    process = run.tags.get("poolstudy.process", "")
    try:
        return process.isdecimal() and psutil.Process(int(process)).create_time() <= run.start.timestamp()
    except psutil.Error:
        return False
