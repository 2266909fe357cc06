"""The order of the checks, and the loop that prints issues and fixes them."""

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from poolstudy.checks.doctor import databases, disk, files
from poolstudy.checks.doctor.issue import Fix, Issue, note, wrong
from poolstudy.checks.doctor.study_state import Project, StudyState
from poolstudy.checks.finding import Finding, some
from poolstudy.checks.machine import print_finding
from poolstudy.errors import PoolstudyError, StudyBusy, one_line, without_password
from poolstudy.search import OPTUNA_ERRORS, read_histories
from poolstudy.spec.frozen import NAME
from poolstudy.spec.load import load_tracking
from poolstudy.system.locks import holder, study_lock
from poolstudy.tracking import MLFLOW_ERRORS, database_of, every_run, is_own, local_path, move, moved, resolved_uri

_ROUNDS = 4  # one fix may uncover another issue
_NAME = re.compile(NAME)
Check = Callable[[], Iterator[Issue]]


def examine(root: Path, console: Console, *, fix: bool = False) -> bool:
    """Print a line for each disagreement, fix what can be fixed if asked to, and return whether none remains.

    Raises:
        ConfigurationError: conf/tracking cannot be read.
        StoreError: MLflow cannot use a database in this folder.
    """
    tracking = load_tracking(root)
    project = Project(root, resolved_uri(tracking.uri, root), (root / tracking.artifacts).resolve())
    doctor = _Doctor(project, console, fix)
    doctor.check_and_fix(lambda: _disk(project))
    studies = None if any(_databases(project)) else _visit_studies(project, doctor)
    if studies is not None:
        doctor.check_and_fix(lambda: disk.staging(project.mlruns, set(studies)))
    console.print(_summary(doctor.remaining, studies), soft_wrap=True)
    return not doctor.remaining


def _visit_studies(project: Project, doctor: "_Doctor") -> dict[str, str] | None:
    """Visit every study; return the store of each, or None if a database cannot be read."""
    doctor.check_and_fix(lambda: _stores(project))
    try:
        studies = _known_studies(project)
        doctor.check_and_fix(lambda: _foreign_studies(project, studies))
    except PoolstudyError:
        return None  # printed by the check of the stores
    for study, uri in studies.items():
        doctor.visit(study, uri)
    return studies


def _summary(remaining: int, studies: dict[str, str] | None) -> str:
    if remaining:
        return some(remaining, "disagreement")
    return f"{some(len(studies), 'study', 'studies')}: nothing disagrees" if studies else "No study has been run here."


class _Doctor:
    """Prints the issues that checks find, and fixes them if asked to."""

    def __init__(self, project: Project, console: Console, fix: bool) -> None:
        self._project, self._console, self._fix = project, console, fix
        self._printed: set[Finding] = set()
        self.remaining = 0

    def visit(self, study: str, uri: str) -> None:
        """Check one study, unless a process works on it."""
        locks = self._project.mlruns / "locks"
        process = holder(locks, study)
        if process is None:
            try:  # a fix holds the study's lock: nobody starts it meanwhile
                with study_lock(locks, study) if self._fix else contextlib.nullcontext():
                    self.check_and_fix(lambda: _study(self._project, study, uri))
                return
            except StudyBusy:
                process = holder(locks, study) or "a process"
        self._print(Finding("warning", study, f"is being run by {process}: left alone"))

    def check_and_fix(self, check: Check) -> None:
        """Print the issues that a check finds; fix them and check again, until nothing is left that can be fixed."""
        issues = self._issues(check)
        for _ in range(_ROUNDS if self._fix else 0):
            fixes = list(dict.fromkeys(issue.fix for issue in issues if issue.fix))
            if not fixes or not self._apply(fixes):  # a fix that failed would fail again
                break
            issues = self._issues(check)
        self.remaining += sum(issue.wrong for issue in issues)

    def _issues(self, check: Check) -> list[Issue]:
        issues = list(check())
        for issue in issues:
            self._print(issue.finding)
        return issues

    def _apply(self, fixes: list[Fix]) -> bool:
        """Apply the fixes; return whether one of them succeeded."""
        self._console.print("Now doctor --fix", soft_wrap=True)
        for fix in fixes:
            self._console.print(f"  {fix.what}", soft_wrap=True)
        fixed = 0
        for fix in fixes:
            try:
                fix.do()
            except (PoolstudyError, OSError, sqlite3.Error, *MLFLOW_ERRORS, *OPTUNA_ERRORS) as error:
                self._print(Finding("error", "not fixed", f"{fix.what}: {one_line(error)}"))
            else:
                fixed += 1
                print_finding(Finding("ok", "fixed", fix.what), self._console)
        return fixed > 0

    def _print(self, finding: Finding) -> None:
        """Print a finding, but only once."""
        if finding not in self._printed:
            self._printed.add(finding)
            print_finding(finding, self._console)


