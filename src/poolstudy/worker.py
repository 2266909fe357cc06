"""What a worker process runs: train one trial and save what came of it, or draw one that was saved.

The coordinator imports this module to name its functions, so TensorFlow is imported inside them. The
server that workers are forked from has loaded it by then: see `PRELOAD`. Nothing may be computed
there: only a TensorFlow not yet used survives a fork.

What it leaves in a trial's folder (staging.py has the rest of it):

    files/          what becomes the run's files
    images/         what becomes its keyed images
    outline.json    of the model, for its diagram; and
    trained.npz     its weights, so that drawing needs no model
    result.json     written last: with it the trial is trained, whatever happens now
"""

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy.cost import Timing
from poolstudy.estimate import Measured
from poolstudy.files import replacing
from poolstudy.records import Device, EpochRecord, FigureSettings, TrialResult, TrialSpec
from poolstudy.staging import trained_result

if TYPE_CHECKING:
    import pandas as pd

    from poolstudy.data import SearchData
    from poolstudy.training import TrainedTrial

PRELOAD = ["poolstudy.preloaded"]
_MEASURED_STEPS = 24  # of each of two epochs
_DRAWING_NICENESS = 10  # pictures are for later: they take what training leaves


@dataclass(frozen=True)
class Training:
    """The task to train one attempt at a trial.

    Attributes:
        data: folder of the saved `SearchData`.
        folder: the trial's, made here.
        device: "CPU:0" or "GPU:n".
        threads: of one operation.
        about: what environment.json is to say beside the machine: the code, the card, and where the data came from.
        memory_mb: the most that it may take of its GPU's memory; None: what it needs.
    """

    spec: TrialSpec
    data: Path
    folder: Path
    device: str
    threads: int
    about: Mapping[str, object]
    memory_mb: int | None = None


@dataclass(frozen=True)
class Drawing:
    """The task to draw a trial that was trained; on the CPU, whatever it was trained on."""

    spec: TrialSpec
    data: Path
    folder: Path
    settings: FigureSettings


