"""Coordinator of a study: starts attempts, handles the events of their workers and records their ends.

It does not wait for MLflow: it writes to the attempts' folders, and `uploader` uploads from there.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from poolstudy.errors import DeviceError
from poolstudy.execution import EpochEnded, Event, Failed, Finished, Lost
from poolstudy.execution.devices import find_gpus, hardware
from poolstudy.execution.gpu.nvidia import Meter
from poolstudy.execution.local import LocalEngine
from poolstudy.execution.placement import Placement, PlacementPool
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import Device, EpochRecord, State
from poolstudy.spec.space import HyperParameters
from poolstudy.study import rendering
from poolstudy.study.recovery import finish_attempt, recover
from poolstudy.study.stopping import StopRules
from poolstudy.study.uploader import Uploader
from poolstudy.system.signals import Interrupt
from poolstudy.terminal.display import Display
from poolstudy.trial import tasks
from poolstudy.trial.attempt_folder import AttemptFolder, unread

if TYPE_CHECKING:
    from poolstudy.search import Attempt, Search
    from poolstudy.tracking import Tracker

_TRAIN = "train"
_MOMENT = 0.2  # seconds between checks for a signal
_OPENING = 5.0  # seconds to wait for a run before its trial starts without it
_CLOSING = 6.0  # seconds for renderings and uploads after a first Ctrl-C
_LAST_UPLOAD = 2.5  # seconds more to close the study's own run


class TrialListener(Protocol):
    """Listener to the attempts' events; `key` is the number of the Optuna trial."""

    def started(self, key: int, name: str, network: HyperParameters, /) -> None: ...

    def epoch(self, key: int, record: EpochRecord, /) -> None: ...

    def ended(self, key: int, state: State, reason: str, /) -> None: ...


@dataclass(frozen=True)
class StudyContext:
    """Resources for a study's attempts."""

    staging: Path  # folder of the attempts' folders
    data: Path  # folder of the saved `SearchData`
    placements: list[Placement]  # one for each worker that may run at the same time
    about: dict[str, object]  # contents of environment.json, without the device
    patch: str  # uncommitted changes to the code


class _Training(NamedTuple):
    folder: AttemptFolder
    placement: Placement


