"""How good the time left was, of a study that is finished: its events told to a forecast once more.

    python -m benchmarks.forecast pooling [--root FOLDER]

At each end of a trial: how long the whole study then seemed to take, beside how long it took. Half of the
trials done, it is to be right within 20 %. The short training before the start is not recorded, so until a first
trial has ended nothing is said here.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import ROOT
from benchmarks.studies import Study, read
from poolstudy.spec.load import load_config
from poolstudy.spec.records import EpochRecord
from poolstudy.study.cost import CandidateNetworks, Sizes
from poolstudy.study.forecast import Forecast, Workload
from poolstudy.study.startup_estimate import candidates_of


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default="pooling")
    parser.add_argument("--experiment", help="whose space it has; the study's name if left out")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder (%(default)s)")
    options = parser.parse_args(arguments)
    study = read(options.root, options.study)
    offer = candidates_of(load_config(options.experiment or options.study, [], ROOT))
    print(f"{study.name}: {study.seconds:.0f} s; places: {study.places}")
    for one in told_again(study, offer):
        error = one.total / study.seconds - 1
        print(f"{one.done:3} done at {one.at:6.0f} s: {one.total:6.0f} s in all ({error:+.0%}), {one.left:.0f} s left")


@dataclass(frozen=True)
class Said:
    """What a forecast said when so many trials were done, in seconds since the first ask."""

    done: int
    at: float
    left: float

    @property
    def total(self) -> float:
        return self.at + self.left


def told_again(study: Study, offer: CandidateNetworks) -> Iterator[Said]:
    """What was said at the end of each trial that counts."""
    spec = study.trials[0].spec
    trials = sum(one.counts for one in study.trials)
    sizes = Sizes.of(spec.data, spec.training.dense_units)
    forecast = Forecast(
        Workload(trials, spec.training.epochs, study.places, offer, sizes), (), start=0, clock=lambda: now
    )
    begin, done, now = study.trials[0].asked, 0, 0.0
    for at, key, record in _events(study):
        trial, now = study.trials[key], at - begin
        if record is None:
            forecast.started(key, "", trial.spec.hyperparameters)
        elif isinstance(record, EpochRecord):
            forecast.epoch(key, record)
        else:
            forecast.ended(key, "complete" if trial.counts else "lost", "")
            done += trial.counts
            left = forecast.left()
            if trial.counts and left is not None:
                yield Said(done, now, left)


def _events(study: Study) -> list[tuple[float, int, EpochRecord | bool | None]]:
    """Everything that was told, in order: None where a trial starts, its epochs, True where it ends."""
    events: list[tuple[float, int, EpochRecord | bool | None]] = []
    for key, one in enumerate(study.trials):
        events.append((one.asked, key, None))
        events += [(min(at, one.ended), key, record) for at, record in one.epochs]
        events.append((one.ended, key, True))
    return sorted(events, key=lambda event: event[0])  # stable: of equal times, as they stand


if __name__ == "__main__":
    main()
