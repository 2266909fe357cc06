"""From a trial's folder to its run: pictures are drawn, files logged, the run closed, while others train.

What a trial left lies whole on disk until its run is closed, so a study that dies in between delivers it
at the next start.
"""

import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy import worker
from poolstudy.config import FiguresSection
from poolstudy.execution import Event, Failed, Lost
from poolstudy.execution.local import LocalEngine
from poolstudy.records import State, TrialSpec

if TYPE_CHECKING:
    from poolstudy.tracking import Tracker

_TIMEOUT = 600.0  # seconds; a drawing takes two, unless something it calls hangs
JOB = "draw"
"""The job's name in the engine's keys."""


@dataclass(frozen=True)
class Parcel:
    """An attempt that has ended, as its run is to say: `number` is its Optuna trial."""

    number: int
    run_id: str
    spec: TrialSpec
    state: State
    reason: str = ""


class Delivery:
    """Brings attempts that have ended to MLflow.

    Args:
        folders: each attempt's folder lies here by its run's ID.
        data: folder of the saved `SearchData`.
        at_once: how many are drawn at the same time.
    """

    def __init__(
        self, engine: LocalEngine, tracker: "Tracker", folders: Path, data: Path, settings: FiguresSection, at_once: int
    ) -> None:
        self._engine, self._tracker = engine, tracker
        self._folders, self._data, self._settings = folders, data, settings
        self._at_once = at_once
        self._waiting: deque[Parcel] = deque()
        self._drawing: dict[int, Parcel] = {}
        # Copying a run's files takes half a second, in which the coordinator has epochs to answer: a thread does it.
        self._thread = ThreadPoolExecutor(1, "delivery")
        self._logging: dict[Future[None], Parcel] = {}

    def pending(self) -> int:
        """How many are not delivered yet."""
        return len(self._waiting) + len(self._drawing) + len(self._logging)

    def add(self, parcel: Parcel) -> None:
        """Takes an attempt over: it is drawn first if there is something to draw, else delivered at once."""
        trained = worker.trained_result(self._folders / parcel.run_id) is not None
        if trained and parcel.state in self._settings.of:
            self._waiting.append(parcel)
            self._start()
        else:
            self._log(parcel)

    def hear(self, event: Event) -> None:
        """What became of a drawing. One that failed does not take the trial with it."""
        parcel = self._drawing.pop(event.key[1])
        self._log(parcel, f"not drawn: {event.reason}" if isinstance(event, Failed | Lost) else "")
        self._start()

    def check(self, timeout: float = 0) -> None:
        """Takes note of what has been delivered; waits up to `timeout` seconds for it.

        Raises what MLflow raises when its store cannot be written.
        """
        wait(self._logging, timeout)
        for future in [future for future in self._logging if future.done()]:
            del self._logging[future]
            future.result()

    def close(self) -> None:
        """Ends; what waits stays where it is, for the next start."""
        self._thread.shutdown(cancel_futures=True)

    def keep_only_pending(self) -> None:
        """Removes the folders of attempts that nobody waits for."""
        pending = {one.run_id for one in (*self._waiting, *self._drawing.values(), *self._logging.values())}
        for folder in self._folders.glob("*"):
            if folder.name not in pending:
                shutil.rmtree(folder, ignore_errors=True)

    def _start(self) -> None:
        while self._waiting and len(self._drawing) < self._at_once:
            parcel = self._waiting.popleft()
            self._drawing[parcel.number] = parcel
            folder = self._folders / parcel.run_id
            task = worker.Drawing(parcel.spec, self._data, folder, self._settings.settings)
            self._engine.start((JOB, parcel.number), task, _TIMEOUT)

    def _log(self, parcel: Parcel, pictures: str = "") -> None:
        self._logging[self._thread.submit(self._bring, parcel, pictures)] = parcel

    def _bring(self, parcel: Parcel, pictures: str) -> None:
        folder = self._folders / parcel.run_id
        result = worker.trained_result(folder)
        # A process that died may have left files half written; the environment was whole before it trained.
        self._tracker.log_files(parcel.run_id, folder / "files", "*" if result else "environment.json")
        self._tracker.log_images(parcel.run_id, folder / "images")
        self._tracker.close_trial(parcel.run_id, parcel.state, result=result, reason=parcel.reason, pictures=pictures)
        shutil.rmtree(folder, ignore_errors=True)
