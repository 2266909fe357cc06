"""`python -m benchmarks.gpu`: speed of this study's networks on a GPU. One table, unattended, under eight minutes.

The network is the notebook's with max pooling, at batch 32, without early stopping. The first row is Keras' `fit` as
most people write it; the others are trials of a study, 1 to 16 at once. Rows that could not be measured are explained
below the table. The best number of trials at once is saved in mlruns/cache, for `execution.workers_per_gpu=auto`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from poolstudy.data.loading import SearchData, load_search_data
from poolstudy.errors import DeviceError, PoolstudyError
from poolstudy.execution import EpochEnded, Failed, Finished, Lost
from poolstudy.execution.devices import Found, cores, find_gpus
from poolstudy.execution.gpu import nvidia
from poolstudy.execution.local import LocalEngine
from poolstudy.execution.placement import MEASURED, Placement, placements
from poolstudy.spec.config import ExecutionSection
from poolstudy.spec.load import find_root, load_config
from poolstudy.spec.records import Device, EpochRecord, TrainingSettings, TrialSpec
from poolstudy.spec.space import HyperParameters
from poolstudy.system.files import replacing
from poolstudy.trial import tasks

NETWORK = HyperParameters(pooling="max", pool_size=2, filters=(32, 64), dropout=0.4)
_FIT, _HERE = "Keras fit", " at once"
_ROOM = 1.2e9  # bytes of free memory that each worker needs
_LOOK = 0.25  # seconds between two readings of the card


@dataclass
class Row:
    """Row of the table.

    Attributes:
        epochs: seconds of every epoch but each trial's first, which has to compile.
        accuracies: the best validation accuracy of every trial that ended.
        digests: of every trial's saved weights.
        rate: trials an hour.
        load: the card's mean utilisation in percent and its peak memory in megabytes; None if not reported.
    """

    name: str
    workers: int = 1
    epochs: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    rate: float = 0.0
    load: tuple[float | None, float | None] = (None, None)
    note: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.fit:
        fit(SearchData.open(options.fit), options.epochs)
        return 0
    try:
        return _measure(options, Console(highlight=False))
    except PoolstudyError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return error.exit_code


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--cpu", action="store_true", help="run on the CPU, to test the benchmark itself")
    parser.add_argument("--images", type=int, help="number of training images (default: all)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each trial (%(default)s)")
    parser.add_argument("--crowds", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="trials at once (1 2 4 8 16)")
    parser.add_argument("--minutes", type=float, default=7, help="limit of all rows together (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for a study, such as data.path=FOLDER")
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)  # the first row, in a process of its own
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace, console: Console) -> int:
    root = find_root(Path.cwd())
    config = load_config("pooling", options.overrides, root)
    section = config.data.model_copy(update={"train_limit": options.images})
    data = load_search_data(section, root)
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as name:
        folder = Path(name)
        log = root / "mlruns" / "logs" / "bench-gpu.log"
        with closing(LocalEngine(tasks.run_task, tasks.PRELOAD, log, 1, tasks_per_worker=20)) as engine:
            device = Device() if options.cpu else _gpu(find_gpus(engine))
            _say(device, data, console)
            bench = Bench(engine, data, data.save(folder / "data"), folder, device, options)
            rows = list(bench.rows())
        _print(rows, console)
        if device.is_gpu:
            _keep_best(rows, device, root, console)
    return 0


def _gpu(found: Found) -> Device:
    if found.gpus:
        return found.gpus[0]
    why = found.lines[0] if found.lines else nvidia.problem()
    raise DeviceError(why, "a GPU", "--cpu proves the benchmark in small (make bench-gpu ARGS='--cpu --images 2000')")


class Bench:
    """Measures the rows, each within its share of the time."""

    def __init__(
        self,
        engine: LocalEngine,
        data: SearchData,
        saved: Path,
        folder: Path,
        device: Device,
        options: argparse.Namespace,
    ) -> None:
        self._engine, self._data, self._saved, self._folder = engine, data, saved, folder
        self._device, self._options = device, options
        self._until = time.monotonic() + 60 * options.minutes

    def rows(self) -> Iterator[Row]:
        crowds = self._options.crowds
        yield self._fit(self._seconds(len(crowds) + 2))
        for number, workers in enumerate(crowds):
            yield self._crowd(f"{workers}{_HERE}", workers, self._seconds(len(crowds) + 1 - number))
        yield self._crowd("1, deterministic", 1, self._seconds(1), deterministic=True)

    def _seconds(self, rows: int) -> float:
        """Return a row's share of the time left, which this many rows share."""
        return max(5.0, float(self._until - time.monotonic()) / rows)

    def _fit(self, seconds: float) -> Row:
        row, epochs = Row(_FIT), self._options.epochs
        command = [sys.executable, "-m", "benchmarks.gpu", "--fit", str(self._saved), "--epochs", str(epochs)]
        environment = os.environ | {"KERAS_BACKEND": "tensorflow"}
        if self._options.cpu:
            environment["CUDA_VISIBLE_DEVICES"] = "-1"
        with self._watching(row):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=seconds, check=False, env=environment
                )
                out, row.note = done.stdout, "" if done.returncode == 0 else f"it ended with {done.returncode}"
            except subprocess.TimeoutExpired as error:
                out, row.note = (error.stdout or b"").decode(), f"stopped after {seconds:.0f} s"
        said = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        row.epochs = [one["seconds"] for one in said[1:]] or [one["seconds"] for one in said]
        if said:
            row.accuracies = [max(one["val_accuracy"] for one in said)]
            row.rate = 3600 / (statistics.mean(one["seconds"] for one in said) * epochs)
        return row

    def _crowd(self, name: str, workers: int, seconds: float, *, deterministic: bool = False) -> Row:
        """Train two trials for each worker; a single worker trains one spec twice, to compare the results."""
        row = Row(name, workers)
        card = nvidia.card_at(self._device.bus)
        if card and card.free / workers < _ROOM:
            row.note = f"not done: {card.free / workers / 1e9:.1f} GB of memory for each, {_ROOM / 1e9:g} are needed"
            return row
        free = {self._device.name: card.free} if card else {}
        gpus = [self._device] if self._device.is_gpu else []
        settings = ExecutionSection(workers=workers)
        free_places = placements(settings, gpus, cores(), workers, free)
        specs = [self._spec(1 if workers == 1 else slot, deterministic) for slot in range(1, 2 * workers + 1)]
        with self._watching(row):
            self._train(row, specs, free_places, seconds)
        self._engine.retire()
        if workers > cores():
            row.note = f"{row.note}; more workers than the {cores()} cores".removeprefix("; ")
        return row

    def _train(self, row: Row, specs: list[TrialSpec], free: list[Placement], seconds: float) -> None:
        began, ended = time.monotonic(), 0
        history: dict[int, list[EpochRecord]] = {}
        taken: dict[int, Placement] = {}
        waiting = list(enumerate(specs))
        while (waiting or taken) and not row.note:
            while waiting and free:
                number, spec = waiting.pop(0)
                taken[number], history[number] = free.pop(0), []
                self._start(number, spec, taken[number], f"{row.name} {taken[number].reuse_key}")
            if time.monotonic() - began > seconds:
                row.note = f"stopped after {seconds:.0f} s"
            for event in self._engine.events(timeout=0.2):
                number = event.key[1]
                match event:
                    case EpochEnded(key, record):
                        ended += 1
                        history[number].append(record)
                        self._engine.answer(key, False)
                        continue
                    case Finished(_, result):
                        row.accuracies.append(max(one.val_accuracy for one in result.history))
                        row.digests.append(result.weights_digest)
                    case Failed(_, reason) | Lost(_, reason):
                        row.note = f"a trial {type(event).__name__.lower()}: {reason}"
                free.append(taken.pop(number))
        row.rate = 3600 * ended / self._options.epochs / (time.monotonic() - began)
        row.epochs = [one.seconds for records in history.values() for one in records[1:] or records]
        for number in taken:
            self._engine.stop(("bench", number))

    def _start(self, number: int, spec: TrialSpec, placement: Placement, reuse_key: str) -> None:
        folder = self._folder / f"{reuse_key}-{number}".replace(" ", "-").replace("/", "-")
        task = tasks.TrainTask(spec, self._saved, folder, placement.device.name, 1, {}, placement.memory_mb)
        self._engine.start(("bench", number), task, reuse_key=reuse_key)

    def _spec(self, seed: int, deterministic: bool) -> TrialSpec:
        epochs = self._options.epochs
        training = TrainingSettings(epochs=epochs, patience=epochs, deterministic=deterministic)
        identity = self._data.identity
        return TrialSpec(study="bench", slot=seed, seed=seed, hyperparameters=NETWORK, training=training, data=identity)

    @contextmanager
    def _watching(self, row: Row) -> Iterator[None]:
        """Read the card's load and memory during the block."""
        meter, over, looks = nvidia.Meter(), threading.Event(), list[dict[str, float]]()

        def look() -> None:
            while not over.wait(_LOOK):
                looks.append(meter.read(self._device))

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        busy, memory = (
            [value for one in looks for key, value in one.items() if key.endswith(ending)]
            for ending in ("utilization_percentage", "memory_usage_megabytes")
        )
        working = list(dropwhile(lambda load: load == 0, busy))  # from the first kernel on
        row.load = (statistics.mean(working) if working else None, max(memory) if memory else None)


