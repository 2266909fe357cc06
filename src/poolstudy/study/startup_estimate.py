"""What a study will take, said before it starts: from a short training, or from the trials that have ended."""

import functools
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from poolstudy.execution.local import LocalEngine
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import CountedTrial, DataIdentity, TrialSpec
from poolstudy.study import measurement
from poolstudy.study.cost import CandidateNetworks, Sizes, Speed, Timing
from poolstudy.study.forecast import (
    DRAWING,
    FinishedTrial,
    Forecast,
    Measured,
    Workload,
    disk_bytes,
    max_seconds,
    typical_seconds,
)
from poolstudy.system.formats import rounded, size

if TYPE_CHECKING:
    from poolstudy.tracking import Tracker

_MEASURE_TIMEOUT = 600.0  # seconds of a measurement, where no trial has a limit; it takes some ten


@dataclass(frozen=True)
class StartupEstimate:
    """A study before it starts, or goes on.

    Attributes:
        past: the trials that have ended, as far as they show how long one takes.
        measured: by a short training; None where trials have ended, or where it failed.
        process: bytes of this process.
    """

    config: StudyConfig
    data: DataIdentity
    asked: Workload
    finished: tuple[FinishedTrial, ...]
    measured: Measured | None
    process: int

    def forecast(self) -> Forecast:
        """To be told what happens; it then knows how much longer the study takes."""
        timings = self.measured.timings if self.measured else ()
        return Forecast(self.asked, timings, self._start, self.finished)

    def lines(self, free: "FreeResources") -> list[str]:
        """What to expect, for a person; nothing where nothing is known or nothing is left to do."""
        timings = [Timing(one.network, one.seconds) for one in self.finished] or self._timings
        if not timings or not self.asked.trials:
            return []
        speed = Speed.fitted(timings, self.asked.sizes)
        beside = self._start + (DRAWING if self._drawn else 0.0)
        most, usual = max_seconds(self.asked, speed, beside), typical_seconds(self.asked, speed, beside)
        trials = "1 trial" if self.asked.trials == 1 else f"{self.asked.trials} trials"
        what = f"{trials} of up to {self.asked.epochs} epochs, {min(self.asked.at_once, self.asked.trials)} at a time"
        needs = [f"{size(self.disk_bytes)} of disk ({size(free.disk_bytes)} free)"]
        if self.memory:
            needs.append(f"{size(self.memory)} of memory ({size(free.memory)} free)")
        middle = (
            [f"If the networks cost what the space's do on average, {rounded(usual)}."] if most > 1.2 * usual else []
        )
        return [f"At most {rounded(most)} ({what}).", *middle, f"Needs up to {' and '.join(needs)}."]

    def warnings(self, free: "FreeResources") -> list[str]:
        """What this machine has too little of."""
        found = []
        if self.disk_bytes > free.disk_bytes:
            found.append(
                f"disk: mlruns/ has {size(free.disk_bytes)} left, "
                f"the study needs up to {size(self.disk_bytes)}; make room"
            )
        if self.memory > free.memory:
            lacks = f"memory: {size(free.memory)} are free, the study needs {size(self.memory)}"
            found.append(f"{lacks}; close something, or start fewer workers (execution.workers)")
        return [f"Warning, too little {line}." for line in found]

    @property
    def disk_bytes(self) -> int:
        """Bytes that the trials leave at most."""
        return disk_bytes(self.asked, self.data.validation_images, figures=self._drawn)

    @property
    def memory(self) -> int:
        """Bytes of all processes together; 0 where it was not measured."""
        if self.measured is None:
            return 0
        # A worker trains and another one draws what was trained, at each place.
        workers = min(self.asked.at_once, self.asked.trials) * (2 if self._drawn else 1)
        return self.process + self.measured.server + workers * self.measured.worker

    @property
    def _drawn(self) -> bool:
        return bool(self.config.tracking.figures.of)

    @property
    def _timings(self) -> Sequence[Timing]:
        return self.measured.timings if self.measured else ()

    @property
    def _start(self) -> float:
        return self.measured.start if self.measured else 0.0


def estimate_startup(
    config: StudyConfig,
    data: DataIdentity,
    at_once: int,
    ended: Sequence[CountedTrial],
    tracker: "Tracker",
    measured: Measured | None,
) -> StartupEstimate:
    """What is known of a study before it starts, from the trials that ended or else from what was measured.

    Args:
        places: trials at once.
        ended: the trials that count already.
    """
    offer, there = candidates_of(config), config.space.size()
    if offer.in_order:
        there = len(offer.networks)
    trials = config.study.trials if there is None else min(config.study.trials, there)
    asked = Workload(
        trials=max(0, trials - len(ended)),
        epochs=config.training.epochs,
        at_once=at_once,
        offer=offer,
        sizes=Sizes.of(data, config.training.dense_units),
        timeout=config.study.timeout,
    )
    finished = tuple(finished_trials(ended, tracker, data.train_images))
    return StartupEstimate(
        config, data, asked, finished, None if finished else measured, psutil.Process().memory_info().rss
    )


def measure(config: StudyConfig, data: DataIdentity, folder: Path, engine: LocalEngine, device: str) -> Measured | None:
    """Trains the cheapest and the dearest network for some seconds; None where that fails, or hangs.

    Args:
        folder: of the saved `SearchData`.
        device: of a worker.
    """
    settings = config.training.settings.model_copy(update={"epochs": 2})
    specs = [
        TrialSpec(study=config.study.name, slot=0, seed=0, hyperparameters=network, training=settings, data=data)
        for network in candidates_of(config).extremes(Sizes.of(data, settings.dense_units))
    ]
    task = functools.partial(measurement.measure_networks, specs, folder, device, config.execution.threads_per_worker)
    try:
        measured: Measured = engine.call(task, config.execution.trial_timeout or _MEASURE_TIMEOUT)
    except ChildProcessError:  # whatever it was, the trials will say it
        return None
    return measured


def finished_trials(ended: Sequence[CountedTrial], tracker: "Tracker", train_images: int) -> list[FinishedTrial]:
    """What trials took that have ended, from their runs' metrics."""
    networks = {one.run_id: one.hyperparameters for one in ended}
    found = []
    for run in tracker.runs("trial") if networks else ():
        speed, seconds = (run.metrics.get(name, 0.0) for name in ("images_per_second", "train_seconds"))
        if run.run_id in networks and speed > 0 and seconds > 0:
            each = train_images / speed
            found.append(FinishedTrial(networks[run.run_id], max(1, round(seconds / each)), each))
    return found


def candidates_of(config: StudyConfig) -> CandidateNetworks:
    """The networks that a study may train."""
    if config.sampler.name == "list":
        return CandidateNetworks.listed(config.sampler.trials)
    return CandidateNetworks.of(config.space, config.training.fixed)


@dataclass(frozen=True)
class FreeResources:
    """What is free: bytes on the disk of a folder, and of memory."""

    disk_bytes: int
    memory: int

    @classmethod
    def of(cls, folder: Path) -> "FreeResources":
        return cls(shutil.disk_usage(folder).free, min(psutil.virtual_memory().available, _container_memory()))


def _container_memory() -> int:
    """The memory that a container leaves this process (Linux' control groups, second version)."""
    groups = Path("/sys/fs/cgroup")
    try:
        return int((groups / "memory.max").read_text()) - int((groups / "memory.current").read_text())
    except (OSError, ValueError):  # no such limit, or "max"
        return sys.maxsize
