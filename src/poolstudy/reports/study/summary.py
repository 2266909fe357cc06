"""Counts, ranking and times of a study, from the Optuna and MLflow databases together."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from poolstudy.search.history import Range, StudyHistory, StudyTrial
from poolstudy.tracking import StoredRun

_BEST = 5  # trials whose settings are compared with the ends of their ranges
_ONE_PERCENT = 0.01
_FINAL_ENDS = {"dropout": 0.0}  # no value lies beyond


@dataclass(frozen=True)
class Times:
    """Seconds, summed over attempts that have ended.

    Attributes:
        training: in epochs.
        around: the rest: starting processes, building and saving networks, and all the time of lost attempts.
        whole: from the first attempt's start to the last one's end; not a sum.
    """

    training: float
    around: float
    whole: float

    @property
    def at_once(self) -> float:
        """Mean number of attempts that ran at once."""
        return (self.training + self.around) / self.whole if self.whole else 0.0


@dataclass(frozen=True)
class StudySummary:
    """Study with its `history` from Optuna and `runs` from MLflow by run ID; `study` is the study's own run."""

    study: StoredRun
    history: StudyHistory
    runs: Mapping[str, StoredRun]

    @cached_property
    def ranked(self) -> list[StudyTrial]:
        return self.history.ranked()

    @cached_property
    def counts(self) -> Counter[str]:
        """Number of trials by state, "duplicate" and "running" included."""
        return Counter(str(trial.state or "running") for trial in self.history.trials)

    @property
    def counted(self) -> int:
        """Number of trials that count towards the study's total."""
        return self.counts["complete"] + self.counts["pruned"]

    def ended(self, *states: str) -> list[StudyTrial]:
        return [trial for trial in self.history.trials if trial.state in states]

    def groups(self) -> dict[str, list[float]]:
        """Return the objectives of the complete trials by pooling."""
        groups = by_pooling(self.ranked)
        return {pooling: [trial.value or 0.0 for trial in trials] for pooling, trials in groups.items()}

    def best_so_far(self) -> list[tuple[float, float]]:
        """Return the best complete value so far as the corners of a step line, (number, value)."""
        steps: list[tuple[float, float]] = []
        complete = [(trial.number, trial.value) for trial in self.ended("complete") if trial.value is not None]
        values = itertools.accumulate((value for _, value in complete), max if self.history.maximize else min)
        for (number, _), best in zip(complete, values, strict=True):
            if steps and best != steps[-1][1]:
                steps.append((number, steps[-1][1]))
            steps.append((number, best))
        return steps

    def edges(self) -> Iterator[str]:
        """Yield a sentence for each dimension in which the best trial lies at an end of the range."""
        best = self.ranked[:_BEST]
        for name, span in self.history.ranges.items():
            ends = [_end(float(trial.settings[name]), span) for trial in best if name in trial.settings]
            if not ends or name not in best[0].settings or ends[0] is None:
                continue
            side, beyond = ("upper", "higher") if ends[0] == span.high else ("lower", "lower")
            final = _FINAL_ENDS.get(name) == ends[0]
            advice = "no value lies beyond" if final else f"a range that goes {beyond} may hold better values"
            yield (
                f"{name}: the best trial has {best[0].settings[name]:g}, at the {side} end of {span.low:g} to "
                f"{span.high:g}{' (log scale)' if span.log else ''}; {ends.count(ends[0])} of the best {len(best)} are "
                f"at this end; {advice}."
            )

    def times(self) -> Times | None:
        """Return the times; None if no attempt has ended."""
        attempts = [(t.run_id, t.started, t.ended) for t in self.history.trials if t.started and t.ended and t.name]
        if not attempts:
            return None
        training = total = 0.0
        for run_id, started, ended in attempts:
            seconds = (ended - started).total_seconds()
            metrics = self.runs[run_id].metrics if run_id in self.runs else {}
            training += min(metrics.get("train_seconds", 0.0), seconds)
            total += seconds
        whole = max(ended for _, _, ended in attempts) - min(started for _, started, _ in attempts)
        return Times(training, total - training, whole.total_seconds())


def by_pooling(trials: Iterable[StudyTrial]) -> dict[str, list[StudyTrial]]:
    """Group trials by their pooling; a group keeps the order of the trials."""
    ordered = sorted(trials, key=lambda trial: trial.pooling)
    return {pooling: list(group) for pooling, group in itertools.groupby(ordered, lambda trial: trial.pooling)}


def _end(value: float, span: Range) -> float | None:
    """Return the end within a hundredth of the (logarithmic) range of a value, if any."""
    low, high, at = (math.log(x) if span.log else x for x in (span.low, span.high, value))
    near = _ONE_PERCENT * (high - low)
    return span.low if at - low <= near else span.high if high - at <= near else None
