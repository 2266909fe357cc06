"""Settings of the data sets: where their images come from and how they are split."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from poolstudy.spec.frozen import Frozen, Name

Positive = Annotated[int, Field(ge=1)]


class DataSection(Frozen):
    """Settings that every data set has; `train_limit` keeps the first N images of the training part."""

    name: Name
    image_shape: tuple[Positive, Positive, Positive]
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    train_limit: Positive | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        if self.image_shape[0] != self.image_shape[1]:
            raise ValueError(f"images must be square, not {self.image_shape[:2]}")
        return self


class DataFile(Frozen):
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class IdxData(DataSection):
    """Two gzipped IDX files in a folder, or downloaded from mirrors (base addresses)."""

    format: Literal["idx"]
    path: str | None = None
    search: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    images: DataFile
    labels: DataFile


class DigitsData(DataSection):
    """scikit-learn's embedded digits."""

    format: Literal["digits"]


DataSettings = Annotated[IdxData | DigitsData, Field(discriminator="format")]
"""Settings of any data set, told apart by `format`."""
