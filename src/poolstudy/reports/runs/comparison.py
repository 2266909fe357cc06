"""Runs beside each other, as numbers: what differs, scales that all share, images they disagree on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poolstudy.figures.style import HISTOGRAM_BINS, MAP_QUANTILE
from poolstudy.network.weights import FloatArray
from poolstudy.spec.records import TRIAL_METRICS, DataIdentity, EpochRecord
from poolstudy.spec.space import Pooling

Named = Mapping[str, FloatArray]
"""Weights by "layer/variable", or maps by layer."""
Texts = tuple[str | None, ...]

_BEST: dict[str, Callable[[list[float]], float]] = {"best_val_accuracy": max, "best_val_loss": min}


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison; what cannot be read is empty, and `notes` say why.

    Attributes:
        pooling: None where the run does not say.
        kind, title: the network in words: "max 2x2", and the rest of it.
        standing: its state, or "running".
        settings: every parameter, as text.
        metrics: those logged once.
        maps: each layer's feature maps, by the image's position among the validation images.
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
    probabilities: FloatArray | None = None
    diagram: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[str, str] | None:
        """Digests of the validation images and labels: runs with equal ones can be compared image by image."""
        if self.data is None:
            return None
        parts = self.data.parts
        return parts.get("validation_images", self.data.digest), parts.get("validation_labels", "")


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; the others are compared with the first.

    Attributes:
        images: the validation images, (N, rows, columns, channels), `labels` (N,), of the runs that can be compared
            image by image; None where they are not on this machine.
        examples: positions of the images whose feature maps are shown.
        kernel_limit: the colours of kernels span the weights from -kernel_limit to kernel_limit.
        notes: on the comparison as a whole.
    """

    entries: tuple[ComparedRun, ...]
    images: NDArray[np.uint8] | None
    labels: NDArray[np.uint8] | None
    class_names: tuple[str, ...]
    examples: tuple[int, ...]
    kernel_limit: float
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The number of runs and their studies."""
        studies = list(dict.fromkeys(entry.study for entry in self.entries))
        return f"{len(self.entries)} runs of {' and '.join(studies) if len(studies) < 3 else f'{len(studies)} studies'}"

    @property
    def about(self) -> str:
        """Whose differences are shown, and the standard error of the best accuracy, sqrt(p (1 - p) / N)."""
        text = f"Differences are to the first run, {self.entries[0].name}. Every network was trained from one seed: "
        known = [(entry.metrics.get("best_val_accuracy", 0.0), entry.data) for entry in self.entries if entry.data]
        accuracy, data = max(known, key=lambda pair: pair[0], default=(0.0, None))
        if not accuracy or data is None:
            return text + "small differences may be chance."
        error = math.sqrt(accuracy * (1 - accuracy) / data.validation_images)
        return (
            f"{text}on {data.validation_images:,} validation images an accuracy of {accuracy:.3f} has a standard error "
            f"of {error:.4f}, and another seed moves it too. Differences of that size may be chance."
        )

    def image(self, position: int) -> NDArray[np.uint8] | None:
        """Return a validation image, (rows, columns, channels)."""
        return None if self.images is None else np.asarray(self.images[position])

    def predictions(self) -> list[FloatArray | None]:
        """Return every run's probabilities for those images; None where it has none, or for other images."""
        peers = comparable(self.entries)
        return [entry.probabilities if index in peers else None for index, entry in enumerate(self.entries)]


@dataclass(frozen=True)
class MetricValues:
    """A metric of every run, and its difference to the first run's; `best` are the runs of the best value."""

    name: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    best: frozenset[int]


def settings_of(entries: Sequence[ComparedRun]) -> tuple[dict[str, Texts], dict[str, Texts]]:
    """Return the parameters that differ, and those that are the same in all: by name every run's value."""
    names = dict.fromkeys(name for entry in entries for name in entry.settings)
    values = {name: tuple(entry.settings.get(name) for entry in entries) for name in names}
    differing = {name: texts for name, texts in values.items() if len(set(texts)) > 1}
    return differing, {name: texts for name, texts in values.items() if name not in differing}


def metrics_of(entries: Sequence[ComparedRun]) -> list[MetricValues]:
    """Return the metrics that any of the runs has."""
    metrics = []
    for name in TRIAL_METRICS:
        values = tuple(entry.metrics.get(name) for entry in entries)
        known, first = [value for value in values if value is not None], values[0]
        if known:
            others = [None if value is None or first is None else value - first for value in values[1:]]
            best = _BEST[name](known) if name in _BEST and len(known) > 1 else None
            runs = frozenset(run for run, value in enumerate(values) if value is not None and value == best)
            metrics.append(MetricValues(name, values, (None, *others), runs))
    return metrics


