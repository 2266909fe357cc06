"""The table of layers against Keras, for networks drawn at random."""

import keras
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from poolstudy.network.build import build_model, weights_of
from poolstudy.network.forward import forward
from poolstudy.spec.layers import layers, parameters
from poolstudy.spec.space import HyperParameters

NETWORKS = st.builds(
    HyperParameters,
    pooling=st.sampled_from(["average", "max"]),
    pool_size=st.integers(2, 3),
    filters=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    dropout=st.sampled_from([0.0, 0.5]),
    kernel_size=st.sampled_from([1, 3, 5, 11]),
    batch_normalization=st.booleans(),
    dense_units=st.sampled_from([None, 1, 9]),
)


@settings(max_examples=30, deadline=None)
@given(network=NETWORKS, rows=st.integers(27, 31), columns=st.integers(27, 31), channels=st.sampled_from([1, 3]))
def test_the_table_is_what_keras_builds_and_numpy_computes_the_same(
    network: HyperParameters, rows: int, columns: int, channels: int
) -> None:
    shape = (rows, columns, channels)
    table, model = layers(network, shape, 4, 6), build_model(network, shape, 4, 6)
    assert [layer.name for layer in table] == [layer.name for layer in model.layers]
    assert [layer.output_shape for layer in table] == [layer.output.shape[1:] for layer in model.layers]
    assert [layer.parameters for layer in table] == [layer.count_params() for layer in model.layers]
    assert parameters(table) == model.count_params()
    # Weights drawn at random, also those that Keras makes 0 or 1; variances are positive.
    rng = np.random.default_rng(rows * columns)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    weights = weights_of(model)
    names = {f"{layer.name}/{variable}": size for layer in table for variable, size in layer.weights.items()}
    assert {name: array.shape for name, array in weights.items()} == names
    assert list(weights) == list(names)
    image = rng.random(shape, np.float32)
    ours = forward(table, weights, image)
    outputs = keras.Model(model.inputs, [model.get_layer(name).output for name in ours])(image[None])
    for name, theirs in zip(ours, outputs, strict=True):
        np.testing.assert_allclose(ours[name], keras.ops.convert_to_numpy(theirs)[0], rtol=1e-5, atol=1e-5)
