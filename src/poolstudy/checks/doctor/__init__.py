"""The command doctor: checks that Optuna's database, MLflow's and the files of every study agree, and fixes them.

Optuna's database is the authority. A study that a process works on is left alone, and so is what other projects
may have put into a store that they share with this one. Nothing that has ended is ever deleted.
"""

import contextlib
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from poolstudy.checks.doctor import databases, files
from poolstudy.checks.doctor.study_state import Project, StudyState
from poolstudy.checks.finding import Finding, Fix, Issue, note, some, wrong
from poolstudy.checks.machine import print_finding
from poolstudy.errors import PoolstudyError, StudyBusy, one_line, without_password
from poolstudy.search import OPTUNA_ERRORS
from poolstudy.spec.frozen import NAME
from poolstudy.spec.load import load_tracking
from poolstudy.system.locks import holder, study_lock
from poolstudy.tracking import MLFLOW_ERRORS, database_of, every_run, is_own, local_path, move, moved, resolved_uri

_ROUNDS = 4  # one fix may uncover another issue
_NAME = re.compile(NAME)


def examine(root: Path, console: Console, *, fix: bool = False) -> bool:
    """Print a line for each disagreement, fix what can be fixed if asked to, and return whether none remains.

    Raises:
        ConfigurationError: conf/tracking cannot be read.
        StoreError: MLflow cannot use a database in this folder.
    """
    tracking = load_tracking(root)
    project = Project(root, resolved_uri(tracking.uri, root), (root / tracking.artifacts).resolve())
    doctor, mlruns = _Doctor(project, console, fix), project.mlruns
    doctor.check_and_fix(
        lambda: itertools.chain(_databases(project), files.parts(mlruns), files.cache(mlruns, project.busy()))
    )
    studies = 0 if any(_databases(project)) else _check_studies(project, doctor)
    summary = f"{some(studies, 'study', 'studies')}: nothing disagrees" if studies else "No study has been run here."
    console.print(some(doctor.remaining, "disagreement") if doctor.remaining else summary, soft_wrap=True)
    return not doctor.remaining


def _check_studies(project: Project, doctor: "_Doctor") -> int:
    """Check every study; return their number, 0 if a database cannot be read."""
    doctor.check_and_fix(lambda: _stores(project))
    try:
        studies = _known_studies(project)
        doctor.check_and_fix(lambda: _foreign_studies(project, studies))
    except PoolstudyError:
        return 0  # printed by the check of the stores
    for study, uri in studies.items():
        doctor.visit(study, uri)
    doctor.check_and_fix(lambda: files.staging(project.mlruns, set(studies)))
    return len(studies)


class _Doctor:
    """Prints the issues that checks find, and fixes them if asked to."""

    def __init__(self, project: Project, console: Console, fix: bool) -> None:
        self._project, self._console, self._fix = project, console, fix
        self._printed: set[Finding] = set()
        self.remaining = 0

    def visit(self, study: str, uri: str) -> None:
        """Check one study, unless a process works on it."""
        locks = self._project.locks
        with contextlib.suppress(StudyBusy):
            if holder(locks, study) is None:  # a fix holds the study's lock: nobody starts it meanwhile
                with study_lock(locks, study) if self._fix else contextlib.nullcontext():
                    self.check_and_fix(lambda: _study(self._project, study, uri))
                return
        process = holder(locks, study) or "a process"
        self._print(Finding("warning", study, f"is being run by {process}: left alone"))

    def check_and_fix(self, check: Callable[[], Iterator[Issue]]) -> None:
        """Print the issues that a check finds; fix them and check again, until nothing is left that can be fixed."""
        for rounds_left in range(_ROUNDS if self._fix else 0, -1, -1):
            issues = list(check())
            for issue in issues:
                self._print(issue.finding)
            fixes = list(dict.fromkeys(issue.fix for issue in issues if issue.fix))
            if not (rounds_left and fixes and self._apply(fixes)):  # a fix that failed would fail again
                break
        self.remaining += sum(issue.finding.mark == "error" for issue in issues)

    def _apply(self, fixes: list[Fix]) -> bool:
        """Apply the fixes; return whether one of them succeeded."""
        self._console.print("Now doctor --fix", *(f"  {fix.what}" for fix in fixes), sep="\n", soft_wrap=True)
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


def _databases(project: Project) -> Iterator[Issue]:
    yield from files.database(project.optuna, "trials")
    if database := database_of(project.uri):
        yield from files.database(database, "runs")


def _stores(project: Project) -> Iterator[Issue]:
    """Yield what keeps a database from being read, and whether the project was moved.

    Reading a half-made database would complete it, so this comes after the check of the files.
    """
    try:
        project.histories()
        if project.has_store():
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
    if not project.busy():
        what = f"lets MLflow look in {new}, after copying its database to a file beside it"
        fix = Fix(what, lambda: move(project.uri, new, locations))
    for study, location in locations.items():
        yield wrong(study, f"its files are in {new / study}; MLflow looks for them in {local_path(location)}", fix)


def _known_studies(project: Project) -> dict[str, str]:
    """Return the store of every study of this project that a database has."""
    runs = every_run(project.uri) if is_own(project.uri, project.root) and project.has_store() else []
    stores = {run.study: project.uri for run in runs}
    for name, history in project.histories().items():
        here = history.tracking_uri in (None, without_password(project.uri))  # Optuna's copy has no password
        stores[name] = project.uri if here else resolved_uri(history.tracking_uri or "", project.root)
    return {study: stores[study] for study in sorted(stores) if _NAME.fullmatch(study)}  # others may be paths


def _foreign_studies(project: Project, known: Mapping[str, str]) -> Iterator[Issue]:
    """Yield a note on studies of other projects in a shared store; locks on this machine do not cover them."""
    if is_own(project.uri, project.root) or not project.has_store():
        return
    foreign = {run.study for run in every_run(project.uri) if _NAME.fullmatch(run.study)} - known.keys()
    if foreign:
        found = f"{some(len(foreign), 'study', 'studies')} in {without_password(project.uri)}, and not in Optuna here"
        yield note("others", f"{found}: left alone")


def _study(project: Project, study: str, uri: str) -> Iterator[Issue]:
    try:
        state = StudyState.read(project, study, uri)
        yield from databases.find_database_issues(state)
        yield from files.find_file_issues(state)
    except (PoolstudyError, *MLFLOW_ERRORS) as error:
        yield wrong(study, one_line(error, 400), "fix that first")
