"""Weights as arrays, and their digest: without TensorFlow, which takes seconds to import."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poolstudy.spec.layers import Layer

FloatArray = NDArray[np.float32]
Weights = dict[str, FloatArray]
"""By "layer/variable", such as "conv_1/kernel", in the order of the layers."""

Maps = dict[str, FloatArray]
"""By layer, such as "pool_1": its output for one image, (rows, columns, filters)."""


def weights_digest(weights: Weights) -> str:
    """Return the SHA-256 over names, shapes, dtypes and bytes, in order."""
    total = hashlib.sha256()
    for name, array in weights.items():
        total.update(f"{name}{array.shape}{array.dtype.str}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def saved_weights(file: Path, network: tuple[Layer, ...]) -> Weights:
    """Read the weights of a network from its .keras file (a zip of JSON and HDF5; nothing of it is executed).

    Raises:
        ValueError: it is no such file, or damaged, or of another network.
    """
    import h5py

    weights: Weights = {}
    try:
        with zipfile.ZipFile(file) as packed:
            content = packed.read("model.weights.h5")
        with h5py.File(io.BytesIO(content), "r") as stored:
            groups = {group["vars"].attrs["name"]: group["vars"] for group in stored["layers"].values()}
            for layer in network:
                for number, (variable, shape) in enumerate(layer.weights.items()):
                    name = f"{layer.name}/{variable}"
                    weights[name] = groups[layer.name][str(number)][()]
                    if weights[name].shape != shape:
                        raise ValueError(f"{name} has the shape {weights[name].shape}, not {shape}")
    except (OSError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return weights
