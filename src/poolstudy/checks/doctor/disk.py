"""Files in mlruns/: the databases, parts of files, cached images, folders left behind."""

import contextlib
import functools
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from poolstudy.checks.doctor.issue import Fix, Issue, note, wrong
from poolstudy.data.loading import PARTS, SearchData, digest
from poolstudy.errors import one_line
from poolstudy.system.files import left_parts, read_only
from poolstudy.trial.attempt_folder import UNREAD

REPRODUCTIONS = "_reproductions"
"""The folder of staging/ where reproductions train."""


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
    for folder in sorted(path for path in (mlruns / "cache").glob("*") if path.is_dir()):
        if reason := _damage(folder):
            found = f"cache/{folder.name}: {reason}"
            what = f"removes cache/{folder.name}: each start writes it anew"
            fix = Fix(what, functools.partial(shutil.rmtree, folder))
            yield wrong("images", found, "stop the running study; its next start writes them anew" if busy else fix)


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
    for folder in sorted(path for path in (mlruns / "staging").glob("*") if path.is_dir()):
        if folder.name in known or folder.name == REPRODUCTIONS:
            continue
        where = f"staging/{folder.name}"
        if folder.name == UNREAD:
            yield note(where, "attempts of another version that this one cannot read", "inspect and delete it")
        elif any(folder.iterdir()):
            yield note(where, "of a study that Optuna does not know", "inspect and delete it")
        else:
            yield wrong(where, "an empty folder, of a study that Optuna does not know", removal(folder, mlruns))


def removal(folder: Path, mlruns: Path) -> Fix:
    return Fix(f"removes {folder.relative_to(mlruns)}", functools.partial(shutil.rmtree, folder))
