"""What is taken for what, over the validation images."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poolstudy.figures.panel import Panel, coloured, fitted
from poolstudy.figures.style import INK, SMALL, legible, new_figure, shades, write_text
from poolstudy.spec.space import Pooling

_MOST_NUMBERED = 20  # classes; with more of them a number in each cell could not be read


def confusion_counts(labels: NDArray[np.uint8], predicted: NDArray[np.intp], classes: int) -> NDArray[np.intp]:
    """(classes, classes): row the true class, column the predicted one."""
    return np.bincount(labels.astype(np.intp) * classes + predicted, minlength=classes**2).reshape(classes, classes)


def confusion_matrix(counts: NDArray[np.intp], class_names: tuple[str, ...], pooling: Pooling, heading: str) -> Figure:
    """Counts of images; the colour is the share of the true class, its square root, so that few are seen too."""
    classes = len(counts)
    figure = new_figure(6.4, 6.1, heading)
    panel = _shares(figure, (0.175, 0.015, 0.76, 0.8), counts, pooling)
    size = min(8.0, 8 * 20 / classes)
    right, up = panel.points(4, 4)
    for label, name in enumerate(class_names):
        text = legible(name, label)
        panel.text(-0.5 - right, label, text, size, ha="right", va="center")
        panel.text(label, -0.5 + up, text, size, ha="left", va="bottom", rotation=45, rotation_mode="anchor")
    write_text(figure, 0.012, 0.415, "true class", 9, va="center", rotation=90)
    correct = f"{int(np.trace(counts)):,} of {counts.sum():,}"
    write_text(figure, 0.555, 0.925, f"predicted class ({correct} images right)", 9, ha="center")
    if classes <= _MOST_NUMBERED:
        _numbers(panel, counts, counts, size=7.5)
    return figure


def small_confusion_matrix(
    counts: NDArray[np.intp], class_names: tuple[str, ...], pooling: Pooling, heading: str
) -> Figure:
    """The same to be read at 256 pixels: percent of the true class, names cut short."""
    classes = len(counts)
    figure = new_figure(SMALL, SMALL, heading)
    percent = np.rint(100 * _share(counts)).astype(np.intp)
    panel = _shares(figure, (0.25, 0.01, 0.74, 0.8), counts, pooling)
    if classes <= 12:
        for label, name in enumerate(class_names):
            panel.text(-0.5 - panel.points(2)[0], label, legible(name, label, limit=11), 7, ha="right", va="center")
        _numbers(panel, percent, counts, size=7)
    write_text(figure, 0.99, 0.91, "percent of the true class (row)", 7.5, ha="right", va="top")
    return figure


def _share(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), np.float64)


def _shares(
    figure: Figure, bounds: tuple[float, float, float, float], counts: NDArray[np.intp], pooling: Pooling
) -> Panel:
    """The coloured cells; the middle of a cell has its column and row for coordinates."""
    classes, edges = len(counts), (-0.5, len(counts) - 0.5)
    panel = Panel(figure, fitted(bounds, figure, (classes, classes), "N"), edges, edges[::-1])
    panel.image(coloured(np.sqrt(_share(counts)), shades(pooling), 0, 1))
    return panel


def _numbers(panel: Panel, numbers: NDArray[np.intp], counts: NDArray[np.intp], size: float) -> None:
    share = _share(counts)
    for row, column in zip(*np.nonzero(numbers), strict=True):
        colour = "white" if share[row, column] > 0.4 else INK
        panel.text(column, row, f"{numbers[row, column]}", size, colour, ha="center", va="center")
