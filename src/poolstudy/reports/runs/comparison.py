"""Runs beside each other, as numbers: what differs, scales that all share, images they disagree on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poolstudy.spec.records import DataIdentity, EpochRecord
from poolstudy.spec.space import Pooling

Floats = NDArray[np.float32]
Named = Mapping[str, Floats]
"""Weights by "layer/variable", or maps by layer."""

METRICS = {
    "best_val_accuracy": 1,
    "best_val_loss": -1,
    "best_epoch": 0,
    "parameter_count": 0,
    "train_seconds": 0,
    "images_per_second": 0,
}
"""The metrics that are compared: 1 where more is better, -1 where less is, 0 where neither."""


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison, as far as it can be read; what cannot be is empty, and `notes` say why.

    Attributes:
        pooling: None where the run does not say.
        kind, title: what the network is, in words: "max 2x2", and the rest of it.
        standing: its state, or "running".
        settings: every parameter, as text.
        metrics: those logged once.
        untrained, trained: weights.
        maps: by the image's position among the validation images, what each layer makes of it.
        probabilities: (N, classes), of the validation images.
        diagram: a PNG.
    """

    run_id: str
    name: str
    study: str
    standing: str
    kind: str = ""
    title: str = ""
    pooling: Pooling | None = None
    data: DataIdentity | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: tuple[EpochRecord, ...] = ()
    untrained: Named = field(default_factory=dict)
    trained: Named = field(default_factory=dict)
    maps: Mapping[int, Named] = field(default_factory=dict)
    probabilities: Floats | None = None
    diagram: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[str, str] | None:
        """Which validation images it was validated on: runs of the same can be compared image by image."""
        if self.data is None:
            return None
        parts = self.data.parts
        return parts.get("validation_images", self.data.digest), parts.get("validation_labels", "")


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; the others are held against the first.

    Attributes:
        images: the validation images, (N, rows, columns, channels), `labels` (N,), of the runs that can be compared
            image by image; None where they are not on this machine.
        examples: positions of the images whose feature maps are shown.
        kernel_limit: the colours of kernels span the weights from -kernel_limit to kernel_limit.
        notes: what is to be told of it as a whole.
    """

    entries: tuple[ComparedRun, ...]
    images: NDArray[np.uint8] | None
    labels: NDArray[np.uint8] | None
    class_names: tuple[str, ...]
    examples: tuple[int, ...]
    kernel_limit: float
    notes: tuple[str, ...] = ()

    def predictions(self) -> list[Floats | None]:
        """Of every run its answers to those images; None where it has none, or has them to others."""
        peers = comparable(self.entries)
        return [entry.probabilities if index in peers else None for index, entry in enumerate(self.entries)]


@dataclass(frozen=True)
class Row:
    """One thing of every run; None where a run has none."""

    name: str
    values: tuple[str | None, ...]

    @property
    def same(self) -> bool:
        return len(set(self.values)) == 1


@dataclass(frozen=True)
class MetricRow:
    """A metric of every run, and its difference to the first run's; `best` are the runs of the best value."""

    name: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    best: frozenset[int]


def settings_of(entries: Sequence[ComparedRun]) -> tuple[list[Row], list[Row]]:
    """The parameters that differ, and those that are the same in all."""
    names = list(dict.fromkeys(name for entry in entries for name in entry.settings))
    rows = [Row(name, tuple(entry.settings.get(name) for entry in entries)) for name in names]
    return [row for row in rows if not row.same], [row for row in rows if row.same]


def metrics_of(entries: Sequence[ComparedRun]) -> list[MetricRow]:
    """The metrics that any of the runs has."""
    rows = []
    for name, sign in METRICS.items():
        values = tuple(entry.metrics.get(name) for entry in entries)
        if any(value is not None for value in values):
            rows.append(MetricRow(name, values, _differences(values), _best(values, sign)))
    return rows


