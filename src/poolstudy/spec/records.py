"""Specification and result of a trial: values that are passed between processes."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from poolstudy.spec.frozen import Extensible, Frozen, Name
from poolstudy.spec.layers import Layer, layers
from poolstudy.spec.space import HyperParameters

StopReason = Literal["epochs", "early_stopping", "pruned", "failed"]
State = Literal["complete", "pruned", "failed", "lost", "interrupted"]


class TrainingSettings(Extensible):
    """Training settings of every trial of a study.

    Attributes:
        epochs: the most that a trial trains.
        patience: epochs without a lower validation loss before training stops.
        dense_units: units of the hidden dense layer.
        deterministic: use TensorFlow's deterministic operations (matters on a GPU).
    """

    always_written = frozenset({"epochs", "patience", "dense_units", "deterministic"})

    epochs: Annotated[int, Field(ge=1)] = 10
    patience: Annotated[int, Field(ge=1)] = 2
    dense_units: Annotated[int, Field(ge=1)] = 100
    deterministic: bool = False


class FigureSettings(Frozen):
    """Settings of a trial's figures; they do not change its result.

    Attributes:
        diagram_dpi: dots per inch of plot_model's diagram.
        kernel_limit: the colours of kernels span the weights from -kernel_limit to kernel_limit.
        example_image: index of the validation image that feature maps are of; the last one if there are fewer.
    """

    diagram_dpi: Annotated[int, Field(ge=20, le=600)] = 96
    kernel_limit: Annotated[float, Field(gt=0)] = 0.5
    example_image: Annotated[int, Field(ge=0)] = 13


class DataIdentity(Frozen):
    """Identity of the images that a trial was trained and validated on.

    Attributes:
        digest: SHA-256 over the parts.
        parts: SHA-256 over dtype, shape and every byte of the images, labels and split indices, each.
        image_shape: rows, columns, channels.
        class_names: by label, from 0.
        train_images, validation_images: their number.
    """

    name: Name
    digest: str
    parts: dict[str, str]
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    train_images: int
    validation_images: int
    validation_fraction: float
    split_seed: int


class TrialSpec(Frozen):
    """Everything that is needed to run a trial again, on the same data and software."""

    study: Name
    slot: int
    seed: int
    hyperparameters: HyperParameters
    training: TrainingSettings
    data: DataIdentity

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of its network, on its data."""
        data = self.data
        return layers(self.hyperparameters, data.image_shape, len(data.class_names), self.training.dense_units)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: sorted keys, no blanks."""
        return digest_of(self.model_dump(mode="json"))


class Attempt(Frozen):
    """One attempt at a slot; `number` is its Optuna trial, `retry` 0 for the first attempt."""

    number: int
    slot: int
    retry: int
    spec: TrialSpec

    @property
    def name(self) -> str:
        """Name of its folder and of its MLflow run."""
        return trial_name(self.slot, self.retry)


class Device(Frozen):
    """Device that a trial is trained on.

    Attributes:
        name: "CPU:0", or "GPU:n" as TensorFlow counts them.
        description: the card's name.
        compute_capability: such as "9.0".
        bus: the card's PCI address; empty if TensorFlow does not report it.
        problem: why it cannot be used; empty if it can.
    """

    name: str = "CPU:0"
    description: str = ""
    compute_capability: str = ""
    bus: str = ""
    problem: str = ""

    @property
    def is_gpu(self) -> bool:
        return self.name.startswith("GPU")

    def same_card(self, other: "Device") -> bool:
        """Return whether `other` is the same card; its number may have changed since a card was lost."""
        return self.bus == other.bus if self.bus and other.bus else self.name == other.name


class EpochRecord(Frozen):
    """One epoch, counted from 1; `seconds` covers training and validation."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


EPOCH_METRICS = tuple(name for name in EpochRecord.model_fields if name not in ("epoch", "seconds"))


class TrialResult(Frozen):
    """Result of a trial that ended at least one epoch.

    Attributes:
        best_epoch: the first epoch of least validation loss; its weights were kept.
        weights_digest: SHA-256 over names, shapes, dtypes and bytes of those weights.
        untrained_digest: the same for the initial weights.
        train_seconds: sum of the epochs' seconds.
        images_per_second: training images over the epochs' seconds.
        failure: why it failed after the last epoch; empty if it did not.
    """

    history: Annotated[tuple[EpochRecord, ...], Field(min_length=1)]
    best_epoch: int
    stop_reason: StopReason
    parameter_count: int
    weights_digest: str
    untrained_digest: str
    train_seconds: float
    images_per_second: float
    failure: str = ""

    @model_validator(mode="after")
    def _best_is_least_loss(self) -> Self:
        if self.best_epoch != best_epoch(self.history):
            raise ValueError(f"best_epoch {self.best_epoch} is not the epoch of least val_loss")
        return self

    @property
    def best(self) -> EpochRecord:
        return self.history[self.best_epoch - 1]

    @property
    def state(self) -> Literal["complete", "pruned", "failed"]:
        """State of its attempt in Optuna's study."""
        return self.stop_reason if self.stop_reason in ("pruned", "failed") else "complete"

    @property
    def best_val_loss(self) -> float:
        return self.best.val_loss

    @property
    def best_val_accuracy(self) -> float:
        return self.best.val_accuracy

    def metrics(self) -> dict[str, float]:
        """Return the metrics that are logged once, by their public names."""
        return {name: getattr(self, name) for name in TRIAL_METRICS}


TRIAL_METRICS = (
    "best_val_accuracy",
    "best_val_loss",
    "best_epoch",
    "parameter_count",
    "train_seconds",
    "images_per_second",
)
"""Metrics that are logged once a trial."""


class CountedTrial(Frozen):
    """Trial that counts towards the study's number of trials, and its objective."""

    slot: int
    state: Literal["complete", "pruned"]
    objective: float
    run_id: str
    hyperparameters: HyperParameters


def trial_name(slot: int, retry: int = 0) -> str:
    """Return the name of a slot's run: trial-0007, trial-0007-retry-1."""
    return f"trial-{slot:04d}" + (f"-retry-{retry}" if retry else "")


def best_epoch(history: tuple[EpochRecord, ...]) -> int:
    """Return the first epoch of least validation loss, as early stopping does."""
    return min(history, key=lambda record: record.val_loss).epoch


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form. Raises ValueError for NaN and infinities."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings with their dotted keys."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree


def draw_seed(*origin: int) -> int:
    """Return a seed below 2**31 drawn from other whole numbers, such as a study's seed and a slot."""
    return int(np.random.SeedSequence(origin).generate_state(1)[0] >> 1)
