from pathlib import Path

import keras
import numpy as np
import pytest

from poolstudy.network.build import build_model, weights_of
from poolstudy.network.weights import saved_weights, weights_digest
from poolstudy.spec.layers import layers
from poolstudy.spec.space import HyperParameters, Pooling

AVERAGE = HyperParameters(pooling="average", pool_size=3, filters=(32, 32), dropout=0.4)
MAX = HyperParameters(pooling="max", pool_size=2, filters=(32, 64), dropout=0.4)


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        # 3*3*1*32+32 + 3*3*32*32+32 + 3*3*32*100+100 + 100*10+10
        (AVERAGE, 39_478),
        # 3*3*1*32+32 + 3*3*32*64+64 + 7*7*64*100+100 + 100*10+10
        (MAX, 333_526),
    ],
)
def test_the_notebooks_networks_have_its_parameter_counts(network: HyperParameters, parameters: int) -> None:
    assert build_model(network, (28, 28, 1), 10, 100).count_params() == parameters


def test_layers_are_named_by_their_place_whatever_was_built_before() -> None:
    names = ["conv_1", "pool_1", "conv_2", "pool_2", "flatten", "dense_1", "dropout", "dense_2"]
    for _ in range(2):
        assert [layer.name for layer in build_model(MAX, (28, 28, 1), 10, 100).layers] == names


def test_shapes_are_the_notebooks() -> None:
    model = build_model(MAX, (28, 28, 1), 10, 100)
    weights = weights_of(model)
    assert weights["conv_1/kernel"].shape == (3, 3, 1, 32)
    assert weights["conv_1/bias"].shape == (32,)
    assert model.get_layer("conv_1").output.shape == (None, 28, 28, 32)
    assert model.get_layer("conv_2").output.shape == (None, 14, 14, 64)
    assert build_model(AVERAGE, (28, 28, 1), 10, 100).get_layer("pool_2").output.shape == (None, 3, 3, 32)


@pytest.mark.parametrize(
    ("pooling", "pooled"),
    # of 0..15 in rows of four: the windows 0 1 4 5, 2 3 6 7, 8 9 12 13, 10 11 14 15
    [("average", [[2.5, 4.5], [10.5, 12.5]]), ("max", [[5, 7], [13, 15]])],
)
def test_pooling_is_what_its_name_says(pooling: Pooling, pooled: list[list[float]]) -> None:
    network = HyperParameters(pooling=pooling, pool_size=2, filters=(1,), dropout=0)
    layer = build_model(network, (4, 4, 1), 2, 3).get_layer("pool_1")
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(image))[0, :, :, 0], pooled)


def test_one_bit_of_one_weight_changes_the_digest() -> None:
    weights = weights_of(build_model(MAX, (28, 28, 1), 10, 100))
    before = weights_digest(weights)
    assert weights_digest({name: array.copy() for name, array in weights.items()}) == before
    weights["dense_2/bias"].view(np.uint32)[3] ^= 1
    assert weights_digest(weights) != before


@pytest.mark.parametrize("batch_normalization", [False, True])
def test_saved_weights_are_read_without_keras_in_the_same_order(tmp_path: Path, batch_normalization: bool) -> None:
    network = HyperParameters(
        pooling="max", pool_size=2, filters=(3, 4), dropout=0, batch_normalization=batch_normalization
    )
    model = build_model(network, (8, 8, 1), 5, 6)
    model.set_weights([np.random.default_rng(weight.size).random(weight.shape) for weight in model.get_weights()])
    model.save(tmp_path / "model.keras")
    saved, own = saved_weights(tmp_path / "model.keras", layers(network, (8, 8, 1), 5, 6)), weights_of(model)
    assert weights_digest(saved) == weights_digest(own)
