"""Effect of pruning: studies of the same seed and budget that differ in the pruner, side by side.

for pruner in median hyperband none; do
  poolstudy run pooling study.name=pruner-$pruner pruner=$pruner
done
python -m benchmarks.pruning pruner-median pruner-hyperband pruner-none [--root FOLDER]

One order of trials is one sample only. So the curves of a study without pruning can be replayed to each pruner in many
random orders, one trial after the other, without any training:

python -m benchmarks.pruning --orders 200 pruner-none [--root FOLDER]
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import optuna

from benchmarks.cases import ROOT
from benchmarks.studies import Study, Told, read
from poolstudy.search.storage import pruner_of
from poolstudy.spec.config import StudyConfig
from poolstudy.spec.load import load_config


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", metavar="STUDY")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder (%(default)s)")
    parser.add_argument("--orders", type=int, help="replay the studies to each pruner in this many random orders")
    options = parser.parse_args(arguments)
    studies = [read(options.root, name) for name in options.studies]
    print(orders_table(studies, options.orders) if options.orders else table(studies))


def table(studies: Sequence[Study]) -> str:
    """Return as Markdown what each study trained, how long it took, and its best network of each pooling."""
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
    """Return the best accuracy of a pooling's complete trials, and their number."""
    own = [one for one in complete if one.spec.hyperparameters.pooling == pooling]
    return f"{max(map(_accuracy, own)):.4f} (of {len(own)})" if own else "none trained to its end"


def orders_table(studies: Sequence[Study], orders: int) -> str:
    """Return as Markdown what each pruner leaves of the studies' trials, on average over random orders."""
    rows = ["| study | pruner | epochs | seconds | best kept | best average kept | best max kept |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    configs = {pruner: load_config("pooling", [f"pruner={pruner}"], ROOT) for pruner in ("median", "hyperband")}
    for study in studies:
        for pruner, config in configs.items():
            found = [_played(study, config, seed) for seed in range(orders)]
            shares = [f"{mean(one.epochs for one in found):.0%}", f"{mean(one.seconds for one in found):.0%}"]
            kept = [f"{mean(one.kept(kind) for one in found):.0%}" for kind in (None, "average", "max")]
            rows.append(f"| {study.name} | {pruner} | {' | '.join([*shares, *kept])} |")
    return "\n".join(rows)


@dataclass(frozen=True)
class _Played:
    """Replay of a study: the share of epochs and seconds that a pruner left, and the trials that it did not prune."""

    trials: Sequence[Told]
    uncut: Sequence[Told]
    epochs: float
    seconds: float

    def kept(self, pooling: str | None) -> bool:
        """Return whether the best trial, or the best of a pooling, was trained to its end."""
        own = [one for one in self.trials if pooling in (None, one.spec.hyperparameters.pooling)]
        return max(own, key=_accuracy) in self.uncut


def _played(study: Study, config: StudyConfig, seed: int) -> _Played:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    book = optuna.create_study(study_name=f"order-{seed}", direction="maximize", pruner=pruner_of(config))
    trials = [one for one in study.trials if one.state == "complete"]
    random.Random(seed).shuffle(trials)
    trained, uncut = [], []
    for one in trials:
        records = [record for _, record in one.epochs]
        trial = book.ask()
        for record in records:
            trained.append(record.seconds)
            trial.report(record.val_accuracy, record.epoch)
            if record.epoch < config.training.epochs and trial.should_prune():
                book.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            book.tell(trial, _accuracy(one))
            uncut.append(one)
    every = [record.seconds for one in trials for _, record in one.epochs]
    return _Played(trials, uncut, len(trained) / len(every), sum(trained) / sum(every))


def _accuracy(trial: Told) -> float:
    """Return the accuracy at the epoch of least validation loss, as in a study."""
    return min((record for _, record in trial.epochs), key=lambda record: record.val_loss).val_accuracy


if __name__ == "__main__":
    main()
