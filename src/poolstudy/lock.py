"""One coordinator a study: a lock that the system drops with the process that holds it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from poolstudy.errors import StoreError, StudyBusy


@contextlib.contextmanager
def study_lock(folder: Path, study: str) -> Iterator[None]:
    """Holds a study while the block lasts.

    Raises:
        StudyBusy: another process holds it; it is named.
        StoreError: the folder cannot be written.
    """
    holder = folder / f"{study}.pid"
    lock = FileLock(folder / f"{study}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        who = holder.read_text().strip() if holder.exists() else "unknown"
        raise StudyBusy(
            f"study {study} is being run by process {who}", "one at a time", "wait for it, or choose another study.name"
        ) from None
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}", "a folder that can be written", "mend it") from None
    try:
        holder.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()
