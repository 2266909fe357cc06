"""Whether Optuna's book, MLflow's and the files of every study agree; and mending what can be mended.

Optuna's book is the authority; MLflow's follows. A study that a process works on is left alone, and so is what other
projects may have put into a store that they share with this one. Nothing that has ended is ever deleted.
"""

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
from poolstudy.spec.load import load_tracking
from poolstudy.spec.space import NAME
from poolstudy.system.locks import holder, study_lock
from poolstudy.tracking import MLFLOW_ERRORS, database_of, every_run, is_own, local_path, move, moved, resolved_uri

_ROUNDS = 4  # mending one thing may show another
_NAME = re.compile(NAME)
Look = Callable[[], Iterator[Issue]]


def examine(root: Path, console: Console, *, fix: bool = False) -> bool:
    """Prints a line for each disagreement, and what can be done; answers whether none remains.

    Args:
        root: the project's folder.
        fix: mend what can be mended, after saying what will be done.

    Raises:
        ConfigurationError: conf/tracking cannot be read.
        StoreError: MLflow cannot use a database in this folder.
    """
    tracking = load_tracking(root)
    project = Project(root, resolved_uri(tracking.uri, root), (root / tracking.artifacts).resolve())
    doctor = _Doctor(project, console, fix)
    doctor.check_and_fix(lambda: _disk(project))
    studies = None if any(_databases(project)) else _studies(project, doctor)
    if studies is not None:
        doctor.check_and_fix(lambda: disk.staging(project.mlruns, set(studies)))
    console.print(_sum(doctor.remaining, studies), soft_wrap=True)
    return not doctor.remaining


def _studies(project: Project, doctor: "_Doctor") -> dict[str, str] | None:
    """Visits every study; returns where each one's runs are, or None where a store cannot be read."""
    doctor.check_and_fix(
        lambda: _stores(project)
    )  # not before both are whole: opening one that is half made would make it
    try:
        studies = _known(project)
        doctor.check_and_fix(lambda: _foreign_runs(project, studies))
    except PoolstudyError:
        return None  # it has been said
    for study, uri in studies.items():
        doctor.visit(study, uri)
    return studies


def _sum(remaining: int, studies: dict[str, str] | None) -> str:
    if remaining:
        return some(remaining, "disagreement")
    return f"{some(len(studies), 'study', 'studies')}: nothing disagrees" if studies else "No study has been run here."


class _Doctor:
    """Prints what looks find, and mends it if asked to."""

    def __init__(self, project: Project, console: Console, fix: bool) -> None:
        self._project, self._console, self._fix = project, console, fix
        self._said: set[Finding] = set()
        self.remaining = 0

    def visit(self, study: str, uri: str) -> None:
        """One study, unless a process works on it."""
        locks = self._project.mlruns / "locks"
        who = holder(locks, study)
        if who is None:
            try:  # who mends holds the study: nobody starts it meanwhile
                with study_lock(locks, study) if self._fix else contextlib.nullcontext():
                    self.check_and_fix(lambda: _study(self._project, study, uri))
                return
            except StudyBusy:
                who = holder(locks, study) or "a process"
        self._say(Finding("warning", study, f"is being run by {who}: left alone"))

    def check_and_fix(self, find_issues: Look) -> None:
        """Says what a look finds; mends, and looks again, until nothing is left that can be mended."""
        issues = self._found(find_issues)
        for _ in range(_ROUNDS if self._fix else 0):
            fixes = list(dict.fromkeys(issue.fix for issue in issues if issue.fix))
            if not fixes or not self._mend(fixes):  # what failed would fail again
                break
            issues = self._found(find_issues)
        self.remaining += sum(issue.wrong for issue in issues)

    def _found(self, find_issues: Look) -> list[Issue]:
        issues = list(find_issues())
        for issue in issues:
            self._say(issue.finding)
        return issues

    def _mend(self, fixes: list[Fix]) -> bool:
        """Answers whether any of it was mended."""
        self._console.print("Now doctor --fix", soft_wrap=True)
        for fix in fixes:
            self._console.print(f"  {fix.what}", soft_wrap=True)
        mended = 0
        for fix in fixes:
            try:
                fix.do()
            except (PoolstudyError, OSError, sqlite3.Error, *MLFLOW_ERRORS, *OPTUNA_ERRORS) as error:
                self._say(Finding("error", "not mended", f"{fix.what}: {one_line(error)}"))
            else:
                mended += 1
                print_finding(Finding("ok", "mended", fix.what), self._console)
        return mended > 0

    def _say(self, finding: Finding) -> None:
        """Each thing once, however often it is looked at."""
        if finding not in self._said:
            self._said.add(finding)
            print_finding(finding, self._console)


