"""How long a study takes and what it needs: arithmetic over what was measured. No process, no file.

Before it starts `max_seconds` says the most it can take; while it runs a `Forecast` is told what happens, and when.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from statistics import mean

from poolstudy.spec.records import EpochRecord, State
from poolstudy.spec.space import HyperParameters
from poolstudy.study.cost import CandidateNetworks, Sizes, Speed, Timing

DRAWING = 2.0
"""Seconds of one core that a trial's pictures take, rounded up: the epochs beside which they are drawn lack them."""

_PICTURES = 2_000_000  # bytes of a trial's pictures, tables and rows in both databases, rounded up
_BYTES = 4  # of a float32
_RECENT = 100  # trials that a forecast looks at: its cost must not grow with the study


@dataclass(frozen=True)
class Measured:
    """What short training showed.

    Attributes:
        timings: seconds an epoch on all images.
        start: seconds that a trial takes beside its epochs, its pictures apart.
        worker: bytes that a worker has to itself.
        server: bytes of the server that workers are forked from.
    """

    timings: tuple[Timing, ...]
    start: float
    worker: int
    server: int


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended: how many epochs it trained, and the seconds of one."""

    network: HyperParameters
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Workload:
    """What a study was asked for.

    Attributes:
        trials: still to be done.
        epochs: at most, of each.
        places: trials at once.
    """

    trials: int
    epochs: int
    at_once: int
    offer: CandidateNetworks
    sizes: Sizes
    timeout: float | None = None


def max_seconds(asked: Workload, speed: Speed, start: float) -> float:
    """Seconds that the study takes at most: every trial trains all its epochs, on the dearest networks there are.

    No network is trained twice, so of a small space all are. Several places are never all idle but at the end: the
    whole work over the places, and the dearest trial once (R. Graham's bound for list scheduling, 1966).
    """
    costs = sorted((asked.epochs * speed.epoch(one) + start for one in asked.offer.networks), reverse=True)
    return _bounded(asked, _first(costs, asked.offer.copies, asked.trials), costs[0])


def typical_seconds(asked: Workload, speed: Speed, start: float) -> float:
    """The same with networks of the space's mean cost, or those that are listed; still with all their epochs."""
    costs = [asked.epochs * speed.epoch(one) + start for one in asked.offer.networks]
    each = mean(costs)
    trials = asked.trials if asked.offer.copies is None else min(asked.trials, asked.offer.copies * len(costs))
    total = sum(costs[-int(trials) :]) if asked.offer.in_order else each * trials
    return _bounded(asked, total, each)


def _bounded(asked: Workload, total: float, last: float) -> float:
    at_once = min(asked.at_once, max(1, asked.trials))
    seconds = total / at_once + (1 - 1 / at_once) * last if asked.trials else 0.0
    return seconds if asked.timeout is None else min(seconds, asked.timeout + last)


def _first(costs: Sequence[float], copies: float | None, count: int) -> float:
    """The sum of the first `count` costs, each of which is there `copies` times."""
    total, left = 0.0, float(count)
    for cost in costs:
        taken = left if copies is None else min(left, copies)
        total, left = total + taken * cost, left - taken
    return total


def disk_bytes(asked: Workload, validation_images: int, figures: bool) -> int:
    """Bytes that the trials leave at most: model, untrained weights, predictions, pictures.

    The saved model has its weights and the two moments of Adam, which are still zero.
    """
    parameters = max(asked.sizes.parameters(one) for one in asked.offer.networks)
    each = 4 * _BYTES * parameters + _BYTES * validation_images * asked.sizes.classes
    return asked.trials * (each + (_PICTURES if figures else 0))


@dataclass
class _Trial:
    """A trial that runs: the seconds of the epochs it has trained, and when it last said so."""

    network: HyperParameters
    began: float
    heard: float
    seconds: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> int:
        return len(self.seconds)


@dataclass
class Forecast:
    """How much longer a study takes; told what happens, as it happens.

    Args:
        timings: measured before it started; forgotten as soon as trials have ended that show it better.
        before: the trials that had ended before.
        clock: what time it is, in seconds.
    """

    asked: Workload
    timings: Sequence[Timing]
    start: float
    before: InitVar[Iterable[FinishedTrial]] = ()
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self, before: Iterable[FinishedTrial]) -> None:
        sizes, offer = self.asked.sizes, self.asked.offer
        self._running: dict[int, _Trial] = {}
        self._past, self._begun = deque[FinishedTrial](maxlen=_RECENT), set[HyperParameters]()
        for finished in before:
            self._past.append(finished)
            self._begin(finished.network)
        self._done = 0
        self._besides = deque[float](maxlen=_RECENT)
        self._mean_flops = mean(sizes.flops(one) for one in offer.networks)

    def started(self, key: int, _: str, network: HyperParameters) -> None:
        now = self.clock()
        self._running[key] = _Trial(network, now, now)
        self._begin(network)

    def _begin(self, network: HyperParameters) -> None:
        if self.asked.offer.in_order:  # else nobody asks which they were, and they may be thousands
            self._begun.add(network)

    def epoch(self, key: int, record: EpochRecord) -> None:
        trial = self._running[key]
        trial.heard = self.clock()
        trial.seconds.append(record.seconds)

    def ended(self, key: int, state: State, _: str) -> None:
        trial = self._running.pop(key)
        if trial.seconds:
            # The first epoch has the making of the graph in it: that is the start's.
            each = mean(trial.seconds[1:] or trial.seconds)
            self._past.append(FinishedTrial(trial.network, trial.epochs, each))
            self._besides.append(max(0.0, self.clock() - trial.began - each * trial.epochs))
        self._done += state in ("complete", "pruned")

    def left(self) -> float | None:
        """Seconds until the last trial ends; None where nothing has been measured."""
        timings = [Timing(one.network, one.seconds) for one in self._recent()] or list(self.timings)
        if not timings:
            return None
        speed = Speed.fitted(timings, self.asked.sizes)
        besides = mean(list(self._besides)) if self._besides else self.start
        at_once = [self._rest(trial, speed, besides) for trial in list(self._running.values())]
        at_once += [0.0] * (self.asked.at_once - len(at_once))
        heapq.heapify(at_once)
        last, many = self._to_come(speed, besides)
        for seconds in last:  # each goes where a place is free first
            heapq.heappush(at_once, heapq.heappop(at_once) + seconds)
        return max(at_once) + many / len(at_once)

    def _rest(self, trial: _Trial, speed: Speed, besides: float) -> float:
        to_do = self._epochs(trial.epochs) - trial.epochs
        seconds = to_do * speed.epoch(trial.network) + (0 if trial.epochs else besides)
        return max(0.0, seconds - (self.clock() - trial.heard))

    def _to_come(self, speed: Speed, besides: float) -> tuple[list[float], float]:
        """The seconds of each trial that has not started, of the last few; and those of all others together."""
        count = max(0, self.asked.trials - self._done - len(self._running))
        offer, epochs = self.asked.offer, self._epochs(0)
        if offer.in_order:
            known = [speed.epoch(one) for one in offer.networks if one not in self._begun]
            each = [epochs * seconds + besides for seconds in known[:count]]
            return each[-_RECENT:], sum(each[:-_RECENT])
        # As long as those that began, and as one of the space's mean, so that the first ones do not decide alone.
        running = [trial.network for trial in list(self._running.values())]
        flops = [self.asked.sizes.flops(one) for one in [one.network for one in self._recent()] + running]
        one = epochs * (speed.fixed + speed.per_flop * mean([*flops, self._mean_flops])) + besides
        return [one] * min(count, _RECENT), one * max(0, count - _RECENT)

    def _epochs(self, done: int) -> float:
        """How many epochs a trial trains that has done so many: as those that went further, and once all of them."""
        return mean([self.asked.epochs, *(one.epochs for one in self._recent() if one.epochs > done)])

    def _recent(self) -> list[FinishedTrial]:
        return list(self._past)  # another thread draws
