import dataclasses
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from poolstudy.data.loading import SearchData, load_search_data, scaled
from poolstudy.errors import TrialFailed
from poolstudy.network.build import build_model, weights_of
from poolstudy.network.weights import weights_digest
from poolstudy.spec.load import load_config
from poolstudy.spec.records import EpochRecord, TrainingSettings, TrialSpec
from poolstudy.spec.space import HyperParameters
from poolstudy.training.adam import FusedAdam, optimizer_step
from poolstudy.training.epochs import EpochRunner, order_of
from poolstudy.training.train import train


@pytest.fixture
def data(project: Path) -> SearchData:
    return load_search_data(load_config("tiny", [], project).data, project)


def spec(data: SearchData, seed: int = 1, **changes: object) -> TrialSpec:
    values: dict[str, object] = {"pooling": "max", "pool_size": 2, "filters": (3, 4), "dropout": 0.2}
    training = {key: changes.pop(key) for key in ("epochs", "patience") if key in changes}
    return TrialSpec(
        study="test",
        slot=1,
        seed=seed,
        hyperparameters=HyperParameters.model_validate(values | changes),
        training=TrainingSettings.model_validate({"epochs": 3, "dense_units": 8} | training),
        data=data.identity,
    )


def test_the_same_spec_gives_the_same_bits_and_another_seed_others(data: SearchData) -> None:
    first, again, other = (train(spec(data, seed), data) for seed in (1, 1, 2))
    assert first.result.weights_digest == again.result.weights_digest
    assert first.result.untrained_digest == again.result.untrained_digest
    losses = [[record.loss for record in trial.result.history] for trial in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]
    assert first.result.untrained_digest != other.result.untrained_digest


def test_the_weights_that_are_kept_are_those_of_the_best_epoch(data: SearchData) -> None:
    # A high learning rate: training stops early, so the last weights are not the best ones.
    trial = train(spec(data, learning_rate=0.05, epochs=40, patience=2), data)
    assert trial.result.best_epoch < len(trial.result.history)
    loss, accuracy = trial.model.evaluate(scaled(data.validation_images), data.validation_labels, verbose=0)
    assert loss == pytest.approx(trial.result.best.val_loss, abs=1e-6)
    assert round(accuracy * 50) == round(trial.result.best.val_accuracy * 50)
    assert weights_digest(weights_of(trial.model)) == trial.result.weights_digest


def test_training_stops_patience_epochs_after_the_best_one(data: SearchData) -> None:
    result = train(spec(data, learning_rate=0.05, epochs=40, patience=2), data).result
    assert result.stop_reason == "early_stopping"
    assert len(result.history) == result.best_epoch + 2


def test_a_trial_that_is_pruned_ends_in_good_order(data: SearchData) -> None:
    heard: list[EpochRecord] = []

    def prune_in_epoch_2(record: EpochRecord) -> bool:
        heard.append(record)
        return record.epoch == 2

    trial = train(spec(data, epochs=5), data, prune_in_epoch_2)
    assert trial.result.stop_reason == "pruned"
    assert trial.result.history == tuple(heard)
    assert [record.epoch for record in heard] == [1, 2]


def test_a_loss_that_is_no_number_fails_the_trial(data: SearchData) -> None:
    with pytest.raises(TrialFailed, match="loss is (nan|inf) in epoch 1"):
        train(spec(data, learning_rate=1e30), data)


@pytest.fixture
def one_step(data: SearchData) -> SearchData:
    """So few images that an epoch is one step."""
    return dataclasses.replace(data, train_images=data.train_images[:32], train_labels=data.train_labels[:32])


def test_a_trial_that_fails_later_keeps_what_it_reached(one_step: SearchData) -> None:
    # Weights grow by 3e8 a step; the product of four layers of them passes the greatest float after some epochs.
    heard: list[EpochRecord] = []

    def note(record: EpochRecord) -> bool:
        heard.append(record)
        return False

    trial = train(spec(one_step, learning_rate=1e8, epochs=60, patience=60), one_step, note)
    result = trial.result
    assert (result.stop_reason, result.state) == ("failed", "failed")
    assert 1 <= len(result.history) < 60
    assert result.history == tuple(heard)
    assert re.fullmatch(rf"(val_)?loss is (nan|inf) in epoch {len(heard) + 1}", result.failure)
    assert all(np.isfinite(weight).all() for weight in trial.trained.values())
    assert weights_digest(weights_of(trial.model)) == result.weights_digest


def test_the_answers_to_the_validation_images_give_the_logged_accuracy(data: SearchData) -> None:
    trial = train(spec(data), data)
    assert trial.probabilities.shape == (50, 10)
    np.testing.assert_allclose(trial.probabilities.sum(axis=1), 1, atol=1e-6)
    right = (trial.probabilities.argmax(axis=1) == data.validation_labels).sum()
    assert right == round(trial.result.best.val_accuracy * 50)


def test_every_image_is_trained_on_once_an_epoch_in_another_order_each() -> None:
    orders = [order_of(200, seed=5, epoch=epoch).tolist() for epoch in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(200))
    assert orders[0] != orders[1]
    assert orders[0] == order_of(200, seed=5, epoch=1).tolist() != order_of(200, seed=6, epoch=1).tolist()


@pytest.fixture
def small_batches(data: SearchData) -> TrialSpec:
    """200 images in batches of 48: four, and a rest of eight."""
    return spec(data, epochs=2, batch_size=48, pool_size=3, filters=(3,))


