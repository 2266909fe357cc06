"""The dimensions of a search space: choices and ranges."""

import math
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from poolstudy.spec.frozen import Frozen

Value = bool | int | float | str
_FINEST = 2**53  # steps of a range, beyond which floats do not tell its values apart


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

    @property
    def first(self) -> Value:
        return self.low

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

    @property
    def first(self) -> Value:
        return self.low

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

    @property
    def first(self) -> Value:
        return self.choices[0]

    def values(self) -> Sequence[Value]:
        return self.choices

    def count(self) -> int:
        return len(self.choices)


Dimension = IntRange | FloatRange | Choices


def tidy(value: Value) -> Value:
    """Round 0.30000000000000004 to 0.3, as a person would write it."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def extremes(dimension: Dimension) -> tuple[Value, ...]:
    """Return its choices, or the ends of its range and the first value after the lower one.

    Where these are within bounds, and odd or even as they must be, so are all values between them.
    """
    if isinstance(dimension, Choices):
        return dimension.choices
    second = (dimension.low + dimension.step,) if isinstance(dimension, IntRange) and dimension.count() > 1 else ()
    return dimension.low, *second, dimension.high
