"""Where the trials' time went, read from a finished study: everything but training is to stay below 5 %.

    python -m benchmarks.overhead pooling [--root FOLDER]

A trial holds its place from the moment it is asked for until it is saved. What of that is not within its epochs is
start, build, predictions and saving, and Optuna's and MLflow's answers; drawing and logging follow beside
the training of others. They take their processor time from it all the same: what they cost on the whole is
the difference to a study with `tracking.figures.of=[]`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.cases import ROOT
from benchmarks.studies import Study, read


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", default="pooling")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder (%(default)s)")
    options = parser.parse_args(arguments)
    print("\n".join(lines(read(options.root, options.study))))


def lines(study: Study) -> list[str]:
    """The shares, for a person."""
    trials = [one for one in study.trials if one.counts]
    complete = [one for one in trials if one.state == "complete"]
    training, life = sum(one.training for one in trials), sum(one.life for one in trials)
    span = study.places * study.seconds
    beside = [one.life - one.training for one in complete]
    shares = [rest / one.life for one, rest in zip(complete, beside, strict=True)]
    return [
        f"{study.name}: {len(trials)} trials, {study.places} at a time, {study.seconds:.0f} s",
        f"training            {training:8.1f} s  {training / span:6.1%} of all places' time",
        f"beside it           {life - training:8.1f} s  {(life - training) / span:6.1%}",
        f"places free         {span - life:8.1f} s  {(span - life) / span:6.1%}  (between trials, and the end)",
        f"a complete trial: {median(beside):.2f} s beside training (median), {median(shares):.1%} of its time",
    ]


if __name__ == "__main__":
    main()
