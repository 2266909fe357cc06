"""Tasks of a worker process: train a trial and save the result, or render the figures of a saved trial.

The coordinator imports this module too, so TensorFlow is imported inside the functions. The server that workers are
forked from has already loaded it (`PRELOAD`) but must not compute: only an unused TensorFlow survives a fork.

Files in a trial's folder (attempt_folder.py lists the others):

    files/          uploaded as the run's files
    images/         uploaded as its keyed images
    outline.json    layers of the model, for its diagram
    trained.npz     its weights, so that rendering needs no model
    result.json     written last: the trial is trained
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy.spec.records import EpochRecord, FigureSettings, TrialResult, TrialSpec
from poolstudy.system.files import replacing
from poolstudy.trial.attempt_folder import trained_result

if TYPE_CHECKING:
    import pandas as pd

    from poolstudy.data.loading import SearchData
    from poolstudy.training.train import TrainedTrial

PRELOAD = ["poolstudy.trial.preload"]
_RENDERING_NICENESS = 10  # training has priority


@dataclass(frozen=True)
class TrainTask:
    """Task to train one attempt at a trial.

    Attributes:
        data: folder of the saved `SearchData`.
        folder: of the trial; created here.
        device: "CPU:0" or "GPU:n".
        threads: of one operation.
        about: for environment.json: the code, the card, and the source of the data.
        memory_mb: limit of its GPU memory; None for no limit.
    """

    spec: TrialSpec
    data: Path
    folder: Path
    device: str
    threads: int
    about: Mapping[str, object]
    memory_mb: int | None = None


@dataclass(frozen=True)
class DrawTask:
    """Task to render the figures of a trained trial, always on the CPU."""

    spec: TrialSpec
    data: Path
    folder: Path
    settings: FigureSettings


def run_task(task: TrainTask | DrawTask, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    """Train and save a trial, or render its figures; return the trial's result.

    Raises:
        TrialFailed: this configuration cannot be trained for even one epoch.
        DeviceError, OSError: the machine failed; another attempt may succeed.
    """
    return _render(task) if isinstance(task, DrawTask) else _train(task, on_epoch)


def _train(task: TrainTask, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    from poolstudy.data.loading import SearchData
    from poolstudy.execution.gpu import tensorflow
    from poolstudy.training import train
    from poolstudy.trial.environment import environment

    tensorflow.use_device(task.device, task.threads, task.memory_mb)
    data = SearchData.open(task.data)
    with replacing(task.folder / "files" / "environment.json") as file:
        _write_json(file, {**environment(task.device, task.threads), **task.about})
    with tensorflow.blamed_on(task.device):
        trial = train.train(task.spec, data, on_epoch)
    _save(trial, data, task.folder)
    with replacing(task.folder / "result.json") as file:
        file.write_text(trial.result.model_dump_json())
    return trial.result


def _render(task: DrawTask) -> TrialResult:
    import numpy as np

    from poolstudy import figures
    from poolstudy.data.loading import SearchData

    os.nice(_RENDERING_NICENESS)
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


def _save(trial: "TrainedTrial", data: "SearchData", folder: Path) -> None:
    import numpy as np
    import pandas as pd

    from poolstudy import figures

    files = folder / "files"
    pd.DataFrame([record.model_dump() for record in trial.result.history]).to_csv(files / "history.csv", index=False)
    _weight_statistics(trial).to_csv(files / "layers.csv", index=False)
    lines: list[str] = []
    trial.model.summary(line_length=80, print_fn=lambda line, **_: lines.append(line))
    (files / "summary.txt").write_text("\n".join(lines) + "\n")
    _write_json(files / "classification_report.json", _classification_report(trial, data))
    np.savez(files / "validation.npz", probabilities=trial.probabilities)
    np.savez(files / "untrained.npz", **trial.untrained)  # type: ignore[arg-type]  # numpy's stub
    trial.model.optimizer.build(trial.model.trainable_variables)  # else loading the model warns
    trial.model.save(files / "model.keras")
    np.savez(folder / "trained.npz", **trial.trained)  # type: ignore[arg-type]  # numpy's stub
    (folder / "outline.json").write_text(figures.outline(trial.model).model_dump_json())


def _weight_statistics(trial: "TrainedTrial") -> "pd.DataFrame":
    """Return the shape of every weight, and its mean and standard deviation before and after training."""
    import pandas as pd

    columns = ["layer", "weight", "shape", "untrained_mean", "untrained_std", "trained_mean", "trained_std"]
    rows = []
    for name, after in trial.trained.items():
        before = trial.untrained[name]
        rows.append((*name.split("/"), str(after.shape), before.mean(), before.std(), after.mean(), after.std()))
    return pd.DataFrame(rows, columns=columns)


def _classification_report(trial: "TrainedTrial", data: "SearchData") -> object:
    """Return precision, recall and F1 of every class over the validation images, by scikit-learn."""
    from sklearn.metrics import classification_report

    names, predicted = data.identity.class_names, trial.probabilities.argmax(axis=1)
    classes = {"labels": range(len(names)), "target_names": names}
    return classification_report(data.validation_labels, predicted, **classes, output_dict=True, zero_division=0)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
