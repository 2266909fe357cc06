"""Files in mlruns/: databases, cached images, what crashes left; and the files of runs, missing or empty."""

import contextlib
import functools
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from poolstudy.checks.doctor.study_state import StudyState
from poolstudy.checks.finding import Fix, Issue, note, wrong
from poolstudy.data.loading import PARTS, SearchData, digest
from poolstudy.errors import ConfigurationError, one_line
from poolstudy.spec.records import TrialSpec
from poolstudy.system.files import left_parts, read_only
from poolstudy.tracking import PICTURES, TRAINED_FILES, FileName, RunRepair, StoredRun
from poolstudy.trial.attempt_folder import UNREAD

REPRODUCTIONS = "_reproductions"  # the folder of staging/ where reproductions train
_LOST = "restore its artifacts from a backup"


def database(path: Path, table: str) -> Iterator[Issue]:
    """Yield what is wrong with an SQLite file; `table` is one that a whole database has."""
    if not path.exists():
        return
    try:
        with contextlib.closing(read_only(path)) as opened:
            (result,) = opened.execute("PRAGMA quick_check(1)").fetchone()
            made = opened.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    except sqlite3.Error as error:
        remedy = "end the process that holds it, or restore it from a backup"
        yield wrong(path.name, f"{path}: {one_line(error)}", remedy)
        return
    if result != "ok":
        yield wrong(path.name, f"{path} is damaged: {one_line(result)}", "restore it from a backup")
    elif made is None:
        aside = path.with_name(f"{path.stem}-half-made-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
        fix = Fix(f"moves it to {aside.name}: the next start makes a new one", lambda: path.rename(aside))
        yield wrong(path.name, f"{path} is half made: it has no table {table}", fix)


def parts(mlruns: Path) -> Iterator[Issue]:
    """Yield the files that were being written by processes that have died."""
    for path in left_parts(mlruns):
        where = path.relative_to(mlruns)
        fix = Fix(f"removes {where}", functools.partial(path.unlink, missing_ok=True))
        yield wrong("files", f"{where} was being written by a process that has died", fix)


def cache(mlruns: Path, busy: bool) -> Iterator[Issue]:
    """Yield the cached images that are damaged; `busy`: a running study may use them."""
    for folder in _folders(mlruns / "cache"):
        if reason := _damage(folder):
            what = f"removes cache/{folder.name}: each start writes it anew"
            fix = Fix(what, functools.partial(shutil.rmtree, folder))
            remedy = "stop the running study; its next start writes them anew" if busy else fix
            yield wrong("images", f"cache/{folder.name}: {reason}", remedy)


def _damage(folder: Path) -> str:
    try:
        data = SearchData.open(folder)
    except (OSError, ValueError, ValidationError) as error:
        return one_line(error)
    stored = {name: digest(getattr(data, name)) for name in PARTS if hasattr(data, name)}
    changed = [name for name, found in stored.items() if found != data.identity.parts.get(name)]
    return f"digest mismatch of {', '.join(changed)}" if changed else ""


def staging(mlruns: Path, known: set[str]) -> Iterator[Issue]:
    """Yield the folders of studies that no database knows."""
    for folder in _folders(mlruns / "staging"):
        where = f"staging/{folder.name}"
        if folder.name in known or folder.name == REPRODUCTIONS:
            continue
        if folder.name == UNREAD:
            yield note(where, "attempts of another version that this one cannot read", "inspect and delete it")
        elif any(folder.iterdir()):
            yield note(where, "of a study that Optuna does not know", "inspect and delete it")
        else:
            yield wrong(where, "an empty folder, of a study that Optuna does not know", removal(folder, mlruns))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


def removal(folder: Path, mlruns: Path) -> Fix:
    return Fix(f"removes {folder.relative_to(mlruns)}", functools.partial(shutil.rmtree, folder))


def find_file_issues(study: StudyState) -> Iterator[Issue]:
    """Yield files missing from runs that have ended, and folders of attempts that are not open."""
    specs = {attempt.run_id: attempt.spec for attempt in study.attempts}
    for run in study.runs:
        if run.end is not None:
            yield from _missing(study, run, specs.get(run.run_id))
    closed = {run.run_id for run in study.runs if run.end}
    done = {attempt.name for attempt in study.attempts if attempt.run_id in closed}
    still_open = {attempt.name for attempt in study.attempts if attempt.open}
    for folder in sorted(path for path in study.staging.glob("*") if path.name not in still_open):
        where = folder.relative_to(study.project.mlruns)
        if folder.name in done:
            found = f"{where} was left by an attempt whose run is closed"
            yield wrong(study.name, found, removal(folder, study.project.mlruns))
        else:
            yield note(study.name, f"{where} is still to be uploaded", f"poolstudy run {study.name}")


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
    """Yield the files that a run of its kind and state has."""
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
