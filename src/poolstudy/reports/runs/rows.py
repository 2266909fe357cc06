"""A comparison as rows of data: what the page and the picture show, in this order and on these scales."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from poolstudy.figures.confusion import confusion_counts
from poolstudy.network.weights import FloatArray
from poolstudy.reports.html.numbers import MINUS, difference, number
from poolstudy.reports.runs import comparison as compared
from poolstudy.reports.runs import pixel_images
from poolstudy.reports.runs.comparison import ComparedRun, Comparison, Histogram
from poolstudy.spec.records import best_epoch

_T = TypeVar("_T")
_U = TypeVar("_U")

_MOST_NUMBERED = 12  # classes; with more of them a number in each cell could not be read
_DISPUTED = 16  # images
_ABOUT_CURVES = "validation in the pooling's colour, training in grey; faint: the validation of the other runs"
_ABOUT_WEIGHTS = "grey area: untrained, outline: trained; all runs share axes and bins, and the outermost hold the rest"
_ABOUT_KERNELS = "trained, on one colour scale: red above zero, blue below"
_ABOUT_MAPS = "outputs of each layer for the same image; all runs share its scale, which clips one value in 200"
_ABOUT_CONFUSION = (
    "row: the true class, column: the predicted one, in the same order; counts of validation images. Against the first "
    "run, green is better and purple worse: more images right, or fewer mistakes"
)
_ABOUT_DISPUTED = "sorted by generalised Jensen-Shannon divergence; the class that each run chose, and its probability"


@dataclass(frozen=True, kw_only=True)
class Row(Generic[_T]):
    """One thing of every run.

    Attributes:
        cells: None where a run has none.
        captions: the texts below the cells.
        image: an image of the data, beside the title.
    """

    title: str
    about: str = ""
    cells: tuple[_T | None, ...]
    captions: tuple[str | None, ...] = ()
    image: NDArray[np.uint8] | None = None

    def caption(self, run: int) -> str:
        """Return the text below a run's cell, or in its place where there is none."""
        return (self.captions[run] if self.captions else None) or ("–" if self.cells[run] is None else "")


@dataclass(frozen=True, kw_only=True)
class TextRow(Row[str]):
    """Texts, with the captions beside them; `marks` are "best", "right" or "wrong", by run."""

    marks: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """A metric by epoch, and the epoch to mark."""

    training: Sequence[tuple[float, float]]
    validation: Sequence[tuple[float, float]]
    best: int


