import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from poolstudy.compose import load_config
from poolstudy.data import SearchData, load_search_data, scaled
from poolstudy.errors import DeviceError, TrialFailed
from poolstudy.model import build_model, weights_digest, weights_of
from poolstudy.records import EpochRecord, TrainingSettings, TrialSpec
from poolstudy.space import HyperParameters
from poolstudy.training import _batches, find_gpus, train, use_device


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


def test_every_image_is_trained_on_once_an_epoch_in_another_order_each(data: SearchData) -> None:
    labels = np.arange(200)
    batches = _batches(np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1), labels, 32, shuffle_seed=5)
    epochs = [[(x.numpy(), y.numpy()) for x, y in batches] for _ in range(2)]
    assert [len(y) for _, y in epochs[0]] == [32] * 6 + [8]
    orders = [np.concatenate([y for _, y in epoch]).tolist() for epoch in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == labels.tolist()
    assert orders[0] != orders[1]
    for images, batch in epochs[0]:
        np.testing.assert_array_equal(images[:, 0, 0, 0], batch.astype(np.float32) / np.float32(255))


def test_what_is_trained_is_what_keras_trains_of_the_same_batches(data: SearchData) -> None:
    """The plain way: float images, one step an execution."""
    wanted = spec(data, epochs=2)
    fast = train(wanted, data)
    keras.backend.clear_session()
    keras.utils.set_random_seed(wanted.seed)
    model = build_model(wanted.hyperparameters, data.identity.image_shape, 10, 8)
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    order = _batches(data.train_images, data.train_labels, 32, shuffle_seed=wanted.seed)
    model.fit(
        order.map(lambda x, y: (tf.identity(x), y)),
        validation_data=(scaled(data.validation_images), data.validation_labels),
        epochs=2,
        shuffle=False,
        callbacks=[keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True)],
        verbose=0,
    )
    assert weights_digest(weights_of(model)) == fast.result.weights_digest


def test_without_a_gpu_none_is_found_and_one_that_is_asked_for_is_missed() -> None:
    if not find_gpus():
        with pytest.raises(DeviceError, match="expected GPU:0 among them"):
            use_device("GPU:0", 1)
