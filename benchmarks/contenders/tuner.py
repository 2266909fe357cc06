"""(d) KerasTuner, with the checkpoints it makes of every trial's best epoch.

Its grid search over a choice of eight takes the eight networks in order. It draws and tracks nothing
beyond its own JSON files and checkpoints.

    python -m benchmarks.contenders.tuner FOLDER
"""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import keras_tuner
import numpy as np

from benchmarks.cases import BATCH_SIZE, CONFIGURATIONS, SEED, VALIDATION_BATCH, Job, TrialDone, TrialsDone, load_images
from benchmarks.clock import EpochClock
from benchmarks.network import PARAMS, build


class Networks(keras_tuner.HyperModel):  # type: ignore[misc]  # keras_tuner has no types
    """The job's networks, one a trial."""

    def __init__(self, trials: int) -> None:
        super().__init__()
        self.trials = trials
        self.done: list[TrialDone] = []

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        network = CONFIGURATIONS[hp.Choice("configuration", list(range(self.trials)))].flat()
        params: dict[str, Any] = {name: network[name] for name in PARAMS}
        return build(**params)

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        clock = EpochClock()
        kwargs["callbacks"] = [clock, *kwargs["callbacks"]]
        history = model.fit(*args, **kwargs)
        values = history.history
        accuracy = float(values["val_accuracy"][int(np.argmin(values["val_loss"]))])
        self.done.append(TrialDone(hp.get("configuration"), accuracy, sum(clock.seconds)))
        return history


def main(folder: Path) -> None:
    job = Job.of(folder)
    data = load_images(job)
    keras.utils.set_random_seed(SEED)
    networks = Networks(job.trials)
    tuner = keras_tuner.GridSearch(
        networks,
        objective=keras_tuner.Objective("val_loss", "min"),
        max_trials=job.trials,
        seed=SEED,
        directory=str(folder),
        project_name="tuner",
    )
    tuner.search(
        data.train_images.astype("float32") / 255,
        data.train_labels,
        batch_size=BATCH_SIZE,
        validation_batch_size=VALIDATION_BATCH,
        epochs=job.epochs,
        validation_data=(data.validation_images.astype("float32") / 255, data.validation_labels),
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=job.epochs, restore_best_weights=True)],
        verbose=0,
    )
    (folder / "trials-0.json").write_bytes(TrialsDone.dump_json(networks.done))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
