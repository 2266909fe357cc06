"""Training one trial. Knows Keras and TensorFlow; knows nothing of trackers and samplers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from poolstudy.data.loading import SearchData
from poolstudy.errors import TrialFailed, one_line
from poolstudy.network.build import build_model, weights_of
from poolstudy.network.weights import Weights, weights_digest
from poolstudy.spec.records import EpochRecord, StopReason, TrialResult, TrialSpec, best_epoch
from poolstudy.training.epochs import EpochRunner

OnEpoch = Callable[[EpochRecord], bool]
"""Called with each epoch as it ends; returns whether to prune the trial now."""


@dataclass(frozen=True)
class TrainedTrial:
    """A trial that ended at least one epoch: its result, and the model with its best weights.

    Attributes:
        probabilities: the model's predictions of the validation images, (N, classes), float32.
    """

    result: TrialResult
    model: keras.Model
    untrained: Weights
    trained: Weights
    probabilities: NDArray[np.float32]


def train(spec: TrialSpec, data: SearchData, on_epoch: OnEpoch = lambda _: False) -> TrainedTrial:
    """Train the network of `spec` with early stopping, and restore its best weights.

    The same spec, data, software, device and thread count give the same bits on the CPU.

    Raises:
        TrialFailed: a loss was no number, or memory was short, before the first epoch had ended. Later the
            result says so, and has what was reached.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(spec.seed)
    if spec.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    model = build_model(
        spec.hyperparameters, spec.data.image_shape, len(spec.data.class_names), spec.training.dense_units
    )
    untrained = weights_of(model)
    progress = _Progress(model, on_epoch)
    _run(spec, data, model, progress)
    if not progress.history:
        raise TrialFailed(progress.failure)
    trained = weights_of(model)
    history = tuple(progress.history)
    seconds = sum(record.seconds for record in history)
    result = TrialResult(
        history=history,
        best_epoch=best_epoch(history),
        stop_reason=progress.stop_reason(spec.training.epochs),
        parameter_count=model.count_params(),
        weights_digest=weights_digest(trained),
        untrained_digest=weights_digest(untrained),
        train_seconds=seconds,
        images_per_second=len(data.train_labels) * len(history) / seconds,
        failure=progress.failure,
    )
    return TrainedTrial(result, model, untrained, trained, progress.best_predictions)


class _Progress:
    """The records of a trial so far, and the weights and predictions of the best of them.

    Args:
        model: whose weights are kept.
        on_epoch: told of each record.
    """

    best_predictions: NDArray[np.float32]

    def __init__(self, model: keras.Model, on_epoch: OnEpoch) -> None:
        self.history: list[EpochRecord] = []
        self.failure = ""
        self.pruned = False
        self._model = model
        self._on_epoch = on_epoch
        self._best_weights: list[NDArray[np.float32]] = []

    def record(
        self, epoch: int, seconds: float, values: dict[str, float], predictions: NDArray[np.float32], patience: int
    ) -> bool:
        """Record an epoch and its predictions of the validation images; return whether to train another one."""
        strange = [f"{name} is {value} in epoch {epoch}" for name, value in values.items() if not np.isfinite(value)]
        if strange:
            self.failure = strange[0]
            return False
        self.history.append(EpochRecord(epoch=epoch, seconds=seconds, **values))
        best = best_epoch(tuple(self.history))
        if best == epoch:
            self._best_weights, self.best_predictions = self._model.get_weights(), predictions
        self.pruned = self._on_epoch(self.history[-1])
        return not self.pruned and epoch < best + patience

    def restore_best(self) -> None:
        if self.history:
            self._model.set_weights(self._best_weights)

    def stop_reason(self, epochs: int) -> StopReason:
        if self.failure:
            return "failed"
        if self.pruned:
            return "pruned"
        return "epochs" if len(self.history) == epochs else "early_stopping"


def _run(spec: TrialSpec, data: SearchData, model: keras.Model, progress: _Progress) -> None:
    """Train until it stops, and restore the weights of the least validation loss, however it ends."""
    try:
        epochs = EpochRunner(
            model,
            data,
            batch_size=spec.hyperparameters.batch_size,
            seed=spec.seed,
            whole=bool(tf.config.get_visible_devices("GPU")),
        )
        for epoch in range(1, spec.training.epochs + 1):
            began = time.perf_counter()
            loss, accuracy = epochs.train(epoch)
            val_loss, val_accuracy, predictions = epochs.validate()
            values = {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy}
            if not progress.record(epoch, time.perf_counter() - began, values, predictions, spec.training.patience):
                break
    except tf.errors.ResourceExhaustedError as error:
        progress.failure = f"out of memory: {one_line(error)}"
    progress.restore_best()
