"""Files that the kind and the state of a run promise, and that are missing or empty."""

from collections.abc import Iterator

from poolstudy.checks.doctor.issue import Fix, Issue, wrong
from poolstudy.checks.doctor.study_state import StudyState
from poolstudy.errors import ConfigurationError
from poolstudy.spec.records import TrialSpec
from poolstudy.tracking import PICTURES, TRAINED_FILES, FileName, RunRepair, StoredRun

_LOST = "restore its artifacts from a backup"


def find_file_issues(study: StudyState) -> Iterator[Issue]:
    """Yield the files that are missing from runs that have ended."""
    specs = {attempt.run_id: attempt.spec for attempt in study.attempts}
    for run in study.runs:
        if run.end is not None:
            yield from _missing(study, run, specs.get(run.run_id))


def _missing(study: StudyState, run: StoredRun, spec: TrialSpec | None) -> Iterator[Issue]:
    subject = f"{run.name}: run {run.run_id}"
    missing = [name for name in _promised(study, run) if not run.sizes.get(name)]
    if "spec.json" in missing and spec:
        missing.remove("spec.json")
        what = f"writes spec.json of run {run.run_id} anew, from Optuna's database"
        fix = Fix(what, lambda: RunRepair(study.uri).write_spec(run.run_id, spec))
        yield wrong(study.name, f"{subject} has no spec.json, or an empty one", fix)
    if missing:
        yield wrong(study.name, f"{subject} is missing {', '.join(missing)}", _LOST)
    if _rendered(study, run):
        whole, half = run.images()
        if half:
            yield wrong(study.name, f"{subject} is missing one of two sizes of {', '.join(sorted(half))}", _LOST)
        elif not whole:
            yield wrong(study.name, f"{subject} has no keyed images", _LOST)


def _promised(study: StudyState, run: StoredRun) -> Iterator[FileName]:
    match run.kind:
        case "study":
            yield "config.json"
        case "reproduction":
            yield "spec.json"
            if run.state == "complete":
                yield from ("comparison.json", "comparison.txt")
        case "trial":
            yield "spec.json"
            if run.state in ("complete", "pruned", "failed"):
                yield "environment.json"
            if _trained(run):
                yield from TRAINED_FILES
            if _rendered(study, run):
                yield from PICTURES


def _trained(run: StoredRun) -> bool:
    """Return whether a trial has a result: a failed one may have ended before its first epoch did."""
    return run.state in ("complete", "pruned") or (run.state == "failed" and "poolstudy.weights_digest" in run.tags)


def _rendered(study: StudyState, run: StoredRun) -> bool:
    if run.kind != "trial" or not _trained(run) or "poolstudy.pictures" in run.tags:
        return False
    try:
        return run.state in study.config.tracking.figures.of
    except ConfigurationError:  # an older version's may be unreadable: then no picture is promised
        return False
