"""What the convolutions and poolings of a network make of one image, by NumPy.

The same as TensorFlow's, but for float noise, from the weights alone: neither pictures nor comparisons need TensorFlow,
whose start takes seconds.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from poolstudy.network.weights import FloatArray, Maps, Weights
from poolstudy.spec.space import Pooling


def forward(weights: Weights, pooling: Pooling, pool_size: int, image: FloatArray) -> Maps:
    """The maps of every layer, in order: `conv_1`, `pool_1`, `conv_2`, ….

    Args:
        image: (rows, columns, channels), scaled 0 to 1.
    """
    maps: Maps = {}
    for name in [name for name in weights if name.startswith("conv_") and name.endswith("/kernel")]:
        layer = name.partition("/")[0]
        maps[layer] = _convolved(image, weights[name], weights[f"{layer}/bias"])
        image = maps[layer.replace("conv_", "pool_")] = _pooled(maps[layer], pooling, pool_size)
    return maps


def _convolved(image: FloatArray, kernel: FloatArray, bias: FloatArray) -> FloatArray:
    """Convolution that keeps the size, then ReLU. `kernel`: (rows, columns, channels, filters)."""
    around = [((side - 1) // 2, side // 2) for side in kernel.shape[:2]]
    patches = sliding_window_view(np.pad(image, [*around, (0, 0)]), kernel.shape[:2], axis=(0, 1))
    return np.asarray(np.maximum(np.tensordot(patches, kernel, axes=((3, 4, 2), (0, 1, 2))) + bias, 0))


def _pooled(image: FloatArray, pooling: Pooling, size: int) -> FloatArray:
    """Windows side by side; rows and columns that fill none are left out."""
    rows, columns = (side // size for side in image.shape[:2])
    windows = image[: rows * size, : columns * size].reshape(rows, size, columns, size, -1)
    return np.asarray(windows.max(axis=(1, 3)) if pooling == "max" else windows.mean(axis=(1, 3)))
