"""Where the time of a finished study went: everything but training should stay below 5 %.

    python -m benchmarks.overhead pooling [--root FOLDER]

A trial occupies a worker from the moment Optuna is asked until the trial is saved. Outside of its epochs, this is
start, build, predictions and saving, and waiting for Optuna and MLflow. Rendering and uploading follow while other
trials train, and take processor time from them. Their whole cost is the difference to a study with
`tracking.figures.of=[]`.
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
    """Return the shares as printed lines."""
    trials = [one for one in study.trials if one.counts]
    complete = [one for one in trials if one.state == "complete"]
    training, life = sum(one.training for one in trials), sum(one.life for one in trials)
    span = study.places * study.seconds
    beside = [one.life - one.training for one in complete]
    shares = [rest / one.life for one, rest in zip(complete, beside, strict=True)]
    return [
        f"{study.name}: {len(trials)} trials, {study.places} at a time, {study.seconds:.0f} s",
        f"training            {training:8.1f} s  {training / span:6.1%} of all workers' time",
        f"beside it           {life - training:8.1f} s  {(life - training) / span:6.1%}",
        f"workers free        {span - life:8.1f} s  {(span - life) / span:6.1%}  (between trials, and the end)",
        f"a complete trial: {median(beside):.2f} s beside training (median), {median(shares):.1%} of its time",
    ]


if __name__ == "__main__":
    main()