# The checks, in their order


def _databases(project: Project) -> Iterator[Issue]:
    yield from disk.database(project.optuna, "trials")
    if database := database_of(project.uri):
        yield from disk.database(database, "runs")


def _disk(project: Project) -> Iterator[Issue]:
    yield from _databases(project)
    yield from disk.parts(project.mlruns)
    yield from disk.cache(project.mlruns, _busy(project))


def _busy(project: Project) -> bool:
    locks = project.mlruns / "locks"
    return any(holder(locks, path.stem) for path in locks.glob("*.lock"))


def _stores(project: Project) -> Iterator[Issue]:
    """Yield what keeps a database from being read, and whether the project was moved.

    Reading a half-made database would complete it, so this comes after the check of the files.
    """
    try:
        if project.optuna.exists():
            read_histories(project.optuna)
        if _exists(project.uri):
            every_run(project.uri)
            yield from _moved(project)
    except PoolstudyError as error:
        yield wrong("stores", str(error), "no study is checked until this is fixed")


def _moved(project: Project) -> Iterator[Issue]:
    locations = moved(project.uri, project.artifacts) if is_own(project.uri, project.root) else {}
    if not locations:
        return
    new = project.artifacts
    fix: Fix | str = "stop the running study, then: poolstudy doctor --fix"
    if not _busy(project):
        what = f"lets MLflow look in {new}, after copying its database to a file beside it"
        fix = Fix(what, lambda: move(project.uri, new, locations))
    for study, location in locations.items():
        yield wrong(study, f"its files are in {new / study}; MLflow looks for them in {local_path(location)}", fix)


def _exists(uri: str) -> bool:
    database = database_of(uri)
    return database is None or database.exists()


def _known_studies(project: Project) -> dict[str, str]:
    """Return the store of every study of this project that a database has."""
    runs = every_run(project.uri) if is_own(project.uri, project.root) and _exists(project.uri) else []
    histories = read_histories(project.optuna) if project.optuna.exists() else {}
    stores = {run.study: project.uri for run in runs}
    stores |= {name: _store(project, history.tracking_uri) for name, history in histories.items()}
    return {study: stores[study] for study in sorted(stores) if _NAME.fullmatch(study)}  # others may be paths


def _foreign_studies(project: Project, known: Mapping[str, str]) -> Iterator[Issue]:
    """Yield a note on studies of other projects in a shared store; locks on this machine do not cover them."""
    if is_own(project.uri, project.root) or not _exists(project.uri):
        return
    foreign = {run.study for run in every_run(project.uri) if _NAME.fullmatch(run.study)} - known.keys()
    if foreign:
        found = f"{some(len(foreign), 'study', 'studies')} in {without_password(project.uri)}, and not in Optuna here"
        yield note("others", f"{found}: left alone")


def _store(project: Project, uri: str | None) -> str:
    """Return the store of a study with its password, which Optuna's copy of the address does not have."""
    here = uri is None or uri == without_password(project.uri)
    return project.uri if here else resolved_uri(uri or "", project.root)


def _study(project: Project, study: str, uri: str) -> Iterator[Issue]:
    try:
        state = StudyState.read(project, study, uri)
        yield from databases.find_database_issues(state)
        yield from files.find_file_issues(state)
        yield from _staged(state)
    except (PoolstudyError, *MLFLOW_ERRORS) as error:
        yield wrong(study, one_line(error, 400), "fix that first")


def _staged(study: StudyState) -> Iterator[Issue]:
    """Yield the folders of attempts that are not open."""
    closed = {run.run_id for run in study.runs if run.end}
    done = {attempt.name for attempt in study.attempts if attempt.run_id in closed}
    still_open = {attempt.name for attempt in study.attempts if attempt.open}
    for folder in sorted(path for path in study.staging.glob("*") if path.name not in still_open):
        where = folder.relative_to(study.project.mlruns)
        if folder.name in done:
            found = f"{where} was left by an attempt whose run is closed"
            yield wrong(study.name, found, disk.removal(folder, study.project.mlruns))
        else:
            yield note(study.name, f"{where} is still to be uploaded", f"poolstudy run {study.name}")
