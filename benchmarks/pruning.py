"""What pruning gives: studies of the same seed and budget that differ in the pruner, side by side.

for pruner in median hyperband none; do
  poolstudy run pooling study.name=pruner-$pruner pruner=$pruner
done
python -m benchmarks.pruning pruner-median pruner-hyperband pruner-none [--root FOLDER]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import ROOT
from benchmarks.studies import Study, Told, read


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", metavar="STUDY")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder (%(default)s)")
    options = parser.parse_args(arguments)
    print(table([read(options.root, name) for name in options.studies]))


def table(studies: Sequence[Study]) -> str:
    """Markdown: what each study trained, how long it took, and the best network of each pooling that it found."""
    rows = [
        "| pruner | trials | pruned | epochs trained | in training | wall | best of average | best of max |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*rows, *(f"| {' | '.join(_cells(study))} |" for study in studies)])


def _cells(study: Study) -> list[str]:
    trials = [one for one in study.trials if one.counts]
    complete = [one for one in trials if one.state == "complete"]
    return [
        study.pruner,
        str(len(trials)),
        str(len(trials) - len(complete)),
        str(sum(len(one.epochs) for one in trials)),
        f"{sum(one.training for one in trials):.0f} s",
        f"{study.seconds:.0f} s",
        *(_best(complete, pooling) for pooling in ("average", "max")),
    ]


def _best(complete: Sequence[Told], pooling: str) -> str:
    """The best accuracy of a pooling's trials that were trained to their end, and how many those are."""
    own = [one for one in complete if one.spec.hyperparameters.pooling == pooling]
    return f"{max(map(_accuracy, own)):.4f} (of {len(own)})" if own else "none trained to its end"


def _accuracy(trial: Told) -> float:
    """At its epoch of least validation loss, as the study has it."""
    return min((record for _, record in trial.epochs), key=lambda record: record.val_loss).val_accuracy


if __name__ == "__main__":
    main()
