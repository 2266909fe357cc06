"""An epoch as one call of TensorFlow: a loop of steps over images that lie on the device as bytes."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from poolstudy.data.loading import SearchData
from poolstudy.training.adam import optimizer_step

VALIDATION_BATCH = 500
"""Images that are validated at once: the batch changes speed and memory, the result by no more than float noise."""


class EpochRunner:
    """Training and validation of a model, epoch by epoch.

    A training epoch is one call: nothing returns to Python within it and nothing is copied to the device but its order.

    Args:
        model: its weights are trained in place, by the optimizer and the loss that it was compiled with.
        seed: the order of the training images is drawn from it, another one for each epoch.
        whole: compile an epoch with XLA into one program: for a GPU, where starting an operation costs more than
            running it. On the CPU, XLA's convolutions are slower than oneDNN's.
    """

    def __init__(self, model: keras.Model, data: SearchData, *, batch_size: int, seed: int, whole: bool) -> None:
        self._model = model
        self._trainable = [variable.value for variable in model.trainable_variables]
        self._update, self._losses = optimizer_step(model), loss_of(model)
        self._training = tf.constant(data.train_images), tf.constant(data.train_labels)
        self._validation = tf.constant(data.validation_images), tf.constant(data.validation_labels)
        every = np.arange(len(data.validation_labels), dtype=np.int32)
        batches = np.split(every, every[VALIDATION_BATCH::VALIDATION_BATCH])
        self._validation_batches = [tf.constant(batch) for batch in batches]
        self._batch_size = batch_size
        self._seed = seed
        # Without AutoGraph, which would write a source file for each trial into the system's temporary folder.
        self._train_epoch = tf.function(self._train_steps, autograph=False, jit_compile=whole or None)
        self._validate_batch = tf.function(self._validate_images, autograph=False, jit_compile=whole or None)

    def train(self, epoch: int) -> tuple[float, float]:
        """Train on every image once. Return the mean loss and the accuracy while the weights changed, with dropout.

        Both are NaN if a weight is NaN or infinite afterwards.
        """
        order = order_of(len(self._training[1]), self._seed, epoch)
        loss, accuracy = self._train_epoch(tf.constant(order)).numpy() / len(order)
        return float(loss), float(accuracy)

    def validate(self) -> tuple[float, float, NDArray[np.float32]]:
        """Return the mean loss, the accuracy, and the probabilities, (N, classes), of the validation images."""
        found = [self._validate_batch(batch) for batch in self._validation_batches]
        loss, accuracy = sum((sums.numpy() for sums, _ in found), np.zeros(2)) / len(self._validation[1])
        return float(loss), float(accuracy), np.concatenate([probabilities.numpy() for _, probabilities in found])

    def _train_steps(self, order: tf.Tensor) -> tf.Tensor:
        """Train in a loop of equal steps, and a smaller one where a rest is left; return the sums over the epoch."""
        size, full = self._batch_size, order.shape[0] - order.shape[0] % self._batch_size

        def step(first: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return first + size, sums + self._train_batch(order[first:][:size])

        _, sums = tf.while_loop(lambda first, _: first < full, step, (0, tf.zeros(2, tf.float64)))
        if full < order.shape[0]:
            sums += self._train_batch(order[full:])
        # The loss need not show it: oneDNN's convolution with ReLU turns a NaN into 0.
        sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(weight.value)) for weight in self._model.weights])
        return tf.where(sound, sums, tf.constant(np.nan, tf.float64))

    def _train_batch(self, batch: tf.Tensor) -> tf.Tensor:
        images, labels = _read(self._training, batch)
        with tf.GradientTape() as tape:
            probabilities = self._model(images, training=True)
            losses = self._losses(labels, probabilities)
            loss = tf.reduce_mean(losses)
        self._update(tape.gradient(loss, self._trainable))
        return _sums(labels, probabilities, losses)

    def _validate_images(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = _read(self._validation, batch)
        probabilities = self._model(images, training=False)
        return _sums(labels, probabilities, self._losses(labels, probabilities)), probabilities


def loss_of(model: keras.Model) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the loss that a model was compiled with, of each image by itself: (labels, probabilities) to (N,)."""
    loss: Any = keras.losses.get(model.loss)
    per_image: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = loss.call if isinstance(loss, keras.losses.Loss) else loss
    return per_image


def order_of(count: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """Return a permutation of `count` images, drawn from the seed and the epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count).astype(np.int32)


def _read(source: tuple[tf.Tensor, tf.Tensor], batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the batch's images, as float32 0 to 1, and labels."""
    images, labels = source
    return tf.cast(tf.gather(images, batch), tf.float32) / 255.0, tf.cast(tf.gather(labels, batch), tf.int32)


def _sums(labels: tf.Tensor, probabilities: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
    """Return the sum of the losses and the number of images that are right."""
    right = keras.metrics.sparse_categorical_accuracy(labels, probabilities)
    return tf.cast(tf.stack([tf.reduce_sum(losses), tf.reduce_sum(right)]), tf.float64)
