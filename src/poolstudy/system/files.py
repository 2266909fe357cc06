"""Files that are whole or not there."""

import contextlib
import glob
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import psutil

from poolstudy.errors import StoreError

_PART = re.compile(r"\..+-(\d+)(\.[\w-]+)?(-journal|-wal|-shm)?")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to beside `path`, renamed onto it when the block ends well.

    A process that dies in the block leaves `path` as it was; so does a block that removes what it wrote. What the dead
    one was writing goes when the file is next written.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in _of_the_dead(path.parent.glob(f".{glob.escape(path.stem)}-*")):
        left.unlink(missing_ok=True)
    part = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        part.write_bytes(b"")  # now is the time to find out that it cannot be written
        yield part
        if part.exists():
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """While the block lasts, that a file cannot be written becomes a StoreError about `place`."""
    try:
        yield
    except OSError as error:
        expected, remedy = "a folder that can be written", "mend its permissions"
        raise StoreError(f"{place}: {error.strerror}", expected, remedy) from None


def appended(path: Path) -> BinaryIO:
    """A file to be added to; its folders are made.

    Raises:
        StoreError: it cannot be written.
    """
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")


def read_only(database: Path) -> sqlite3.Connection:
    """An SQLite file that exists, to be read only; waits ten seconds for who holds it."""
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True, timeout=10)


def left_parts(folder: Path) -> list[Path]:
    """What processes that died in a block of `replacing` were writing, anywhere below a folder."""
    return [path for path in _of_the_dead(sorted(folder.rglob(".*-*"))) if path.is_file()]


def _of_the_dead(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        match = _PART.fullmatch(path.name)
        if match and not psutil.pid_exists(int(match[1])):
            yield path
