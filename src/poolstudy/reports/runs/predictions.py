"""The sections about the networks' answers: what is taken for what, and the images that they disagree on."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from poolstudy.figures.confusion import confusion_counts
from poolstudy.reports.html import charts, embedded
from poolstudy.reports.html.numbers import difference, number
from poolstudy.reports.runs import comparison as compared
from poolstudy.reports.runs import pixel_images
from poolstudy.reports.runs.comparison import ComparedRun, Comparison
from poolstudy.reports.runs.lines import NONE, Cell, Line, Section, image_of

_MOST_NUMBERED = 12  # classes; with more of them a number in each cell could not be read
_DISPUTED = 16  # images
_ABOUT_CONFUSION = (
    "row: the true class, column: the predicted one, in the same order; counts of validation images. Against the first "
    "run, green is better and purple worse: more images right, or fewer mistakes"
)
_ABOUT_DISPUTED = (
    "validation images by the disagreement of the runs' probabilities (generalised Jensen-Shannon divergence); of each "
    "run the class it chose, and the probability it gave it"
)


def sections(comparison: Comparison) -> Iterator[Section]:
    """Both of them; each may have no lines."""
    yield Section("What is taken for what", _ABOUT_CONFUSION, list(_confusion(comparison)))
    yield Section("Where they disagree most", _ABOUT_DISPUTED, list(_disputed(comparison)))


def _confusion(comparison: Comparison) -> Iterator[Line]:
    labels, names = comparison.labels, comparison.class_names
    predictions = comparison.predictions()
    if labels is None or not any(one is not None for one in predictions):
        return
    counts = [None if one is None else confusion_counts(labels, one.argmax(axis=1), len(names)) for one in predictions]
    yield Line("counts", [_counts(entry, one, names) for entry, one in zip(comparison.entries, counts, strict=True)])
    first = counts[0]
    if first is None:
        return
    better = [None if one is None else compared.improvement(first, one) for one in counts]
    limit = float(max(np.abs(one).max() for one in better if one is not None) or 1)
    cells = [Cell("the first run", kind="quiet"), *(_change(one, limit, names) for one in better[1:])]
    scale = pixel_images.scale_png(pixel_images.BETTER_SCALE), "worse", "better"
    yield Line("difference to the first run", cells, scale=scale)
    base = predictions[0]
    assert base is not None
    gains = [None if one is None else compared.gained_and_lost(base, one, labels) for one in predictions]
    said = ("right, where the first is wrong", "wrong, where the first is right")
    for place, title in enumerate(said):
        cells = [Cell("", kind="quiet"), *(NONE if one is None else Cell(number(one[place])) for one in gains[1:])]
        yield Line(title, cells, "images")


def _counts(entry: ComparedRun, counts: NDArray[np.intp] | None, names: tuple[str, ...]) -> Cell:
    if counts is None:
        return NONE
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [
        [(f"{count}" if count else "", bool(part > 0.4)) for count, part in zip(*rows, strict=True)]
        for rows in zip(counts.tolist(), share.tolist(), strict=True)
    ]
    right = int(np.trace(counts))
    said = f"{right:,} of {counts.sum():,} right"
    return _matrix(pixel_images.share_png(counts, entry.pooling), texts, names, said)


def _change(better: NDArray[np.float32] | None, limit: float, names: tuple[str, ...]) -> Cell:
    if better is None:
        return NONE
    signs = np.where(np.eye(len(better), dtype=bool), 1, -1)
    texts = [
        [(difference(change) if change else "", abs(change) > 0.7 * limit) for change in row]
        for row in (better * signs).tolist()
    ]
    return _matrix(pixel_images.to_png(better, pixel_images.BETTER_SCALE, -limit, limit), texts, names, "")


def _matrix(picture: bytes, texts: Sequence[Sequence[tuple[str, bool]]], names: tuple[str, ...], said: str) -> Cell:
    numbered = len(names) <= _MOST_NUMBERED
    short = [name if len(name) <= 11 else f"{name[:10]}…" for name in names] if numbered else [""] * len(names)
    what = f"confusion matrix, {said}" if said else "differences of the confusion matrix to the first run's"
    return Cell(below=said, chart=charts.matrix(embedded(picture), texts if numbered else (), short, what))


def _disputed(comparison: Comparison) -> Iterator[Line]:
    predictions = comparison.predictions()
    known = [one for one in predictions if one is not None]
    for image in compared.most_disputed(known, _DISPUTED):
        true = None if comparison.labels is None else int(comparison.labels[image])
        names = comparison.class_names or tuple(f"class {number}" for number in range(known[0].shape[1]))
        cells = [NONE if one is None else _prediction(one[image], true, names) for one in predictions]
        title = names[true] if true is not None else f"image {image}"
        yield Line(title, cells, "", "image", image=image_of(comparison, image))


def _prediction(probabilities: NDArray[np.float32], true: int | None, names: tuple[str, ...]) -> Cell:
    taken = int(probabilities.argmax())
    kind = "" if true is None else ("right" if taken == true else "wrong")
    return Cell(names[taken], f"{probabilities[taken]:.2f}", f"answer {kind}")
