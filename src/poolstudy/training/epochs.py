"""An epoch as one call of TensorFlow: a loop of steps over images that lie on the device as bytes."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from poolstudy.data.loading import SearchData
from poolstudy.training.adam import Adam

VALIDATION_BATCH = 500
"""Images that are validated at once: the batch changes speed and memory, the result by no more than float noise."""


class EpochRunner:
    """Trains a model and validates it.

    A training epoch is one call: nothing returns to Python within it and nothing is copied to the device but its order.

    Args:
        model: its weights are trained in place. Its optimizer, loss and metrics as compiled are not used.
        learning_rate: of Adam.
        seed: the order of the training images is drawn from it, another one for each epoch.
        whole: compile an epoch with XLA into one program: for a GPU, where starting an operation costs more than
            running it. On the CPU, XLA's convolutions are slower than oneDNN's.
    """

    def __init__(
        self, model: keras.Model, data: SearchData, *, batch_size: int, learning_rate: float, seed: int, whole: bool
    ) -> None:
        self._model = model
        self._weights = [variable.value for variable in model.trainable_variables]
        self._adam = Adam(self._weights, learning_rate)
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
        """Trains on every image once; the mean loss and the accuracy, while the weights changed, with dropout.

        Both are NaN if a weight is no number afterwards.
        """
        order = order_of(len(self._training[1]), self._seed, epoch)
        loss, accuracy = self._train_epoch(tf.constant(order)).numpy() / len(order)
        return float(loss), float(accuracy)

    def validate(self) -> tuple[float, float, NDArray[np.float32]]:
        """The mean loss, the accuracy, and the model's probabilities, (N, classes), of the validation images."""
        found = [self._validate_batch(batch) for batch in self._validation_batches]
        loss, accuracy = sum((sums.numpy() for sums, _ in found), np.zeros(2)) / len(self._validation[1])
        return float(loss), float(accuracy), np.concatenate([probabilities.numpy() for _, probabilities in found])

    def _train_steps(self, order: tf.Tensor) -> tf.Tensor:
        """The sums over an epoch: a loop of equal steps, and a smaller one where a rest is left."""
        size, full = self._batch_size, order.shape[0] - order.shape[0] % self._batch_size

        def step(first: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return first + size, sums + self._train_batch(order[first:][:size])

        _, sums = tf.while_loop(lambda first, _: first < full, step, (0, tf.zeros(2, tf.float64)))
        if full < order.shape[0]:
            sums += self._train_batch(order[full:])
        # The loss need not show it: oneDNN's convolution with ReLU turns a NaN into 0.
        sound = tf.reduce_all([tf.reduce_all(tf.math.is_finite(weight)) for weight in self._weights])
        return tf.where(sound, sums, tf.constant(np.nan, tf.float64))

    def _train_batch(self, batch: tf.Tensor) -> tf.Tensor:
        images, labels = _read(self._training, batch)
        with tf.GradientTape() as tape:
            probabilities = self._model(images, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            loss = tf.reduce_mean(losses)
        self._adam.apply(tape.gradient(loss, self._weights))
        return _sums(labels, probabilities, losses)

    def _validate_images(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = _read(self._validation, batch)
        probabilities = self._model(images, training=False)
        losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return _sums(labels, probabilities, losses), probabilities


def order_of(count: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """A permutation of `count` images, drawn from the seed and the epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count).astype(np.int32)


def _read(source: tuple[tf.Tensor, tf.Tensor], batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The batch's images, as float32 0 to 1, and labels."""
    images, labels = source
    return tf.cast(tf.gather(images, batch), tf.float32) / 255.0, tf.cast(tf.gather(labels, batch), tf.int32)


def _sums(labels: tf.Tensor, probabilities: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
    """The sum of the losses and the number of correct answers."""
    right = keras.metrics.sparse_categorical_accuracy(labels, probabilities)
    return tf.cast(tf.stack([tf.reduce_sum(losses), tf.reduce_sum(right)]), tf.float64)
