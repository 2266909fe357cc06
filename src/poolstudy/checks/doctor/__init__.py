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
from poolstudy.checks.doctor.case import Case, Ward
from poolstudy.checks.doctor.trouble import Cure, Trouble, note, wrong
from poolstudy.checks.finding import Finding, some
from poolstudy.checks.machine import print_finding
from poolstudy.errors import PoolstudyError, StudyBusy, one_line, without_password
from poolstudy.search import STORE_ERRORS as OPTUNA_ERRORS
from poolstudy.search import read_books
from poolstudy.spec.load import load_tracking
from poolstudy.spec.space import NAME
from poolstudy.system.locks import holder, study_lock
from poolstudy.tracking import STORE_ERRORS, database_of, every_run, is_own, move, moved, place, resolved_uri

_ROUNDS = 4  # mending one thing may show another
_NAME = re.compile(NAME)
Look = Callable[[], Iterator[Trouble]]


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
    ward = Ward(root, resolved_uri(tracking.uri, root), (root / tracking.artifacts).resolve())
    doctor = _Doctor(ward, console, fix)
    doctor.treat(lambda: _disk(ward))
    studies = None if any(_databases(ward)) else _studies(ward, doctor)
    if studies is not None:
        doctor.treat(lambda: disk.staging(ward.mlruns, set(studies)))
    console.print(_sum(doctor.remaining, studies), soft_wrap=True)
    return not doctor.remaining


def _studies(ward: Ward, doctor: "_Doctor") -> dict[str, str] | None:
    """Visits every study; returns where each one's runs are, or None where a store cannot be read."""
    doctor.treat(lambda: _stores(ward))  # not before both are whole: opening one that is half made would make it
    try:
        studies = _known(ward)
        doctor.treat(lambda: _strangers(ward, studies))
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

    def __init__(self, ward: Ward, console: Console, fix: bool) -> None:
        self._ward, self._console, self._fix = ward, console, fix
        self._said: set[Finding] = set()
        self.remaining = 0

    def visit(self, study: str, uri: str) -> None:
        """One study, unless a process works on it."""
        locks = self._ward.mlruns / "locks"
        who = holder(locks, study)
        if who is None:
            try:  # who mends holds the study: nobody starts it meanwhile
                with study_lock(locks, study) if self._fix else contextlib.nullcontext():
                    self.treat(lambda: _study(self._ward, study, uri))
                return
            except StudyBusy:
                who = holder(locks, study) or "a process"
        self._say(Finding("look", study, f"is being run by {who}: left alone"))

    def treat(self, look: Look) -> None:
        """Says what a look finds; mends, and looks again, until nothing is left that can be mended."""
        troubles = self._found(look)
        for _ in range(_ROUNDS if self._fix else 0):
            cures = list(dict.fromkeys(trouble.cure for trouble in troubles if trouble.cure))
            if not cures or not self._mend(cures):  # what failed would fail again
                break
            troubles = self._found(look)
        self.remaining += sum(trouble.wrong for trouble in troubles)

    def _found(self, look: Look) -> list[Trouble]:
        troubles = list(look())
        for trouble in troubles:
            self._say(trouble.finding)
        return troubles

    def _mend(self, cures: list[Cure]) -> bool:
        """Answers whether any of it was mended."""
        self._console.print("Now doctor --fix", soft_wrap=True)
        for cure in cures:
            self._console.print(f"  {cure.what}", soft_wrap=True)
        mended = 0
        for cure in cures:
            try:
                cure.do()
            except (PoolstudyError, OSError, sqlite3.Error, *STORE_ERRORS, *OPTUNA_ERRORS) as error:
                self._say(Finding("lacks", "not mended", f"{cure.what}: {one_line(error)}"))
            else:
                mended += 1
                print_finding(Finding("ok", "mended", cure.what), self._console)
        return mended > 0

    def _say(self, finding: Finding) -> None:
        """Each thing once, however often it is looked at."""
        if finding not in self._said:
            self._said.add(finding)
            print_finding(finding, self._console)


# What is looked at, in this order


