"""Whether a run has the files and metrics that its state promises, and whether they are what they were."""

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from poolstudy.checks.doctor.issue import Fix, Issue, wrong
from poolstudy.checks.doctor.study_state import StudyState
from poolstudy.errors import ConfigurationError, PoolstudyError, one_line
from poolstudy.network.weights import saved_weights, weights_digest
from poolstudy.reproduce.reproduction import record_of
from poolstudy.spec.records import TrialSpec, best_epoch
from poolstudy.tracking import PICTURES, TRAINED_FILES, FileName, RunRepair, StoredRun

_LOST = "restore its artifacts from a backup"


def find_file_issues(study: StudyState) -> Iterator[Issue]:
    """Everything that runs which have ended lack."""
    specs = {attempt.run_id: attempt.spec for attempt in study.attempts}
    for run in study.runs:
        if run.end is None:
            continue
        try:
            yield from _run(study, run, specs.get(run.run_id))
        except PoolstudyError as error:
            yield wrong(study.name, f"{run.name}: {error}", "nothing is mended here")


def _run(study: StudyState, run: StoredRun, spec: TrialSpec | None) -> Iterator[Issue]:
    found = [*_files(study, run, spec)]
    if run.kind == "trial" and not found:
        found = [*_metrics(study, run), *_weights(study, run)]
    if run.kind == "trial" and not found and run.state in ("complete", "pruned", "failed"):
        try:
            record_of(run)
        except PoolstudyError as error:
            fix = _new_spec(study, run, spec) if spec and str(error).startswith("spec.json") else _LOST
            found = [wrong(study.name, f"{run.name}: {error}", fix)]
    yield from found


# Files


def _files(study: StudyState, run: StoredRun, spec: TrialSpec | None) -> Iterator[Issue]:
    lacking = [name for name in _promised(study, run) if not run.sizes.get(name)]
    if lacking == ["spec.json"] and spec:
        found = f"{run.name}: run {run.run_id} has no spec.json, or an empty one"
        yield wrong(study.name, found, _new_spec(study, run, spec))
    elif lacking:
        yield wrong(study.name, f"{run.name}: run {run.run_id} lacks {', '.join(lacking)}", _LOST)
    if _drawn(study, run):
        whole, half = run.images()
        if half or not whole:
            found = f"lacks a half of {', '.join(sorted(half))}" if half else "has no keyed images"
            yield wrong(study.name, f"{run.name}: run {run.run_id} {found}", _LOST)


def _promised(study: StudyState, run: StoredRun) -> Iterator[FileName]:
    """The files that a run of its kind and state has."""
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
            if _drawn(study, run):
                yield from PICTURES


def _trained(run: StoredRun) -> bool:
    """Whether a trial left a result: a failed one may have ended before its first epoch did."""
    return run.state in ("complete", "pruned") or (run.state == "failed" and "poolstudy.weights_digest" in run.tags)


def _drawn(study: StudyState, run: StoredRun) -> bool:
    if run.kind != "trial" or not _trained(run) or "poolstudy.pictures" in run.tags:
        return False
    try:
        return run.state in study.config.tracking.figures.of
    except ConfigurationError:  # that of the study's own run is told by itself
        return True


def _new_spec(study: StudyState, run: StoredRun, spec: TrialSpec) -> Fix:
    what = f"writes spec.json of run {run.run_id} anew, from Optuna's book"
    return Fix(what, lambda: RunRepair(study.uri).write_spec(run.run_id, spec))


# Metrics


def _metrics(study: StudyState, run: StoredRun) -> Iterator[Issue]:
    """Whether the metrics are those of history.csv, each logged once. MLflow lets some be added, none be changed."""
    history = run.history() if _trained(run) else None
    if not history:
        return
    logged = run.logged_points()
    missing: list[tuple[str, float, int]] = []
    for field, points in logged.items():
        steps = [step for step, _ in points]
        if len(set(steps)) < len(steps):
            yield wrong(study.name, f"{run.name}: run {run.run_id} has {field} of an epoch twice", _LOST)
        expected = {record.epoch: float(getattr(record, field)) for record in history}
        strange = sorted({step for step, value in points if expected.get(step) != value})
        if strange and field != "seconds":
            found = f"has {field} of epoch {', '.join(map(str, strange))} not as history.csv says"
            yield wrong(study.name, f"{run.name}: run {run.run_id} {found}", _LOST)
        missing += [(field, value, step) for step, value in expected.items() if step not in steps]
    if run.state != "failed":
        best = history[best_epoch(history) - 1]
        once = {"best_epoch": best.epoch, "best_val_loss": best.val_loss, "best_val_accuracy": best.val_accuracy}
        other = [name for name, value in once.items() if run.metrics.get(name, value) != value]
        if other:
            found = f"has {', '.join(f'{name} {run.metrics[name]}' for name in other)}, not as history.csv says"
            yield wrong(study.name, f"{run.name}: run {run.run_id} {found}", _LOST)
        missing += [(name, float(value), 0) for name, value in once.items() if name not in run.metrics]
    if missing:
        names = ", ".join(dict.fromkeys(f"{name} of epoch {step}" if step else name for name, _, step in missing))
        fix = Fix(f"logs {names} of run {run.run_id}", lambda: RunRepair(study.uri).log(run.run_id, missing))
        yield wrong(study.name, f"{run.name}: run {run.run_id} has no {names}, which history.csv has", fix)


# Weights


def _weights(study: StudyState, run: StoredRun) -> Iterator[Issue]:
    """Whether the saved weights are those that the run's digests tell."""
    if not _trained(run):
        return
    saved: tuple[tuple[FileName, str], ...] = (("model.keras", "weights"), ("untrained.npz", "untrained"))
    with tempfile.TemporaryDirectory() as folder:
        for name, tag in saved:
            path = run.read(name, Path(folder))
            try:
                assert path
                found = weights_digest(saved_weights(path) if tag == "weights" else dict(np.load(path)))
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                found = one_line(error, 80)
            if found != run.tags.get(f"poolstudy.{tag}_digest"):
                said = f"{name} of run {run.run_id} is not what was saved: {found[:80]}"
                yield wrong(study.name, f"{run.name}: {said}", _LOST)
