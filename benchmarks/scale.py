"""Thousands of trials through the real coordinator, search and tracking; only the training is simulated.

Measures the time of the coordinator per trial, with its logging, that of the sampler and the pruner, and the memory.
It is processor time, so that other work on the machine counts less. The databases are in /dev/shm if it exists, so
that the disk does not count.

    python -m benchmarks.scale --trials 1000 --sampler random --pruner none
    python -m benchmarks.scale --trials 10000 --sampler tpe --keep /dev/shm/scale     (keeps the databases)
"""

import argparse
import contextlib
import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import psutil
from rich.console import Console

from benchmarks.cases import ROOT
from benchmarks.machine import machine
from poolstudy.execution import EpochEnded, Event, Finished, Key, devices
from poolstudy.spec.load import load_config
from poolstudy.spec.records import EpochRecord, TrialResult, best_epoch, draw_seed
from poolstudy.study import run_study
from poolstudy.system import gc_tuning
from poolstudy.trial.tasks import TrainTask

_EPOCHS = 3
_EVERY = 100  # trials between two notes
_UNDELIVERED = 8  # attempts' folders that may wait for their upload
_SPACE = """\
pooling: [average, max]
pool_size: 2
filters: [{low: 8, high: 96, step: 8}, {low: 8, high: 96, step: 8}]
dropout: {low: 0.0, high: 0.7}
learning_rate: {low: 0.0003, high: 0.003, log: true}
batch_size: [32, 64, 128]
"""


class PlayedEngine:
    """Engine that simulates workers: epochs with made-up values, a folder with few files."""

    def __init__(self, *_: object) -> None:
        self.log = Path(os.devnull)
        self._tasks: dict[Key, TrainTask] = {}
        self._history: dict[Key, list[EpochRecord]] = {}
        self._stopped: set[Key] = set()
        self.ended = 0

    def call(self, function: Callable[[], Any], timeout: float | None = None) -> Any:  # noqa: ARG002  # an engine's
        if function is devices._list_gpus:
            return [], {}
        raise ChildProcessError("nothing is measured here")

    def call_each(self, functions: Sequence[Callable[[], Any]], timeout: float | None = None) -> list[Any]:
        return [self.call(one, timeout) for one in functions]

    def start(self, key: Key, task: TrainTask, timeout: float | None = None, reuse_key: str = "") -> None:  # noqa: ARG002
        if not CLOCK.notes:
            CLOCK.note(0)
        self._tasks[key], self._history[key] = task, []

    def running(self) -> list[Key]:
        return list(self._tasks)

    def events(self, timeout: float) -> Iterator[Event]:  # noqa: ARG002
        """Yield one event, of each task in turn; wait for uploads first, since real trials take longer than they do."""
        key, task = next(iter(self._tasks.items()))
        self._tasks[key] = self._tasks.pop(key)
        while sum(1 for _ in task.folder.parent.glob("*")) > _UNDELIVERED:
            time.sleep(0.01)
        with CLOCK.leaving("played"):
            event = self._next(key, task)
        yield event

    def _next(self, key: Key, task: TrainTask) -> Event:
        history = self._history[key]
        if len(history) == task.spec.training.epochs or key in self._stopped:
            result = _result(task, history, pruned=key in self._stopped)
            del self._tasks[key], self._history[key]
            self._stopped.discard(key)
            self.ended += 1
            if self.ended % _EVERY == 0:
                CLOCK.note(self.ended)
            return Finished(key, result)
        history.append(_epoch(task, len(history) + 1))
        return EpochEnded(key, history[-1])

    def answer(self, key: Key, stop: bool) -> None:
        if stop:
            self._stopped.add(key)

    def stop(self, key: Key) -> None:
        self._tasks.pop(key, None)

    def retire(self) -> None:
        pass

    def close(self) -> None:
        self._tasks.clear()


def _epoch(task: TrainTask, epoch: int) -> EpochRecord:
    noise = draw_seed(task.spec.seed, epoch) / 2**31
    network = task.spec.hyperparameters
    value = 0.8 + 0.0005 * sum(network.filters) - 0.05 * network.dropout + 0.01 * epoch + 0.01 * noise
    return EpochRecord(epoch=epoch, loss=1 - value, accuracy=value, val_loss=1 - value, val_accuracy=value, seconds=9)


def _result(task: TrainTask, history: list[EpochRecord], *, pruned: bool) -> TrialResult:
    result = TrialResult(
        history=tuple(history),
        best_epoch=best_epoch(tuple(history)),
        stop_reason="pruned" if pruned else "epochs",
        parameter_count=1,
        weights_digest="w" * 64,
        untrained_digest="u" * 64,
        train_seconds=9.0 * len(history),
        images_per_second=1000,
    )
    (task.folder / "files").mkdir(parents=True)
    (task.folder / "files" / "history.csv").write_text("epoch\n")
    (task.folder / "result.json").write_text(result.model_dump_json())
    return result


@dataclass(frozen=True)
class Note:
    """State when this many trials had ended, in seconds and MiB; the first note is the first trial's start."""

    trials: int
    wall: float
    cpu: float
    sampler: float
    pruner: float
    played: float
    rss_mib: float

    @property
    def own(self) -> float:
        """Time of the coordinator: without the sampler, the pruner and the simulation."""
        return self.cpu - self.sampler - self.pruner - self.played