def _databases(ward: Ward) -> Iterator[Trouble]:
    yield from disk.database(ward.optuna, "trials")
    if database := database_of(ward.uri):
        yield from disk.database(database, "runs")


def _disk(ward: Ward) -> Iterator[Trouble]:
    yield from _databases(ward)
    yield from disk.parts(ward.mlruns)
    yield from disk.cache(ward.mlruns, _busy(ward))


def _busy(ward: Ward) -> bool:
    locks = ward.mlruns / "locks"
    return any(holder(locks, path.stem) for path in locks.glob("*.lock"))


def _stores(ward: Ward) -> Iterator[Trouble]:
    """Whether both can be read, and whether MLflow looks for files where they lie."""
    try:
        if ward.optuna.exists():
            read_books(ward.optuna)
        if _there(ward.uri):
            every_run(ward.uri)
            yield from _moved(ward)
    except PoolstudyError as error:
        yield wrong("stores", str(error), "the studies are not looked at until then")


def _moved(ward: Ward) -> Iterator[Trouble]:
    elsewhere = moved(ward.uri, ward.artifacts) if is_own(ward.uri, ward.root) else {}
    if not elsewhere:
        return
    new = ward.artifacts
    cure: Cure | str = "stop the study that goes on, then: poolstudy doctor --fix"
    if not _busy(ward):
        what = f"lets MLflow look in {new}, after a copy of its database was made beside it"
        cure = Cure(what, lambda: move(ward.uri, new, elsewhere))
    for study, location in elsewhere.items():
        yield wrong(study, f"its files lie in {new / study}; MLflow looks for them in {place(location)}", cure)


def _there(uri: str) -> bool:
    database = database_of(uri)
    return database is None or database.exists()


def _known(ward: Ward) -> dict[str, str]:
    """Every study of this project that a book has, and where its runs are."""
    runs = every_run(ward.uri) if is_own(ward.uri, ward.root) and _there(ward.uri) else []
    books = read_books(ward.optuna) if ward.optuna.exists() else {}
    found = {run.study: ward.uri for run in runs}
    found |= {name: _store(ward, book.tracking_uri) for name, book in books.items()}
    return {study: found[study] for study in sorted(found) if _NAME.fullmatch(study)}  # others are no study's, no path


def _strangers(ward: Ward, known: Mapping[str, str]) -> Iterator[Trouble]:
    """What else there is in a store that other projects use too: who works on it, no lock here tells."""
    if is_own(ward.uri, ward.root) or not _there(ward.uri):
        return
    theirs = {run.study for run in every_run(ward.uri) if _NAME.fullmatch(run.study)} - known.keys()
    if theirs:
        found = f"{some(len(theirs), 'study', 'studies')} in {without_password(ward.uri)}, and not in Optuna here"
        yield note("others", f"{found}: left alone")


def _store(ward: Ward, uri: str | None) -> str:
    """A study's store; what was kept of its address has no password."""
    here = uri is None or uri == without_password(ward.uri)
    return ward.uri if here else resolved_uri(uri or "", ward.root)


def _study(ward: Ward, study: str, uri: str) -> Iterator[Trouble]:
    try:
        case = Case.read(ward, study, uri)
        yield from databases.look(case)
        yield from files.look(case)
        yield from _staged(case)
    except (PoolstudyError, *STORE_ERRORS) as error:
        yield wrong(study, one_line(error, 400), "mend that first")


def _staged(case: Case) -> Iterator[Trouble]:
    """Folders of attempts whose run has been closed since."""
    closed = {run.run_id for run in case.runs if run.end}
    done = {attempt.name for attempt in case.attempts if attempt.run_id in closed}
    still_open = {attempt.name for attempt in case.attempts if attempt.open}
    for folder in sorted(path for path in case.staging.glob("*") if path.name not in still_open):
        where = folder.relative_to(case.ward.mlruns)
        if folder.name in done:
            found = f"{where} was left by an attempt whose run is closed"
            yield wrong(case.study, found, disk.remove(folder, case.ward.mlruns))
        else:
            yield note(case.study, f"{where} waits to be delivered", f"poolstudy run {case.study}")