def fit(data: SearchData, epochs: int) -> None:
    """Train the notebook's network with Keras' `fit`; print a line of JSON for each epoch."""
    import keras

    model = keras.Sequential(
        [
            keras.Input(data.identity.image_shape),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(100, activation="relu"),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(len(data.identity.class_names), activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()

    def say(epoch: int, logs: dict[str, float]) -> None:
        nonlocal began
        seconds, began = time.perf_counter() - began, time.perf_counter()
        print(json.dumps({"epoch": epoch + 1, "seconds": seconds, "val_accuracy": logs["val_accuracy"]}), flush=True)

    model.fit(
        data.train_images.astype("float32") / 255,
        data.train_labels,
        batch_size=32,
        epochs=epochs,
        validation_data=(data.validation_images.astype("float32") / 255, data.validation_labels),
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=say)],
        verbose=0,
    )


# Printing


def _say(device: Device, data: SearchData, console: Console) -> None:
    card, identity = nvidia.card_at(device.bus), data.identity
    where = f"{device.name} {device.description}".strip()
    if card:
        where += f", {card.memory / 1e9:.1f} GB, driver {card.driver}, CUDA {card.cuda}"
    images = f"{identity.train_images:,} training and {identity.validation_images:,} validation images"
    console.print(f"{where}; {cores()} cores; {identity.name}, {images}; {NETWORK.title()}", soft_wrap=True)


def _print(rows: list[Row], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("", "s/epoch", "trials/h", "x fit", "GPU busy", "GPU MB", "val_accuracy"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    base = rows[0].rate
    for row in rows:
        busy, memory = row.load
        table.add_row(
            row.name,
            f"{statistics.median(row.epochs):.2f}" if row.epochs else "-",
            f"{row.rate:,.0f}" if row.rate else "-",
            f"{row.rate / base:.1f}" if row.rate and base else "-",
            "-" if busy is None else f"{busy:.0f} %",
            "-" if memory is None else f"{memory:,.0f}",
            f"{statistics.median(row.accuracies):.4f}" if row.accuracies else "-",
        )
    console.print(table)
    console.print(
        "Keras fit: as one would write it, one after another. The others: trials of a study, so many at once."
    )
    for line in _notes(rows):
        console.print(line, soft_wrap=True)


def _notes(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        if row.note:
            yield f"{row.name}: {row.note}"
        if row.workers == 1 and len(row.digests) == 2:
            same = row.digests[0] == row.digests[1]
            yield f"{row.name}: two runs of one spec are {'identical, bit for bit' if same else 'not identical'}"
    if all(row.load == (None, None) for row in rows):
        yield f"Load and memory of a GPU: not measured ({nvidia.problem() or 'its driver does not tell them'})"


def _keep_best(rows: list[Row], device: Device, root: Path, console: Console) -> None:
    rates = {row.workers: row.rate for row in rows if row.name.endswith(_HERE) and row.rate}
    if rates:
        best = best_sharing(rates)
        note_measured(root / "mlruns" / "cache", device.description, best)
        console.print(f"Best: {best} at once. execution.workers_per_gpu=auto takes it from now on, on such a card.")


def note_measured(cache: Path, card: str, workers: int) -> None:
    """Save the best number of workers on such a card for later studies."""
    file = cache / MEASURED
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    with replacing(file) as new:
        new.write_text(json.dumps({**known, card: workers}, indent=2) + "\n")


def best_sharing(rates: Mapping[int, float]) -> int:
    """Return the fewest workers whose rate is within 5 % of the highest; `rates` maps workers to trials per hour."""
    return min(workers for workers, rate in rates.items() if rate >= 0.95 * max(rates.values()))


if __name__ == "__main__":
    sys.exit(main())
