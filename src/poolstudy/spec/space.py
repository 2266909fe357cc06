"""What a trial is made of, and what it may be made of.

`HyperParameters` is one network and how it learns; `SearchSpace` is the set they are drawn
from. A dimension of the space is a fixed value, a list of choices, or a range.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"

# A number is a fine name, though YAML reads `study.name=2026` as one.
Name = Annotated[
    str,
    BeforeValidator(lambda name: str(name) if isinstance(name, int) else name),
    Field(pattern=NAME),
]
"""A name that becomes part of paths and queries."""
Pooling = Literal["average", "max"]
Value = str | int | float
_FINEST = 2**53  # steps of a range, beyond which floats do not tell its values apart
FilterCount = Annotated[int, Field(ge=1, le=4096)]


class Frozen(BaseModel):
    """A value: it cannot change, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class HyperParameters(Frozen):
    """One network and how it learns; valid once it exists.

    Attributes:
        pooling: "average" or "max", the same after every convolution.
        pool_size: side of the pooling window and its stride, in pixels.
        filters: filter count of each convolution, first to last.
        dropout: share of the dense layer's units dropped in training, 0 to below 1.
        learning_rate: of Adam.
        batch_size: images per step.

    Raises:
        pydantic.ValidationError: a value outside its bounds.
    """

    pooling: Pooling
    pool_size: Annotated[int, Field(ge=2, le=1024)]
    filters: Annotated[tuple[FilterCount, ...], Field(min_length=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32

    def flat(self) -> dict[str, Value]:
        """The values by the names that Optuna and MLflow know: `filters_1`, `filters_2`, …"""
        values: dict[str, Value] = {"pooling": self.pooling, "pool_size": self.pool_size}
        values |= {filter_name(index): count for index, count in enumerate(self.filters)}
        return values | {
            "dropout": self.dropout,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
        }

    @property
    def kind(self) -> str:
        """Of pooling: "max 2x2"."""
        return f"{self.pooling} {self.pool_size}x{self.pool_size}"

    @property
    def widths(self) -> str:
        """The filters of each convolution: "32-64"."""
        return "-".join(map(str, self.filters))

    def title(self) -> str:
        """For headings: "max 2x2 · 32-64 filters · dropout 0.4"."""
        return f"{self.kind} · {self.widths} filters · dropout {self.dropout:g}"


def filter_name(index: int) -> str:
    return f"filters_{index + 1}"


def check_geometry(side: int, pool_size: int, convolutions: int) -> None:
    """Refuses a network whose pooling would leave no pixel of a square image.

    Args:
        side: of the image, in pixels. A convolution keeps it, a pooling divides it, rounding down.

    Raises:
        ValueError: names the pooling layer and the size it would pool.
    """
    for layer in range(1, convolutions + 1):
        if side < pool_size:
            raise ValueError(f"pool_{layer} would pool {pool_size}x{pool_size} of {side}x{side} pixels and leave none")
        side //= pool_size


class IntRange(Frozen):
    """Whole numbers from `low` to `high`, both included, `step` apart."""

    low: int
    high: int
    step: Annotated[int, Field(ge=1)] = 1
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        if self.log and (self.step != 1 or self.low < 1):
            raise ValueError("a logarithmic range starts at 1 or above and has no step")
        return self

    def values(self) -> Sequence[Value]:
        return range(self.low, self.high + 1, self.step)

    def count(self) -> int:
        return len(self.values())


class FloatRange(Frozen):
    """Numbers from `low` to `high`, both included; without `step` there is no end of them."""

    low: float
    high: float
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} lies above high {self.high}")
        if self.log and (self.step is not None or self.low <= 0):
            raise ValueError("a logarithmic range starts above 0 and has no step")
        if self.step is not None and (self.high - self.low) / self.step > _FINEST:
            raise ValueError(f"a step of {self.step} from {self.low} to {self.high} is too fine")
        return self

    def values(self) -> Sequence[Value]:
        step = self.step or 0.0
        return [tidy(self.low + index * step) for index in range(self.count() or 0)]

    def count(self) -> int | None:
        if self.low == self.high:
            return 1
        return None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1


class Choices(Frozen):
    """One of a few values, in no order."""

    choices: Annotated[tuple[Value, ...], Field(min_length=1)]

    @field_validator("choices")
    @classmethod
    def _distinct(cls, choices: tuple[Value, ...]) -> tuple[Value, ...]:
        if len(set(choices)) < len(choices):
            raise ValueError(f"a choice stands twice in {list(choices)}")
        return choices

    def values(self) -> Sequence[Value]:
        return self.choices

    def count(self) -> int:
        return len(self.choices)


Dimension = IntRange | FloatRange | Choices


def tidy(value: Value) -> Value:
    """0.30000000000000004 as 0.3: what is stepped to is what a person would write."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _dimension(given: Any) -> Any:
    """Reads the short forms: a scalar is one choice, a list is choices, a mapping a range."""
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        return {"choices": [given]}
    if isinstance(given, Sequence):
        return {"choices": list(given)}
    return given


def _whole(given: Any) -> Any:
    return IntRange.model_validate(given) if _is_range(given) else given


def _is_range(given: Any) -> bool:
    return isinstance(given, Mapping) and "choices" not in given


class SearchSpace(Frozen):
    """Where trials are drawn from; each dimension as in the module's description.

    Attributes:
        filters: one dimension per convolution.
        learning_rate, batch_size: sampled only when given; else fixed by `training`.
    """

    pooling: Choices = Choices(choices=("average", "max"))
    pool_size: Dimension
    filters: Annotated[tuple[Dimension, ...], Field(min_length=1)]
    dropout: Dimension
    learning_rate: Dimension | None = None
    batch_size: Dimension | None = None

    @field_validator("pool_size", "batch_size", mode="before")
    @classmethod
    def _read_whole(cls, given: Any) -> Any:
        return _whole(_dimension(given))

    @field_validator("pooling", "dropout", "learning_rate", mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        if _is_range(given):
            return FloatRange.model_validate(given)
        return _dimension(given)

    @field_validator("filters", mode="before")
    @classmethod
    def _read_filters(cls, given: Any) -> Any:
        if not isinstance(given, Sequence) or isinstance(given, str):
            raise ValueError("takes a list, one entry per convolution")
        return [_whole(_dimension(entry)) for entry in given]

    @model_validator(mode="after")
    def _every_value_is_valid(self) -> Self:
        # One dimension at a time beside values that are surely valid: bounds do not interact.
        dimensions = self.dimensions()
        valid: dict[str, Value] = {"pooling": "max", "pool_size": 2, "dropout": 0.0}
        valid |= {filter_name(index): 1 for index in range(len(self.filters))}
        for name, dimension in dimensions.items():
            for value in extremes(dimension):
                try:
                    self.hyperparameters(valid | {name: value})
                except ValueError as error:
                    raise ValueError(f"{name} = {value!r}: {_reason(error)}") from None
        return self

    def dimensions(self) -> dict[str, Dimension]:
        """Name to dimension, in the order in which they are sampled."""
        dimensions: dict[str, Dimension] = {"pooling": self.pooling, "pool_size": self.pool_size}
        dimensions |= {filter_name(index): entry for index, entry in enumerate(self.filters)}
        dimensions["dropout"] = self.dropout
        optional = {"learning_rate": self.learning_rate, "batch_size": self.batch_size}
        return dimensions | {name: entry for name, entry in optional.items() if entry is not None}

    def hyperparameters(self, flat: Mapping[str, Value], **fixed: Value) -> HyperParameters:
        """What was sampled, with the fixed values for what was not.

        Raises:
            pydantic.ValidationError: a value outside its bounds.
        """
        values: dict[str, Any] = dict(fixed) | {key: tidy(value) for key, value in flat.items()}
        filters = [values.pop(filter_name(index)) for index in range(len(self.filters))]
        return HyperParameters(filters=tuple(filters), **values)

    def project(self, hyperparameters: HyperParameters) -> dict[str, Value]:
        """The flat values of the dimensions of this space; the inverse of `hyperparameters`."""
        return {name: value for name, value in hyperparameters.flat().items() if name in self.dimensions()}

    def size(self) -> int | None:
        """How many configurations there are; None when there is no end of them."""
        size = 1
        for dimension in self.dimensions().values():
            count = dimension.count()
            if count is None:
                return None
            size *= count
        return size

    def every(self) -> Iterator[dict[str, Value]]:
        """Every configuration, the last dimension changing fastest; for finite spaces."""
        names = list(self.dimensions())
        axes = [dimension.values() for dimension in self.dimensions().values()]
        for combination in itertools.product(*axes):
            yield dict(zip(names, combination, strict=True))


def extremes(dimension: Dimension) -> tuple[Value, ...]:
    """Values of a dimension that hold between them all the others: its choices, or a range's two ends."""
    return dimension.choices if isinstance(dimension, Choices) else (dimension.low, dimension.high)


def _reason(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    return "; ".join(detail["msg"] for detail in details()) if details else str(error)