class Coordinator:
    """Coordinator of one study.

    Args:
        renders_at_once: limit on the attempts that are rendered at the same time.

    Attributes:
        exhausted: whether the space holds no configuration that was not tried.
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
        renders_at_once: int,
    ) -> None:
        self.exhausted = False
        self._config, self._context = config, context
        self._engine, self._tracker, self._search = engine, tracker, search
        self._display, self._listeners, self._interrupt = display, listeners, interrupt
        figures, retries = config.tracking.figures, config.execution.retries
        self._renders = rendering.RenderQueue(engine, context.data, figures, at_once=renders_at_once, retries=retries)
        self._uploader, self._rules = Uploader(tracker), StopRules(config, tracker.uri, engine.log)
        self._placements, self._meter = PlacementPool(context.placements), Meter()
        self._lost_on: Device | None = None
        self._training: dict[int, _Training] = {}  # by the number of the Optuna trial

    def run(self) -> None:
        """Recover what a crash left open, then train.

        Raises:
            StudyStopped: too many trials failed.
            StoreError: MLflow's store failed, or was away for too long.
            DeviceError: no GPU works any more.
        """
        with contextlib.ExitStack() as last:  # every step is taken, even if another fails
            last.callback(self._search.close)
            last.callback(self._engine.close)
            last.callback(self._close)
            self._recover()
            with self._display:
                self._display.count(self._search.done, self._search.ended())
                self._loop()
        if self.exhausted:
            self._rules.check_failed(self._search.done, self._search.failed())

    def finish(self, last: Callable[[], None]) -> None:
        """Do a last upload, unless MLflow is away; the next start does it then.

        Raises:
            StoreError: MLflow's store failed.
        """
        try:
            self._uploader.close(last, _LAST_UPLOAD if self._interrupt.signal else 10 * _LAST_UPLOAD)
        finally:
            self._note_runs()  # those opened since the loop ended

    def _recover(self) -> None:
        for folder in recover(self._search, self._tracker, self._context.staging):
            self._uploader.add(folder)
            self._upload(folder)
        if (aside := unread(self._context.staging)).is_dir():
            self._display.warn(f"{os.path.relpath(aside)} has attempts of another version that this one cannot read")
        # Close the runs of attempts without figures before a new one starts.
        self._poll(lambda: self._uploader.away is not None or self._uploader.flush(_MOMENT), _CLOSING)

    # The loop

    def _loop(self) -> None:
        while self._interrupt.signal is None:
            self._check_gpus()
            self._fill()
            if not self._engine.running() and not self._uploading():
                return
            self._wait()
            self._rules.check(self._uploader.away)

    def _uploading(self) -> int:
        return self._renders.pending() + self._uploader.pending()

    def _wait(self) -> None:
        """Wait half a second at most, for events and uploads, and handle them."""
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
            self._display.warn(f"{folder} was deleted: the files of earlier runs are gone; the study goes on")

    def _poll(self, done: Callable[[], bool], seconds: float) -> None:
        """Call `done`, which waits a moment, until it returns True, a signal comes or the time is over."""
        until = time.monotonic() + seconds
        while self._interrupt.signal is None and time.monotonic() < until and not done():
            pass

    def _note_runs(self) -> None:
        for attempt, run_id in self._uploader.drain_opened():
            self._search.opened_run(attempt, run_id)

    def _fill(self) -> None:
        """Start attempts while a placement is free and trials are missing."""
        while self._placements and self._interrupt.signal is None:
            missing = self._config.study.trials - self._search.done - len(self._training)
            if missing <= 0 or self._rules.timed_out():
                return
            attempt = self._search.next_attempt(self._config.execution.retries)
            if attempt is None:
                self.exhausted = not self._training  # one of these may be lost, and tried again
                return
            self._start(attempt)

    def _start(self, attempt: "Attempt") -> None:
        folder = AttemptFolder.make(self._context.staging, attempt, self._context.patch)
        placement = self._placements.take()
        self._training[attempt.number] = _Training(folder, placement)
        self._uploader.add(folder)
        self._poll(lambda: self._uploader.wait_opened(folder, _MOMENT), _OPENING)
        self._note_runs()
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
        """Drop the placements on GPUs that no longer work, if a worker was lost on a GPU."""
        if self._lost_on is None:
            return
        lost_on, self._lost_on = self._lost_on, None
        found = find_gpus(self._engine)
        for gpu in self._placements.keep((*found.gpus, *found.full)):
            self._engine.retire()  # older workers know the GPUs by their old numbers
            self._display.say(f"GPU at /device:{gpu.name} ({gpu.description}) is gone: no trial starts there any more")
        if not self._placements.left():
            why = f"; {found.lines[0]}" if found.lines else ""
            raise DeviceError(
                f"a trial was lost on {lost_on.name} ({lost_on.description}), and no GPU works any more{why}",
                "a GPU that works",
                "fix it (see nvidia-smi and dmesg); the same command then goes on",
            )

    def _handle(self, event: Event) -> None:
        job, number = event.key
        match event:
            case _ if job == rendering.JOB:
                if rendered := self._renders.handle(event):
                    self._uploader.finish(*rendered)
            case EpochEnded(key, record):
                prune = self._search.report(number, record)
                # On disk before the worker goes on: MLflow then misses no epoch of a trial that Optuna counts.
                folder, placement = self._training[number]
                folder.add_epoch(record, self._meter.read(placement.device))
                self._uploader.epoch(folder)
                self._engine.answer(key, prune)
                for listener in self._listeners:
                    listener.epoch(number, record)
            case Finished(_, result):
                self._end(number, result.state)
            case Failed(_, reason):
                self._end(number, "failed", reason)
            case Lost(_, reason):
                device = self._training[number].placement.device
                self._end(number, "lost", reason)
                if device.is_gpu:
                    self._lost_on = device

    def _end(self, number: int, state: State, reason: str = "") -> None:
        """End an attempt and free its placement; its rendering and upload follow while others train."""
        folder, placement = self._training.pop(number)
        self._placements.give_back(placement)
        state, reason = finish_attempt(self._search, folder, state, reason)
        self._display.count(self._search.done, self._search.ended())
        for listener in self._listeners:
            listener.ended(number, state, reason)
        self._upload(folder)
        again = self._search.tries_again(folder.attempt.slot, self._config.execution.retries)
        self._rules.trial_ended(state, reason, tried_again=again)

    def _upload(self, folder: AttemptFolder) -> None:
        """Upload an attempt that has ended, after rendering it if necessary."""
        if not self._renders.add(folder):
            self._uploader.finish(folder)

    def _close(self) -> None:
        """Interrupt the training and wait for renderings and uploads; the next start does what takes too long."""
        until = time.monotonic() + _CLOSING
        while self._training:
            number, (folder, _) = self._training.popitem()
            self._engine.stop((_TRAIN, number))
            finish_attempt(self._search, folder, "interrupted")
            self._upload(folder)
        while self._uploading() and not self._uploader.away and time.monotonic() < until:
            self._wait()
        with contextlib.suppress(OSError):  # kept if something is not uploaded
            self._context.staging.rmdir()
