"""The hyperparameters of a network, and the space that they are drawn from.

A dimension of the space is a fixed value, a list of choices, or a range.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from poolstudy.spec.dimensions import Choices, Dimension, FloatRange, IntRange, Value, extremes, tidy
from poolstudy.spec.frozen import Extensible

Pooling = Literal["average", "max"]
FilterCount = Annotated[int, Field(ge=1, le=4096)]


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("Input should be odd: a kernel has a pixel in its middle")
    return size


class HyperParameters(Extensible):
    """One network and how it learns; valid once it exists.

    Flat names, dimensions and readers follow from the fields (docs/extending.md).

    Attributes:
        pooling: "average" or "max", the same after every convolution.
        pool_size: side of the pooling window and its stride, in pixels.
        filters: filter count of each convolution, first to last.
        dropout: share of the dense layer's units dropped in training, 0 to below 1.
        learning_rate: of Adam.
        batch_size: images per step.
        kernel_size: side of every convolution's kernel, in pixels; odd.
        batch_normalization: after every convolution, before its ReLU.
        dense_units: units of the hidden dense layer; None: `training.dense_units`.

    Raises:
        pydantic.ValidationError: a value outside its bounds.
    """

    always_written = frozenset({"pooling", "pool_size", "filters", "dropout", "learning_rate", "batch_size"})

    pooling: Pooling
    pool_size: Annotated[int, Field(ge=2, le=1024)]
    filters: Annotated[tuple[FilterCount, ...], Field(min_length=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    kernel_size: Annotated[int, Field(ge=1, le=11), AfterValidator(_odd)] = 3
    batch_normalization: Annotated[bool, Field(strict=True)] = False
    dense_units: Annotated[int, Field(ge=1, le=65536)] | None = None

    def flat(self) -> dict[str, Value]:
        """Return the values by the names that Optuna and MLflow know: `filters_1`, `filters_2`, …"""
        return dict(_flat({name: getattr(self, name) for name in type(self).model_fields}))

    @property
    def kind(self) -> str:
        """Its pooling: "max 2x2"."""
        return f"{self.pooling} {self.pool_size}x{self.pool_size}"

    @property
    def widths(self) -> str:
        """The filters of each convolution: "32-64"."""
        return "-".join(map(str, self.filters))

    @property
    def extras(self) -> str:
        """What differs from the defaults of later fields: "kernel size 5"."""
        written = self.model_dump()
        return " · ".join(_words(name, written[name]) for name in written if name not in self.always_written)

    @property
    def details(self) -> str:
        """All but its pooling: "32-64 filters · dropout 0.4", and the extras."""
        return " · ".join(filter(None, (f"{self.widths} filters", f"dropout {self.dropout:g}", self.extras)))

    def title(self) -> str:
        """Return a heading: "max 2x2 · 32-64 filters · dropout 0.4"."""
        return f"{self.kind} · {self.details}"


def _words(name: str, value: Value) -> str:
    """Return a setting as a heading says it: "kernel size 5", "batch normalization"."""
    name = name.replace("_", " ")
    return name if value is True else f"{name} {value}"


def _flat(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields that are not None, those of a tuple one by one: `filters_1`, `filters_2`, …"""
    for name, value in fields.items():
        if isinstance(value, tuple):
            yield from ((_numbered(name, index), one) for index, one in enumerate(value))
        elif value is not None:
            yield name, value


def _numbered(name: str, index: int) -> str:
    return f"{name}_{index + 1}"


