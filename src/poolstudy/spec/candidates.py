"""The networks that a study may train, as far as their cost goes."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from poolstudy.spec.config import StudyConfig
from poolstudy.spec.dimensions import Choices, Dimension, FloatRange, Value
from poolstudy.spec.layers import Layer, layers
from poolstudy.spec.space import HyperParameters

_MOST = 500  # networks of a space that are enumerated
_FREE = ("pooling", "dropout", "learning_rate")  # dimensions that do not change what a network costs


@dataclass(frozen=True)
class CandidateNetworks:
    """The networks of a study.

    Attributes:
        networks: one of each cost; of a large space some, with both ends of every dimension.
        copies: how many configurations cost as much as each of them; None: infinitely many.
        in_order: they are trained in this order.
    """

    networks: tuple[HyperParameters, ...]
    copies: float | None
    in_order: bool

    @classmethod
    def of(cls, config: StudyConfig) -> Self:
        """Return the networks that a study's sampler may choose."""
        if config.sampler.name == "list":
            return cls(tuple(dict.fromkeys(config.sampler.trials)), 1, in_order=True)
        space, dimensions = config.space, config.space.dimensions()
        costly = {name: dimension for name, dimension in dimensions.items() if name not in _FREE}
        most = max(2, int(_MOST ** (1 / len(costly))))
        usual: dict[str, Any] = {name: dimensions[name].first for name in _FREE if name in dimensions}
        if "max" in space.pooling.choices:
            usual["pooling"] = "max"  # whose gradient has to find each window's maximum
        networks = tuple(
            space.hyperparameters(usual | dict(zip(costly, values, strict=True)), **config.training.fixed)
            for values in itertools.product(*(_spread(dimension, most) for dimension in costly.values()))
        )
        size = space.size()
        return cls(networks, None if size is None else size / len(networks), in_order=False)


def layers_of(config: StudyConfig, network: HyperParameters) -> tuple[Layer, ...]:
    """Return the layers that a network has on a study's images.

    Raises:
        ValueError: as for `layers`.
    """
    return layers(network, config.data.image_shape, len(config.data.class_names), config.training.dense_units)


def candidate_layers(config: StudyConfig) -> list[tuple[Layer, ...]]:
    """Return the layers of each network that a study may train."""
    return [layers_of(config, network) for network in CandidateNetworks.of(config).networks]


def _spread(dimension: Dimension, most: int) -> Sequence[Value]:
    """Return the values of a dimension, or so many of them, evenly spread with both ends."""
    if isinstance(dimension, FloatRange) and not dimension.step:
        return [dimension.low, dimension.high]
    values = dimension.values()
    if len(values) <= most:
        return values
    if isinstance(dimension, Choices):
        values = sorted(values, key=float)  # only numbers are so many
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]
