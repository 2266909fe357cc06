"""The network as a Keras model, built from the table of its layers."""

from collections.abc import Callable

import keras

from poolstudy.network.weights import Weights
from poolstudy.spec.layers import EPSILON, Layer, LayerKind, layers
from poolstudy.spec.space import HyperParameters

_KERAS: dict[LayerKind, Callable[[Layer, HyperParameters], keras.layers.Layer]] = {
    "convolution": lambda layer, _: keras.layers.Conv2D(
        layer.output_shape[-1],
        layer.weights["kernel"][:2],
        padding="same",
        activation=layer.activation,
        name=layer.name,
    ),
    "batch_normalization": lambda layer, _: keras.layers.BatchNormalization(epsilon=EPSILON, name=layer.name),
    "activation": lambda layer, _: keras.layers.Activation(layer.activation, name=layer.name),
    "average_pooling": lambda layer, _: keras.layers.AveragePooling2D(layer.window, name=layer.name),
    "max_pooling": lambda layer, _: keras.layers.MaxPooling2D(layer.window, name=layer.name),
    "flatten": lambda layer, _: keras.layers.Flatten(name=layer.name),
    "dense": lambda layer, _: keras.layers.Dense(layer.output_shape[0], activation=layer.activation, name=layer.name),
    "dropout": lambda layer, network: keras.layers.Dropout(network.dropout, name=layer.name),
}


def build_model(
    hyperparameters: HyperParameters, image_shape: tuple[int, int, int], classes: int, dense_units: int
) -> keras.Model:
    """Build the network, and compile it with the optimizer and the loss that train it.

    Args:
        image_shape: rows, columns, channels of the input, scaled 0 to 1.
    """
    table = layers(hyperparameters, image_shape, classes, dense_units)
    stack = [keras.Input(image_shape, name="image"), *(_KERAS[layer.kind](layer, hyperparameters) for layer in table)]
    model = keras.Sequential(stack, name=f"{hyperparameters.pooling}_pooling")
    model.compile(
        optimizer=keras.optimizers.Adam(hyperparameters.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def weights_of(model: keras.Model) -> Weights:
    """Return a copy of every weight, in the order of the layers: those that are trained, and moving statistics."""
    return {
        f"{layer.name}/{variable.name}": keras.ops.convert_to_numpy(variable)
        for layer in model.layers
        for variable in layer.weights
    }
