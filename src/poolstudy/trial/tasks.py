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
_DRAWING_NICENESS = 10  # pictures are for later: they take what training leaves


@dataclass(frozen=True)
class TrainTask:
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
class DrawTask:
    """The task to draw a trial that was trained; on the CPU, whatever it was trained on."""

    spec: TrialSpec
    data: Path
    folder: Path
    settings: FigureSettings


def run_task(task: TrainTask | DrawTask, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    """Trains and saves a trial, or draws one; its result either way.

    Raises:
        TrialFailed: this configuration cannot be trained, not for one epoch.
        DeviceError, OSError: this machine failed it; another try may succeed.
    """
    return _draw(task) if isinstance(task, DrawTask) else _train(task, on_epoch)


def _train(task: TrainTask, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    from poolstudy.data.loading import SearchData
    from poolstudy.execution.gpu import tensorflow
    from poolstudy.training import train
    from poolstudy.trial.environment import environment

    tensorflow.use_device(task.device, task.threads, task.memory_mb)
    data = SearchData.open(task.data)
    with replacing(task.folder / "files" / "environment.json") as file:
        _write(file, {**environment(task.device, task.threads), **task.about})
    with tensorflow.blamed_on(task.device):
        trial = train.train(task.spec, data, on_epoch)
    _save(trial, data, task.folder / "files")
    _save_for_drawing(trial, task.folder)
    with replacing(task.folder / "result.json") as file:
        file.write_text(trial.result.model_dump_json())
    return trial.result


def _draw(task: DrawTask) -> TrialResult:
    import numpy as np

    from poolstudy import figures
    from poolstudy.data.loading import SearchData

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
