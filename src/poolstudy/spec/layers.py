"""A network as a table of its layers, without Keras: names, shapes, weights and operations by formula.

From this table follow Keras' model (`network/build`), the NumPy forward pass (`network/forward`), which weights are
read from a file, the estimates of time and memory, and the keys of the dashboard's images.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from poolstudy.spec.space import HyperParameters, Pooling

Shape = tuple[int, ...]
LayerKind = Literal[
    "convolution", "batch_normalization", "activation", "average_pooling", "max_pooling", "flatten", "dense", "dropout"
]
EPSILON = 1e-3
"""Added to the variance by batch normalization: Keras' default."""
_POOLING: dict[Pooling, LayerKind] = {"average": "average_pooling", "max": "max_pooling"}


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        output_shape: of one image.
        weights: shapes by variable, in Keras' order.
        flops: floating-point operations of one image's forward pass, a multiplication and an addition counted as two.
            Products of convolutions and dense layers only, as is usual: biases, activations and poolings are left out.
        activation: applied to its output, by Keras' name.
        window: side of a pooling's window, in pixels.
        maps: the name under which its output is drawn as feature maps; empty where it is not.
    """

    name: str
    kind: LayerKind
    output_shape: Shape
    weights: Mapping[str, Shape] = field(default_factory=dict)
    flops: int = 0
    activation: Literal["relu", "softmax"] | None = None
    window: int = 0
    maps: str = ""

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.weights.values()))


@lru_cache(maxsize=4096)
def layers(
    network: HyperParameters, image_shape: tuple[int, int, int], classes: int, dense_units: int
) -> tuple[Layer, ...]:
    """Return the layers of a network, first to last.

    Per convolution `conv_1` (same padding, ReLU) and `pool_1`; then `flatten`, `dense_1` (ReLU), `dropout`, `dense_2`.
    With batch normalization `conv_1` has no ReLU, and `batch_norm_1` and `relu_1` follow it.

    Args:
        image_shape: rows, columns, channels.
        dense_units: of `dense_1`, where the network has none of its own.

    Raises:
        ValueError: a pooling would leave no pixel, or a kernel is larger than the image.
    """
    return tuple(_layers(network, image_shape, classes, network.dense_units or dense_units))


def _layers(network: HyperParameters, shape: Shape, classes: int, dense_units: int) -> Iterator[Layer]:
    if network.kernel_size > min(shape[:2]):
        raise ValueError(f"kernel_size {network.kernel_size} is larger than the image, {shape[0]}x{shape[1]} pixels")
    for number, filters in enumerate(network.filters, start=1):
        rows, columns, channels = shape
        shape = (rows, columns, filters)
        yield from _convolution(number, channels, shape, network)
        shape = _pooled(number, shape, network.pool_size)
        yield Layer(name := f"pool_{number}", _POOLING[network.pooling], shape, window=network.pool_size, maps=name)
    values = math.prod(shape)
    yield Layer("flatten", "flatten", (values,))
    yield _dense("dense_1", values, dense_units, "relu")
    yield Layer("dropout", "dropout", (dense_units,))
    yield _dense("dense_2", dense_units, classes, "softmax")


def _convolution(number: int, channels: int, shape: Shape, network: HyperParameters) -> Iterator[Layer]:
    rows, columns, filters = shape
    weights = {"kernel": (network.kernel_size, network.kernel_size, channels, filters), "bias": (filters,)}
    flops, name = 2 * math.prod(weights["kernel"]) * rows * columns, f"conv_{number}"
    if not network.batch_normalization:
        yield Layer(name, "convolution", shape, weights, flops, activation="relu", maps=name)
        return
    yield Layer(name, "convolution", shape, weights, flops)
    statistics = dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (filters,))
    yield Layer(f"batch_norm_{number}", "batch_normalization", shape, statistics)
    yield Layer(f"relu_{number}", "activation", shape, activation="relu", maps=name)


def _pooled(number: int, shape: Shape, size: int) -> Shape:
    rows, columns, filters = shape
    if min(rows, columns) < size:
        raise ValueError(f"pool_{number} would pool {size}x{size} of {rows}x{columns} pixels and leave none")
    return rows // size, columns // size, filters


def _dense(name: str, values: int, units: int, activation: Literal["relu", "softmax"]) -> Layer:
    weights = {"kernel": (values, units), "bias": (units,)}
    return Layer(name, "dense", (units,), weights, 2 * values * units, activation)


def flops(network: tuple[Layer, ...]) -> int:
    """Return the operations of one image's forward pass; a training step takes about three times as many."""
    return sum(layer.flops for layer in network)


def parameters(network: tuple[Layer, ...]) -> int:
    """Return the number of weights and biases."""
    return sum(layer.parameters for layer in network)
