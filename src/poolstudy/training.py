"""Training one trial. Knows Keras and TensorFlow; knows nothing of trackers and samplers."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from poolstudy.data import SearchData
from poolstudy.errors import DeviceError, TrialFailed, one_line
from poolstudy.model import Weights, build_model, compiled, weights_digest, weights_of
from poolstudy.records import EpochRecord, StopReason, TrialResult, TrialSpec, best_epoch

OnEpoch = Callable[[EpochRecord], bool]
"""Told of each epoch as it ends; answers whether to prune the trial now."""


VALIDATION_BATCH = 500
"""Images that are validated at once: the batch changes speed and memory, the result by no more than float noise."""


@dataclass(frozen=True)
class TrainedTrial:
    """A trial that ended at least one epoch: its result, and the model with its best weights.

    Attributes:
        probabilities: what the model answers to the validation images, (N, classes), float32.
    """

    result: TrialResult
    model: keras.Model
    untrained: Weights
    trained: Weights
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Device:
    """What TensorFlow trains on: "CPU:0" or "GPU:n", and what it says of it."""

    name: str
    description: str


def find_gpus() -> list[Device]:
    """The GPUs that TensorFlow can use, in its order."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    return [Device(f"GPU:{index}", str(detail.get("device_name", "GPU"))) for index, detail in enumerate(details)]


def use_device(name: str, threads: int) -> None:
    """Fixes what this process computes on; to be called before its first operation.

    Args:
        name: "CPU:0", or "GPU:n", of which it then sees no other, with memory growth on.
        threads: within an operation; operations run one after the other.

    Raises:
        DeviceError: there is no such GPU.
    """
    gpus = tf.config.list_physical_devices("GPU")
    kind, number = name.split(":")
    mine = gpus[int(number) :][:1] if kind == "GPU" else []
    if kind == "GPU" and not mine:
        raise DeviceError(f"{len(gpus)} GPUs", f"{name} among them", "check the driver and CUDA_VISIBLE_DEVICES")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.set_visible_devices(mine, "GPU")
    for gpu in mine:
        tf.config.experimental.set_memory_growth(gpu, True)


def train(spec: TrialSpec, data: SearchData, on_epoch: OnEpoch = lambda _: False) -> TrainedTrial:
    """Trains the network of `spec`, stopping early, and restores its best weights.

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
    watch = _Watch(on_epoch)
    _fit(model, spec, data, watch)
    if not watch.history:
        raise TrialFailed(watch.failure)
    # The optimizer's state belongs to the last epoch, the weights to the best one: do not keep it.
    model = compiled(model, spec.hyperparameters.learning_rate)
    trained = weights_of(model)
    history = tuple(watch.history)
    seconds = sum(record.seconds for record in history)
    result = TrialResult(
        history=history,
        best_epoch=best_epoch(history),
        stop_reason=watch.stop_reason(spec.training.epochs),
        parameter_count=model.count_params(),
        weights_digest=weights_digest(trained),
        untrained_digest=weights_digest(untrained),
        train_seconds=seconds,
        images_per_second=len(data.train_labels) * len(history) / seconds,
        failure=watch.failure,
    )
    images = _batches(data.validation_images, data.validation_labels, VALIDATION_BATCH)
    return TrainedTrial(result, model, untrained, trained, model.predict(images, verbose=0))


def _fit(model: keras.Model, spec: TrialSpec, data: SearchData, watch: "_Watch") -> None:
    """Trains until it stops, and restores the weights of the least validation loss, however it ends."""
    best = keras.callbacks.EarlyStopping("val_loss", patience=spec.training.patience, restore_best_weights=True)
    try:
        model.fit(
            _batches(data.train_images, data.train_labels, spec.hyperparameters.batch_size, shuffle_seed=spec.seed),
            validation_data=_batches(data.validation_images, data.validation_labels, VALIDATION_BATCH),
            epochs=spec.training.epochs,
            callbacks=[watch, best],
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )
    except tf.errors.ResourceExhaustedError as error:
        watch.failure = f"out of memory: {one_line(error)}"
        if watch.history:
            model.set_weights(best.best_weights)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Makes a record of every epoch, and stops for a NaN or when told to prune.

    It only ever asks to stop: what is raised inside `fit` would keep the best weights from being restored.
    """

    def __init__(self, on_epoch: OnEpoch) -> None:
        super().__init__()
        self.history: list[EpochRecord] = []
        self.failure = ""
        self._on_epoch = on_epoch
        self._pruned = False

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002  # Keras' signature
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        strange = [
            f"{name} is {value} in epoch {epoch + 1}" for name, value in values.items() if not np.isfinite(value)
        ]
        if strange:
            self.failure = strange[0]
            self.model.stop_training = True
            return
        seconds = time.perf_counter() - self._began
        self.history.append(EpochRecord(epoch=epoch + 1, seconds=seconds, **values))
        if self._on_epoch(self.history[-1]):
            self._pruned = True
            self.model.stop_training = True

    def stop_reason(self, epochs: int) -> StopReason:
        if self.failure:
            return "failed"
        if self._pruned:
            return "pruned"
        return "epochs" if len(self.history) == epochs else "early_stopping"


def _batches(
    images: np.ndarray, labels: np.ndarray, batch_size: int, shuffle_seed: int | None = None
) -> tf.data.Dataset:
    """Batches of (images as float32 0 to 1, labels), all of them, the last one perhaps smaller.

    The images stay uint8 in memory and are scaled batch by batch. Each epoch has another order, drawn
    from `shuffle_seed`; without it the order is kept.
    """
    all_images, all_labels = tf.constant(images), tf.constant(labels)
    indices = tf.data.Dataset.range(len(labels))
    if shuffle_seed is not None:
        indices = indices.shuffle(len(labels), seed=shuffle_seed, reshuffle_each_iteration=True)
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = 1  # the reading must not compete with the training

    def scaled(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(tf.gather(all_images, batch), tf.float32) / 255.0, tf.gather(all_labels, batch)

    return indices.batch(batch_size).map(scaled).prefetch(2).with_options(options)
