"""How long a study takes: the most before it starts, the time left while it runs."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean

from poolstudy.spec.candidates import CandidateNetworks
from poolstudy.spec.records import EpochRecord, State
from poolstudy.spec.space import HyperParameters

_RECENT = 100  # trials that the time left is estimated from


@dataclass(frozen=True)
class Timing:
    """Seconds that an epoch of a network takes on all of the study's images."""

    network: HyperParameters
    seconds: float


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended: its epochs, and the seconds of one."""

    network: HyperParameters
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Workload:
    """What is to be trained.

    Attributes:
        trials: still to be done.
        epochs: at most, of each.
        at_once: trials that train at the same time.
        flops: operations of a network's forward pass.
        timeout: seconds after which no trial is started.
    """

    trials: int
    epochs: int
    at_once: int
    candidates: CandidateNetworks
    flops: Callable[[HyperParameters], int]
    timeout: float | None = None


@dataclass(frozen=True)
class Speed:
    """Seconds an epoch as a line over a network's operations: `fixed` is what its images cost whatever the network."""

    fixed: float
    per_flop: float

    def epoch(self, flops: float) -> float:
        return self.fixed + self.per_flop * flops

    @classmethod
    def fitted(cls, timings: Sequence[Timing], flops: Callable[[HyperParameters], int]) -> "Speed":
        """Fit the line of least relative squares; neither part of it is below zero.

        Raises:
            ValueError: nothing was measured.
        """
        from scipy.optimize import nnls  # a second to import

        if not timings:
            raise ValueError("no timing")
        unit = max(flops(timing.network) for timing in timings)
        rows = [[1 / timing.seconds, flops(timing.network) / unit / timing.seconds] for timing in timings]
        if len({row[1] / row[0] for row in rows}) == 1:  # of one network there is no line: each epoch costs the same
            rows = [[row[0], 0.0] for row in rows]
        (fixed, per_unit), _ = nnls(rows, [1.0] * len(rows))
        return cls(float(fixed), float(per_unit) / unit)


def max_seconds(workload: Workload, speed: Speed, beside: float) -> float:
    """Return the seconds that a study takes at most: every trial trains all its epochs, on the dearest networks.

    No network is trained twice, so of a small space all are. Several workers are never all idle but at the end: the
    work over the workers, and the dearest trial once (R. Graham's bound for list scheduling, 1966).

    Args:
        beside: seconds of a trial beside its epochs.
    """
    costs = sorted(_costs(workload, speed, beside), reverse=True)
    total, left = 0.0, float(workload.trials)
    for cost in costs:
        taken = left if workload.candidates.copies is None else min(left, workload.candidates.copies)
        total, left = total + taken * cost, left - taken
    return _shared(workload, total, costs[0])


def typical_seconds(workload: Workload, speed: Speed, beside: float) -> float:
    """Return the same with networks of the space's mean cost; still with all their epochs."""
    costs, copies = _costs(workload, speed, beside), workload.candidates.copies
    trials = workload.trials if copies is None else min(workload.trials, copies * len(costs))
    return _shared(workload, mean(costs) * trials, mean(costs))


def _costs(workload: Workload, speed: Speed, beside: float) -> list[float]:
    networks = workload.candidates.networks
    return [workload.epochs * speed.epoch(workload.flops(network)) + beside for network in networks]


def _shared(workload: Workload, total: float, last: float) -> float:
    workers = min(workload.at_once, max(1, workload.trials))
    seconds = total / workers + (1 - 1 / workers) * last if workload.trials else 0.0
    return seconds if workload.timeout is None else min(seconds, workload.timeout + last)


@dataclass
class _RunningTrial:
    network: HyperParameters
    began: float
    heard: float  # when it last ended an epoch
    seconds: list[float] = field(default_factory=list)  # of its epochs


class Forecast:
    """How much longer a study takes; told what happens to its trials, as it happens.

    Args:
        timings: measured before it started; forgotten as soon as a trial has ended.
        beside: seconds of a trial beside its epochs.
        finished: the trials that had ended before.
        clock: the time, in seconds.
    """

    def __init__(
        self,
        workload: Workload,
        timings: Sequence[Timing],
        beside: float,
        finished: Iterable[FinishedTrial] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workload, self._timings, self._clock = workload, timings, clock
        self._running: dict[int, _RunningTrial] = {}
        self._finished = deque(finished, maxlen=_RECENT)
        self._begun = {trial.network for trial in self._finished}
        self._besides = deque([beside], maxlen=_RECENT)
        self._done = 0

    def started(self, key: int, _: str, network: HyperParameters) -> None:
        now = self._clock()
        self._running[key] = _RunningTrial(network, now, now)
        self._begun.add(network)

    def epoch(self, key: int, record: EpochRecord) -> None:
        self._running[key].heard = self._clock()
        self._running[key].seconds.append(record.seconds)

    def ended(self, key: int, state: State, _: str) -> None:
        trial = self._running.pop(key)
        self._done += state in ("complete", "pruned")
        if trial.seconds:
            each = mean(trial.seconds[1:] or trial.seconds)  # the first epoch has the making of the graph in it
            if not self._finished:
                self._besides.clear()  # what was measured before gives way
            self._finished.append(FinishedTrial(trial.network, len(trial.seconds), each))
            self._besides.append(max(0.0, self._clock() - trial.began - each * len(trial.seconds)))

    def left(self) -> float | None:
        """Return the seconds until the last trial ends; None where nothing has been measured."""
        finished = list(self._finished)  # another thread adds to it
        timings = [Timing(trial.network, trial.seconds) for trial in finished] or self._timings
        if not timings:
            return None
        speed, beside = Speed.fitted(timings, self._workload.flops), mean(list(self._besides))
        running = list(self._running.values())
        workers = [self._rest(trial, speed, beside) for trial in running]
        workers += [0.0] * (self._workload.at_once - len(workers))
        heapq.heapify(workers)
        for flops in self._flops_to_come(running):  # each starts where a worker is free first
            seconds = self._epochs(0) * speed.epoch(flops) + beside
            heapq.heappush(workers, heapq.heappop(workers) + seconds)
        return max(workers)

    def _rest(self, trial: _RunningTrial, speed: Speed, beside: float) -> float:
        done = len(trial.seconds)
        seconds = (self._epochs(done) - done) * speed.epoch(self._workload.flops(trial.network))
        return max(0.0, seconds + (0 if done else beside) - (self._clock() - trial.heard))

    def _flops_to_come(self, running: Sequence[_RunningTrial]) -> Sequence[float]:
        """Return the operations of each trial that has not started."""
        count = max(0, self._workload.trials - self._done - len(running))
        candidates, flops = self._workload.candidates, self._workload.flops
        if candidates.in_order:
            return [flops(network) for network in candidates.networks if network not in self._begun][:count]
        # The mean of the trials so far and of the space, so that the first trials do not decide alone.
        begun = [trial.network for trial in self._finished] + [trial.network for trial in running]
        return [mean([*map(flops, begun), mean(map(flops, candidates.networks))])] * count

    def _epochs(self, done: int) -> float:
        """Return the epochs that a trial will train in all: the mean of those that trained more, and once all."""
        return mean([self._workload.epochs, *(trial.epochs for trial in list(self._finished) if trial.epochs > done)])