def _dimension(given: Any, name: str) -> Any:
    """Read the short forms: a scalar is one choice, a list is choices, a mapping a range."""
    kinds = _kinds(HyperParameters.model_fields[name].annotation)
    if isinstance(given, str | int | float):
        given = [given]
    if isinstance(given, Sequence):
        if bool not in kinds and any(isinstance(value, bool) for value in given):
            raise ValueError("takes no true or false")
        return {"choices": list(given)}
    if isinstance(given, Mapping) and "choices" not in given:
        return (IntRange if int in kinds else FloatRange).model_validate(given)
    return given


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that an annotation is made of."""
    parts = get_args(annotation)
    own = {annotation} if isinstance(annotation, type) and not parts else set()
    return own.union(*(_kinds(part) for part in parts))


# Values that are surely valid, beside which the others are tried one by one: bounds do not interact.
_VALID: dict[str, Value] = {"pooling": "max", "pool_size": 2, "dropout": 0.0}


class SearchSpace(Extensible):
    """Where trials are drawn from: a dimension for each field of `HyperParameters`, by the same name.

    Attributes:
        filters: one dimension per convolution.
        learning_rate, batch_size, …: sampled only when given; else fixed by `training`, or the default.
    """

    always_written = HyperParameters.always_written

    pooling: Choices = Choices(choices=("average", "max"))
    pool_size: Dimension
    filters: Annotated[tuple[Dimension, ...], Field(min_length=1)]
    dropout: Dimension
    learning_rate: Dimension | None = None
    batch_size: Dimension | None = None
    kernel_size: Dimension | None = None
    batch_normalization: Dimension | None = None
    dense_units: Dimension | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, given: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if name != "filters":
            return _dimension(given, name)
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError("takes a list, one entry per convolution")
        return [_dimension(entry, name) for entry in given]

    @model_validator(mode="after")
    def _every_value_is_valid(self) -> Self:
        list(self.probes())
        return self

    def probes(self) -> Iterator[HyperParameters]:
        """Yield networks that have one dimension at an end of its range, or at one of its choices, each.

        Raises:
            ValueError: a value outside its bounds; the dimension is named.
        """
        valid = _VALID | {_numbered("filters", index): 1 for index in range(len(self.filters))}
        for name, dimension in self.dimensions().items():
            for value in extremes(dimension):
                try:
                    yield self.hyperparameters(valid | {name: value})
                except ValueError as error:
                    raise ValueError(f"{name} = {value!r}: {_reason(error)}") from None

    @classmethod
    def spanned(cls, networks: Sequence[HyperParameters]) -> Self:
        """Return the smallest space that holds all of some networks, which have the same settings."""
        written = {name for network in networks for name in network.model_dump()}
        fields: dict[str, Any] = {}
        for name in HyperParameters.model_fields.keys() & written:
            values = [getattr(network, name) for network in networks]
            columns = zip(*values, strict=True) if name == "filters" else [values]
            choices = [list(dict.fromkeys(column)) for column in columns]
            fields[name] = choices if name == "filters" else choices[0]
        return cls.model_validate(fields)

    def dimensions(self) -> dict[str, Dimension]:
        """Return every dimension by its flat name, in the order in which they are sampled."""
        return dict(_flat({name: getattr(self, name) for name in type(self).model_fields}))

    def hyperparameters(self, flat: Mapping[str, Value], **fixed: Value) -> HyperParameters:
        """Return what was sampled, with the fixed values for what was not.

        Raises:
            pydantic.ValidationError: a value outside its bounds.
        """
        values: dict[str, Any] = dict(fixed) | {key: tidy(value) for key, value in flat.items()}
        filters = [values.pop(_numbered("filters", index)) for index in range(len(self.filters))]
        return HyperParameters(filters=tuple(filters), **values)

    def project(self, hyperparameters: HyperParameters) -> dict[str, Value]:
        """Return the flat values of the dimensions of this space; the inverse of `hyperparameters`."""
        return {name: value for name, value in hyperparameters.flat().items() if name in self.dimensions()}

    def size(self) -> int | None:
        """Return the number of configurations; None where it is infinite."""
        counts = [dimension.count() for dimension in self.dimensions().values()]
        return None if None in counts else math.prod(count for count in counts if count)

    def every(self) -> Iterator[dict[str, Value]]:
        """Yield every configuration of a finite space, the last dimension changing fastest."""
        names = list(self.dimensions())
        axes = [dimension.values() for dimension in self.dimensions().values()]
        for combination in itertools.product(*axes):
            yield dict(zip(names, combination, strict=True))


def _reason(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    return "; ".join(detail["msg"].removeprefix("Value error, ") for detail in details()) if details else str(error)
