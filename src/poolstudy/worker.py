"""What a worker process runs: train one trial, draw it, leave its files in a folder.

The coordinator imports this module to name its functions, so TensorFlow is imported inside them. The
server that workers are forked from has loaded it by then: see `PRELOAD`. Nothing may be computed
there: only a TensorFlow not yet used survives a fork.
"""

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from poolstudy.records import EpochRecord, TrialResult, TrialSpec

if TYPE_CHECKING:
    import pandas as pd

    from poolstudy.training import Device, TrainedTrial

PRELOAD = ["poolstudy.training", "poolstudy.figures", "pandas"]


@dataclass(frozen=True)
class Task:
    """One attempt at a trial.

    Attributes:
        data: folder of the saved `SearchData`.
        folder: where the trial's files go; made here.
        device: "CPU:0" or "GPU:n".
        threads: of one operation.
    """

    spec: TrialSpec
    data: Path
    folder: Path
    device: str
    threads: int
    diagram_dpi: int


def run_task(task: Task, on_epoch: Callable[[EpochRecord], bool]) -> TrialResult:
    """Trains, draws and saves one trial.

    Raises:
        TrialFailed: this configuration cannot be trained.
        DeviceError, OSError: this machine failed it; another try may succeed.
    """
    from poolstudy import training
    from poolstudy.data import SearchData

    training.use_device(task.device, task.threads)
    data = SearchData.open(task.data)
    task.folder.mkdir(parents=True, exist_ok=True)
    _write(task.folder / "environment.json", environment(task.device, task.threads))
    trial = training.train(task.spec, data, on_epoch)
    _save(task, trial)
    return trial.result


def find_gpus() -> "list[Device]":
    """The GPUs that TensorFlow can use; to be asked in a process of its own, which then ends."""
    from poolstudy import training

    return training.find_gpus()


def _save(task: Task, trial: "TrainedTrial") -> None:
    import pandas as pd

    from poolstudy import figures

    folder, result = task.folder, trial.result
    pd.DataFrame([record.model_dump() for record in result.history]).to_csv(folder / "history.csv", index=False)
    _layers(trial).to_csv(folder / "layers.csv", index=False)
    lines: list[str] = []
    trial.model.summary(line_length=80, print_fn=lambda line, **_: lines.append(line))
    (folder / "summary.txt").write_text("\n".join(lines) + "\n")
    trial.model.optimizer.build(trial.model.trainable_variables)  # a loaded model would else warn of its lack
    trial.model.save(folder / "model.keras")
    figures.draw(task.spec, result, trial.model, trial.untrained, trial.trained, folder, task.diagram_dpi)


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


def environment(device: str, threads: int) -> dict[str, object]:
    """The machine and the software that this process computes with."""
    import keras
    import tensorflow as tf

    packages = {dist.name.lower(): dist.version for dist in importlib.metadata.distributions()}
    gpus = [gpu.description for gpu in find_gpus()] if device.startswith("GPU") else []
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": device,
        "gpus": gpus,
        "threads": threads,
        "keras_backend": keras.backend.backend(),
        "tensorflow_build": {key: str(value) for key, value in tf.sysconfig.get_build_info().items()},
        "variables": {key: value for key, value in sorted(os.environ.items()) if key.startswith(("TF_", "XLA_"))},
        "packages": dict(sorted(packages.items())),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
