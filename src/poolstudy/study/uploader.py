"""Uploads of attempts' folders to MLflow, by one thread, while others train.

Uploads are idempotent: after any crash, or while the tracking server is away, whatever is still on disk is uploaded
again.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from poolstudy.errors import StoreError, cause
from poolstudy.spec.records import Attempt
from poolstudy.trial.attempt_folder import AttemptFolder

if TYPE_CHECKING:
    from poolstudy.tracking import Tracker

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0  # seconds between two tries while the server is away


@dataclass(frozen=True)
class Away:
    """Absence of the tracking server: its start by `time.time` and by `time.monotonic`, and the reason."""

    since: float
    began: float
    reason: str


@dataclass
class _Entry:
    """Attempt, and how much of it is uploaded."""

    folder: AttemptFolder
    run_id: str
    unanswered: bool = False  # MLflow may have created a run, but its ID never arrived
    creations: int = 0  # requests for a run
    written: int = 0  # epochs on disk
    logged: int = 0  # epochs in MLflow
    finish: bool = False  # it has ended, and its rendering too
    pictures: str = ""
    done: bool = False
    opened: threading.Event = field(default_factory=threading.Event)

    @property
    def work(self) -> int:
        """Number of uploads left."""
        return (not self.run_id) + max(0, self.written - self.logged) + self.finish


class Uploader:
    """Thread that uploads attempts, each in order: run, epochs, files, end; it then removes the folder.

    Only the coordinator's thread calls the methods; of them, `wait_opened`, `flush` and `close` wait for MLflow.

    Attributes:
        away: absence of the tracking server; None if it answers.
    """

    def __init__(self, tracker: "Tracker") -> None:
        self.away: Away | None = None
        self._tracker = tracker
        self._entries: dict[str, _Entry] = {}  # by the attempt's name; the last served is at the end
        self._changed = threading.Condition()
        self._opened: queue.SimpleQueue[tuple[Attempt, str]] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._closed = False
        self._last: Callable[[], None] | None = None
        # A daemon: a server that never answers must not keep the program from ending.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    # Called by the coordinator

    def add(self, folder: AttemptFolder) -> None:
        """Add an attempt that starts, or one that a crash left."""
        entry = _Entry(folder, folder.run_id, written=len(folder.epochs()))
        entry.unanswered = not entry.run_id and folder.ended is not None
        if entry.run_id:
            entry.opened.set()
        with self._changed:
            self._entries[folder.attempt.name] = entry
            self._changed.notify_all()

    def epoch(self, folder: AttemptFolder) -> None:
        """Upload an epoch that was added to the folder."""
        with self._changed:
            self._entries[folder.attempt.name].written += 1
            self._changed.notify_all()

    def finish(self, folder: AttemptFolder, pictures: str = "") -> None:
        """Upload the end of an attempt; `pictures` is the reason if they should exist and do not."""
        with self._changed:
            entry = self._entries[folder.attempt.name]
            entry.pictures, entry.finish = pictures, True
            self._changed.notify_all()

    def wait_opened(self, folder: AttemptFolder, seconds: float) -> bool:
        """Wait for the attempt's run; return whether it is open or not worth waiting for.

        It is not if the server is away, or slow with another run.
        """
        with self._changed:
            entry = self._entries.get(folder.attempt.name)
            slow = any(not other.run_id for other in self._entries.values() if other is not entry)
        return entry is None or slow or self.away is not None or entry.opened.wait(seconds)

    def drain_opened(self) -> Iterator[tuple[Attempt, str]]:
        """Yield the attempts whose run was opened since the last call, with its ID."""
        while not self._opened.empty():
            yield self._opened.get()

    def pending(self) -> int:
        """Return the number of uploads left."""
        with self._changed:
            return sum(entry.work for entry in self._entries.values())

    def flush(self, seconds: float) -> bool:
        """Wait until all is uploaded, unless the server is away; return whether it is.

        Raises:
            StoreError: as `check`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self.away or not self._has_work(), seconds)
        self.check()
        return not self.pending()

    def check(self) -> None:
        """Raise the failure of an upload that would fail again.

        Raises:
            StoreError: there was one.
        """
        if self._failure:
            found = f"MLflow's store {self._tracker.uri} failed ({cause(self._failure)})"
            raise StoreError(found, "one that can be written", "fix it; the same command then goes on") from None

    def close(self, last: Callable[[], None] | None = None, seconds: float = 0) -> None:
        """End the thread; the next start uploads what is left.

        Args:
            last: a last upload, skipped if the server is away.
            seconds: how long to wait for it.

        Raises:
            StoreError: the last upload failed, and would fail again.
        """
        failed_before = self._failure is not None
        with self._changed:
            self._last, self._closed = last, True
            self._changed.notify_all()
        self._thread.join(seconds)
        if not failed_before:
            self.check()

    # The thread

    def _work(self) -> None:
        try:
            self._upload_all()
            if self._last and not self.away:
                self._last()
        except Exception as error:
            if self._tracker.is_away(error):
                return
            with self._changed:
                self._failure = error
                for entry in self._entries.values():
                    entry.opened.set()  # end every wait for it
                self._changed.notify_all()

    def _upload_all(self) -> None:
        """Upload until closed; raise lasting failures."""
        pause, missed = _SHORTEST_PAUSE, None
        while entry := self._next():
            try:
                self._upload_entry(entry)
            except Exception as error:
                if self._was_deleted(entry, error):
                    continue
                if not self._tracker.is_away(error):
                    raise
                if missed:  # once is no absence: a server may drop an idle connection
                    self.away = missed
                missed = missed or Away(time.time(), time.monotonic(), cause(error))
                self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause, missed, self.away = _SHORTEST_PAUSE, None, None
                with self._changed:
                    del self._entries[entry.folder.attempt.name]
                    if not entry.done:
                        self._entries[entry.folder.attempt.name] = entry  # behind the others
                    self._changed.notify_all()

    def _has_work(self) -> bool:
        return any(entry.work for entry in self._entries.values())

    def _next(self) -> _Entry | None:
        """Return the next entry with work, None once closed; runs to open come first, for the coordinator waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_work())
            if self._closed:
                return None
            entries = [entry for entry in self._entries.values() if entry.work]
            return next((entry for entry in entries if not entry.run_id), entries[0])

    def _upload_entry(self, entry: _Entry) -> None:
        finish = entry.finish  # read first: all epochs are on disk then
        if not entry.run_id:
            self._open(entry)
        if entry.logged < entry.written:
            epochs = entry.folder.epochs()[entry.logged :]
            self._tracker.log_epochs(entry.run_id, [(epoch.ended_at, epoch.record, epoch.system) for epoch in epochs])
            entry.logged += len(epochs)
        if finish:
            self._close_run(entry)

    def _open(self, entry: _Entry) -> None:
        folder, attempt = entry.folder, entry.folder.attempt
        run_id = self._tracker.find_trial(attempt.spec, attempt.retry) if entry.unanswered else None
        if run_id is None:
            entry.unanswered = True
            entry.creations += 1
            run_id = self._tracker.create_trial(attempt.spec, attempt.name, attempt.retry, folder.began_at)
        self._tracker.describe(run_id, attempt.spec, folder.patch)
        folder.note_run(run_id)
        entry.run_id = run_id
        self._opened.put((attempt, run_id))
        entry.opened.set()

    def _close_run(self, entry: _Entry) -> None:
        folder, attempt, end = entry.folder, entry.folder.attempt, entry.folder.ended
        assert end is not None, "finish() is for attempts that have ended"
        if entry.creations > 1:  # a slow server may have created a run after our timeout
            self._tracker.delete_doubles(entry.run_id, attempt.spec, attempt.retry)
        self._tracker.describe(entry.run_id, attempt.spec, folder.patch)  # again: its files may have been deleted
        # A crash may have left half-written files; environment.json was complete before training began.
        whole = "*" if folder.result else "environment.json"
        self._tracker.log_files(entry.run_id, folder.path / "files", whole)
        self._tracker.log_images(entry.run_id, folder.path / "images", end.ended_at)
        self._tracker.close_trial(
            entry.run_id,
            end.state,
            result=folder.result,
            reason=end.reason,
            pictures=entry.pictures,
            ended_at=end.ended_at,
        )
        folder.remove()
        entry.done = True

    def _was_deleted(self, entry: _Entry, error: Exception) -> bool:
        """Return whether a user deleted the run meanwhile; the attempt then gets another."""
        try:
            if not entry.run_id or self._tracker.is_away(error) or self._tracker.get(entry.run_id):
                return False
        except Exception:
            return False
        entry.run_id, entry.logged, entry.unanswered = "", 0, False
        return True

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed, seconds)
