"""Files that are either complete or absent."""

import contextlib
import glob
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import psutil

from poolstudy.errors import StoreError

_PART = re.compile(r"\..+-(\d+)(\.[\w-]+)?(-journal|-wal|-shm)?")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds.

    If the block fails or removes the temporary file, `path` stays as it was. What a crash leaves is deleted by the next
    call for `path`.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in left_parts(path.parent, f".{glob.escape(path.stem)}-*"):
        left.unlink(missing_ok=True)
    part = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        part.write_bytes(b"")  # fail before the block if the folder cannot be written
        yield part
        if part.exists():
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into a StoreError about `path`."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}", "a folder that can be written", "fix its permissions") from None


def appended(path: Path) -> BinaryIO:
    """Open a file for appending; create its folders.

    Raises:
        StoreError: it cannot be written.
    """
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")


def read_only(database: Path) -> sqlite3.Connection:
    """Open an existing SQLite file read-only; wait up to ten seconds for other processes' locks."""
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=10)


def left_parts(folder: Path, pattern: str = "**/.*-*") -> list[Path]:
    """Return temporary files of `replacing` that dead processes left in a folder, by default anywhere below it."""
    matches = ((path, _PART.fullmatch(path.name)) for path in sorted(folder.glob(pattern)))
    return [path for path, match in matches if match and path.is_file() and not psutil.pid_exists(int(match[1]))]