def _differences(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
    first = values[0]
    return (None, *(None if value is None or first is None else value - first for value in values[1:]))


def _best(values: tuple[float | None, ...], sign: int) -> frozenset[int]:
    known = [value for value in values if value is not None]
    if not sign or len(known) < 2:
        return frozenset()
    best = max(known, key=lambda value: sign * value)
    return frozenset(index for index, value in enumerate(values) if value == best)


def comparable(entries: Sequence[ComparedRun]) -> list[int]:
    """The runs whose answers can be compared image by image with the first run's that has any, and that run."""
    answering = [index for index, entry in enumerate(entries) if entry.probabilities is not None]
    if not answering:
        return []
    leader = entries[answering[0]]
    return [index for index in answering if _alike(entries[index], leader)]


def _alike(one: ComparedRun, other: ComparedRun) -> bool:
    """Whether both have answers to the same images, for as many classes."""
    if one.probabilities is None or other.probabilities is None:
        return False
    return one.images == other.images and one.probabilities.shape == other.probabilities.shape


# Scales


def names_of(groups: Sequence[Named]) -> list[str]:
    """The names that any of the groups has, in their order: "conv_1" before "conv_2" before "dense_1"."""
    return list(dict.fromkeys(name for group in sorted(groups, key=len, reverse=True) for name in group))


@dataclass(frozen=True)
class Histogram:
    """Shares of a run's weights, in percent of them, per bin."""

    untrained: tuple[float, ...]
    trained: tuple[float, ...]
    mean: float
    deviation: float


_BINS = 41  # zero is in the middle of the middle one


def histograms(entries: Sequence[ComparedRun], weight: str) -> tuple[tuple[float, ...], list[Histogram | None]]:
    """A weight's histogram of every run, on bins that all share.

    The bins span what all but one in a thousand weights of any run lie in; the outermost hold the rest too.

    Returns:
        The bins' edges, and a histogram for each run that has the weight.
    """
    pairs = [(entry.untrained.get(weight), entry.trained.get(weight)) for entry in entries]
    arrays = [array for pair in pairs for array in pair if array is not None]
    reach = max((float(np.quantile(np.abs(array), 0.999)) for array in arrays), default=0.0) or 1.0
    edges = np.linspace(-reach * 1.02, reach * 1.02, _BINS + 1)
    return tuple(map(float, edges)), [_histogram(before, after, edges) for before, after in pairs]


def _histogram(before: Floats | None, after: Floats | None, edges: NDArray[np.float64]) -> Histogram | None:
    if after is None:
        return None
    untrained = () if before is None else _shares(before, edges)
    return Histogram(untrained, _shares(after, edges), float(after.mean()), float(after.std()))


def _shares(values: Floats, edges: NDArray[np.float64]) -> tuple[float, ...]:
    inside = np.clip(values.ravel(), edges[0], edges[-1])
    return tuple(map(float, np.histogram(inside, edges)[0] * (100 / values.size)))


def brightest(entries: Sequence[ComparedRun], image: int, layer: str) -> float:
    """The upper end of a layer's scale for one image: one value in 200 of some run lies above, of no run more."""
    layers = [entry.maps[image][layer] for entry in entries if layer in entry.maps.get(image, {})]
    ends = [float(np.quantile(values, 0.995)) for values in layers]
    return max(ends, default=0.0) or max((float(values.max()) for values in layers), default=0.0) or 1.0


def loss_and_accuracy(entries: Sequence[ComparedRun]) -> dict[str, tuple[float, float]]:
    """The axes that all curves share: the range of each metric over every run and epoch, validation and training."""
    ranges = {}
    for metric in ("loss", "accuracy"):
        names = (metric, f"val_{metric}")
        values = [getattr(record, name) for entry in entries for record in entry.history for name in names]
        ranges[metric] = (min(values, default=0.0), max(values, default=1.0))
    return ranges


# Answers


def disagreement(predictions: Sequence[Floats]) -> NDArray[np.float64]:
    """How far networks disagree on each image, (N,), in bits: the generalised Jensen-Shannon divergence.

    The entropy of their mean answer less the mean entropy of their answers: 0 where all say the same, and at most
    log2 of the number of networks, where each is sure of another class. (Lin 1991, "Divergence measures based on
    the Shannon entropy"; of ensembles also known as the mutual information between answer and network.)

    Args:
        answers: of each network the probabilities, (N, classes).
    """
    mean = np.zeros(predictions[0].shape, np.float64)
    entropies = np.zeros(len(predictions[0]), np.float64)
    for one in predictions:
        mean += one
        entropies += _entropy(one.astype(np.float64))
    return np.maximum(_entropy(mean / len(predictions)) - entropies / len(predictions), 0)


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.where(probabilities > 0, probabilities, 1)
    return np.asarray(-(probabilities * np.log2(positive)).sum(axis=1))


def most_disputed(predictions: Sequence[Floats], most: int) -> list[int]:
    """Positions of the images that networks disagree on most, the most disputed first; none where they agree."""
    if len(predictions) < 2:
        return []
    amount = disagreement(predictions)
    order = np.argsort(-amount, kind="stable")[:most]
    return [int(index) for index in order if amount[index] > 0]


def improvement(first: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float32]:
    """How many images a confusion matrix is better by than another, cell by cell: more on the diagonal is better,
    more off it worse. (classes, classes)"""
    sign = np.where(np.eye(len(first), dtype=bool), 1, -1)
    return ((other - first) * sign).astype(np.float32)


def gained_and_lost(first: Floats, other: Floats, labels: NDArray[np.uint8]) -> tuple[int, int]:
    """How many images `other` has right and `first` wrong, and the other way round."""
    before, after = (predictions.argmax(axis=1) == labels for predictions in (first, other))
    return int((after & ~before).sum()), int((before & ~after).sum())
