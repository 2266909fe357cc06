"""What a study will take, told before it starts: from a short training, or from the trials that have ended."""

import functools
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from poolstudy.execution.local import LocalEngine
from poolstudy.spec import layers
from poolstudy.spec.candidates import CandidateNetworks, candidate_layers, layers_of
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.records import CountedTrial, DataIdentity, TrialSpec
from poolstudy.spec.space import HyperParameters
from poolstudy.study import measurement
from poolstudy.study.forecast import FinishedTrial, Forecast, Speed, Timing, Workload, max_seconds, typical_seconds
from poolstudy.study.measurement import Measured
from poolstudy.system.formats import rounded, size

if TYPE_CHECKING:
    from poolstudy.tracking import Tracker

_MEASURE_TIMEOUT = 600.0  # seconds, where no trial has a limit; it takes some ten
_RENDERING = 2.0  # seconds of one core that a trial's pictures take, rounded up: training gets that much less
_PICTURES = 2_000_000  # bytes of a trial's pictures, tables and rows in both databases, rounded up
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class FreeResources:
    """Bytes that are free: on the disk of a folder, and of memory."""

    disk: int
    memory: int

    @classmethod
    def of(cls, folder: Path) -> "FreeResources":
        return cls(shutil.disk_usage(folder).free, min(psutil.virtual_memory().available, _container_memory()))


def _container_memory() -> int:
    """Return the memory that a container leaves this process (Linux' control groups, second version)."""
    groups = Path("/sys/fs/cgroup")
    try:
        return int((groups / "memory.max").read_text()) - int((groups / "memory.current").read_text())
    except (OSError, ValueError):  # no such limit, or "max"
        return sys.maxsize


@dataclass(frozen=True)
class StartupEstimate:
    """A study before it starts, or goes on.

    Attributes:
        finished: the trials that have ended, as far as they show how long one takes.
        measured: by a short training; None where trials have ended, or where it failed.
        process: bytes of this process.
    """

    config: StudyConfig
    data: DataIdentity
    workload: Workload
    finished: tuple[FinishedTrial, ...]
    measured: Measured | None
    process: int

    def forecast(self) -> Forecast:
        """Return a forecast of the time left, to be told what happens."""
        return Forecast(self.workload, self._measured_timings, self._start, self.finished)

    def lines(self, free: FreeResources) -> list[str]:
        """Return what to expect, for a person; nothing where nothing is known or nothing is left to do."""
        workload = self.workload
        timings = [Timing(trial.network, trial.seconds) for trial in self.finished] or self._measured_timings
        if not timings or not workload.trials:
            return []
        speed, beside = Speed.fitted(timings, workload.flops), self._start + (_RENDERING if self._renders else 0.0)
        most, typical = max_seconds(workload, speed, beside), typical_seconds(workload, speed, beside)
        expected = f"At most {rounded(most)}"
        if most > 1.2 * typical:
            expected += f", about {rounded(typical)} with networks of the space's mean cost"
        trials = "1 trial" if workload.trials == 1 else f"{workload.trials} trials"
        at_once = min(workload.at_once, workload.trials)
        needs = [f"{size(self.disk)} of disk ({size(free.disk)} free)"]
        if self.memory:
            needs.append(f"{size(self.memory)} of memory ({size(free.memory)} free)")
        return [
            f"{expected} ({trials} of up to {workload.epochs} epochs, {at_once} at a time).",
            f"Needs up to {' and '.join(needs)}.",
        ]

    def warnings(self, free: FreeResources) -> list[str]:
        """Return what this machine has too little of."""
        found = []
        if self.disk > free.disk:
            found.append(f"disk: {size(free.disk)} free in mlruns/, the study needs up to {size(self.disk)}; make room")
        if self.memory > free.memory:
            missing = f"memory: {size(free.memory)} free, the study needs {size(self.memory)}"
            found.append(f"{missing}; close something, or start fewer workers (execution.workers)")
        return [f"Warning, too little {line}." for line in found]

    @property
    def disk(self) -> int:
        """Bytes that the trials leave at most."""
        return self.workload.trials * trial_bytes(self.config, self.data.validation_images)

    @property
    def memory(self) -> int:
        """Bytes of all processes together; 0 where it was not measured."""
        if self.measured is None:
            return 0
        # A worker trains and another one draws what was trained.
        workers = min(self.workload.at_once, self.workload.trials) * (2 if self._renders else 1)
        return self.process + self.measured.server + workers * self.measured.worker

    @property
    def _renders(self) -> bool:
        return bool(self.config.tracking.figures.of)

    @property
    def _measured_timings(self) -> Sequence[Timing]:
        return self.measured.timings if self.measured else ()

    @property
    def _start(self) -> float:
        return self.measured.start if self.measured else 0.0