# What is looked at, in this order


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
    """Whether both can be read, and whether MLflow looks for files where they lie."""
    try:
        if project.optuna.exists():
            read_histories(project.optuna)
        if _there(project.uri):
            every_run(project.uri)
            yield from _moved(project)
    except PoolstudyError as error:
        yield wrong("stores", str(error), "the studies are not looked at until then")


def _moved(project: Project) -> Iterator[Issue]:
    elsewhere = moved(project.uri, project.artifacts) if is_own(project.uri, project.root) else {}
    if not elsewhere:
        return
    new = project.artifacts
    fix: Fix | str = "stop the study that goes on, then: poolstudy doctor --fix"
    if not _busy(project):
        what = f"lets MLflow look in {new}, after a copy of its database was made beside it"
        fix = Fix(what, lambda: move(project.uri, new, elsewhere))
    for study, location in elsewhere.items():
        yield wrong(study, f"its files lie in {new / study}; MLflow looks for them in {local_path(location)}", fix)


def _there(uri: str) -> bool:
    database = database_of(uri)
    return database is None or database.exists()


def _known(project: Project) -> dict[str, str]:
    """Every study of this project that a book has, and where its runs are."""
    runs = every_run(project.uri) if is_own(project.uri, project.root) and _there(project.uri) else []
    histories = read_histories(project.optuna) if project.optuna.exists() else {}
    found = {run.study: project.uri for run in runs}
    found |= {name: _store(project, history.tracking_uri) for name, history in histories.items()}
    return {study: found[study] for study in sorted(found) if _NAME.fullmatch(study)}  # others are no study's, no path


def _foreign_runs(project: Project, known: Mapping[str, str]) -> Iterator[Issue]:
    """What else there is in a store that other projects use too: who works on it, no lock here tells."""
    if is_own(project.uri, project.root) or not _there(project.uri):
        return
    theirs = {run.study for run in every_run(project.uri) if _NAME.fullmatch(run.study)} - known.keys()
    if theirs:
        found = f"{some(len(theirs), 'study', 'studies')} in {without_password(project.uri)}, and not in Optuna here"
        yield note("others", f"{found}: left alone")


def _store(project: Project, uri: str | None) -> str:
    """A study's store; what was kept of its address has no password."""
    here = uri is None or uri == without_password(project.uri)
    return project.uri if here else resolved_uri(uri or "", project.root)


def _study(project: Project, study: str, uri: str) -> Iterator[Issue]:
    try:
        now = StudyState.read(project, study, uri)
        yield from databases.find_database_issues(now)
        yield from files.find_file_issues(now)
        yield from _staged(now)
    except (PoolstudyError, *MLFLOW_ERRORS) as error:
        yield wrong(study, one_line(error, 400), "mend that first")


def _staged(study: StudyState) -> Iterator[Issue]:
    """Folders of attempts whose run has been closed since."""
    closed = {run.run_id for run in study.runs if run.end}
    done = {attempt.name for attempt in study.attempts if attempt.run_id in closed}
    still_open = {attempt.name for attempt in study.attempts if attempt.open}
    for folder in sorted(path for path in study.staging.glob("*") if path.name not in still_open):
        where = folder.relative_to(study.project.mlruns)
        if folder.name in done:
            found = f"{where} was left by an attempt whose run is closed"
            yield wrong(study.name, found, disk.removal(folder, study.project.mlruns))
        else:
            yield note(study.name, f"{where} waits to be delivered", f"poolstudy run {study.name}")
