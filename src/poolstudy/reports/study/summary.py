"""How a study stands: both books read together, counted and timed."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from poolstudy.search.history import Range, StudyHistory, StudyTrial
from poolstudy.tracking import StoredRun

_BEST = 5  # whose settings are looked at for edges
_ONE_PERCENT = 0.01
_NO_FURTHER = {"dropout": 0.0}
"""Ends that no wider range could move."""


@dataclass(frozen=True)
class Edge:
    """A dimension whose winner lies at an end of its range.

    Attributes:
        value: the winner's own.
        upper: whether the end is the upper one.
        best: how many of the best trials lie there, `of` so many.
        final: nothing could lie beyond.
    """

    name: str
    value: float
    range: Range
    upper: bool
    best: int
    of: int
    final: bool


@dataclass(frozen=True)
class Times:
    """Seconds, summed over attempts that have ended.

    Attributes:
        training: in epochs.
        around: the rest of the attempts: processes that start, networks that are built and saved, epochs that are
            answered; and all of what was lost.
        whole: from the first attempt's start to the last one's end.
    """

    training: float
    around: float
    whole: float

    @property
    def at_once(self) -> float:
        """How many attempts were under way at once, on average."""
        return (self.training + self.around) / self.whole if self.whole else 0.0


@dataclass(frozen=True)
class StudySummary:
    """A study in both books: `history` is Optuna's, `runs` MLflow's by their IDs, `study` the study's own run."""

    study: StoredRun
    history: StudyHistory
    runs: Mapping[str, StoredRun]

    @cached_property
    def ranked(self) -> list[StudyTrial]:
        return self.history.ranked()

    @cached_property
    def counts(self) -> Counter[str]:
        """Trials by how they ended: the ledger's words, "duplicate", "running"."""
        return Counter(str(one.state or "running") for one in self.history.trials)

    @property
    def counted(self) -> int:
        """Trials that count in the ledger."""
        return self.counts["complete"] + self.counts["pruned"]

    def run(self, tried: StudyTrial) -> StoredRun | None:
        """Its run; None where MLflow has it no more."""
        return self.runs.get(tried.run_id)

    def ended(self, *states: str) -> list[StudyTrial]:
        return [one for one in self.history.trials if one.state in states]

    def groups(self) -> dict[str, list[float]]:
        """What the complete trials of each pooling reached."""
        found: dict[str, list[float]] = {}
        for one in self.ranked:
            found.setdefault(one.pooling, []).append(one.value or 0.0)
        return dict(sorted(found.items()))

    def best_so_far(self) -> list[tuple[float, float]]:
        """Steps of (number, value): the best complete trial up to each."""
        steps: list[tuple[float, float]] = []
        better = max if self.history.maximize else min
        for one in self.history.trials:
            if one.state == "complete" and one.value is not None:
                best = better(steps[-1][1], one.value) if steps else one.value
                if steps and best != steps[-1][1]:
                    steps.append((one.number, steps[-1][1]))
                steps.append((one.number, best))
        return steps

    def edges(self) -> Iterator[Edge]:
        """Where the winner lies at the end of a range; of a range in which it could lie elsewhere."""
        best = self.ranked[:_BEST]
        for name, span in self.history.ranges.items():
            if not best or name not in best[0].settings or span.low >= span.high:
                continue
            value = float(best[0].settings[name])
            end = _end(value, span)
            if end is not None:
                same = sum(_end(float(one.settings[name]), span) == end for one in best if name in one.settings)
                yield Edge(name, value, span, end == span.high, same, len(best), _NO_FURTHER.get(name) == end)

    def times(self) -> Times | None:
        """Where the time went; None where nothing has ended."""
        spans = [(one, one.started, one.ended) for one in self.history.trials if one.started and one.ended and one.name]
        training = around = 0.0
        for one, started, ended in spans:
            run, lasted = self.run(one), (ended - started).total_seconds()
            trained = min(run.metrics.get("train_seconds", 0.0) if run else 0.0, lasted)
            training += trained
            around += lasted - trained
        if not spans:
            return None
        whole = max(ended for _, _, ended in spans) - min(started for _, started, _ in spans)
        return Times(training, around, whole.total_seconds())


def _end(value: float, span: Range) -> float | None:
    """The end of the range that a value lies at, within a hundredth of the range as it is sampled."""
    low, high, at = (math.log(one) if span.log else one for one in (span.low, span.high, value))
    near = _ONE_PERCENT * (high - low)
    return span.low if at - low <= near else span.high if high - at <= near else None
