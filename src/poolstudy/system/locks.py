"""Locks that the system releases when the process ends: one coordinator per study, one writer per file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from poolstudy.errors import StoreError, StudyBusy
from poolstudy.system.files import replacing


@contextlib.contextmanager
def made_once(path: Path) -> Iterator[Path | None]:
    """Yield a temporary path to write, or None if `path` exists; only one process creates it, the others wait.

    Raises:
        OSError: the folder cannot be written.
    """
    if path.exists():
        yield None
        return
    locks = path.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{path.name}.lock"), contextlib.ExitStack() as stack:
        yield None if path.exists() else stack.enter_context(replacing(path))


def holder(folder: Path, study: str) -> str | None:
    """Return the process that runs a study, such as "process 7", or None. Nothing is written.

    Raises:
        StoreError: the lock cannot be tested, as in a folder that is read-only or another user's.
    """
    lock = folder / f"{study}.lock"
    try:
        if not lock.exists():
            return None
        with FileLock(lock, timeout=0):
            return None
    except Timeout:
        return _process_in(folder / f"{study}.pid")
    except OSError as error:
        raise StoreError(f"{lock}: {error.strerror}", "a lock that can be tested", "fix its permissions") from None


@contextlib.contextmanager
def study_lock(folder: Path, study: str) -> Iterator[None]:
    """Hold the lock of a study in the block.

    Raises:
        StudyBusy: another process, named in the message, holds it.
        StoreError: the folder cannot be written.
    """
    pid_file = folder / f"{study}.pid"
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / f"{study}.lock", timeout=0))
            pid_file.write_text(f"{os.getpid()}\n")
        except Timeout:
            found = f"study {study} is being run by {_process_in(pid_file)}"
            raise StudyBusy(found, "one process at a time", "wait for it, or choose another study.name") from None
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror}", "a folder that can be written", "fix it") from None
        yield


def _process_in(pid_file: Path) -> str:
    """Return the process that a study's PID file names; the file itself locks nothing."""
    with contextlib.suppress(OSError, ValueError):
        return f"process {int(pid_file.read_text())}"
    return "a process that left no name"
