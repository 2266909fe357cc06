"""The networks as the scripts build them, in plain Keras without poolstudy."""

import keras

from benchmarks.cases import DENSE_UNITS

PARAMS = ("pooling", "pool_size", "filters_1", "filters_2", "dropout")
"""Parameters of `build`, by the names in `HyperParameters.flat`."""


def build(pooling: str, pool_size: int, filters_1: int, filters_2: int, dropout: float) -> keras.Model:
    """Build the notebook's network, compiled as in the notebook."""
    layers = keras.layers
    pool = layers.MaxPooling2D if pooling == "max" else layers.AveragePooling2D
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(filters_1, 3, padding="same", activation="relu"),
            pool(pool_size),
            layers.Conv2D(filters_2, 3, padding="same", activation="relu"),
            pool(pool_size),
            layers.Flatten(),
            layers.Dense(DENSE_UNITS, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
