"""The forward pass of one image by NumPy, up to the dense layers.

Pictures and comparisons need no TensorFlow for it, which takes seconds to start.
"""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from poolstudy.network.weights import FloatArray, Maps, Weights
from poolstudy.spec.layers import EPSILON, Layer, LayerKind

Step = Callable[[Layer, Weights, FloatArray], FloatArray]


def forward(network: tuple[Layer, ...], weights: Weights, image: FloatArray) -> Maps:
    """Return the output of every layer up to `flatten`, by its name.

    Args:
        network: as `spec.layers.layers` gives it.
        image: (rows, columns, channels), scaled 0 to 1.

    Raises:
        NotImplementedError: a layer of a kind that is not computed here.
    """
    outputs: Maps = {}
    for layer in network:
        if layer.kind == "flatten":
            return outputs
        if layer.kind not in _STEPS:
            raise NotImplementedError(f"{layer.name}: no forward pass for layers of the kind {layer.kind!r}")
        image = _STEPS[layer.kind](layer, weights, image)
        outputs[layer.name] = image = np.maximum(image, 0) if layer.activation == "relu" else image
    return outputs


def maps_of(network: tuple[Layer, ...], weights: Weights, image: FloatArray) -> Maps:
    """Return the outputs that are drawn as feature maps, by the names of their pictures: `conv_1`, `pool_1`, …"""
    outputs = forward(network, weights, image)
    return {layer.maps: outputs[layer.name] for layer in network if layer.maps}


def _convolve(layer: Layer, weights: Weights, image: FloatArray) -> FloatArray:
    kernel, bias = weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]
    around = [((side - 1) // 2, side // 2) for side in kernel.shape[:2]]
    patches = sliding_window_view(np.pad(image, [*around, (0, 0)]), kernel.shape[:2], axis=(0, 1))
    return np.asarray(np.tensordot(patches, kernel, axes=((3, 4, 2), (0, 1, 2))) + bias)


def _windows(layer: Layer, image: FloatArray) -> FloatArray:
    """Return windows side by side, (rows, side, columns, side, channels); pixels that fill none are left out."""
    rows, columns, _ = layer.output_shape
    size = layer.window
    return image[: rows * size, : columns * size].reshape(rows, size, columns, size, -1)


def _normalize(layer: Layer, weights: Weights, image: FloatArray) -> FloatArray:
    """Normalize by the moving statistics, as in validation."""
    gamma, beta, mean, variance = (weights[f"{layer.name}/{variable}"] for variable in layer.weights)
    return np.asarray((image - mean) * (gamma / np.sqrt(variance + np.float32(EPSILON))) + beta)


_STEPS: dict[LayerKind, Step] = {
    "convolution": _convolve,
    "batch_normalization": _normalize,
    "activation": lambda _, __, image: image,
    "average_pooling": lambda layer, _, image: _windows(layer, image).mean(axis=(1, 3)),
    "max_pooling": lambda layer, _, image: _windows(layer, image).max(axis=(1, 3)),
}
