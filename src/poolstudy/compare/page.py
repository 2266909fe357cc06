"""A comparison as a page: sections of lines, each a title and a cell for every run."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from poolstudy import comparison as compared
from poolstudy.comparison import Comparison, Entry
from poolstudy.figures import tiles
from poolstudy.figures.confusion import confusion_counts
from poolstudy.pages import charts, embedded, page
from poolstudy.pages.numbers import MINUS, difference, number
from poolstudy.records import best_epoch

_MOST_NUMBERED = 12  # classes; with more of them a number in each cell could not be read
_DISPUTED = 16  # images
_ON_PAPER = 5  # runs that stand side by side on a page of paper


@dataclass(frozen=True)
class Cell:
    """What a line has of one run: a text, a picture (PNG) or a chart, and a text below it."""

    text: str = ""
    below: str = ""
    kind: str = ""
    picture: bytes | None = None
    chart: Markup | None = None


NONE = Cell("–", kind="none")


@dataclass(frozen=True)
class Line:
    """A title, what it means, and a cell for every run.

    Attributes:
        scale: a colour scale, its lower and its upper end.
        image: an image of the data.
    """

    title: str
    cells: Sequence[Cell]
    about: str = ""
    kind: str = ""
    scale: tuple[bytes, str, str] | None = None
    image: bytes | None = None


@dataclass(frozen=True)
class Section:
    title: str
    about: str
    lines: Sequence[Line] = field(default_factory=list)


def html(comparison: Comparison) -> str:
    """The whole page."""
    differing, same = compared.settings_of(comparison.entries)
    frames = _frames(comparison.entries)
    return page(
        "compare.html",
        {
            "title": _title(comparison.entries),
            "comparison": comparison,
            "noise": _noise(comparison.entries),
            "told": any(entry.notes for entry in comparison.entries),
            "many": len(comparison.entries) > _ON_PAPER,
            "differing": differing,
            "same": same,
            "metrics": compared.metrics_of(comparison.entries),
            "sections": [section for section in _sections(comparison, frames) if section.lines],
            "ghosts": [
                charts.ghosts(frame, f"ghost-{metric}", [_points(one, f"val_{metric}") for one in comparison.entries])
                for metric, frame in frames.items()
            ],
        },
    )


def _title(entries: Sequence[Entry]) -> str:
    studies = list(dict.fromkeys(entry.study for entry in entries))
    return f"{len(entries)} runs of {' and '.join(studies) if len(studies) < 3 else f'{len(studies)} studies'}"


def _noise(entries: Sequence[Entry]) -> str:
    """How far accuracies are uncertain: the standard error of a share, sqrt(p (1 - p) / N)."""
    best = max((entry for entry in entries if entry.data), key=_accuracy, default=None)
    if best is None or best.data is None or not _accuracy(best):
        return "small differences may be chance."
    accuracy, images = _accuracy(best), best.data.validation_images
    error = math.sqrt(accuracy * (1 - accuracy) / images)
    return (
        f"on {images:,} validation images an accuracy of {accuracy:.3f} has a standard error of {error:.4f}, and "
        "another seed moves it too. Differences of that size may be chance."
    )


def _accuracy(entry: Entry) -> float:
    return entry.metrics.get("best_val_accuracy", 0.0)


def _sections(comparison: Comparison, frames: dict[str, charts.Frame]) -> Iterator[Section]:
    entries = comparison.entries
    yield Section("Learning curves", _ABOUT_CURVES, list(_curves(entries, frames)))
    yield Section("Networks", "as Keras draws them", _diagrams(entries))
    yield Section("Weights", _ABOUT_WEIGHTS, list(_weights(entries)))
    yield Section("Kernels", _ABOUT_KERNELS, list(_kernels(comparison)))
    yield Section("Feature maps", _ABOUT_MAPS, list(_maps(comparison)))
    yield Section("What is taken for what", _ABOUT_CONFUSION, list(_confusion(comparison)))
    yield Section("Where they disagree most", _ABOUT_DISPUTED, list(_disputed(comparison)))


# Curves


_ABOUT_CURVES = "validation in the pooling's colour, training in grey, the validation of the other runs behind it"


def _frames(entries: Sequence[Entry]) -> dict[str, charts.Frame]:
    last = max((record.epoch for entry in entries for record in entry.history), default=1)
    return {
        metric: charts.Frame((1 if last > 1 else 0.5, max(last, 1.5)), span)
        for metric, span in compared.loss_and_accuracy(entries).items()
    }


def _points(entry: Entry, metric: str) -> list[tuple[float, float]]:
    return [(record.epoch, getattr(record, metric)) for record in entry.history]


def _curves(entries: Sequence[Entry], frames: dict[str, charts.Frame]) -> Iterator[Line]:
    for metric, about in (("loss", "nats, by epoch"), ("accuracy", "share of images, by epoch")):
        cells = [_curve(entry, metric, frames[metric]) for entry in entries]
        if any(cell is not NONE for cell in cells):
            yield Line(metric, cells, about)


def _curve(entry: Entry, metric: str, frame: charts.Frame) -> Cell:
    if not entry.history:
        return NONE
    best = best_epoch(entry.history)
    training, validation = _points(entry, metric), _points(entry, f"val_{metric}")
    value = dict(validation)[best]
    said = f"{value:.4f} in epoch {best}"
    what = f"{metric} of {len(entry.history)} epochs, validation {said}"
    return Cell(
        below=said, chart=charts.curve(frame, f"ghost-{metric}", training, validation, best, _kind(entry), what)
    )


def _kind(entry: Entry) -> str:
    return entry.pooling or "unknown"


def _diagrams(entries: Sequence[Entry]) -> list[Line]:
    cells = [Cell(picture=tiles.smaller(entry.diagram), kind="diagram") if entry.diagram else NONE for entry in entries]
    return [Line("layers", cells, "with their shapes")] if any(entry.diagram for entry in entries) else []


# Weights and kernels


_ABOUT_WEIGHTS = (
    "untrained as a grey area, trained as an outline: share of the weights in each bin, in percent; all runs share "
    "bins and axes, and the outermost bins hold what lies beyond"
)
_ABOUT_KERNELS = "trained, on one colour scale: red above zero, blue below"


def _weights(entries: Sequence[Entry]) -> Iterator[Line]:
    for name in compared.names_of([entry.trained for entry in entries]):
        if not name.endswith("/kernel"):
            continue
        edges, found = compared.histograms(entries, name)
        highest = max(max((*one.untrained, *one.trained)) for one in found if one)
        frame = charts.Frame((edges[0], edges[-1]), (0, highest))
        cells = [_histogram(entry, one, edges, frame) for entry, one in zip(entries, found, strict=True)]
        yield Line(name.replace("/", " "), cells, "% of weights, by weight")


def _histogram(entry: Entry, found: compared.Histogram | None, edges: Sequence[float], frame: charts.Frame) -> Cell:
    if found is None:
        return NONE
    said = f"{found.mean:+.3f} ± {found.deviation:.3f}".replace("-", MINUS)
    what = f"histogram of the trained weights, {said}"
    return Cell(below=said, chart=charts.histogram(frame, edges, found.untrained, found.trained, _kind(entry), what))


def _kernels(comparison: Comparison) -> Iterator[Line]:
    limit = comparison.kernel_limit
    scale = tiles.scale_png(tiles.WEIGHTS), f"{MINUS}{limit:g}", f"{limit:g}"
    for name in compared.names_of([entry.trained for entry in comparison.entries]):
        kernels = [entry.trained.get(name) for entry in comparison.entries]
        if not any(kernel is not None and kernel.ndim == 4 for kernel in kernels):
            continue
        cells = [
            NONE if kernel is None else _pixels(
                tiles.png(tiles.kernel_picture(kernel), tiles.WEIGHTS, -limit, limit), tiles.kernel_caption(kernel)
            )
            for kernel in kernels
        ]  # fmt: skip
        yield Line(name.partition("/")[0], cells, scale=scale)


def _pixels(picture: bytes, below: str = "") -> Cell:
    return Cell(picture=picture, below=below, kind="pixels")


# Feature maps


_ABOUT_MAPS = (
    "what each layer makes of the same image; all runs share one scale for an image and a layer, from 0 to what one "
    "value in 200 is above"
)


def _maps(comparison: Comparison) -> Iterator[Line]:
    entries = comparison.entries
    for image in comparison.examples:
        for place, layer in enumerate(compared.names_of([entry.maps.get(image, {}) for entry in entries])):
            most = compared.brightest(entries, image, layer)
            layers = [entry.maps.get(image, {}).get(layer) for entry in entries]
            cells = [
                NONE if one is None else _pixels(
                    tiles.png(tiles.maps_picture(one), tiles.MAPS, 0, most), tiles.maps_caption(one)
                )
                for one in layers
            ]  # fmt: skip
            scale = tiles.scale_png(tiles.MAPS), "0", f"{most:.2g}"
            shown = _image(comparison, image) if place == 0 else None
            about = _class(comparison, image) if place == 0 else ""
            yield Line(layer, cells, about, scale=scale, image=shown)


def _image(comparison: Comparison, image: int) -> bytes | None:
    return None if comparison.images is None else tiles.image_png(np.asarray(comparison.images[image]))


def _class(comparison: Comparison, image: int) -> str:
    return "" if comparison.labels is None else comparison.class_names[comparison.labels[image]]


# Answers


_ABOUT_CONFUSION = (
    "row: the true class, column: the predicted one, in the same order; counts of validation images. Against the first "
    "run, green is better and purple worse: more images right, or fewer mistakes"
)
_ABOUT_DISPUTED = (
    "validation images by the disagreement of the runs' probabilities (generalised Jensen-Shannon divergence); of each "
    "run the class it chose, and the probability it gave it"
)


def _confusion(comparison: Comparison) -> Iterator[Line]:
    labels, names = comparison.labels, comparison.class_names
    answers = comparison.answers()
    if labels is None or not any(one is not None for one in answers):
        return
    counts = [None if one is None else confusion_counts(labels, one.argmax(axis=1), len(names)) for one in answers]
    yield Line("counts", [_counts(entry, one, names) for entry, one in zip(comparison.entries, counts, strict=True)])
    first = counts[0]
    if first is None:
        return
    better = [None if one is None else compared.improvement(first, one) for one in counts]
    limit = float(max(np.abs(one).max() for one in better if one is not None) or 1)
    cells = [Cell("the first run", kind="quiet"), *(_change(one, limit, names) for one in better[1:])]
    scale = tiles.scale_png(tiles.BETTER), "worse", "better"
    yield Line("difference to the first run", cells, scale=scale)
    base = answers[0]
    assert base is not None
    gains = [None if one is None else compared.gained_and_lost(base, one, labels) for one in answers]
    said = ("right, where the first is wrong", "wrong, where the first is right")
    for place, title in enumerate(said):
        cells = [Cell("", kind="quiet"), *(NONE if one is None else Cell(number(one[place])) for one in gains[1:])]
        yield Line(title, cells, "images")


def _counts(entry: Entry, counts: NDArray[np.intp] | None, names: tuple[str, ...]) -> Cell:
    if counts is None:
        return NONE
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [
        [(f"{count}" if count else "", bool(part > 0.4)) for count, part in zip(*rows, strict=True)]
        for rows in zip(counts.tolist(), share.tolist(), strict=True)
    ]
    right = int(np.trace(counts))
    said = f"{right:,} of {counts.sum():,} right"
    return _matrix(tiles.share_png(counts, entry.pooling), texts, names, said)


def _change(better: NDArray[np.float32] | None, limit: float, names: tuple[str, ...]) -> Cell:
    if better is None:
        return NONE
    signs = np.where(np.eye(len(better), dtype=bool), 1, -1)
    texts = [
        [(difference(change) if change else "", abs(change) > 0.7 * limit) for change in row]
        for row in (better * signs).tolist()
    ]
    return _matrix(tiles.png(better, tiles.BETTER, -limit, limit), texts, names, "")


def _matrix(picture: bytes, texts: Sequence[Sequence[tuple[str, bool]]], names: tuple[str, ...], said: str) -> Cell:
    numbered = len(names) <= _MOST_NUMBERED
    short = [name if len(name) <= 11 else f"{name[:10]}…" for name in names] if numbered else [""] * len(names)
    what = f"confusion matrix, {said}" if said else "differences of the confusion matrix to the first run's"
    return Cell(below=said, chart=charts.matrix(embedded(picture), texts if numbered else (), short, what))


def _disputed(comparison: Comparison) -> Iterator[Line]:
    answers = comparison.answers()
    known = [one for one in answers if one is not None]
    for image in compared.most_disputed(known, _DISPUTED):
        true = None if comparison.labels is None else int(comparison.labels[image])
        names = comparison.class_names or tuple(f"class {number}" for number in range(known[0].shape[1]))
        cells = [NONE if one is None else _answer(one[image], true, names) for one in answers]
        title = names[true] if true is not None else f"image {image}"
        yield Line(title, cells, "", "image", image=_image(comparison, image))


def _answer(probabilities: NDArray[np.float32], true: int | None, names: tuple[str, ...]) -> Cell:
    taken = int(probabilities.argmax())
    kind = "" if true is None else ("right" if taken == true else "wrong")
    return Cell(names[taken], f"{probabilities[taken]:.2f}", f"answer {kind}")