@dataclass(frozen=True, kw_only=True)
class CurveRow(Row[Curve]):
    """Curves on axes that all runs share; behind each, the validation curves of all runs are faint."""

    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class HistogramRow(Row[Histogram]):
    """Histograms on bins and axes that all runs share; `y` are percent."""

    edges: tuple[float, ...]
    x: tuple[float, float]
    y: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PictureRow(Row[FloatArray]):
    """Arrays (rows, columns) as pixels, on one scale; NaN is clear.

    Attributes:
        colours: None where each run has its own, from white to the colour of its pooling.
        scale: the values of the first and the last colour; `ends` are their names.
        names: of the rows of each array.
        texts: to be written on the pixels of each array.
    """

    colours: Colormap | None
    scale: tuple[float, float]
    ends: tuple[str, str] = ("", "")
    names: tuple[str, ...] = ()
    texts: tuple[list[list[str]] | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DiagramRow(Row[bytes]):
    """Diagrams as PNG."""


AnyRow = TextRow | CurveRow | HistogramRow | PictureRow | DiagramRow


@dataclass(frozen=True)
class Section:
    """Rows under a heading."""

    title: str
    about: str
    rows: Sequence[AnyRow]


def sections(comparison: Comparison) -> list[Section]:
    """Return all sections that have rows."""
    entries = comparison.entries
    every = (
        Section("What differs", "", list(_settings(entries))),
        Section("What they reached", "", list(_metrics(entries))),
        Section("Learning curves", _ABOUT_CURVES, list(_curves(entries))),
        Section("Networks", "as Keras draws them", list(_diagrams(entries))),
        Section("Weights", _ABOUT_WEIGHTS, list(_histograms(entries))),
        Section("Kernels", _ABOUT_KERNELS, list(_kernels(comparison))),
        Section("Feature maps", _ABOUT_MAPS, list(_maps(comparison))),
        Section("What is taken for what", _ABOUT_CONFUSION, list(_confusion(comparison))),
        Section("Where they disagree most", _ABOUT_DISPUTED, list(_disputed(comparison))),
    )
    return [section for section in every if section.rows]


def _each(function: Callable[[_T], _U], values: Sequence[_T | None]) -> tuple[_U | None, ...]:
    return tuple(None if value is None else function(value) for value in values)


def _settings(entries: Sequence[ComparedRun]) -> Iterator[TextRow]:
    for name, values in compared.settings_of(entries)[0].items():
        yield TextRow(title=name, cells=values)
    if any(entry.notes for entry in entries):
        yield TextRow(title="notes", cells=tuple("\n".join(entry.notes) for entry in entries))


def _metrics(entries: Sequence[ComparedRun]) -> Iterator[TextRow]:
    for metric in compared.metrics_of(entries):
        yield TextRow(
            title=metric.name,
            cells=_each(partial(number, name=metric.name), metric.values),
            captions=_each(partial(difference, name=metric.name), metric.differences),
            marks=dict.fromkeys(metric.best, "best"),
        )


def _curves(entries: Sequence[ComparedRun]) -> Iterator[CurveRow]:
    last = max((record.epoch for entry in entries for record in entry.history), default=0)
    for metric, y in compared.loss_and_accuracy(entries).items() if last else ():
        cells = tuple(_curve(entry, metric) for entry in entries)
        yield CurveRow(
            title=metric,
            about="nats, by epoch" if metric == "loss" else "share of images, by epoch",
            cells=cells,
            captions=_each(lambda curve: f"{dict(curve.validation)[curve.best]:.4f} in epoch {curve.best}", cells),
            x=(1, last) if last > 1 else (0.5, 1.4),
            y=y,
        )


def _curve(entry: ComparedRun, metric: str) -> Curve | None:
    if not entry.history:
        return None
    training, validation = (
        [(record.epoch, getattr(record, name)) for record in entry.history] for name in (metric, f"val_{metric}")
    )
    return Curve(training, validation, best_epoch(entry.history))


def _diagrams(entries: Sequence[ComparedRun]) -> Iterator[DiagramRow]:
    if any(entry.diagram for entry in entries):
        yield DiagramRow(title="layers", about="with their shapes", cells=tuple(entry.diagram for entry in entries))


def _histograms(entries: Sequence[ComparedRun]) -> Iterator[HistogramRow]:
    for name in compared.names_of([entry.trained for entry in entries]):
        if not name.endswith("/kernel"):
            continue
        edges, cells = compared.histograms(entries, name)
        yield HistogramRow(
            title=name.replace("/", " "),
            about="% of weights, by weight",
            cells=tuple(cells),
            captions=_each(lambda cell: f"{cell.mean:+.3f} ± {cell.deviation:.3f}".replace("-", MINUS), cells),
            edges=edges,
            x=(edges[0], edges[-1]),
            y=(0, max(share for cell in cells if cell for share in (*cell.untrained, *cell.trained))),
        )


def _kernels(comparison: Comparison) -> Iterator[PictureRow]:
    limit = comparison.kernel_limit
    for name in compared.names_of([entry.trained for entry in comparison.entries]):
        kernels = [entry.trained.get(name) for entry in comparison.entries]
        if any(kernel is not None and kernel.ndim == 4 for kernel in kernels):
            yield PictureRow(
                title=name.partition("/")[0],
                cells=_each(pixel_images.kernel_picture, kernels),
                captions=_each(pixel_images.kernel_caption, kernels),
                colours=pixel_images.WEIGHT_SCALE,
                scale=(-limit, limit),
                ends=(f"{MINUS}{limit:g}", f"{limit:g}"),
            )


def _maps(comparison: Comparison) -> Iterator[PictureRow]:
    entries, labels, names = comparison.entries, comparison.labels, comparison.class_names
    for image in comparison.examples:
        layers = compared.names_of([entry.maps.get(image, {}) for entry in entries])
        for layer in layers:
            most = compared.brightest(entries, image, layer)
            maps = [entry.maps.get(image, {}).get(layer) for entry in entries]
            yield PictureRow(
                title=layer,
                about=names[labels[image]] if labels is not None and layer == layers[0] else "",
                cells=_each(pixel_images.maps_picture, maps),
                captions=_each(pixel_images.maps_caption, maps),
                image=comparison.image(image) if layer == layers[0] else None,
                colours=pixel_images.MAP_SCALE,
                scale=(0, most),
                ends=("0", f"{most:.2g}"),
            )


def _confusion(comparison: Comparison) -> Iterator[PictureRow | TextRow]:
    labels, names = comparison.labels, comparison.class_names
    first, *others = predictions = comparison.predictions()
    if labels is None or all(known is None for known in predictions):
        return
    counts = _each(lambda known: confusion_counts(labels, known.argmax(axis=1), len(names)), predictions)
    base = counts[0]
    numbered = len(names) <= _MOST_NUMBERED
    yield PictureRow(
        title="counts",
        cells=_each(lambda matrix: np.sqrt(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)), counts),
        captions=_each(lambda matrix: f"{int(np.trace(matrix)):,} of {matrix.sum():,} right", counts),
        colours=None,
        scale=(0, 1),
        names=names if numbered else (),
        texts=_each(partial(_texts, text=str), counts) if numbered else (),
    )
    if first is None or base is None:
        return
    better = (None, *_each(lambda matrix: compared.improvement(base, matrix), counts[1:]))
    limit = float(max((np.abs(change).max() for change in better if change is not None), default=0) or 1)
    captions = ("the first run", *[None] * len(others))
    yield PictureRow(
        title="difference to the first run",
        about=f"images, on a scale of ±{limit:g}",
        cells=better,
        captions=captions,
        colours=pixel_images.BETTER_SCALE,
        scale=(-limit, limit),
        ends=("worse", "better"),
        names=names if numbered else (),
        texts=_each(lambda matrix: _texts(matrix - base, difference), (None, *counts[1:])) if numbered else (),
    )
    moved = [None, *_each(lambda known: compared.gained_and_lost(first, known, labels), others)]
    for index, title in enumerate(("right, where the first is wrong", "wrong, where the first is right")):
        cells = tuple(None if images is None else number(images[index]) for images in moved)
        yield TextRow(title=title, about="images", cells=cells, captions=captions)


def _texts(matrix: NDArray[np.intp], text: Callable[[float], str]) -> list[list[str]]:
    return [[text(count) if count else "" for count in row] for row in matrix.tolist()]


def _disputed(comparison: Comparison) -> Iterator[TextRow]:
    predictions = comparison.predictions()
    known = [probabilities for probabilities in predictions if probabilities is not None]
    names = comparison.class_names or tuple(f"class {label}" for label in range(known[0].shape[1] if known else 0))
    for image in compared.most_disputed(known, _DISPUTED):
        true = None if comparison.labels is None else int(comparison.labels[image])
        chosen = [None if every is None else int(every[image].argmax()) for every in predictions]
        marks = {run: "right" if label == true else "wrong" for run, label in enumerate(chosen) if label is not None}
        yield TextRow(
            title=f"image {image}" if true is None else names[true],
            cells=_each(names.__getitem__, chosen),
            captions=tuple(None if every is None else f"{every[image].max():.2f}" for every in predictions),
            image=comparison.image(image),
            marks={} if true is None else marks,
        )
