"""The network: convolutions, each followed by pooling, then one dense layer and the classes."""

import keras

from poolstudy.network.weights import Weights
from poolstudy.spec.space import HyperParameters, Pooling

_POOLING: dict[Pooling, type[keras.layers.Layer]] = {
    "average": keras.layers.AveragePooling2D,
    "max": keras.layers.MaxPooling2D,
}


def build_model(
    hyperparameters: HyperParameters,
    image_shape: tuple[int, int, int],
    classes: int,
    dense_units: int,
) -> keras.Model:
    """The notebook's network, compiled: Adam, sparse categorical cross-entropy, accuracy.

    Per convolution `Conv2D(filters, 3x3, same, relu)` and a pooling layer; then `Flatten`,
    `Dense(dense_units, relu)`, `Dropout`, `Dense(classes, softmax)`. Layers are named
    `conv_1`, `pool_1`, …, `flatten`, `dense_1`, `dropout`, `dense_2`.

    Args:
        image_shape: rows, columns, channels of the input, scaled 0 to 1.
    """
    layers = keras.layers
    stack: list[keras.layers.Layer] = [keras.Input(image_shape, name="image")]
    for number, filters in enumerate(hyperparameters.filters, start=1):
        stack.append(layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{number}"))
        pooling = _POOLING[hyperparameters.pooling]
        stack.append(pooling(hyperparameters.pool_size, name=f"pool_{number}"))
    stack += [
        layers.Flatten(name="flatten"),
        layers.Dense(dense_units, activation="relu", name="dense_1"),
        layers.Dropout(hyperparameters.dropout, name="dropout"),
        layers.Dense(classes, activation="softmax", name="dense_2"),
    ]
    model = keras.Sequential(stack, name=f"{hyperparameters.pooling}_pooling")
    model.compile(
        optimizer=keras.optimizers.Adam(hyperparameters.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def weights_of(model: keras.Model) -> Weights:
    """A copy of every trainable weight."""
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.weights
        if variable.trainable
    }