class _Clock:
    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._spent = {"sampler": 0.0, "pruner": 0.0, "played": 0.0}
        self._inside = False
        self._began, self._cpu = time.monotonic(), time.process_time()

    @contextlib.contextmanager
    def leaving(self, part: str) -> Iterator[None]:
        """Count the block's time for `part`, not for the coordinator."""
        if self._inside:  # a part that calls itself
            yield
            return
        self._inside, began = True, time.thread_time()
        try:
            yield
        finally:
            self._spent[part] += time.thread_time() - began
            self._inside = False

    def note(self, trials: int) -> None:
        wall, cpu = time.monotonic() - self._began, time.process_time() - self._cpu
        memory = psutil.Process().memory_info().rss / 2**20
        self.notes.append(Note(trials, wall, cpu, rss_mib=memory, **self._spent))


CLOCK = _Clock()


def _timed(kind: type, part: str, *methods: str) -> None:
    """Count the time of these methods for `part`."""
    for name in methods:
        method = getattr(kind, name)

        @functools.wraps(method)
        def timed(*args: Any, _method: Any = method, **kwargs: Any) -> Any:
            with CLOCK.leaving(part):
                return _method(*args, **kwargs)

        setattr(kind, name, timed)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=_hundreds, default=1000, help="a multiple of 100 (%(default)s)")
    parser.add_argument("--sampler", default="random", choices=("random", "tpe"))
    parser.add_argument("--pruner", default="median", choices=("none", "median", "hyperband"))
    parser.add_argument("--keep", type=_new, metavar="FOLDER", help="a new folder, to run in and to keep the databases")
    options = parser.parse_args(arguments)
    memory = Path("/dev/shm")  # noqa: S108  # the system's; the folder in it gets a unique name
    folder = options.keep or Path(tempfile.mkdtemp(prefix="scale-", dir=memory if memory.is_dir() else None))
    play(folder, options.trials, options.sampler, options.pruner)
    print(text := table(CLOCK.notes, options.sampler, options.pruner))
    results = options.keep or ROOT / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    name = f"scale-{options.trials}-{options.sampler}-{options.pruner}"
    (results / f"{name}.md").write_text(text + "\n")
    (results / f"{name}.json").write_text(json.dumps([asdict(note) for note in CLOCK.notes]) + "\n")
    if options.keep is None:
        shutil.rmtree(folder)


def _hundreds(text: str) -> int:
    if text.isdecimal() and int(text) and int(text) % _EVERY == 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of hundreds, such as 1000")


def _new(text: str) -> Path:
    if not Path(text).exists():
        return Path(text)
    raise argparse.ArgumentTypeError(f"{text!r} is there already: a new folder")


def play(folder: Path, trials: int, sampler: str, pruner: str) -> None:
    """Run a study of simulated trials in a folder of its own."""
    import optuna

    gc_tuning.loading()  # as the program does
    _timed(optuna.samplers.RandomSampler, "sampler", *_SAMPLER)
    _timed(optuna.samplers.TPESampler, "sampler", *_SAMPLER)
    for kind in (optuna.pruners.MedianPruner, optuna.pruners.HyperbandPruner, optuna.pruners.NopPruner):
        _timed(kind, "pruner", "prune")
    cast("Any", run_study).LocalEngine = PlayedEngine
    (folder / "conf").mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "conf", folder / "conf", dirs_exist_ok=True)
    (folder / "conf" / "space" / "scale.yaml").write_text(_SPACE)
    (folder / "experiments").mkdir(exist_ok=True)
    shutil.copytree(ROOT / "experiments" / "smoke", folder / "experiments" / "scale", dirs_exist_ok=True)
    overrides = ["data=digits", "space=scale", f"sampler={sampler}", f"pruner={pruner}", f"training.epochs={_EPOCHS}"]
    overrides += ["study.name=scale", f"study.trials={trials}", "tracking.figures.of=[]", "data.train_limit=null"]
    config = load_config("scale", overrides, folder)
    with (folder / "output.log").open("w") as log:
        run_study.run_study(config, folder, Console(file=log))


_SAMPLER = ("infer_relative_search_space", "sample_relative", "sample_independent", "before_trial", "after_trial")


def table(notes: Sequence[Note], sampler: str, pruner: str) -> str:
    """Return a table: milliseconds a trial over the hundred trials before each mark, and the memory at it."""
    marks = [note for note in notes if note.trials in (100, 300, 1000, 3000, 10_000) or note is notes[-1]]
    rows = [
        f"sampler {sampler}, pruner {pruner}, {_EPOCHS} epochs a trial; {machine()}",
        "",
        "| at trial | coordinator | sampler | pruner | wall, all | memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for mark in marks:
        before = next(note for note in notes if note.trials == mark.trials - _EVERY)
        parts = ("own", "sampler", "pruner", "wall")
        cells = [f"{1000 * (getattr(mark, part) - getattr(before, part)) / _EVERY:.1f} ms" for part in parts]
        rows.append(f"| {mark.trials:,} | {' | '.join(cells)} | {mark.rss_mib:.0f} MiB |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
