"""Weights as arrays, and their digest: without TensorFlow, which takes seconds to import."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Weights = dict[str, NDArray[np.float32]]
"""By "layer/variable", such as "conv_1/kernel", in the order of the layers."""

Maps = dict[str, NDArray[np.float32]]
"""By layer, such as "pool_1": what it makes of one image, (rows, columns, filters)."""

_VARIABLES = ("kernel", "bias")  # of every layer of ours that has some, in Keras' order


def weights_digest(weights: Weights) -> str:
    """SHA-256 over names, shapes, dtypes and bytes, in order."""
    total = hashlib.sha256()
    for name, array in weights.items():
        total.update(f"{name}{array.shape}{array.dtype.str}".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def saved_weights(file: Path) -> Weights:
    """The weights in a .keras file of one of our networks (a zip of JSON and HDF5; nothing of it is executed).

    Raises:
        ValueError: it is no such file, or damaged.
    """
    import h5py

    weights: Weights = {}
    try:
        with zipfile.ZipFile(file) as packed:
            layers = [layer["config"]["name"] for layer in json.loads(packed.read("config.json"))["config"]["layers"]]
            content = packed.read("model.weights.h5")
        with h5py.File(io.BytesIO(content), "r") as stored:
            groups = {group["vars"].attrs["name"]: group["vars"] for group in stored["layers"].values()}
            for layer in layers:
                for number, variable in enumerate(_VARIABLES[: len(groups.get(layer, ()))]):
                    weights[f"{layer}/{variable}"] = groups[layer][str(number)][()]
    except (OSError, KeyError, TypeError, AttributeError, RuntimeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return weights