def comparable(entries: Sequence[ComparedRun]) -> list[int]:
    """Return the first run that has predictions, and those that can be compared with it image by image: their
    predictions are of the same images, for as many classes."""
    known = {
        index: (entry.images, entry.probabilities.shape)
        for index, entry in enumerate(entries)
        if entry.probabilities is not None
    }
    leader = next(iter(known.values()), None)
    return [index for index, peer in known.items() if peer == leader]


def names_of(groups: Sequence[Named]) -> list[str]:
    """Return the names that any of the groups has, in their order: "conv_1" before "conv_2" before "dense_1"."""
    return list(dict.fromkeys(name for group in sorted(groups, key=len, reverse=True) for name in group))


@dataclass(frozen=True)
class Histogram:
    """Shares of a run's weights, in percent of them, per bin."""

    untrained: tuple[float, ...]
    trained: tuple[float, ...]
    mean: float
    deviation: float


def histograms(entries: Sequence[ComparedRun], weight: str) -> tuple[tuple[float, ...], list[Histogram | None]]:
    """Return the edges of bins that all runs share, and every run's histogram of a weight.

    The bins span the range of all but one in a thousand weights of any run; the outermost hold the rest too.
    """
    pairs = [(entry.untrained.get(weight), entry.trained.get(weight)) for entry in entries]
    arrays = [array for pair in pairs for array in pair if array is not None]
    reach = max((float(np.quantile(np.abs(array), 0.999)) for array in arrays), default=0.0) or 1.0
    edges = np.linspace(-reach * 1.02, reach * 1.02, HISTOGRAM_BINS + 1)
    cells = [
        None
        if after is None
        else Histogram(_shares(before, edges), _shares(after, edges), float(after.mean()), float(after.std()))
        for before, after in pairs
    ]
    return tuple(map(float, edges)), cells


def _shares(values: FloatArray | None, edges: NDArray[np.float64]) -> tuple[float, ...]:
    if values is None:
        return ()
    inside = np.clip(values.ravel(), edges[0], edges[-1])
    return tuple(map(float, np.histogram(inside, edges)[0] * (100 / values.size)))


def brightest(entries: Sequence[ComparedRun], image: int, layer: str) -> float:
    """Return the upper end of a layer's scale for one image: the largest MAP_QUANTILE of any run."""
    layers = [entry.maps[image][layer] for entry in entries if layer in entry.maps.get(image, {})]
    ends = [float(np.quantile(values, MAP_QUANTILE)) for values in layers]
    return max(ends, default=0.0) or max((float(values.max()) for values in layers), default=0.0) or 1.0


def loss_and_accuracy(entries: Sequence[ComparedRun]) -> dict[str, tuple[float, float]]:
    """Return the range of each metric over every run and epoch, validation and training."""
    records = [record for entry in entries for record in entry.history]
    values = {
        metric: [getattr(record, name) for record in records for name in (metric, f"val_{metric}")]
        for metric in ("loss", "accuracy")
    }
    return {metric: (min(known, default=0.0), max(known, default=1.0)) for metric, known in values.items()}


def disagreement(predictions: Sequence[FloatArray]) -> NDArray[np.float64]:
    """Return how far networks disagree on each image, (N,), in bits: the generalised Jensen-Shannon divergence.

    The entropy of their mean prediction less the mean entropy of their predictions: 0 where all agree, and at most
    log2 of the number of networks, where each is sure of another class. (Lin 1991, "Divergence measures based on
    the Shannon entropy"; of ensembles also known as the mutual information between prediction and network.)

    Args:
        predictions: of each network the probabilities, (N, classes).
    """
    mean = np.asarray(np.mean(predictions, axis=0, dtype=np.float64))
    entropies = [_entropy(probabilities.astype(np.float64)) for probabilities in predictions]
    return np.asarray(np.maximum(_entropy(mean) - np.mean(entropies, axis=0), 0))


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    positive = np.where(probabilities > 0, probabilities, 1)
    return np.asarray(-(probabilities * np.log2(positive)).sum(axis=1))


def most_disputed(predictions: Sequence[FloatArray], most: int) -> list[int]:
    """Return positions of the images that networks disagree on, the most disputed first."""
    if len(predictions) < 2:
        return []
    amount = disagreement(predictions)
    order = np.argsort(-amount, kind="stable")[:most]
    return [int(index) for index in order if amount[index] > 0]


def improvement(first: NDArray[np.intp], other: NDArray[np.intp]) -> FloatArray:
    """Return the difference of two confusion matrices, (classes, classes): positive where `other` is better, with
    more on the diagonal or less off it."""
    sign = np.where(np.eye(len(first), dtype=bool), 1, -1)
    return ((other - first) * sign).astype(np.float32)


def gained_and_lost(first: FloatArray, other: FloatArray, labels: NDArray[np.uint8]) -> tuple[int, int]:
    """Return how many images `other` has right and `first` wrong, and how many the other way round."""
    before, after = (predictions.argmax(axis=1) == labels for predictions in (first, other))
    return int((after & ~before).sum()), int((before & ~after).sum())
