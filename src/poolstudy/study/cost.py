"""What networks cost: operations and parameters by formula, seconds by a line fitted to what was measured."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poolstudy.spec.records import DataIdentity
from poolstudy.spec.space import Choices, Dimension, FloatRange, HyperParameters, SearchSpace, Value, filter_name

_NETWORKS = 2_000  # so many of a space are looked at, at most


@dataclass(frozen=True)
class Sizes:
    """What the networks of a study have in common: the images they take and the layers after the convolutions.

    Attributes:
        image_shape: rows, columns, channels.
    """

    image_shape: tuple[int, int, int]
    classes: int
    dense_units: int

    @classmethod
    def of(cls, data: DataIdentity, dense_units: int) -> "Sizes":
        return cls(data.image_shape, len(data.class_names), dense_units)

    def flops(self, network: HyperParameters) -> int:
        """Floating-point operations of one image's forward pass, a multiplication and an addition counted as two.

        Convolutions and dense layers only: a same-padded 3x3 convolution is a product of 9 x channels by filters at
        each pixel, a pooling divides the sides, rounding down. Biases, activations and poolings are left out, as is
        usual. A training step counts as three times this: the pass, the gradient of the weights, that of the inputs.
        """
        side, _, channels = self.image_shape
        total = 0
        for filters in network.filters:
            total += 2 * 9 * channels * filters * side * side
            side, channels = side // network.pool_size, filters
        return total + 2 * side * side * channels * self.dense_units + 2 * self.dense_units * self.classes

    def parameters(self, network: HyperParameters) -> int:
        """Weights and biases."""
        side, _, channels = self.image_shape
        total = 0
        for filters in network.filters:
            total += (9 * channels + 1) * filters
            side, channels = side // network.pool_size, filters
        return total + (side * side * channels + 1) * self.dense_units + (self.dense_units + 1) * self.classes


@dataclass(frozen=True)
class Timing:
    """The seconds that an epoch of a network took, or would take, on all of the study's images."""

    network: HyperParameters
    seconds: float


@dataclass(frozen=True)
class Speed:
    """Seconds an epoch as a line over a network's operations: what images cost whatever the network, and the rest."""

    fixed: float
    per_flop: float
    sizes: Sizes

    def epoch(self, network: HyperParameters) -> float:
        return self.fixed + self.per_flop * self.sizes.flops(network)

    @classmethod
    def fitted(cls, timings: Sequence[Timing], sizes: Sizes) -> "Speed":
        """The line of least relative squares; neither part of it is below zero.

        Raises:
            ValueError: nothing was measured.
        """
        if not timings:
            raise ValueError("no timing")
        # Relative: (a + b x) / y - 1 is to be small, with u = 1 / y and v = x / y it is a u + b v - 1.
        u = [1 / one.seconds for one in timings]
        v = [sizes.flops(one.network) / one.seconds for one in timings]
        uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
        determinant = uu * vv - uv * uv
        if determinant > 1e-9 * uu * vv:
            fixed, per_flop = (sum(u) * vv - sum(v) * uv) / determinant, (sum(v) * uu - sum(u) * uv) / determinant
            if fixed >= 0 and per_flop >= 0:
                return cls(fixed, per_flop, sizes)
            if fixed < 0:
                return cls(0.0, sum(v) / vv, sizes)
        return cls(sum(u) / uu, 0.0, sizes)  # all alike


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@dataclass(frozen=True)
class CandidateNetworks:
    """The networks that a study may still train, as far as their cost goes.

    Attributes:
        networks: the kinds there are; in their order where it is known.
        copies: how many configurations are of each kind; None: no end of them.
        in_order: they are trained in this order.
    """

    networks: tuple[HyperParameters, ...]
    copies: float | None
    in_order: bool

    @classmethod
    def listed(cls, trials: Sequence[HyperParameters]) -> "CandidateNetworks":
        return cls(tuple(dict.fromkeys(trials)), 1, in_order=True)

    @classmethod
    def of(cls, space: SearchSpace, fixed: Mapping[str, Value]) -> "CandidateNetworks":
        """Args: fixed: what the space does not sample."""
        # Only what changes a network's cost is told apart: its pooling windows, filters and batches.
        costly = {name: one for name, one in space.dimensions().items() if name in _costly(len(space.filters))}
        most = max(2, int(_NETWORKS ** (1 / len(costly))))
        axes = [_thinned(dimension, most) for dimension in costly.values()]
        kept: dict[str, Any] = {"pooling": _dearest_pooling(space.pooling), "dropout": _some(space.dropout)}
        kept |= {"learning_rate": _some(space.learning_rate)} if space.learning_rate else {}
        networks = tuple(
            space.hyperparameters(kept | dict(zip(costly, values, strict=True)), **fixed)
            for values in itertools.product(*axes)
        )
        size = space.size()
        return cls(networks, None if size is None else size / len(networks), in_order=False)

    def extremes(self, sizes: Sizes) -> list[HyperParameters]:
        """The cheapest and the dearest network; one where all cost the same."""
        ordered = sorted(self.networks, key=sizes.flops)
        return [ordered[0], ordered[-1]] if sizes.flops(ordered[0]) < sizes.flops(ordered[-1]) else [ordered[-1]]


def _costly(convolutions: int) -> set[str]:
    return {"pool_size", "batch_size"} | {filter_name(index) for index in range(convolutions)}


def _thinned(dimension: Dimension, most: int) -> list[Value]:
    """The values of a dimension, or so many of them, evenly spread and both ends among them."""
    if isinstance(dimension, FloatRange) and not dimension.step:
        return [dimension.low, dimension.high]
    values = dimension.values()
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def _some(dimension: Dimension) -> Value:
    return dimension.choices[0] if isinstance(dimension, Choices) else dimension.low


def _dearest_pooling(pooling: Choices) -> Value:
    return "max" if "max" in pooling.choices else pooling.choices[0]  # its gradient has to find each window's maximum
