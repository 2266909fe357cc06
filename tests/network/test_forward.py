"""The NumPy forward pass against numbers by hand, and against Keras."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from poolstudy.network.forward import forward, maps_of
from poolstudy.network.weights import Weights
from poolstudy.spec.layers import layers
from poolstudy.spec.space import HyperParameters, Pooling


@pytest.mark.parametrize(("pooling", "pooled"), [("max", [[6, 8], [14, 16]]), ("average", [[3.5, 5.5], [11.5, 13.5]])])
def test_feature_maps_are_the_layers_outputs(pooling: Pooling, pooled: list[list[float]]) -> None:
    """One filter that adds 1 to the middle pixel: its map is the image plus 1, then pooled."""
    image = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, 1] = 1
    weights: Weights = {"conv_1/kernel": kernel, "conv_1/bias": np.ones(1, np.float32)}
    network = layers(HyperParameters(pooling=pooling, pool_size=2, filters=(1,), dropout=0), (4, 4, 1), 2, 3)
    maps = maps_of(network, weights, image)
    np.testing.assert_array_equal(maps["conv_1"], image + 1)
    np.testing.assert_array_equal(maps["pool_1"][:, :, 0], pooled)


def test_a_layer_of_an_unknown_kind_is_not_passed_over() -> None:
    network = layers(HyperParameters(pooling="max", pool_size=2, filters=(1,), dropout=0), (4, 4, 1), 2, 3)
    unknown: Any = "squeeze"
    with pytest.raises(NotImplementedError, match="conv_1: no forward pass for layers of the kind 'squeeze'"):
        forward((replace(network[0], kind=unknown),), {}, np.zeros((4, 4, 1), np.float32))
