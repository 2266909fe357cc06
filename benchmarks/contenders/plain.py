"""(b) and (c) The script a good practitioner writes: Optuna's `optimize`, Keras' `fit`, a run in MLflow for each trial.

One process, TensorFlow's own choice of threads. With care: the pip requirements of the model are given
(MLflow's search for them takes many seconds a model), the metrics are logged as they come, without waiting, it
validates in large batches, and Keras is cleared between trials. With `--autolog` the params, the metrics, the summary
and the model are left to `mlflow.tensorflow.autolog()` as its documentation shows it: one line, all its defaults.
With `--process N` it is one of several that share Optuna's and MLflow's stores; the first one makes them.

    python -m benchmarks.contenders.plain FOLDER [--autolog] [--process N]
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import keras
import matplotlib as mpl
import mlflow
import numpy as np
import optuna
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.cases import BATCH_SIZE, SEED, VALIDATION_BATCH, Job, TrialDone, TrialsDone, load_images
from benchmarks.clock import EpochClock
from benchmarks.network import PARAMS, build

mpl.use("Agg")
import matplotlib.pyplot as plt

_NAME = "plain"
_REQUIREMENTS = [f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"]


class Experiment:
    """The study's objective, and what it has found so far.

    Args:
        autolog: leave the logging of params, metrics and the model to `mlflow.tensorflow.autolog`.
    """

    def __init__(self, job: Job, folder: Path, *, autolog: bool) -> None:
        data = load_images(job)
        self.train = data.train_images.astype("float32") / 255, data.train_labels
        self.validation = data.validation_images.astype("float32") / 255, data.validation_labels
        self.job, self.folder, self.autolog = job, folder, autolog
        self.done: list[TrialDone] = []

    def objective(self, trial: optuna.Trial) -> float:
        if trial.number >= self.job.trials:  # two processes took the last ones at the same moment
            trial.study.stop()
            raise optuna.TrialPruned
        params: dict[str, Any] = {
            "pooling": trial.suggest_categorical("pooling", ["average", "max"]),
            "pool_size": trial.suggest_int("pool_size", 2, 3),
            "filters_1": trial.suggest_int("filters_1", 16, 64, step=16),
            "filters_2": trial.suggest_int("filters_2", 16, 64, step=16),
            "dropout": trial.suggest_float("dropout", 0.0, 0.6, step=0.1),
        }
        keras.backend.clear_session()
        keras.utils.set_random_seed(SEED + trial.number)
        model = build(**params)
        untrained = kernels(model)
        with mlflow.start_run(run_name=f"trial-{trial.number}"):
            clock = EpochClock()
            callbacks = [
                clock,
                keras.callbacks.EarlyStopping("val_loss", patience=self.job.epochs, restore_best_weights=True),
                keras.callbacks.ModelCheckpoint(str(self.folder / "best.keras"), "val_loss", save_best_only=True),
            ]
            if self.autolog:
                mlflow.log_params({f"hp_{name}": value for name, value in params.items()})
            else:
                mlflow.log_params({**params, "batch_size": BATCH_SIZE, "epochs": self.job.epochs})
                callbacks.append(mlflow.tensorflow.MlflowCallback())
            history = model.fit(
                *self.train,
                batch_size=BATCH_SIZE,
                validation_batch_size=VALIDATION_BATCH,
                epochs=self.job.epochs,
                validation_data=self.validation,
                callbacks=callbacks,
                verbose=0,
            ).history
            best = int(np.argmin(history["val_loss"]))
            accuracy = float(history["val_accuracy"][best])
            mlflow.log_metrics({"best_epoch": best + 1, "best_val_accuracy": accuracy})
            self.log_pictures(model, untrained)
            if not self.autolog:
                example = self.validation[0][:1]
                signature = mlflow.models.infer_signature(example, model.predict(example, verbose=0))
                mlflow.tensorflow.log_model(model, name="model", signature=signature, pip_requirements=_REQUIREMENTS)
        self.done.append(TrialDone(trial.number, accuracy, sum(clock.seconds)))
        return accuracy

    def log_pictures(self, model: keras.Model, untrained: dict[str, NDArray[np.float32]]) -> None:
        """`plot_model`'s diagram, and a histogram of every kernel before and after."""
        diagram = self.folder / "diagram.png"
        keras.utils.plot_model(model, str(diagram), show_shapes=True, show_layer_names=True)
        mlflow.log_artifact(str(diagram))
        trained = kernels(model)
        figure, axes = plt.subplots(1, len(trained), figsize=(4 * len(trained), 3), layout="constrained")
        for axis, (name, weights) in zip(axes, trained.items(), strict=True):
            axis.hist(untrained[name].ravel(), bins=50, alpha=0.5, label="untrained")
            axis.hist(weights.ravel(), bins=50, alpha=0.5, label="trained")
            axis.set_title(name)
        axes[0].legend()
        mlflow.log_figure(figure, "weights_histogram.png")
        plt.close(figure)


def kernels(model: keras.Model) -> dict[str, NDArray[np.float32]]:
    """Return the kernel of each layer that has one, by the layer's name."""
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.get_weights()}


def prepare(folder: Path, job: Job) -> None:
    """Make both stores and ask for the job's networks."""
    mlflow.create_experiment(_NAME, artifact_location=(folder / "artifacts").as_uri())
    study = optuna.create_study(storage=_storage(folder), study_name=_NAME, direction="maximize")
    for network in job.configurations:
        study.enqueue_trial({name: network.flat()[name] for name in PARAMS})
    (folder / "prepared").touch()


def main(folder: Path, process: int, *, autolog: bool) -> None:
    job = Job.of(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if process == 0:
        prepare(folder, job)
    while not (folder / "prepared").exists():
        time.sleep(0.1)
    mlflow.set_experiment(_NAME)
    if autolog:
        mlflow.tensorflow.autolog()
    sampler = optuna.samplers.TPESampler(seed=SEED)
    study = optuna.load_study(storage=_storage(folder), study_name=_NAME, sampler=sampler)
    own = folder / f"process-{process}"
    own.mkdir()
    experiment = Experiment(job, own, autolog=autolog)
    study.optimize(experiment.objective, n_trials=job.trials, callbacks=[stop_when_none_waits])
    (folder / f"trials-{process}.json").write_bytes(TrialsDone.dump_json(experiment.done))


def stop_when_none_waits(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
    if not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
        study.stop()


def _storage(folder: Path) -> str:
    return f"sqlite:///{folder / 'optuna.db'}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--autolog", action="store_true")
    parser.add_argument("--process", type=int, default=0)
    options = parser.parse_args()
    main(options.folder.resolve(), options.process, autolog=options.autolog)