def run_task(task: Training | Drawing, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    """Trains and saves a trial, or draws one; its result either way.

    Raises:
        TrialFailed: this configuration cannot be trained, not for one epoch.
        DeviceError, OSError: this machine failed it; another try may succeed.
    """
    return _draw(task) if isinstance(task, Drawing) else _train(task, on_epoch)


def find_gpus() -> tuple[list[Device], dict[str, object]]:
    """The GPUs that TensorFlow lists, and what it says of its own build; to be asked in a process of its own."""
    from poolstudy import gpus

    return gpus.find_gpus(), gpus.build()


def try_gpu(name: str) -> Device:
    """A GPU that was used for a moment: what it is, or why it cannot be used; to be asked in a process of its own."""
    from poolstudy import gpus

    return gpus.try_gpu(name)


def _train(task: Training, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    from poolstudy import gpus, training
    from poolstudy.data import SearchData
    from poolstudy.environment import environment

    gpus.use_device(task.device, task.threads, task.memory_mb)
    data = SearchData.open(task.data)
    with replacing(task.folder / "files" / "environment.json") as file:
        _write(file, {**environment(task.device, task.threads), **task.about})
    with gpus.blamed_on(task.device):
        trial = training.train(task.spec, data, on_epoch)
    _save(trial, data, task.folder / "files")
    _save_for_drawing(trial, task.folder)
    with replacing(task.folder / "result.json") as file:
        file.write_text(trial.result.model_dump_json())
    return trial.result


def _draw(task: Drawing) -> TrialResult:
    import numpy as np

    from poolstudy import figures
    from poolstudy.data import SearchData

    os.nice(_DRAWING_NICENESS)
    data, files = SearchData.open(task.data), task.folder / "files"
    result = trained_result(task.folder)
    if result is None:
        raise FileNotFoundError(task.folder / "result.json")
    subject = figures.Subject(
        spec=task.spec,
        result=result,
        outline=figures.Outline.model_validate_json((task.folder / "outline.json").read_text()),
        untrained=dict(np.load(files / "untrained.npz")),
        trained=dict(np.load(task.folder / "trained.npz")),
        images=data.validation_images,
        labels=data.validation_labels,
        probabilities=np.load(files / "validation.npz")["probabilities"],
    )
    figures.draw(subject, files, task.folder / "images", task.settings)
    return result


def _save(trial: "TrainedTrial", data: "SearchData", files: Path) -> None:
    """Everything of a trial but its pictures."""
    import numpy as np
    import pandas as pd

    result = trial.result
    pd.DataFrame([record.model_dump() for record in result.history]).to_csv(files / "history.csv", index=False)
    _layers(trial).to_csv(files / "layers.csv", index=False)
    lines: list[str] = []
    trial.model.summary(line_length=80, print_fn=lambda line, **_: lines.append(line))
    (files / "summary.txt").write_text("\n".join(lines) + "\n")
    _write(files / "classification_report.json", _report(trial, data))
    np.savez(files / "validation.npz", probabilities=trial.probabilities)
    np.savez(files / "untrained.npz", **trial.untrained)  # type: ignore[arg-type]  # numpy's stub
    trial.model.optimizer.build(trial.model.trainable_variables)  # a loaded model would else warn of its lack
    trial.model.save(files / "model.keras")


def _save_for_drawing(trial: "TrainedTrial", folder: Path) -> None:
    """What drawing needs of the model, so that it need not load it."""
    import numpy as np

    from poolstudy import figures

    np.savez(folder / "trained.npz", **trial.trained)  # type: ignore[arg-type]  # numpy's stub
    (folder / "outline.json").write_text(figures.outline(trial.model).model_dump_json())


def _layers(trial: "TrainedTrial") -> "pd.DataFrame":
    """Every weight: its shape, and mean and standard deviation before and after training."""
    import pandas as pd

    rows = []
    for name, after in trial.trained.items():
        before = trial.untrained[name]
        rows.append(
            {
                "layer": name.split("/")[0],
                "weight": name.split("/")[1],
                "shape": str(after.shape),
                "untrained_mean": before.mean(),
                "untrained_std": before.std(),
                "trained_mean": after.mean(),
                "trained_std": after.std(),
            }
        )
    return pd.DataFrame(rows)


def _report(trial: "TrainedTrial", data: "SearchData") -> object:
    """Precision, recall and F1 of every class over the validation images, as scikit-learn has them."""
    from sklearn.metrics import classification_report

    names = data.identity.class_names
    return classification_report(
        data.validation_labels,
        trial.probabilities.argmax(axis=1),
        labels=range(len(names)),
        target_names=names,
        output_dict=True,
        zero_division=0,
    )


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def measure(specs: Sequence[TrialSpec], folder: Path, device: str, threads: int) -> Measured:
    """Trains each network for two short epochs, which tells what a study will take; to be run in a process of its own.

    Args:
        folder: of the saved `SearchData`; a share of it is enough.
    """
    import psutil

    from poolstudy import gpus
    from poolstudy.data import SearchData

    gpus.use_device(device, threads)
    data = SearchData.open(folder)
    timings, starts = [], []
    for spec in specs:
        some = data.first(_MEASURED_STEPS * spec.hyperparameters.batch_size)
        first, second = _two_epochs(spec, some)
        timings.append(Timing(spec.hyperparameters, second * len(data.train_labels) / len(some.train_labels)))
        starts.append(max(0.0, first - second))
    process = psutil.Process()
    server = process.parent()
    return Measured(
        timings=tuple(timings),
        start=max(starts),
        worker=process.memory_full_info().uss + data.train_images.nbytes + data.validation_images.nbytes,
        server=server.memory_info().rss if server else 0,
    )


class _Enough(Exception):
    """Two epochs were trained: what follows the last one need not be measured."""


def _two_epochs(spec: TrialSpec, data: "SearchData") -> list[float]:
    from poolstudy import training

    seconds: list[float] = []

    def on_epoch(record: EpochRecord) -> bool:
        seconds.append(record.seconds)
        if len(seconds) == 2:
            raise _Enough
        return False

    with contextlib.suppress(_Enough):
        training.train(spec, data, on_epoch)
    return seconds