@pytest.mark.parametrize("pooling", [pytest.param("average", marks=pytest.mark.slow), "max"])
def test_what_is_trained_is_what_keras_trains_of_the_same_batches(
    data: SearchData, small_batches: TrialSpec, pooling: str
) -> None:
    """The plain way: `fit`, float images, Keras' own Adam. The dropout is the same too: its seed is the model's."""
    network = small_batches.hyperparameters.model_copy(update={"pooling": pooling})
    wanted = small_batches.model_copy(update={"hyperparameters": network})
    fast = train(wanted, data)
    keras.backend.clear_session()
    keras.utils.set_random_seed(wanted.seed)
    model = build_model(network, data.identity.image_shape, 10, 8)
    validation = scaled(data.validation_images), data.validation_labels
    for record in fast.result.history:
        order = order_of(200, wanted.seed, record.epoch)
        images, labels = scaled(data.train_images[order]), data.train_labels[order]
        plain = model.fit(images, labels, batch_size=48, validation_data=validation, shuffle=False, verbose=0)
        reported = {name: values[0] for name, values in plain.history.items()}
        assert reported == pytest.approx(record.model_dump(include=set(reported)), rel=1e-5)
    for name, weight in weights_of(model).items():
        np.testing.assert_allclose(weight, fast.trained[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_an_epoch_as_one_compiled_program_trains_the_same(data: SearchData, small_batches: TrialSpec) -> None:
    """The way of a GPU, on the CPU. Without dropout: XLA draws other random numbers."""
    network = small_batches.hyperparameters.model_copy(update={"dropout": 0.0})
    results = []
    for whole in (False, True):
        keras.utils.set_random_seed(1)
        model = build_model(network, data.identity.image_shape, 10, 8)
        epochs = EpochRunner(model, data, batch_size=48, seed=1, whole=whole)
        results.append([*epochs.train(1), *epochs.train(2), *epochs.validate(), *model.get_weights()])
    for plain, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-6)


def test_adam_takes_the_steps_of_the_paper() -> None:
    # With a constant gradient g both corrected moments are g and g², so every step is -rate * g / (|g| + epsilon'):
    # -0.1 in the direction of the gradient, whatever its size.
    variable = tf.Variable([1.0, 1.0, 1.0])
    adam = FusedAdam(keras.optimizers.Adam(0.1), [variable])
    for _ in range(3):
        adam.apply([tf.constant([2.0, -0.5, 0.0])])
    np.testing.assert_allclose(variable.numpy(), [0.7, 1.3, 1.0], rtol=1e-5)


def test_adam_takes_the_steps_of_keras() -> None:
    gradients = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    ours, theirs = tf.Variable([1.0, 2.0, 3.0, 4.0]), keras.Variable([1.0, 2.0, 3.0, 4.0])
    adam, keras_adam = FusedAdam(keras.optimizers.Adam(0.01), [ours]), keras.optimizers.Adam(0.01)
    for gradient in gradients:
        adam.apply([tf.constant(gradient)])
        keras_adam.apply([tf.constant(gradient)], [theirs])
    np.testing.assert_allclose(ours.numpy(), keras.ops.convert_to_numpy(theirs), rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (keras.optimizers.Adam(0.01), True),
        (keras.optimizers.Adam(0.01, beta_1=0.8, epsilon=1e-4), True),
        (keras.optimizers.Adam(0.01, weight_decay=0.1), False),
        (keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 9)), False),
        (keras.optimizers.AdamW(0.01), False),
        (keras.optimizers.SGD(0.1), False),
    ],
)
def test_the_compiled_optimizer_and_loss_are_what_trains(data: SearchData, optimizer: Any, fused: bool) -> None:
    """As one batch of Keras' own `fit`, without dropout."""
    network = HyperParameters(pooling="max", pool_size=2, filters=(2,), dropout=0)
    results = []
    for ours in (True, False):
        keras.utils.set_random_seed(1)
        model = build_model(network, data.identity.image_shape, 10, 8)
        loss = "sparse_categorical_crossentropy" if fused else keras.losses.SparseCategoricalCrossentropy()
        model.compile(type(optimizer).from_config(optimizer.get_config()), loss, metrics=["accuracy"])
        step = optimizer_step(model)
        assert isinstance(getattr(step, "__self__", None), FusedAdam) == fused
        if ours:
            EpochRunner(model, data, batch_size=200, seed=1, whole=False).train(1)
        else:
            model.fit(scaled(data.train_images), data.train_labels, batch_size=200, shuffle=False, verbose=0)
        results.append(model.get_weights())
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_network_with_batch_normalization_keeps_its_moving_statistics(data: SearchData) -> None:
    """The saved model gives the logged figures: its statistics are those of the best epoch, and part of the digest."""
    first, again = (train(spec(data, batch_normalization=True, epochs=4), data) for _ in range(2))
    assert first.result.weights_digest == again.result.weights_digest
    assert [one.loss for one in first.result.history] == [one.loss for one in again.result.history]
    assert first.trained["batch_norm_1/moving_mean"].any()
    assert not first.untrained["batch_norm_1/moving_mean"].any()
    loss, accuracy = first.model.evaluate(scaled(data.validation_images), data.validation_labels, verbose=0)
    assert loss == pytest.approx(first.result.best.val_loss, abs=1e-6)
    assert round(accuracy * 50) == round(first.result.best.val_accuracy * 50)
    changed = first.trained | {"batch_norm_1/moving_mean": first.trained["batch_norm_1/moving_mean"] + 1}
    assert weights_digest(changed) != first.result.weights_digest
