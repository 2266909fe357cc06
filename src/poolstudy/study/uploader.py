"""From attempts' folders to their runs: one thread brings to MLflow what lies on disk, while others train.

Everything it does may be done twice, so it keeps no account of its own: when the tracking server is away, or this
process dies, what lies on disk is simply brought again.
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
    """The tracking server does not answer: since when (a time as `time.time`, one as `time.monotonic`), and how."""

    since: float
    began: float
    reason: str


@dataclass
class _Entry:
    """An attempt on its way, and how far its run is."""

    folder: AttemptFolder
    run_id: str
    unanswered: bool = False  # MLflow may have made a run whose ID did not reach us
    creations: int = 0  # that were asked for
    written: int = 0  # epochs on disk
    logged: int = 0
    finish: bool = False  # it has ended, and is drawn if it was to be
    pictures: str = ""
    done: bool = False
    opened: threading.Event = field(default_factory=threading.Event)

    @property
    def work(self) -> int:
        """How many things MLflow is still to be told."""
        return (not self.run_id) + max(0, self.written - self.logged) + self.finish


class Uploader:
    """Brings attempts to MLflow, each in order: its run, its epochs, its files and its end. Then its folder goes.

    The methods are for the coordinator's thread; none but `wait_opened`, `settle` and `close` waits for MLflow.
    """

    def __init__(self, tracker: "Tracker") -> None:
        self.away: Away | None = None
        """Whether the tracking server is."""
        self._tracker = tracker
        self._entries: dict[str, _Entry] = {}  # by the attempt's name, the one served last at the end
        self._changed = threading.Condition()
        self._opened: queue.SimpleQueue[tuple[Attempt, str]] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._closed = False
        self._last: Callable[[], None] | None = None
        # As a daemon, so that a server that never answers cannot keep the program from ending.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    # Said by the coordinator

    def add(self, folder: AttemptFolder) -> None:
        """Takes an attempt over, whatever its folder holds: one that begins, or one that was left behind."""
        entry = _Entry(folder, folder.run_id, written=len(folder.epochs()))
        entry.unanswered = not entry.run_id and folder.ended is not None
        if entry.run_id:
            entry.opened.set()
        with self._changed:
            self._entries[folder.attempt.name] = entry
            self._changed.notify_all()

    def epoch(self, folder: AttemptFolder) -> None:
        """An epoch was added to the folder."""
        with self._changed:
            self._entries[folder.attempt.name].written += 1
            self._changed.notify_all()

    def finish(self, folder: AttemptFolder, pictures: str = "") -> None:
        """The attempt has ended and nothing more comes; `pictures`: why it has none, if it should."""
        with self._changed:
            entry = self._entries[folder.attempt.name]
            entry.pictures, entry.finish = pictures, True
            self._changed.notify_all()

    # Asked by the coordinator

    def wait_opened(self, folder: AttemptFolder, seconds: float) -> bool:
        """Waits until the attempt's run is open; answers whether it is, or is not worth waiting for.

        It is not where the server is away, or slow with the run before.
        """
        with self._changed:
            entry = self._entries.get(folder.attempt.name)
            slow = any(not other.run_id for other in self._entries.values() if other is not entry)
        return entry is None or slow or self.away is not None or entry.opened.wait(seconds)

    def drain_opened(self) -> Iterator[tuple[Attempt, str]]:
        """The runs that have been opened since the last call."""
        while not self._opened.empty():
            yield self._opened.get()

    def pending(self) -> int:
        """How many things MLflow is still to be told."""
        with self._changed:
            return sum(entry.work for entry in self._entries.values())

    def flush(self, seconds: float) -> bool:
        """Waits until nothing waits; answers whether that is so. Not for a server that is away.

        Raises:
            StoreError: as for `check`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self.away or not self._has_work(), seconds)
        self.check()
        return not self.pending()

    def check(self) -> None:
        """Looks whether MLflow's store has said no for good.

        Raises:
            StoreError: it has.
        """
        if self._failure:
            found = f"MLflow's store {self._tracker.uri} failed ({cause(self._failure)})"
            raise StoreError(found, "one that can be written", "mend it; the same command then goes on") from None

    def close(self, last: Callable[[], None] | None = None, seconds: float = 0) -> None:
        """Ends; what waits stays where it is, for the next start.

        Args:
            last: what to tell MLflow still, if it answers.
            seconds: how long to wait for that.

        Raises:
            StoreError: the store has said no to that for good.
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
            if not self._tracker.is_away(error):
                self._fail(error)

    def _upload_all(self) -> None:
        """Until it is closed. Raises what the store says for good."""
        pause, missed = _SHORTEST_PAUSE, None
        while entry := self._next():
            try:
                self._upload_entry(entry)
            except Exception as error:
                if self._was_deleted(entry, error):
                    continue
                if not self._tracker.is_away(error):
                    raise
                if missed:  # once is no absence: a server may drop a connection that was idle
                    self.away = missed
                missed = missed or Away(time.time(), time.monotonic(), cause(error))
                self._pause(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause, missed, self.away = _SHORTEST_PAUSE, None, None
                self._put_back(entry)

    def _has_work(self) -> bool:
        return any(entry.work for entry in self._entries.values())

    def _next(self) -> _Entry | None:
        """What to do next: runs to be opened first, for somebody waits for them; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_work())
            if self._closed:
                return None
            entries = [entry for entry in self._entries.values() if entry.work]
            return next((entry for entry in entries if not entry.run_id), entries[0])

    def _upload_entry(self, entry: _Entry) -> None:
        """Brings to MLflow what it has not got of an attempt."""
        finish = entry.finish  # read first: all epochs are on disk then
        if not entry.run_id:
            self._open(entry)
        if entry.logged < entry.written:
            epochs = entry.folder.epochs()[entry.logged :]
            self._tracker.log_epochs(entry.run_id, [(one.ended_at, one.record, one.system) for one in epochs])
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
        assert end is not None, "nothing is ready that has not ended"
        if entry.creations > 1:  # a slow server may have made one after we had stopped to wait for it
            self._tracker.delete_doubles(entry.run_id, attempt.spec, attempt.retry)
        self._tracker.describe(entry.run_id, attempt.spec, folder.patch)  # again: somebody may have deleted its files
        # A process that died may have left files half written; the environment was whole before it trained.
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

    def _put_back(self, entry: _Entry) -> None:
        name = entry.folder.attempt.name
        with self._changed:
            del self._entries[name]
            if not entry.done:
                self._entries[name] = entry  # behind the others
            self._changed.notify_all()

    def _was_deleted(self, entry: _Entry, error: Exception) -> bool:
        """Whether a user deleted the run meanwhile: then the attempt gets another."""
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

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            for entry in self._entries.values():
                entry.opened.set()  # nobody is to wait for it
            self._changed.notify_all()
