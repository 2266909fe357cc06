"""The coordinator's loop: start what there is room for, hear what happens, write it down.

It never waits for MLflow: what MLflow is to be told goes to the attempt's folder, and `uploader` brings it.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from poolstudy.errors import DeviceError, StoreError, StudyStopped
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Lost
from poolstudy.execution.devices import find_gpus, hardware
from poolstudy.execution.gpu.nvidia import Meter
from poolstudy.execution.local import LocalEngine
from poolstudy.execution.placement import Placement, PlacementPool
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import Device, EpochRecord, State
from poolstudy.spec.space import HyperParameters
from poolstudy.study.recovery import finish_attempt, recover
from poolstudy.study.rendering import JOB as DRAW
from poolstudy.study.rendering import RenderQueue
from poolstudy.study.uploader import Uploader
from poolstudy.system.signals import Interrupt
from poolstudy.terminal.display import Display
from poolstudy.trial import tasks
from poolstudy.trial.attempt_folder import AttemptFolder, unread

if TYPE_CHECKING:
    from poolstudy.search import Attempt, Search
    from poolstudy.tracking import Tracker

_TRAIN = "train"
_MOMENT = 0.2  # seconds after which a signal is looked for
_OPENING = 5.0  # seconds that a run may take to be opened before its trial starts without it
_CLOSING = 6.0  # seconds that pictures and deliveries may take after a first Ctrl-C
_FAREWELL = 2.5  # seconds more to close the study's own run


class TrialListener(Protocol):
    """Told what happens to attempts, each by the number of its Optuna trial."""

    def started(self, key: int, name: str, network: HyperParameters, /) -> None: ...

    def epoch(self, key: int, record: EpochRecord, /) -> None: ...

    def ended(self, key: int, state: State, reason: str, /) -> None: ...


@dataclass(frozen=True)
class StudyContext:
    """What a study's attempts are trained with.

    Attributes:
        staging: folder of the attempts' folders.
        data: folder of the saved `SearchData`.
        places: a place for each worker that there may be at once.
        about: what environment.json is to say beside the machine.
        patch: what the code holds beyond its commit.
    """

    staging: Path
    data: Path
    placements: list[Placement]
    about: dict[str, object]
    patch: str


@dataclass(frozen=True)
class _Running:
    """An attempt that is being trained, and on what."""

    attempt: "Attempt"
    folder: AttemptFolder
    placement: Placement


class Coordinator:
    """Trains attempts until the study is done; `exhausted` then says whether the space held nothing new.

    Args:
        listeners: told what happens to each attempt.
        drawn_at_once: how many trials are drawn at the same time.
    """

    def __init__(
        self,
        config: StudyConfig,
        context: StudyContext,
        engine: LocalEngine,
        tracker: "Tracker",
        search: "Search",
        display: Display,
        listeners: Sequence[TrialListener],
        interrupt: Interrupt,
        drawn_at_once: int,
    ) -> None:
        self.exhausted = False
        self._config, self._context = config, context
        self._engine, self._tracker, self._search = engine, tracker, search
        self._display, self._listeners, self._interrupt = display, listeners, interrupt
        self._renders = RenderQueue(
            engine, context.data, config.tracking.figures, at_once=drawn_at_once, retries=config.execution.retries
        )
        self._uploader = Uploader(tracker)
        self._placements, self._meter = PlacementPool(context.placements), Meter()
        self._lost_on: Device | None = None
        self._running: dict[int, _Running] = {}
        self._failures_in_a_row = 0
        self._last_reason = ""
        self._began = time.monotonic()

    def run(self) -> None:
        """Recovers what was left open, then trains.

        Raises:
            StudyStopped: too many trials failed.
            StoreError: MLflow's store failed, or was away for too long.
        """
        with contextlib.ExitStack() as last:  # all of it is done, whichever of it fails
            last.callback(self._remove_staging)
            last.callback(self._search.close)
            last.callback(self._engine.close)
            last.callback(self._close)
            self._recover()
            with self._display:
                self._display.count(self._search.done, self._search.ended())
                self._loop()
        self._check_exhausted()

    def finish(self, last: Callable[[], None]) -> None:
        """Tells MLflow a last thing, unless it is away: then the next start does.

        Raises:
            StoreError: MLflow's store failed.
        """
        try:
            self._uploader.close(last, _FAREWELL if self._interrupt.signal else 10 * _FAREWELL)
        finally:
            self._note_runs()  # that were opened since the loop ended, or where there was nothing to loop for

    def _recover(self) -> None:
        for folder in recover(self._search, self._tracker, self._context.staging):
            self._uploader.add(folder)
            self._upload(folder)
        if (aside := unread(self._context.staging)).is_dir():
            self._display.warn(f"{os.path.relpath(aside)} has attempts of another version that this one cannot read")
        until = time.monotonic() + _CLOSING  # what needs no drawing is closed before anything new is asked
        while self._goes_on(until) and not self._uploader.away and not self._uploader.flush(_MOMENT):
            pass

    # The loop

    def _loop(self) -> None:
        while self._interrupt.signal is None:
            self._check_gpus()
            self._fill()
            if not self._engine.running() and not self._uploading():
                return
            self._wait()
            self._check_failures_in_a_row()
            self._check_patience()

    def _uploading(self) -> int:
        return self._renders.pending() + self._uploader.pending()

    def _wait(self) -> None:
        """Hears what happens within half a second."""
        if self._engine.running():
            for event in self._engine.events(timeout=0.5):
                self._handle(event)
        else:
            self._uploader.flush(0.5)
            if self._uploader.away:
                time.sleep(_MOMENT)
        self._uploader.check()
        self._note_runs()
        away = self._uploader.away
        since = (away.since, away.reason) if away else None
        self._display.tracking(self._renders.pending(), self._uploader.pending(), since)
        artifacts = self._tracker.artifacts
        if artifacts and artifacts.was_deleted():
            folder = os.path.relpath(artifacts.folder)
            self._display.warn(f"{folder} was deleted: the files of the runs before are gone; the study goes on")

    def _goes_on(self, until: float) -> bool:
        return self._interrupt.signal is None and time.monotonic() < until

    def _note_runs(self) -> None:
        for attempt, run_id in self._uploader.drain_opened():
            self._search.opened_run(attempt, run_id)

    def _fill(self) -> None:
        """Starts attempts while there is a free place and something left to do."""
        study = self._config.study
        while self._placements and self._interrupt.signal is None:
            wanted = study.trials - self._search.done - len(self._running)
            over = study.timeout is not None and time.monotonic() - self._began > study.timeout
            if wanted <= 0 or over:
                return
            attempt = self._search.next_attempt(self._config.execution.retries)
            if attempt is None:
                self.exhausted = not self._running  # one of those may yet be lost, and tried again
                return
            self._start(attempt)

    def _start(self, attempt: "Attempt") -> None:
        folder = AttemptFolder.make(self._context.staging, attempt, self._context.patch)
        self._running[attempt.number] = _Running(attempt, folder, self._placements.take())
        self._uploader.add(folder)
        until = time.monotonic() + _OPENING
        while self._goes_on(until) and not self._uploader.wait_opened(folder, _MOMENT):
            pass
        self._note_runs()
        placement = self._running[attempt.number].placement
        task = tasks.TrainTask(
            spec=attempt.spec,
            data=self._context.data,
            folder=folder.path,
            device=placement.device.name,
            threads=self._config.execution.threads_per_worker,
            about=self._context.about | hardware(placement.device),
            memory_mb=placement.memory_mb,
        )
        for listener in self._listeners:
            listener.started(attempt.number, attempt.name, attempt.spec.hyperparameters)
        self._engine.start((_TRAIN, attempt.number), task, self._config.execution.trial_timeout, placement.reuse_key)

    def _check_gpus(self) -> None:
        """After a worker was lost on a GPU: no place is used again whose card has gone."""
        if self._lost_on is None:
            return
        lost_on, self._lost_on = self._lost_on, None
        found = find_gpus(self._engine)
        for gpu in self._placements.keep((*found.gpus, *found.full)):
            self._engine.retire()  # who is kept knows the cards by their old numbers
            self._display.say(f"GPU at /device:{gpu.name} ({gpu.description}) is gone: no trial starts there any more")
        if not self._placements.left():
            why = f"; {found.lines[0]}" if found.lines else ""
            raise DeviceError(
                f"a trial was lost on {lost_on.name} ({lost_on.description}), and no GPU works any more{why}",
                "one, as the study began with",
                "mend it (see nvidia-smi and dmesg); the same command then goes on",
            )

    def _handle(self, event: Event) -> None:
        job, number = event.key
        match event:
            case _ if job == DRAW:
                if drawn := self._renders.handle(event):
                    self._uploader.finish(*drawn)
            case EpochEnded(key, record):
                prune = self._search.report(number, record)
                # On disk before it goes on: a trial that is trained to its end has all its epochs in both books.
                running = self._running[number]
                folder = running.folder
                folder.add_epoch(record, self._meter.read(running.placement.device))
                self._uploader.epoch(folder)
                self._engine.answer(key, prune)
                for listener in self._listeners:
                    listener.epoch(number, record)
            case Finished(_, result):
                self._end(number, result.state)
            case Failed(_, reason):
                self._end(number, "failed", reason)
            case Lost(_, reason):
                device = self._running[number].placement.device
                self._end(number, "lost", reason)
                if device.is_gpu:
                    self._lost_on = device

    def _end(self, number: int, state: State, reason: str = "") -> None:
        """An attempt has ended: its place is free at once, its pictures are drawn while others train."""
        running = self._running.pop(number)
        self._placements.give_back(running.placement)
        state, reason = finish_attempt(self._search, running.folder, state, reason)
        self._display.count(self._search.done, self._search.ended())
        for listener in self._listeners:
            listener.ended(number, state, reason)
        self._upload(running.folder)
        if state in ("complete", "pruned"):
            self._failures_in_a_row = 0
        elif not self._search.tries_again(running.attempt.slot, self._config.execution.retries):
            self._failures_in_a_row += 1
            self._last_reason = reason

    def _upload(self, folder: AttemptFolder) -> None:
        """An attempt that has ended goes to MLflow, drawn if there is something to draw."""
        if not self._renders.add(folder):
            self._uploader.finish(folder)

    # When to stop

    def _check_failures_in_a_row(self) -> None:
        if self._failures_in_a_row >= self._config.execution.max_failures_in_a_row:
            raise StudyStopped(
                f"{self._failures_in_a_row} trials failed in a row, the last because {self._last_reason}",
                "trials that train",
                f"change the configuration, or raise execution.max_failures_in_a_row (see {self._engine.log})",
            )

    def _check_exhausted(self) -> None:
        """A space that holds nothing new is an end, but not a good one where configurations failed."""
        failed, ended = self._search.failed(), self._search.done
        if self.exhausted and failed:
            raise StudyStopped(
                f"{ended} trials done and {failed[0]} failed, the last because {failed[1]}",
                f"{self._config.study.trials}, and the space holds no other configuration",
                f"change the configuration, under another study.name ({self._engine.log})",
            )

    def _check_patience(self) -> None:
        away, patience = self._uploader.away, self._config.tracking.patience
        if away and time.monotonic() - away.began > patience:
            raise StoreError(
                f"MLflow's store {self._tracker.uri} has been away for {patience:g} s ({away.reason})",
                "it to answer within tracking.patience",
                "start it again; the same command then goes on, and what waits on disk is logged",
            )

    def _close(self) -> None:
        """Ends what trains; what is being drawn or delivered gets some seconds, and waits for the next start else."""
        until = time.monotonic() + _CLOSING
        while self._running:
            number, running = self._running.popitem()
            self._engine.stop((_TRAIN, number))
            finish_attempt(self._search, running.folder, "interrupted")
            self._upload(running.folder)
        while self._uploading() and not self._uploader.away and time.monotonic() < until:
            self._wait()

    def _remove_staging(self) -> None:
        with contextlib.suppress(OSError):  # what was not delivered stays
            self._context.staging.rmdir()
