"""Locks that the system drops with the process that holds them: one coordinator a study, one maker a file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from poolstudy.errors import StoreError, StudyBusy
from poolstudy.system.files import replacing


@contextlib.contextmanager
def made_once(path: Path) -> Iterator[Path | None]:
    """A path to write a file to that is to be made once and whole, or None where it is made already.

    Processes that want it at the same time wait for the first of them.

    Raises:
        OSError: the folder cannot be written.
    """
    if path.exists():
        yield None
        return
    locks = path.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{path.name}.lock"):
        if path.exists():
            yield None
            return
        with replacing(path) as part:
            yield part


def _named(holder: Path) -> str:
    """The process that wrote the file; it says who holds the lock, and holds nothing itself."""
    with contextlib.suppress(OSError, ValueError):
        return f"process {int(holder.read_text())}"
    return "a process that left no name"


def holder(folder: Path, study: str) -> str | None:
    """Who holds a study now, as "process 7"; None where none does. Nothing is written.

    Raises:
        StoreError: the lock cannot be tried, as in a folder that is read-only or another user's.
    """
    lock = folder / f"{study}.lock"
    try:
        if not lock.exists():
            return None
        with FileLock(lock, timeout=0):
            return None
    except Timeout:
        return _named(folder / f"{study}.pid")
    except OSError as error:
        raise StoreError(f"{lock}: {error.strerror}", "a lock that can be tried", "mend its permissions") from None


@contextlib.contextmanager
def study_lock(folder: Path, study: str) -> Iterator[None]:
    """Holds a study while the block lasts.

    Raises:
        StudyBusy: another process holds it; it is named.
        StoreError: the folder cannot be written.
    """
    named = folder / f"{study}.pid"
    lock = FileLock(folder / f"{study}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        named.write_text(f"{os.getpid()}\n")
    except Timeout:
        found = f"study {study} is being run by {_named(named)}"
        raise StudyBusy(found, "one at a time", "wait for it, or choose another study.name") from None
    except OSError as error:
        lock.release()
        raise StoreError(f"{folder}: {error.strerror}", "a folder that can be written", "mend it") from None
    try:
        yield
    finally:
        lock.release()