def trial_bytes(config: StudyConfig, validation_images: int = 0) -> int:
    """Return the bytes that a trial leaves at most: model, untrained weights, predictions, pictures.

    The saved model has its weights and the two moments of Adam.
    """
    weights = max(map(layers.parameters, candidate_layers(config)))
    predictions = validation_images * len(config.data.class_names)
    return _FLOAT * (4 * weights + predictions) + (_PICTURES if config.tracking.figures.of else 0)


def flops_of(config: StudyConfig) -> Callable[[HyperParameters], int]:
    """Return a function that counts the operations of a network's forward pass, on a study's images."""
    return lambda network: layers.flops(layers_of(config, network))


def estimate_startup(
    config: StudyConfig,
    data: DataIdentity,
    at_once: int,
    ended: Sequence[CountedTrial],
    tracker: "Tracker",
    measured: Measured | None,
) -> StartupEstimate:
    """Estimate a study before it starts, from the trials that ended or else from what was measured.

    Args:
        at_once: trials that train at the same time.
        ended: the trials that count already.
    """
    candidates = CandidateNetworks.of(config)
    there = len(candidates.networks) if candidates.in_order else config.space.size()
    trials = config.study.trials if there is None else min(config.study.trials, there)
    workload = Workload(
        trials=max(0, trials - len(ended)),
        epochs=config.training.epochs,
        at_once=at_once,
        candidates=candidates,
        flops=flops_of(config),
        timeout=config.study.timeout,
    )
    finished = tuple(finished_trials(ended, tracker, data.train_images))
    process = psutil.Process().memory_info().rss
    return StartupEstimate(config, data, workload, finished, None if finished else measured, process)


def measure(config: StudyConfig, data: DataIdentity, folder: Path, engine: LocalEngine, device: str) -> Measured | None:
    """Train the cheapest and the dearest network for some seconds; return None where that fails, or hangs.

    Args:
        folder: of the saved `SearchData`.
        device: of a worker.
    """
    settings = config.training.settings.model_copy(update={"epochs": 2})
    by_cost = {flops_of(config)(network): network for network in CandidateNetworks.of(config).networks}
    specs = [
        TrialSpec(study=config.study.name, slot=0, seed=0, hyperparameters=network, training=settings, data=data)
        for network in dict.fromkeys((by_cost[min(by_cost)], by_cost[max(by_cost)]))
    ]
    task = functools.partial(measurement.measure_networks, specs, folder, device, config.execution.threads_per_worker)
    try:
        measured: Measured = engine.call(task, config.execution.trial_timeout or _MEASURE_TIMEOUT)
    except ChildProcessError:  # whatever it was, the trials will show it
        return None
    return measured


def finished_trials(ended: Sequence[CountedTrial], tracker: "Tracker", train_images: int) -> list[FinishedTrial]:
    """Return what trials took that have ended, from their runs' metrics."""
    networks = {trial.run_id: trial.hyperparameters for trial in ended}
    found = []
    for run in tracker.runs("trial") if networks else ():
        speed, seconds = (run.metrics.get(name, 0.0) for name in ("images_per_second", "train_seconds"))
        if run.run_id in networks and speed > 0 and seconds > 0:
            each = train_images / speed
            found.append(FinishedTrial(networks[run.run_id], max(1, round(seconds / each)), each))
    return found
