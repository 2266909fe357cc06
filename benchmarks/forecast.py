"""Quality of the time left, for a finished study: its events are replayed to a forecast.

    python -m benchmarks.forecast pooling [--root FOLDER]

At the end of each trial, the estimate of the whole study's time is compared with the time that it took. When half of
the trials are done, it should be right within 20 %. The short training before the start is not recorded, so there is
no estimate before the first trial has ended.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import ROOT
from benchmarks.studies import Study, read
from poolstudy.spec.candidates import CandidateNetworks
from poolstudy.spec.layers import flops, layers
from poolstudy.spec.load import load_config
from poolstudy.spec.records import EpochRecord
from poolstudy.spec.space import HyperParameters
from poolstudy.study.forecast import Forecast, Workload


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default="pooling")
    parser.add_argument("--experiment", help="experiment with its space; by default the study's name")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder (%(default)s)")
    options = parser.parse_args(arguments)
    study = read(options.root, options.study)
    candidates = CandidateNetworks.of(load_config(options.experiment or options.study, [], ROOT))
    print(f"{study.name}: {study.seconds:.0f} s; places: {study.places}")
    for one in told_again(study, candidates):
        error = one.total / study.seconds - 1
        print(f"{one.done:3} done at {one.at:6.0f} s: {one.total:6.0f} s in all ({error:+.0%}), {one.left:.0f} s left")


@dataclass(frozen=True)
class Said:
    """Estimate when this many trials were done, in seconds since the first ask."""

    done: int
    at: float
    left: float

    @property
    def total(self) -> float:
        return self.at + self.left


def told_again(study: Study, candidates: CandidateNetworks) -> Iterator[Said]:
    """Yield the estimate at the end of each trial that counts."""
    spec = study.trials[0].spec
    trials = sum(one.counts for one in study.trials)
    data, units = spec.data, spec.training.dense_units

    def flops_of(network: HyperParameters) -> int:
        return flops(layers(network, data.image_shape, len(data.class_names), units))

    workload = Workload(trials, spec.training.epochs, study.places, candidates, flops_of)
    forecast = Forecast(workload, (), beside=0, clock=lambda: now)
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
    """Return the events in order: None for the start of a trial, its epochs, True for its end."""
    events: list[tuple[float, int, EpochRecord | bool | None]] = []
    for key, one in enumerate(study.trials):
        events.append((one.asked, key, None))
        events += [(min(at, one.ended), key, record) for at, record in one.epochs]
        events.append((one.ended, key, True))
    return sorted(events, key=lambda event: event[0])  # stable for equal times


if __name__ == "__main__":
    main()
