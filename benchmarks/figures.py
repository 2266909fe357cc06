"""Cost of a trial's pictures: CPU seconds of the process that draws them, and of `dot`, which it starts.

    python benchmarks/figures.py --runs 9

Each network is trained for two epochs on Fashion-MNIST, then rendered `--runs` times, in turns. As in a study, each
rendering is a process of its own, forked from the server of workers; the fork is counted too.
"""

import argparse
import contextlib
import functools
import resource
import statistics
import tempfile
from pathlib import Path

from poolstudy.data.loading import load_search_data
from poolstudy.execution.local import LocalEngine
from poolstudy.spec.load import find_root, load_config
from poolstudy.spec.records import FigureSettings, TrialSpec
from poolstudy.spec.space import HyperParameters
from poolstudy.trial import tasks

NETWORKS = ((16, 16), (32, 64), (64, 64))


def main() -> None:
    """Print the median, minimum and maximum of each network."""
    parser = argparse.ArgumentParser(description="CPU seconds of the figures of a trial")
    parser.add_argument("--runs", type=int, default=5, help="renderings of each network (default: 5)")
    runs = parser.parse_args().runs
    root = find_root(Path.cwd())
    with tempfile.TemporaryDirectory() as folder:
        engine = LocalEngine(tasks.run_task, tasks.PRELOAD, Path(folder) / "log.txt", threads=1)
        with contextlib.closing(engine):
            drawings = [_trained(engine, Path(folder), root, filters) for filters in NETWORKS]
            turns = [[engine.call(functools.partial(seconds, one)) for one in drawings] for _ in range(runs)]
    print("filters    median   least    most   (CPU seconds)")
    for filters, taken in zip(NETWORKS, zip(*turns, strict=True), strict=True):
        name = "-".join(map(str, filters))
        print(f"{name:8} {statistics.median(taken):8.2f} {min(taken):7.2f} {max(taken):7.2f}")


def seconds(drawing: tasks.DrawTask) -> float:
    """Render in this new process; return its CPU seconds since it began, and those of its children."""
    tasks.run_task(drawing, lambda _: False)
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _trained(engine: LocalEngine, folder: Path, root: Path, filters: tuple[int, ...]) -> tasks.DrawTask:
    """Train a network and return the task that renders it."""
    config = load_config("pooling", ["data.train_limit=2000", "training.epochs=2"], root)
    data = load_search_data(config.data, root)
    saved, trial = data.save(folder / "data"), folder / "-".join(map(str, filters))
    network = HyperParameters(pooling="max", pool_size=2, filters=filters, dropout=0.4)
    spec = TrialSpec(
        study="figures", slot=1, seed=1, hyperparameters=network, training=config.training, data=data.identity
    )
    (trial / "files").mkdir(parents=True)
    task = tasks.TrainTask(spec, saved, trial, "CPU:0", 1, {})
    engine.call(functools.partial(tasks.run_task, task, _go_on))
    return tasks.DrawTask(spec, saved, trial, FigureSettings())


def _go_on(_: object) -> bool:
    return False


if __name__ == "__main__":
    main()
